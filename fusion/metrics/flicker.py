"""How much a fused video flickers: the temporal variance of its static background against that of its inputs.

Measured in consecutive stretches of frames, so that slow changes of a scene do not count, and only where both
inputs hold still, so that moving objects do not count either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.metrics.pictures import GreyPicture

# A pixel is static while its deviation over time is within this many times the picture's median one ...
_STATIC_FACTOR = 3.0
# ... or this many grey levels, where the median is that of a noiseless recording.
_STATIC_LEVELS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flicker:
    """Temporal variances of the static background, in squared grey levels.

    Attributes:
        fused: of the fused video.
        visible: of the visible input's luma.
        thermal: of the thermal input.
        static_share: part of the picture that was static, 0 to 1, mean over the stretches.
        frames: number of frames that counted.
    """

    fused: float
    visible: float
    thermal: float
    static_share: float
    frames: int

    @property
    def ratio(self) -> float:
        """Fused over the larger of the inputs; 1 where all are still, infinite where only the inputs are."""
        larger = max(self.visible, self.thermal)
        if larger > 0:
            return self.fused / larger
        return 1.0 if self.fused == 0 else float("inf")


class FlickerMeter:
    """Takes the frames of a video one by one and holds no more than running sums.

    Args:
        stretch: frames in a stretch, at least 2; about a second. A remainder shorter than half of it is left out.
    """

    def __init__(self, stretch: int = 25) -> None:
        if stretch < 2:
            raise ValueError(f"a stretch needs at least 2 frames, not {stretch}")
        self._stretch = stretch
        self._sums = _Sums()
        self._totals = np.zeros(3)
        self._static_pixels = 0.0
        self._pixels = 0.0
        self._frames = 0

    def add(self, *, visible: GreyPicture, thermal: GreyPicture, fused: GreyPicture) -> None:
        """Count one frame, three (H, W) uint8 pictures.

        Raises:
            InputError: the sizes differ from one another or from those of earlier frames.
        """
        if not visible.shape == thermal.shape == fused.shape:
            raise InputError(
                f"visible {visible.shape}, thermal {thermal.shape} and fused {fused.shape} must be of one size"
            )
        self._sums.add(np.stack([visible, thermal, fused]))
        if self._sums.count == self._stretch:
            self._close_stretch()

    def result(self) -> Flicker:
        """The measure over all frames so far; the frames of an unfinished stretch count if they suffice.

        Raises:
            InputError: fewer than two frames were added.
        """
        if self._sums.count >= (self._stretch / 2 if self._frames else 2):
            self._close_stretch()
        if not self._frames:
            raise InputError("flicker needs at least two frames; the video is too short")
        # Where nothing is static (a camera in constant motion with much noise) nothing can be said to flicker.
        visible, thermal, fused = (self._totals / max(self._static_pixels, 1.0)).tolist()
        return Flicker(
            fused=fused,
            visible=visible,
            thermal=thermal,
            static_share=self._static_pixels / self._pixels,
            frames=self._frames,
        )

    def _close_stretch(self) -> None:
        variance = self._sums.variance()
        static = _is_static(variance[0]) & _is_static(variance[1])
        self._totals += variance[:, static].sum(axis=1)
        self._static_pixels += int(static.sum())
        self._pixels += static.size
        self._frames += self._sums.count
        self._sums = _Sums()


class _Sums:
    """Running sums over frames of pictures (3, H, W); exact, being sums of small integers."""

    def __init__(self) -> None:
        self.count = 0
        self._first: NDArray[np.int64] | None = None
        self._second: NDArray[np.int64] | None = None

    def add(self, pictures: NDArray[np.uint8]) -> None:
        levels = pictures.astype(np.int64)
        if self._first is None or self._second is None:
            self._first, self._second = levels, levels**2
        elif levels.shape != self._first.shape:
            raise InputError(
                f"the picture size changes within the video, from {self._first.shape[1:]} to {levels.shape[1:]}"
            )
        else:
            self._first += levels
            self._second += levels**2
        self.count += 1

    def variance(self) -> NDArray[np.float64]:
        """Unbiased variance over the frames, (3, H, W)."""
        if self._first is None or self._second is None or self.count < 2:
            raise ValueError("variance needs two frames")
        return (self.count * self._second - self._first**2) / (self.count * (self.count - 1))


def _is_static(variance: NDArray[np.float64]) -> NDArray[np.bool_]:
    limit = max(_STATIC_FACTOR * float(np.sqrt(np.median(variance))), _STATIC_LEVELS)
    return np.asarray(variance <= limit**2)
