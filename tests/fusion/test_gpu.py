"""Fusion on a GPU against the CPU: half precision, CUDA graphs, nuclear norms by polar factors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion.attention import NESTFUSE, PoolingKind
from fusion.cuda_graphs import CapturedPictureFunction
from fusion.factory import FUSION_METHODS, build_fuser
from fusion.nuclear import nuclear_norm
from tests.fusion.small_networks import small_nestfuse

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device can be used here"),
]


def pair(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    smooth = 128 + 90 * np.sin(rows / 19 + seed) * np.cos(columns / 23)
    visible, thermal = (
        np.clip(each + generator.normal(0, 6, smooth.shape), 0, 255)
        for each in (smooth, smooth.T if height == width else 255 - smooth)
    )
    return visible.astype(np.uint8), thermal.astype(np.uint8)


@pytest.mark.parametrize("pooling", ["avg", "max", "nuclear", "nuclear-fast"])
def test_pictures_are_those_of_the_cpu(pooling: PoolingKind) -> None:
    on_gpu, on_cpu = (
        build_fuser("nestfuse-lite", pooling=pooling, range_name="fixed", device=device) for device in ("cuda", "cpu")
    )
    for seed in range(4):
        visible, thermal = pair(120, 161, seed)
        found, expected = (fuser(visible, thermal).astype(int) for fuser in (on_gpu, on_cpu))
        assert np.abs(found - expected).max() <= (6 if pooling == "nuclear-fast" else 2)
        assert np.abs(found - expected).mean() <= 0.6


@pytest.mark.parametrize(
    "method",
    [
        name
        for name in ("nestfuse", "nestfuse-narrow", "auif", "didfuse", "average", "laplacian")
        if name in FUSION_METHODS
    ],
)
def test_every_shipped_method_runs_with_a_gpu(method: str) -> None:
    visible, thermal = pair(96, 128)
    found, expected = (
        build_fuser(method, range_name="fixed", device=device)(visible, thermal).astype(int)
        for device in ("cuda", "cpu")
    )
    assert np.abs(found - expected).max() <= 2


def test_sizes_that_come_again_are_captured_and_answers_stay_the_same() -> None:
    from fusion.nestfuse_gpu import NestFuseGpuMethod

    method = NestFuseGpuMethod(small_nestfuse(3), NESTFUSE, torch.device("cuda"))
    sizes = [(64, 80), (33, 47), (64, 80), (33, 47), (64, 80)]
    answers: dict[tuple[int, int], NDArray[np.float32]] = {}
    for size in sizes:
        answer = method.fuse_luma(*pair(*size))
        np.testing.assert_allclose(answer, answers.setdefault(size, answer), atol=0.2)
    assert method.captured == 2


def test_only_few_sizes_are_kept() -> None:
    function = CapturedPictureFunction(lambda pictures: pictures.float().mean(0, keepdim=True), torch.device("cuda"))
    for side in (20, 21, 22, 23, 24, 25, 20, 21, 22, 23, 24, 25):
        visible, thermal = pair(side, side)
        np.testing.assert_allclose(function(visible, thermal), (visible / 2 + thermal / 2), atol=0.01)
    assert function.captured <= 4


def test_nuclear_norms_make_the_weights_of_exact_ones() -> None:
    generator = torch.Generator().manual_seed(5)
    shades = torch.rand((2, 12, 1, 1), generator=generator) * 3
    maps = torch.rand((2, 12, 90, 120), generator=generator) * torch.rand((2, 12, 90, 1), generator=generator) + shades
    maps[0, 3] = 0
    exact, found = nuclear_norm(maps, 1e-5), nuclear_norm(maps.cuda(), 1e-5).cpu()
    torch.testing.assert_close(found / found.sum(0), exact / exact.sum(0), rtol=0, atol=3e-4)


def test_what_cannot_be_captured_runs_as_it_is() -> None:
    # In a process of its own, for after a capture that failed PyTorch may refuse others.
    code = """
import warnings
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from fusion.cuda_graphs import CapturedPictureFunction

def waiting(pictures):
    assert float(pictures.float().amax()) >= 0
    return pictures.float().mean(0, keepdim=True)

function = CapturedPictureFunction(waiting, torch.device("cuda"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for side in (20, 20, 20, 24, 24):
        one, other = np.full((side, side), 10, np.uint8), np.full((side, side), 30, np.uint8)
        assert np.array_equal(function(one, other), np.full((side, side), 20, np.float32))
assert function.captured == 0
assert sum("could not be captured" in str(each.message) for each in caught) == 1, caught
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
