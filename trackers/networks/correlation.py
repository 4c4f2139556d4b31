"""Cross-correlations between template and search features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def depthwise_correlation(search: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """Correlate each channel of ``search`` (B, C, H, W) with the same channel of ``kernel`` (B, C, k, k).

    No flip, zero padding on all sides: (B, C, H - k + 1 + 2 padding, W - k + 1 + 2 padding). Source: SiamRPN++.
    """
    if torch.onnx.is_in_onnx_export():
        return shifted_correlation(search, kernel, padding)
    batch, channels, height, width = search.shape
    size = kernel.shape[-1]
    result = functional.conv2d(
        search.reshape(1, batch * channels, height, width),
        kernel.reshape(batch * channels, 1, size, size),
        padding=padding,
        groups=batch * channels,
    )
    return result.reshape(batch, channels, *result.shape[2:])


def correlate_all(kernels: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """:func:`depthwise_correlation` of each map with its kernel."""
    return tuple(depthwise_correlation(each, kernel) for kernel, each in zip(kernels, maps, strict=True))


def shifted_correlation(search: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """The same as :func:`depthwise_correlation` without a convolution: k x k shifted products, summed.

    For exported graphs: many engines want a convolution's weights to be constants, and here they are an input.
    """
    size = int(kernel.shape[-1])
    search = functional.pad(search, (padding,) * 4)
    rows, columns = (int(side) - size + 1 for side in search.shape[2:])
    products = [
        search[:, :, y : y + rows, x : x + columns] * kernel[:, :, y : y + 1, x : x + 1]
        for y in range(size)
        for x in range(size)
    ]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total


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
