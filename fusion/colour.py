"""Colour pictures as luma, which is fused, and chroma, which is kept."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError


def split_luma(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Luma (H, W) and chroma (H, W, 2) of a BGR picture (H, W, 3); the chroma of a grey picture is None.

    ITU-R BT.601 with full range, as OpenCV and JPEG have it.
    """
    if picture.ndim == 2:
        return picture, None
    blue, green, red = (picture[..., channel] for channel in range(3))
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return np.ascontiguousarray(green), None
    converted = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb), np.uint8)
    return np.ascontiguousarray(converted[..., 0]), converted[..., 1:]


def join_luma(luma: NDArray[np.uint8], chroma: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """BGR picture (H, W, 3) of luma (H, W) and chroma (H, W, 2), or of luma alone when there is no chroma."""
    if chroma is None:
        return np.repeat(luma[..., None], 3, axis=2)
    converted = np.concatenate([luma[..., None], chroma], axis=2)
    return np.asarray(cv2.cvtColor(converted, cv2.COLOR_YCrCb2BGR), np.uint8)


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
