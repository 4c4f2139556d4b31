"""Calms what stands still in a video and leaves alone what moves.

Contrast that a picture gains from fusion and range mapping is gained by the noise of its inputs too, above all by the
jumps between the key frames of compressed video. A recursive average over time removes it where nothing happens; where
something does, an average would leave a trail. What tells the two apart is whether a viewer could see the change: below
about 3 of 255 grey levels a difference from its surroundings is not visible on any background (the lowest threshold
of luminance adaptation in Chou, Li, "A perceptually tuned subband image coder based on the measure of
just-noticeable-distortion profile", IEEE TCSVT 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError

Plane = NDArray[np.float32]

_WINDOW_PX = 5
# A single pixel has to change by so many times what is visible of an area, for noise differs from pixel to pixel.
_PIXEL_FACTOR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StillFilterConfig:
    """How still parts of a video are calmed.

    Attributes:
        still_levels: change of the mean of 5 x 5 pixels, in grey levels, that counts as visible. One and a half
            times as much passes at once. 0 switches the filter off.
        pictures: how many pictures the average of a still part reaches back, about.
    """

    still_levels: float = 3.0
    pictures: float = 20.0

    def __post_init__(self) -> None:
        if self.still_levels < 0:
            raise InputError(f"still_levels of the smooth range must be at least 0, not {self.still_levels}")
        if self.pictures < 1:
            raise InputError(f"pictures of the smooth range's average must be at least 1, not {self.pictures}")


class StillFilter:
    """Averages pictures over time, each pixel as far as nothing visible changes around it."""

    def __init__(self, config: StillFilterConfig | None = None) -> None:
        self._config = config or StillFilterConfig()
        self._calm: Plane | None = None
        self._averaged: Plane | None = None

    def __call__(self, levels: Plane) -> Plane:
        """The calmed picture (H, W) float32 of ``levels`` (H, W) in grey levels; neither is written to later."""
        calm, averaged, config = self._calm, self._averaged, self._config
        if calm is None or averaged is None or calm.shape != levels.shape or not config.still_levels:
            self._calm, self._averaged = levels, np.ones_like(levels)
            return levels
        change = cv2.subtract(levels, calm)
        area = cv2.blur(change, (_WINDOW_PX, _WINDOW_PX))
        visible = config.still_levels**2
        areas = cv2.multiply(area, area, scale=1 / visible)
        seen = cv2.add(areas, cv2.multiply(change, change, scale=1 / (visible * _PIXEL_FACTOR**2)))
        # The fourth power of the change: nearly 1 up to half of what is visible, nearly 0 from one and a half of it.
        still = cv2.exp(cv2.multiply(seen, seen, scale=-1))
        # As many pictures as were averaged so far weigh against the new one, which makes a mean of the first ones.
        share = cv2.multiply(still, cv2.divide(averaged, averaged + np.float32(1)))
        counted = np.asarray(cv2.multiply(still, averaged), np.float32) + np.float32(1)
        self._averaged = np.minimum(counted, np.float32(config.pictures))
        self._calm = np.asarray(cv2.subtract(levels, cv2.multiply(share, change)), np.float32)
        return self._calm

    def reset(self) -> None:
        """Forget earlier pictures."""
        self._calm = self._averaged = None
