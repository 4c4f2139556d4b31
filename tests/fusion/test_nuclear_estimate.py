"""Estimated nuclear norms against exact ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fusion.attention import NESTFUSE
from fusion.factory import load_nestfuse
from fusion.nestfuse_hybrid import nestfuse_in_torch
from fusion.nestfuse_inference import NestFuseMethod
from fusion.nestfuse_strips import NestFuseStrips
from fusion.nuclear import estimated_nuclear_norm, nuclear_norm
from fusion.nuclear_estimate import PASSES, RANGE_PASSES, NuclearEstimate, estimate_pays, factors
from fusion.weight_store import find_weights
from tests.fusion.small_networks import small_nestfuse

STILLS = Path(__file__).parents[3] / "shared/data/stills/tno21"
CPU = torch.device("cpu")
OFFSET = 1e-5


def shares(norms: Tensor) -> Tensor:
    """Of two modalities (2, C)."""
    return norms[0] / (norms.sum(0) + OFFSET)


def textures(height: int, width: int) -> Tensor:
    """Maps (2, 6, H, W) that look like features: smooth, of unlike strength, with some noise; one is silent."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 6, height // 10, width // 10, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    maps = smooth * torch.linspace(0.3, 3, 6)[:, None, None]
    maps += 0.1 * torch.rand(2, 6, height, width, generator=generator)
    maps[:, 5] = 0
    return maps


@pytest.mark.parametrize("half", [True, False])
def test_the_shares_are_nearly_those_of_exact_norms(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not half:
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        assert factors(torch.zeros(1, 1, 1), 0).dtype == torch.float32
    maps = textures(200, 290)
    exact, estimated = nuclear_norm(maps, OFFSET), estimated_nuclear_norm(maps, OFFSET)
    assert not torch.equal(exact, estimated)
    assert float((shares(exact) - shares(estimated)).abs().max()) < 0.01
    assert torch.equal(estimated, estimated_nuclear_norm(maps, OFFSET))
    torch.testing.assert_close(estimated_nuclear_norm(maps.mT.contiguous(), OFFSET), estimated)


def test_small_maps_and_no_maps_have_exact_norms() -> None:
    small = textures(150, 290)
    assert torch.equal(estimated_nuclear_norm(small), nuclear_norm(small))
    assert estimated_nuclear_norm(torch.zeros(2, 0, 300, 300)).shape == (2, 0)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(160, 260),
    columns=st.integers(160, 260),
    rank=st.sampled_from([0, 1, 2, 10, 47, 48, 49, 60, 100, 160]),
    decay=st.sampled_from([0.0, 0.02, 0.3]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_matrices_of_any_rank_and_spectrum(
    rows: int, columns: int, rank: int, decay: float, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)
    matrix = (left * torch.exp(-decay * torch.arange(rank))) @ right * scale
    exact, found = nuclear_norm(matrix[None]), estimated_nuclear_norm(matrix[None])
    assert abs(float(found - exact)) <= 0.06 * float(exact)


def test_rows_may_come_in_parts() -> None:
    matrices = factors(textures(220, 180)[0], OFFSET)
    parts = [matrices[:, start : start + 70] for start in range(0, 220, 70)]
    estimate = NuclearEstimate(len(matrices), matrices.shape[2], CPU)
    for number in range(PASSES):
        for part in parts:
            estimate.add(part if number < RANGE_PASSES else estimate.rest(part.clone()))
        estimate.finish_pass()
    torch.testing.assert_close(
        estimate.norms(), estimated_nuclear_norm(textures(220, 180)[0], OFFSET), rtol=0.01, atol=1e-4
    )


def test_strips_are_weighed_like_the_whole_picture() -> None:
    method = NestFuseMethod(small_nestfuse(2), NESTFUSE.with_pooling("nuclear-fast"), CPU)
    rows, columns = np.mgrid[:330, :190]
    visible = (128 + 90 * np.sin(rows / 5) * np.cos(columns / 9)).astype(np.uint8)
    thermal = ((rows * 7 + columns**2 // 40) % 256).astype(np.uint8)
    assert estimate_pays(190)
    whole = method.fuse_luma(visible, thermal)
    strips = NestFuseStrips(method, strip_px=20_000).fuse_luma(visible, thermal)
    assert np.abs(whole - strips).max() < 0.005 * whole.max()


@pytest.mark.skipif(not STILLS.is_dir(), reason="the stills that lie beside the checkout are not there")
def test_every_channel_of_a_real_pair_is_weighed_within_a_hundredth() -> None:
    path = find_weights("nestfuse")
    assert path is not None
    pair = [np.asarray(cv2.imread(str(STILLS / f"{name}13.png"), 0))[:320, :480] for name in ("IR", "VIS")]
    method = nestfuse_in_torch(load_nestfuse(torch.load(path, weights_only=True), str(path)), NESTFUSE, CPU)
    for scale in method.encode(torch.from_numpy(np.stack(pair)[:, None]), 2):
        exact, found = shares(nuclear_norm(scale, OFFSET)), shares(estimated_nuclear_norm(scale, OFFSET))
        assert float((exact - found).abs().max()) < 0.01
        assert float((exact - found).abs().mean()) < 0.002
