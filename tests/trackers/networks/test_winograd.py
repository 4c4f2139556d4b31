"""Winograd's way computes the same convolution."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trackers.networks.winograd import WinogradConvolution, with_winograd


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 3), height=st.integers(20, 35), width=st.integers(24, 35), dilation=st.integers(1, 4),
    padded=st.booleans(), bias=st.booleans(), seed=st.integers(0, 100),
)  # fmt: skip
def test_it_equals_the_direct_convolution(
    batch: int, height: int, width: int, dilation: int, padded: bool, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    direct = nn.Conv2d(5, 7, 3, padding=dilation if padded else 0, dilation=dilation, bias=bias)
    x = torch.randn(batch, 5, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(WinogradConvolution(direct)(x), direct(x), rtol=1e-4, atol=1e-4)


def test_only_large_plain_convolutions_are_replaced_and_the_network_is_left_alone() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(8, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3, padding=2, dilation=2),
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 256, 3, stride=2),
        nn.Conv2d(256, 256, 3, padding=1, groups=256),
    )
    changed = with_winograd(network)
    assert [type(layer) for layer in changed] == [nn.Conv2d, WinogradConvolution, *[nn.Conv2d] * 3]
    assert all(type(layer) is nn.Conv2d for layer in network)
    x = torch.randn(2, 8, 26, 26)
    with torch.inference_mode():
        torch.testing.assert_close(changed(x), network(x), rtol=1e-4, atol=1e-4)
