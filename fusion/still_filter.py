"""Calms what stands still in a video and leaves alone what moves.

Contrast that a picture gains from fusion and range mapping is gained by the noise of its inputs too, above all by the
jumps between the key frames of compressed video. A recursive average over time removes it where nothing happens; where
something does, an average would leave a trail. What tells the two apart is whether a viewer could see the change: below
about 3 of 255 grey levels a difference from its surroundings is not visible on any background (the lowest threshold
of luminance adaptation in Chou, Li, "A perceptually tuned subband image coder based on the measure of
just-noticeable-distortion profile", IEEE TCSVT 1995). What changes together over a wide area, as smoke, clouds and the
bounds of a range do, needs about three times as much: the eye is that much less sensitive to low spatial frequencies
(Robson, "Spatial and temporal contrast-sensitivity functions of the visual system", JOSA 1966). So objects are told
from their surroundings by the strict threshold, wherever they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError

Plane = NDArray[np.float32]

_WINDOW_PX = 5
# A wide mean is one of 5 x 5 means of areas that stand 4 pixels apart: of 21 x 21 pixels.
_STEP_PX = 4
_WIDE_FACTOR = 8 / 3
# A single pixel has to change by so many times what is visible of an area, for noise differs from pixel to pixel.
_PIXEL_FACTOR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StillFilterConfig:
    """How still parts of a video are calmed.

    Attributes:
        still_levels: change of the mean of 5 x 5 pixels against that of 21 x 21, in grey levels, that counts as
            visible; 8/3 of it for a change of the wide mean itself. One and a half times as much passes at once. 0
            switches the filter off.
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
        # Fresh planes would cost as much as the sums in them: memory that is new has to be cleared first.
        self._change, self._area, self._seen = (np.empty((0, 0), np.float32) for _ in range(3))

    def __call__(self, levels: Plane) -> Plane:
        """The calmed picture (H, W) float32 of ``levels`` (H, W) in grey levels; neither is written to later."""
        calm, averaged, config = self._calm, self._averaged, self._config
        if calm is None or averaged is None or calm.shape != levels.shape or not config.still_levels:
            self._calm, self._averaged = levels, np.ones_like(levels)
            return levels
        if self._change.shape != levels.shape:
            self._change, self._area, self._seen = (np.empty_like(levels) for _ in range(3))
        change, area, seen = self._change, self._area, self._seen
        visible = config.still_levels**2
        cv2.subtract(levels, calm, dst=change)
        cv2.blur(change, (_WINDOW_PX, _WINDOW_PX), dst=area)
        wide = _wide_mean(area)
        cv2.subtract(area, wide, dst=area)
        cv2.multiply(area, area, dst=area, scale=1 / visible)
        cv2.multiply(change, change, dst=seen, scale=1 / (visible * _PIXEL_FACTOR**2))
        cv2.add(seen, area, dst=seen)
        cv2.multiply(wide, wide, dst=wide, scale=1 / (visible * _WIDE_FACTOR**2))
        cv2.add(seen, wide, dst=seen)
        # The fourth power of the change: nearly 1 up to half of what is visible, nearly 0 from one and a half of it.
        cv2.multiply(seen, seen, dst=seen, scale=-1)
        still = cv2.exp(seen, dst=seen)
        # As many pictures as were averaged so far weigh against the new one, which makes a mean of the first ones.
        cv2.multiply(still, averaged, dst=still)
        np.add(averaged, np.float32(1), out=area)
        cv2.divide(still, area, dst=area)
        cv2.multiply(area, change, dst=change)
        np.add(still, np.float32(1), out=averaged)
        np.minimum(averaged, np.float32(config.pictures), out=averaged)
        self._calm = np.asarray(cv2.subtract(levels, change), np.float32)
        return self._calm

    def reset(self) -> None:
        """Forget earlier pictures."""
        self._calm = self._averaged = None


def _wide_mean(areas: Plane) -> Plane:
    """Means of 21 x 21 pixels from those of 5 x 5, at a fraction of the cost of taking them."""
    height, width = areas.shape
    coarse = cv2.resize(areas, (-(-width // _STEP_PX), -(-height // _STEP_PX)), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.resize(cv2.blur(coarse, (5, 5)), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
