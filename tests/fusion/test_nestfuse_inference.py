"""The fast path of NestFuse against the plain network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fusion.attention import NESTFUSE, PAPER
from fusion.nestfuse import upsample_to
from fusion.nestfuse_gpu import NestFuseGpuMethod
from fusion.nestfuse_inference import NestFuseMethod, mirrored_cat, phase_kernels
from tests.fusion.small_networks import noise_pictures, small_nestfuse

CPU = torch.device("cpu")
SIDES = st.integers(16, 45)
DECODERS = st.sampled_from([None, (3, 4, 5, 7)])


@settings(deadline=None, max_examples=12)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), deep=st.booleans(), narrow=DECODERS)
def test_equal_to_the_plain_network_at_every_size(
    height: int, width: int, seed: int, deep: bool, narrow: tuple[int, int, int, int] | None
) -> None:
    plain = small_nestfuse(seed, deep_supervision=deep, decoder_channels=narrow)
    pair = noise_pictures(height, width, seed)
    for strategy in (NESTFUSE, PAPER.with_pooling("max")):
        with torch.no_grad():
            expected = plain.fuse(pair, strategy)[-1]
        got = NestFuseMethod(plain, strategy, CPU).fuse(torch.cat(pair))
        assert expected.max() > 1
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_bfloat16_stays_near() -> None:
    plain, pair = small_nestfuse(1), noise_pictures(40, 56)
    expected = plain.fuse(pair)[-1]
    got = NestFuseMethod(plain, NESTFUSE, CPU, torch.bfloat16).fuse(torch.cat(pair))
    assert got.dtype == torch.float32
    assert (got - expected).abs().mean() < 0.01 * expected.mean()


def test_pictures_go_through_as_arrays() -> None:
    method = NestFuseMethod(small_nestfuse(), NESTFUSE, CPU)
    visible, thermal = (picture[0, 0].numpy().astype(np.uint8) for picture in noise_pictures(20, 33))
    levels = method.fuse_luma(visible, thermal)
    assert levels.shape == (20, 33)
    assert levels.dtype == np.float32


@pytest.mark.parametrize("size", [(8, 10), (9, 11), (7, 12)])
def test_phase_kernels_do_what_the_kernel_does_on_doubled_features(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, size[0] // 2, size[1] // 2, generator=generator, dtype=torch.float64)
    kernel = torch.randn(5, 3, 3, 3, generator=generator, dtype=torch.float64)
    doubled = upsample_to(coarse, torch.empty(1, 1, *size))
    expected = functional.conv2d(functional.pad(doubled, (1, 1, 1, 1), mode="reflect"), kernel)
    phases = functional.conv2d(functional.pad(coarse, (1, 1, 1, 1), mode="replicate"), phase_kernels(kernel))
    got = torch.empty_like(expected)
    for index, phase in enumerate(phases.chunk(4, 1)):
        row, column = divmod(index, 2)
        cells = got[:, :, row::2, column::2]
        cells[:] = phase[:, :, row : row + cells.shape[2], column : column + cells.shape[3]]
    torch.testing.assert_close(got, expected)


def test_mirrored_cat_is_cat_and_reflection() -> None:
    parts = [torch.rand(2, 3, 5, 4), torch.rand(2, 2, 5, 4)]
    expected = functional.pad(torch.cat(parts, 1), (1, 1, 1, 1), mode="reflect")
    torch.testing.assert_close(mirrored_cat(parts), expected, rtol=0, atol=0)


@settings(deadline=None, max_examples=12)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), deep=st.booleans(), narrow=DECODERS)
def test_the_form_for_gpus_is_equal_too(
    height: int, width: int, seed: int, deep: bool, narrow: tuple[int, int, int, int] | None
) -> None:
    plain = small_nestfuse(seed, deep_supervision=deep, decoder_channels=narrow)
    pair = noise_pictures(height, width, seed)
    for strategy in (NESTFUSE, PAPER.with_pooling("nuclear")):
        with torch.no_grad():
            expected = plain.fuse(pair, strategy)[-1]
        got = NestFuseGpuMethod(plain, strategy, CPU, torch.float32).fuse(torch.cat(pair))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
