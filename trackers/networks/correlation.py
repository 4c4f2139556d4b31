"""Cross-correlations between template and search features."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def depthwise_correlation(search: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """Correlate each channel of ``search`` (B, C, H, W) with the same channel of ``kernel`` (B, C, k, k).

    No flip, zero padding on all sides: (B, C, H - k + 1 + 2 padding, W - k + 1 + 2 padding). Source: SiamRPN++.
    """
    batch, channels, height, width = search.shape
    size = kernel.shape[-1]
    result = functional.conv2d(
        search.reshape(1, batch * channels, height, width),
        kernel.reshape(batch * channels, 1, size, size),
        padding=padding,
        groups=batch * channels,
    )
    return result.reshape(batch, channels, *result.shape[2:])


def pixelwise_correlation(search: Tensor, kernel: Tensor) -> Tensor:
    """Dot product of every template position with every search position.

    Args:
        search: (B, C, H, W).
        kernel: (B, C, h, w).

    Returns:
        (B, h * w, H, W): channel ``y * w + x`` belongs to template position (y, x). Source: Alpha-Refine, NanoTrack.
    """
    height, width = search.shape[2:]
    products = kernel.flatten(2).transpose(1, 2) @ search.flatten(2)
    return products.reshape(*products.shape[:2], height, width)
