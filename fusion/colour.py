"""Colour pictures as luma, which is fused, and chroma, which is kept."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError


def split_luma(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Luma (H, W) of a BGR picture, and the picture as Y, Cr, Cb (H, W, 3), for `join_luma`; None for a grey one.

    ITU-R BT.601 with full range, as OpenCV and JPEG have it.
    """
    if picture.ndim == 2:
        return picture, None
    blue, green, red = (picture[..., channel] for channel in range(3))
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return np.ascontiguousarray(green), None
    converted = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb), np.uint8)
    return np.asarray(cv2.extractChannel(converted, 0), np.uint8), converted


def join_luma(luma: NDArray[np.uint8], colour: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """BGR picture (H, W, 3) of luma (H, W) and the chroma of ``colour``, a picture as Y, Cr, Cb (H, W, 3).

    Of luma alone when there is no colour.
    """
    if colour is None:
        return np.asarray(cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR), np.uint8)
    joined = colour.copy()
    cv2.insertChannel(luma, joined, 0)
    return np.asarray(cv2.cvtColor(joined, cv2.COLOR_YCrCb2BGR), np.uint8)


def checked_picture(picture: NDArray[np.uint8], role: str) -> NDArray[np.uint8]:
    """The picture as (H, W) or (H, W, 3) uint8; ``role`` names it in messages.

    Raises:
        InputError: not 8 bit, an alpha channel, or no picture at all.
    """
    if picture.dtype != np.uint8:
        raise InputError(
            f"the {role} picture has {picture.dtype} values; fusion takes 8-bit pictures: "
            "map it to 0..255 first (uint8)"
        )
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if picture.ndim == 3 and picture.shape[2] in (2, 4):
        raise InputError(
            f"the {role} picture has an alpha channel ({picture.shape[2]} channels); save it without transparency"
        )
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3) or not picture.size:
        raise InputError(f"the {role} picture must be (H, W) or (H, W, 3), not {picture.shape}")
    return picture
