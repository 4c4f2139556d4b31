"""Convolutions over tiles against the convolution itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fusion.nestfuse import upsample_to
from fusion.tile_convolution import TILE, TileConvolution, has_laid_out_convolutions, tiles_at_once

pytestmark = pytest.mark.skipif(not has_laid_out_convolutions(), reason="this PyTorch computes without oneDNN")


def over_the_whole_map(convolution: TileConvolution, fine: Tensor, coarse: Tensor) -> Tensor:
    """(half, H, W), put together of all tiles."""
    height, width = fine.shape[:2]
    memory = convolution.memory(width)
    rows = []
    for row in range(-(-height // TILE)):
        parts = [
            convolution(memory, fine, coarse, row, column).clone()
            for column in range(0, -(-width // TILE), memory.tiles)
        ]
        rows.append(torch.cat(parts, 1))
    return torch.cat(rows)[:height, :width].permute(2, 0, 1)


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(2, 30),
    width=st.integers(2, 30),
    channels=st.tuples(*[st.integers(1, 20)] * 3),
    seed=st.integers(0, 99),
)
@torch.inference_mode()
def test_is_the_convolution_over_doubled_maps(
    height: int, width: int, channels: tuple[int, int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    (fine_count, coarse_count, half), size = channels, (height, width)
    fine = torch.randn(*size, fine_count, generator=generator)
    coarse = torch.randn(height // 2, width // 2, coarse_count, generator=generator)
    kernel = torch.randn(half, fine_count + coarse_count, 3, 3, generator=generator)
    bias = torch.randn(half, generator=generator)
    maps = [each.permute(2, 0, 1)[None] for each in (fine, coarse)]
    both = torch.cat([maps[0], upsample_to(maps[1], maps[0])], 1).double()
    expected = functional.conv2d(functional.pad(both, (1, 1, 1, 1), mode="reflect"), kernel.double(), bias.double())
    convolution = TileConvolution(kernel[:, :fine_count], kernel[:, fine_count:], bias)
    got = over_the_whole_map(convolution, fine, coarse)
    torch.testing.assert_close(got, expected[0].relu().float(), rtol=1e-5, atol=5e-5 * float(expected.std()) + 1e-5)


@torch.inference_mode()
def test_a_row_is_cut_into_even_parts_where_it_is_long() -> None:
    torch.manual_seed(0)
    fine, coarse = torch.randn(5, 1203, 300), torch.randn(2, 601, 20)
    kernel = torch.randn(3, 320, 3, 3)
    convolution = TileConvolution(kernel[:, :300], kernel[:, 300:], torch.zeros(3))
    assert 1 < -(-1203 // TILE) / convolution.memory(1203).tiles <= 6
    both = torch.cat([fine.permute(2, 0, 1)[None], upsample_to(*(m.permute(2, 0, 1)[None] for m in (coarse, fine)))], 1)
    expected = functional.conv2d(functional.pad(both, (1, 1, 1, 1), mode="reflect"), kernel)[0].relu()
    got = over_the_whole_map(convolution, fine, coarse)
    assert (got - expected).abs().max() < 1e-4 * expected.std()


@given(width=st.integers(1, 20_000), channels=st.integers(1, 2_000))
def test_some_tiles_at_a_time_make_up_a_row_without_a_scrap(width: int, channels: int) -> None:
    tiles, step = -(-width // TILE), tiles_at_once(width, channels)
    assert 1 <= step <= tiles
    assert -(-tiles // step) * step - tiles < -(-tiles // step)
