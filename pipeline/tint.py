"""What is warm, in colour on the visible picture: for people who want to see the scene as it is, and who is in it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.colour import checked_picture
from fusion.errors import InputError
from pipeline.thermal import PaletteName, colorize

# Warmer than this (of 255) the tint is seen fully; colder it fades into the visible picture.
_TINT_FULL = 170
_TINT_OPACITY = 0.75


def tint(visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8], palette: PaletteName) -> NDArray[np.uint8]:
    """The thermal picture (H, W) in colours, laid over the grey visible one (H, W, 3) where it is warm."""
    gray = cv2.cvtColor(cv2.cvtColor(visible_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    weight = np.minimum(thermal.astype(np.float32) * (_TINT_OPACITY / _TINT_FULL), _TINT_OPACITY)
    colored = colorize(thermal, palette)
    return np.asarray(cv2.blendLinear(colored, gray.astype(np.uint8), weight, 1.0 - weight), np.uint8)


class TintFuser:
    """A :class:`fusion.fuser.Fuser` that tints in place of fusing."""

    def __init__(self, palette: PaletteName = "ironbow") -> None:
        self._palette: PaletteName = palette

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tint ``visible_bgr`` (H, W, 3) uint8 by ``thermal`` (H, W) uint8: (H, W, 3) uint8 BGR.

        Raises:
            InputError: not 8 bit, or different sizes.
        """
        visible_bgr = checked_picture(visible_bgr, "visible")
        thermal = checked_picture(thermal, "thermal")
        if visible_bgr.shape[:2] != thermal.shape[:2]:
            raise InputError(f"visible {visible_bgr.shape[:2]} and thermal {thermal.shape[:2]} must be of one size")
        return tint(visible_bgr, thermal, self._palette)

    def reset(self) -> None:
        """Nothing to forget."""
