"""How the output of a fusion method, grey levels without bounds, becomes 8 bit.

``fixed`` rounds and clips. ``stretch`` maps the lowest and highest value of the picture to 0 and 255, as the
NestFuse authors do when they save: right for stills, flickers on video. ``smooth`` maps robust percentiles that follow
the video slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError


class RangeMapping(Protocol):
    """Turns grey levels (H, W) float32 into (H, W) uint8."""

    def __call__(self, levels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Map one picture."""
        ...

    def reset(self) -> None:
        """Forget earlier pictures."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothRangeConfig:
    """How the smooth range follows a video.

    Attributes:
        low_percent: percentile of the picture that becomes black.
        high_percent: percentile that becomes white.
        adaption: share of a new picture in the running range, per picture; 0.05 settles within a second or two.
        minimum_span: the range never gets narrower than so many grey levels, so that noise is not blown up.
        sample_step: every so manieth row and column is looked at.
    """

    low_percent: float = 0.1
    high_percent: float = 99.9
    adaption: float = 0.05
    minimum_span: float = 48.0
    sample_step: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.low_percent < self.high_percent <= 100:
            raise InputError(
                f"the smooth range needs 0 <= low_percent < high_percent <= 100, "
                f"not {self.low_percent} and {self.high_percent}"
            )
        if not 0 < self.adaption <= 1:
            raise InputError(f"adaption of the smooth range must be above 0 and at most 1, not {self.adaption}")
        if self.minimum_span <= 0 or self.sample_step < 1:
            raise InputError("minimum_span and sample_step of the smooth range must be positive")


class StatelessRange:
    """A range mapping that looks at one picture at a time."""

    def __init__(self, mapping: Callable[[NDArray[np.float32]], NDArray[np.uint8]]) -> None:
        self._mapping = mapping

    def __call__(self, levels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Map one picture."""
        return self._mapping(levels)

    def reset(self) -> None:
        """Nothing to forget."""


class SmoothRange:
    """Robust low and high percentiles, smoothed over the pictures seen since the last reset."""

    def __init__(self, config: SmoothRangeConfig | None = None) -> None:
        self._config = config or SmoothRangeConfig()
        self._bounds: NDArray[np.float64] | None = None

    def __call__(self, levels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Map one picture and learn from it."""
        config, step = self._config, self._config.sample_step
        sample = levels[::step, ::step]
        current = np.percentile(sample, [config.low_percent, config.high_percent]).astype(np.float64)
        if self._bounds is None or not _overlap(self._bounds, current):
            # The first picture, or a cut to a scene whose levels the old range does not show at all.
            self._bounds = current
        else:
            self._bounds = self._bounds + config.adaption * (current - self._bounds)
        low, high = self._bounds
        span = max(high - low, config.minimum_span)
        low = min(low, high - span) if low > 0 else low
        return _scaled(levels, float(low), float(span))

    def reset(self) -> None:
        """Forget earlier pictures."""
        self._bounds = None


def fixed_range(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round to the nearest of 0..255."""
    return _rounded(levels)


def stretched_range(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map the lowest and highest value to 0 and 255 and truncate, as the NestFuse code does on saving.

    A picture of one single value has no range to stretch and is rounded instead.
    """
    low, high = levels.min(), levels.max()
    if not high > low:
        return fixed_range(levels)
    return np.asarray((levels - low) / (high - low) * np.float32(255)).astype(np.uint8)


def build_range(name: str) -> RangeMapping:
    """The range mapping ``fixed``, ``stretch`` or ``smooth``.

    Raises:
        InputError: another name.
    """
    match name:
        case "fixed":
            return StatelessRange(fixed_range)
        case "stretch":
            return StatelessRange(stretched_range)
        case "smooth":
            return SmoothRange()
        case _:
            raise InputError(f"--range {name}: choose fixed, stretch or smooth")


def _scaled(levels: NDArray[np.float32], low: float, span: float) -> NDArray[np.uint8]:
    return _rounded((levels - np.float32(low)) * np.float32(255 / span))


def _rounded(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Halves go up: to the even neighbour, the means of two pictures would leave every other odd level out.
    return np.asarray(np.clip(np.floor(levels + np.float32(0.5)), 0, 255), np.uint8)


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return bool(first[0] <= second[1] and second[0] <= first[1])
