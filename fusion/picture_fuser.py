"""From a fusion method on grey levels to the interface on pictures: checks, colour, range."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.colour import checked_picture, join_luma, split_luma
from fusion.errors import InputError
from fusion.night import NightLift
from fusion.ranges import RangeMapping


class LumaMethod(Protocol):
    """Fuses grey pictures; keeps nothing of them."""

    @property
    def minimum_size_px(self) -> int:
        """Smallest height and width that the method takes."""
        ...

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse two pictures (H, W) of one size; the result (H, W) is on the scale 0..255, not clipped."""
        ...


class AverageMethod:
    """The mean of both pictures: the floor that every other method must beat."""

    minimum_size_px = 1

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mean of ``visible`` and ``thermal`` (H, W)."""
        return np.asarray(cv2.addWeighted(visible, 0.5, thermal, 0.5, 0, dtype=cv2.CV_32F), np.float32)


class PictureFuser:
    """A :class:`fusion.fuser.Fuser`: luma is fused and its range mapped, the chroma of the visible picture is kept.

    Grey visible pictures, with one channel or three equal ones, stay grey.

    Args:
        method: fuses the luma.
        range_mapping: makes 8 bits of it.
        gray: leave the colour out.
        night: lifts what is dark of colour pictures (of all, where it is told to act always); None lifts nothing.
    """

    def __init__(
        self,
        method: LumaMethod,
        range_mapping: RangeMapping,
        *,
        gray: bool = False,
        night: NightLift | None = None,
    ) -> None:
        self._method = method
        self._range = range_mapping
        self._gray = gray
        self._night = night

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fuse ``visible_bgr`` (H, W, 3) or (H, W) and ``thermal`` (H, W) uint8 into (H, W, 3) uint8 BGR.

        Raises:
            InputError: not 8 bit, an alpha channel, different sizes, or too small for the method.
        """
        visible_bgr = checked_picture(visible_bgr, "visible")
        thermal = checked_picture(thermal, "thermal")
        if visible_bgr.shape[:2] != thermal.shape[:2]:
            raise InputError(
                f"the visible picture has {_size(visible_bgr)} pixels and the thermal one {_size(thermal)}: "
                "register them to one size first (--calibration FILE, or let 'stream' fit them)"
            )
        smallest = self._method.minimum_size_px
        if min(thermal.shape[:2]) < smallest:
            raise InputError(
                f"pictures of {_size(thermal)} pixels are too small for this fusion method, "
                f"which needs at least {smallest} x {smallest}; choose --fuser average"
            )
        if thermal.ndim == 3:
            thermal = np.asarray(cv2.cvtColor(thermal, cv2.COLOR_BGR2GRAY), np.uint8)
        luma, colour = split_luma(visible_bgr)
        night = self._night if colour is not None or (self._night and self._night.always) else None
        tone = night if night is not None and night.observe(luma) else None
        fused = self._range(self._method.fuse_luma(luma, np.ascontiguousarray(thermal)), tone)
        return join_luma(fused, None if self._gray else colour)

    def reset(self) -> None:
        """Forget what the range mapping learned of earlier pictures."""
        self._range.reset()
        if self._night is not None:
            self._night.reset()


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
