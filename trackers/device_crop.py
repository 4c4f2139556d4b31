"""Square crops cut on the device: the same geometry as :func:`trackers.subwindow.crop_square`, as tensor operations.

Pictures lie one after the other in one flat buffer, so that the crops of all targets and modalities are one gather,
whatever the pictures' sizes: these are numbers of the call, not of its shape, and a captured graph serves them all.
On a GPU each operation on a few numbers takes as long as one on a whole crop, so both axes go through the same ones,
and what is one number for a crop is computed on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from trackers.subwindow import square_corner

PLACE_NUMBERS = 10
"""How many numbers say where one crop is, see :func:`place_numbers`."""

# OpenCV's bilinear scaling of 8 bits: weights of 11 bits, and what is shifted out between the two passes and after.
_WEIGHT_ONE = 2048
_AFTER_ROWS, _AFTER_COLUMNS, _LAST = 4, 16, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePlace:
    """Where a picture is in the frame buffer: its first byte, its size, and how many channels follow each other."""

    begin: int
    height: int
    width: int
    channels: int


def place_numbers(
    picture: PicturePlace, center_xy: tuple[float, float], source_size_px: int, output_size_px: int
) -> tuple[float, ...]:
    """What :func:`crop_squares` has to know of one crop; arguments as of :func:`trackers.subwindow.crop_square`."""
    left, top = square_corner(center_xy, source_size_px)
    pixel_step = picture.channels
    return (
        # Computed as OpenCV does, whose scale is the reciprocal of a quotient.
        1.0 / (output_size_px / source_size_px),
        picture.begin,
        source_size_px - 1,
        left,
        top,
        picture.width - 1,
        picture.height - 1,
        pixel_step,
        picture.width * pixel_step,
        # A grey picture is repeated.
        1 if picture.channels == 3 else 0,
    )


def crop_squares(
    frames: Tensor,
    places: Tensor,
    fills: Tensor,
    output_size_px: int,
    dtype: torch.dtype,
    layout: torch.memory_format = torch.channels_last,
) -> Tensor:
    """Cut N squares out of pictures and scale them to ``output_size_px``.

    The arithmetic is that of OpenCV's bilinear scaling in whole numbers, so that values are those of
    :func:`trackers.subwindow.crop_square`; where a build of OpenCV rounds on its own way, one level off at most.

    Args:
        frames: (bytes,) uint8, all pictures, each (H, W, C) or (H, W) row by row.
        places: (N, 10) float64 as of :func:`place_numbers`.
        fills: (N, 3) uint8, colour of what is outside the picture.
        output_size_px: side of the results.
        dtype: type of the results.
        layout: of the results in memory.

    Returns:
        (N, 3, S, S) with whole values 0..255.
    """
    half_steps, channel_numbers = _constants(output_size_px, frames.device)
    # In the types that OpenCV computes positions in.
    position = (half_steps * places[:, :1] - 0.5).to(torch.float32)
    first = position.floor()
    share = position - first
    whole = places.to(torch.int64)
    cell, last = first.to(torch.int64), whole[:, 2:3]
    # In a row the weights at the border are cut as well, in a column the cells alone.
    row_share = torch.where((cell < 0) | (cell >= last), 0.0, share)
    shares = torch.stack((row_share, share), dim=1)
    weights = (torch.stack((1.0 - shares, shares), dim=2) * _WEIGHT_ONE).round().to(torch.int32)
    # Dimensions: crop, axis (x then y), one of two neighbours, output cell.
    cells = torch.stack((cell, cell + 1), dim=1).clamp(min=0).minimum(last[:, None])[:, None]
    wanted = cells + whole[:, 3:5, None, None]
    nearest = wanted.clamp(min=0).minimum(whole[:, 5:7, None, None])
    is_there = nearest == wanted
    offset = nearest * whole[:, 7:9, None, None]
    in_row = offset[:, 0, :, :, None] + (channel_numbers * whole[:, 9:10])[:, None, None]
    row_begin = offset[:, 1] + whole[:, 1:2, None]
    # Dimensions: crop, upper or lower row, row, left or right column, column, channel.
    index = row_begin[:, :, :, None, None, None] + in_row[:, None, None]
    is_inside = is_there[:, 1, :, :, None, None] & is_there[:, 0, None, None]
    value = torch.where(is_inside[..., None], torch.take(frames, index), fills[:, None, None, None, None])
    weighted = value * weights[:, 0, None, None, :, :, None]
    across = weighted[:, :, :, 0] + weighted[:, :, :, 1]
    weighted = (across >> _AFTER_ROWS) * weights[:, 1, :, :, None, None] >> _AFTER_COLUMNS
    result = (weighted[:, 0] + weighted[:, 1] + 2) >> _LAST
    return result.permute(0, 3, 1, 2).to(dtype, memory_format=layout)


# Without a limit, for captured CUDA graphs go on reading these; there are as many as sizes of crops.
@cache
def _constants(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        half_steps = torch.arange(size, dtype=torch.float64) + 0.5
        return half_steps.to(device), torch.arange(3).to(device)
