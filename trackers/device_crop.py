"""Square crops cut on the device: the same geometry as :func:`trackers.subwindow.crop_square`, as tensor operations.

Pictures lie one after the other in one flat buffer, so that the crops of all targets and modalities are one gather,
whatever the pictures' sizes: these are numbers of the call, not of its shape, and a captured graph serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PLACE_NUMBERS = 8
"""Numbers that say where one crop is; see :func:`crop_squares`."""

# OpenCV's bilinear scaling of 8 bits: weights of 11 bits, and what is shifted out between the two passes and after.
_WEIGHT_ONE = 2048
_AFTER_ROWS, _AFTER_COLUMNS, _LAST = 4, 16, 2


@dataclass(frozen=True, slots=True)
class _Taps:
    """The two source cells (N, 2, S) int64 of each of S output cells along one axis, and their int32 weights."""

    cells: Tensor
    weights: Tensor


def crop_squares(frames: Tensor, places: Tensor, fills: Tensor, output_size_px: int, dtype: torch.dtype) -> Tensor:
    """Cut N squares out of pictures and scale them to ``output_size_px``.

    The arithmetic is that of OpenCV's bilinear scaling in whole numbers, so that values differ from
    :func:`trackers.subwindow.crop_square` by one level at most, where OpenCV takes another way to the same weights.

    Args:
        frames: (bytes,) uint8, all pictures, each (H, W, C) or (H, W) row by row.
        places: (N, 8) whole numbers of any type: where the picture begins in ``frames``, its height and width, bytes
            from one pixel and from one channel to the next (0 repeats a grey one), then left, top and side of the
            square in its pixels.
        fills: (N, 3) uint8, colour of what is outside the picture.
        output_size_px: side of the results.
        dtype: type of the results.

    Returns:
        (N, 3, S, S) with whole values 0..255, channels-last in memory.
    """
    begin, height, width, pixel_step, channel_step, left, top, side = places.to(torch.int64).unbind(1)
    columns, rows = _taps(side, output_size_px, clamp_weights=True), _taps(side, output_size_px, clamp_weights=False)
    x, y = columns.cells + left[:, None, None], rows.cells + top[:, None, None]
    last_x, last_y = (width - 1)[:, None, None], (height - 1)[:, None, None]
    x_inside, y_inside = x.clamp(min=0).minimum(last_x), y.clamp(min=0).minimum(last_y)
    channels = torch.arange(3, device=frames.device) * channel_step[:, None]
    row_begin = begin[:, None, None] + y_inside * (width * pixel_step)[:, None, None]
    in_row = (x_inside * pixel_step[:, None, None])[..., None] + channels[:, None, None, :]
    # Dimensions: crop, upper or lower row, row, left or right column, column, channel.
    index = row_begin[:, :, :, None, None, None] + in_row[:, None, None]
    is_inside = (y_inside == y)[:, :, :, None, None] & (x_inside == x)[:, None, None]
    value = torch.where(is_inside[..., None], torch.take(frames, index), fills[:, None, None, None, None])
    weighted = value * columns.weights[:, None, None, :, :, None]
    across = weighted[:, :, :, 0] + weighted[:, :, :, 1]
    weighted = (across >> _AFTER_ROWS) * rows.weights[..., None, None] >> _AFTER_COLUMNS
    result = (weighted[:, 0] + weighted[:, 1] + 2) >> _LAST
    return result.to(dtype).permute(0, 3, 1, 2)


def _taps(side: Tensor, output: int, *, clamp_weights: bool) -> _Taps:
    # In the types that OpenCV computes positions in.
    scale = 1.0 / (output / side.to(torch.float64))
    centers = torch.arange(output, device=side.device, dtype=torch.float64) + 0.5
    position = (centers * scale[:, None] - 0.5).to(torch.float32)
    first = position.floor()
    share = position - first
    last = (side - 1)[:, None]
    cell = first.to(torch.int64)
    if clamp_weights:
        share = torch.where((cell < 0) | (cell >= last), 0.0, share)
    cells = torch.stack((cell, cell + 1), dim=1).clamp(min=0).minimum(last[:, None])
    weights = torch.stack((1.0 - share, share), dim=1) * _WEIGHT_ONE
    return _Taps(cells, weights.round().to(torch.int32))
