"""Every way to correlate gives the same numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from trackers.networks.correlation import depthwise_correlation, pixelwise_correlation, shifted_correlation


@settings(deadline=None, max_examples=20)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 20),
    side=st.integers(6, 12),
    kernel_side=st.integers(1, 6),
    padding=st.integers(0, 1),
    channels_last=st.booleans(),
    learns=st.booleans(),
)
def test_depthwise_correlation_is_a_product_for_each_channel_of_each_crop(
    batch: int, channels: int, side: int, kernel_side: int, padding: int, channels_last: bool, learns: bool
) -> None:
    torch.manual_seed(side)
    search, kernel = torch.randn(batch, channels, side, side), torch.randn(batch, channels, kernel_side, kernel_side)
    expected = _slowly(search, kernel, padding)
    if channels_last:
        search = search.contiguous(memory_format=torch.channels_last)
    search.requires_grad_(learns)
    torch.testing.assert_close(depthwise_correlation(search, kernel, padding), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shifted_correlation(search, kernel, padding), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_pixelwise_correlation_is_a_dot_product_for_each_pair_of_places(channels_last: bool) -> None:
    torch.manual_seed(0)
    search, kernel = torch.randn(2, 5, 7, 6), torch.randn(2, 5, 3, 4)
    if channels_last:
        search = search.contiguous(memory_format=torch.channels_last)
    expected = torch.einsum("bcij,bcyx->bijyx", kernel, search).reshape(2, 12, 7, 6)
    torch.testing.assert_close(pixelwise_correlation(search, kernel), expected, rtol=1e-4, atol=1e-4)


def _slowly(search: torch.Tensor, kernel: torch.Tensor, padding: int) -> torch.Tensor:
    padded = functional.pad(search, (padding,) * 4)
    windows = padded.unfold(2, kernel.shape[2], 1).unfold(3, kernel.shape[3], 1)
    return (windows * kernel[:, :, None, None]).sum((4, 5))
