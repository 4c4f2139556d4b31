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
    if search.device.type == "cpu" and not search.is_contiguous() and not search.requires_grad:
        return _correlation_channels_last(search, kernel, padding)
    batch, channels, height, width = search.shape
    size = kernel.shape[-1]
    result = functional.conv2d(
        search.reshape(1, batch * channels, height, width),
        kernel.reshape(batch * channels, 1, size, size),
        padding=padding,
        groups=batch * channels,
    )
    return result.reshape(batch, channels, *result.shape[2:])


def _correlation_channels_last(search: Tensor, kernel: Tensor, padding: int) -> Tensor:
    # The channels of all crops side by side at each place: on a CPU a convolution that multiplies many channels of one
    # place at once takes half the time of one that has a map for each, and its result is channels-last again.
    batch, channels, height, width = search.shape
    places = search.permute(2, 3, 0, 1).reshape(1, height, width, batch * channels).permute(0, 3, 1, 2)
    size = kernel.shape[-1]
    result = functional.conv2d(
        places, kernel.reshape(batch * channels, 1, size, size), padding=padding, groups=batch * channels
    )
    return result.reshape(batch, channels, *result.shape[2:])


def correlate_all(kernels: Sequence[Tensor], maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """:func:`depthwise_correlation` of each map with its kernel."""
    return tuple(depthwise_correlation(each, kernel) for kernel, each in zip(kernels, maps, strict=True))


def shifted_correlation(search: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """The same as :func:`depthwise_correlation` without a convolution: shifted maps, a matrix product, shifted sums.

    For exported graphs: many engines want a convolution's weights to be constants, and here they are an input. The
    product of the kernel's rows with copies of the map shifted by columns takes a quarter of the time of a product for
    each of the k x k shifts.
    """
    size = int(kernel.shape[-1])
    search = functional.pad(search, (padding,) * 4)
    channels, height, width = (int(side) for side in search.shape[1:])
    rows, columns = height - size + 1, width - size + 1
    shifted = torch.stack([search[:, :, :, x : x + columns] for x in range(size)], dim=2)
    products = kernel @ shifted.reshape(-1, channels, size, height * columns)
    products = products.reshape(-1, channels, size, height, columns)
    total = products[:, :, 0, :rows]
    for y in range(1, size):
        total = total + products[:, :, y, y : y + rows]
    return total


def pixelwise_correlation(search: Tensor, kernel: Tensor) -> Tensor:
    """Dot product of every template position with every search position.

    Args:
        search: (B, C, H, W).
        kernel: (B, C, h, w).

    Returns:
        (B, h * w, H, W): channel ``y * w + x`` belongs to template position (y, x). Source: Alpha-Refine, NanoTrack.
    """
    batch, _, height, width = search.shape
    # Places first, as a channels-last map lies in memory, and so does the result.
    products = search.permute(0, 2, 3, 1).reshape(batch, height * width, -1) @ kernel.flatten(2)
    return products.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
