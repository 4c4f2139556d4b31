"""Square crops around a target, as SiamRPN trackers cut them, and their way into a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Fill = tuple[float, ...]


def channel_average(image: NDArray[np.uint8]) -> Fill:
    """Mean of each channel of ``image`` (H, W) or (H, W, C) uint8, 0..255: the colour of pixels outside it."""
    if image.ndim == 2:
        return (float(image.mean()),)
    # Sums of whole numbers are exact: the same result as a float64 mean, several times faster.
    count = image.shape[0] * image.shape[1]
    return tuple(value / count for value in cv2.sumElems(image)[: image.shape[2]])


def crop_square(
    image: NDArray[np.uint8],
    center_xy: tuple[float, float],
    *,
    source_size_px: int,
    output_size_px: int,
    fill: Fill,
) -> NDArray[np.uint8]:
    """Cut a square of ``source_size_px`` around ``center_xy`` and scale it to ``output_size_px``.

    The geometry is that of PySOT's ``get_subwindow``, to the bit: the square starts at
    ``floor(center - (source_size + 1) / 2 + 0.5)``, pixels outside the picture have the colour ``fill`` (0..255
    for each channel, cut to whole numbers), and the scaling is bilinear on 8 bits.

    Args:
        image: (H, W) or (H, W, C) uint8.
        center_xy: centre in pixels; may lie outside the picture.
        source_size_px: side of the square in the picture, at least 1.
        output_size_px: side of the result.
        fill: one number for each channel.

    Returns:
        (output, output) or (output, output, C) uint8.
    """
    height, width = image.shape[:2]
    left, top = square_corner(center_xy, source_size_px)
    right, bottom = left + source_size_px, top + source_size_px
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        square = inside
    elif inside.size:
        colour = [int(value) for value in fill]
        below, beside = max(bottom - height, 0), max(right - width, 0)
        around = (max(-top, 0), below, max(-left, 0), beside)
        square = np.asarray(cv2.copyMakeBorder(inside, *around, cv2.BORDER_CONSTANT, value=colour), np.uint8)
    else:
        square = np.empty((source_size_px, source_size_px, *image.shape[2:]), np.uint8)
        square[...] = np.asarray(fill if image.ndim == 3 else fill[0]).astype(np.uint8)
    if source_size_px == output_size_px:
        return np.ascontiguousarray(square)
    return np.asarray(cv2.resize(square, (output_size_px, output_size_px)), np.uint8)


def square_corner(center_xy: tuple[float, float], source_size_px: int) -> tuple[int, int]:
    """Left and top pixel of the square of ``source_size_px`` around ``center_xy``."""
    half = (source_size_px + 1) / 2
    return math.floor(center_xy[0] - half + 0.5), math.floor(center_xy[1] - half + 0.5)


def crops_to_tensor(crops: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Stack crops of one size into (B, 3, S, S) float32 with values 0..255, BGR, channels-last in memory.

    Crops are (S, S, 3) or (S, S) uint8; a grey one is repeated to three channels.
    """
    size = crops[0].shape[0]
    batch = np.empty((len(crops), size, size, 3), np.uint8)
    for index, crop in enumerate(crops):
        if crop.ndim == 3:
            batch[index] = crop
        else:
            cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR, dst=batch[index])
    return torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).to(torch.float32)
