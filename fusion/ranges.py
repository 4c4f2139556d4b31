"""How the output of a fusion method, grey levels without bounds, becomes 8 bit.

``fixed`` rounds and clips. ``stretch`` maps the lowest and highest value of the picture to 0 and 255, as the
NestFuse authors do when they save: right for stills, flickers on video. ``smooth`` does so with the bounds of the last
seconds, and calms what stands still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.still_filter import StillFilter, StillFilterConfig

Tone = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A tone curve on a picture (H, W) float32 whose black is 0 and white 255."""


class RangeMapping(Protocol):
    """Turns grey levels (H, W) float32 into (H, W) uint8."""

    def __call__(self, levels: NDArray[np.float32], tone: Tone | None = None) -> NDArray[np.uint8]:
        """Map one picture; ``tone`` changes it while its levels are still fine."""
        ...

    def reset(self) -> None:
        """Forget earlier pictures."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothRangeConfig:
    """How the smooth range follows a video.

    Attributes:
        held_pictures: the range has room for the lowest and highest values of so many pictures, so that something
            that comes and goes does not move it every time; 50 are two seconds.
        widening: share of the way to a wider range that is gone per picture; 0.05 arrives within two seconds.
        narrowing: the same for a narrower range, once what was wide has been gone for ``held_pictures``. Slow, for
            nothing is cut off meanwhile; a range of which less than two thirds are used narrows at ``widening``.
        margin: share of the range at either end that is given up, because the extremes of many pictures are those of
            noise and single pixels.
        widest: the range is at most so many times as wide as pictures are on average, and gives up more at its ends
            where it had to be wider: what is extreme in a few pictures may not cost the others their contrast.
        averaged_pictures: how many pictures that average reaches back, about; 250 are ten seconds.
        minimum_span: the range never gets narrower than so many grey levels, so that noise is not blown up.
        still: how what stands still is calmed.
    """

    held_pictures: int = 50
    widening: float = 0.05
    narrowing: float = 0.005
    margin: float = 0.02
    widest: float = 1.1
    averaged_pictures: int = 250
    minimum_span: float = 48.0
    still: StillFilterConfig = field(default_factory=StillFilterConfig)

    def __post_init__(self) -> None:
        for name, count in (("held_pictures", self.held_pictures), ("averaged_pictures", self.averaged_pictures)):
            if count < 1:
                raise InputError(f"{name} of the smooth range must be at least 1, not {count}")
        for name, share in (("widening", self.widening), ("narrowing", self.narrowing)):
            if not 0 < share <= 1:
                raise InputError(f"{name} of the smooth range must be above 0 and at most 1, not {share}")
        if not 0 <= self.margin < 0.5:
            raise InputError(f"margin of the smooth range must be at least 0 and below 0.5, not {self.margin}")
        if self.widest < 1:
            raise InputError(f"widest of the smooth range must be at least 1, not {self.widest}")
        if self.minimum_span <= 0:
            raise InputError(f"minimum_span of the smooth range must be positive, not {self.minimum_span}")


class StatelessRange:
    """A range mapping that looks at one picture at a time."""

    def __init__(self, mapping: Callable[[NDArray[np.float32], Tone | None], NDArray[np.uint8]]) -> None:
        self._mapping = mapping

    def __call__(self, levels: NDArray[np.float32], tone: Tone | None = None) -> NDArray[np.uint8]:
        """Map one picture."""
        return self._mapping(levels, tone)

    def reset(self) -> None:
        """Nothing to forget."""


class SmoothRange:
    """The lowest and highest value of the last pictures, approached slowly; still parts are calmed.

    So the contrast is nearly that of ``stretch`` without its jumps. Percentiles would steady the bounds too, but cut
    off what is hottest and amplify noise more.
    """

    def __init__(self, config: SmoothRangeConfig | None = None) -> None:
        self._config = config or SmoothRangeConfig()
        self._bounds: tuple[float, float] | None = None
        self._seen: deque[tuple[float, float]] = deque(maxlen=self._config.held_pictures)
        # Running means of lowest and highest value and, since contrast is what has to be kept, of 1 / span.
        self._means = np.zeros(3)
        self._averaged = 0
        self._still = StillFilter(self._config.still)

    def __call__(self, levels: NDArray[np.float32], tone: Tone | None = None) -> NDArray[np.uint8]:
        """Map one picture and learn from it."""
        low, high, _, _ = cv2.minMaxLoc(levels)
        if self._bounds is None or not _overlap(self._bounds, (low, high)):
            # The first picture, or a cut to a scene whose levels the old range does not show at all.
            self.reset()
            self._bounds = (low, high)
        self._seen.append((low, high))
        self._bounds = self._followed(
            self._bounds, min(low for low, _ in self._seen), max(high for _, high in self._seen)
        )
        self._average(low, high)
        low, high = self._limited(self._bounds)
        span = max(high - low, self._config.minimum_span)
        low = min(low, high - span) if low > 0 else low
        scaled = _scaled(levels, low, span)
        return _rounded(self._still(scaled if tone is None else tone(scaled)))

    def reset(self) -> None:
        """Forget earlier pictures."""
        self._bounds = None
        self._seen.clear()
        self._averaged = 0
        self._still.reset()

    def _average(self, low: float, high: float) -> None:
        config = self._config
        self._averaged = min(self._averaged + 1, config.averaged_pictures)
        self._means += ((low, high, 1 / max(high - low, config.minimum_span)) - self._means) / self._averaged

    def _limited(self, bounds: tuple[float, float]) -> tuple[float, float]:
        low, high = bounds
        mean_low, mean_high, contrast = self._means.tolist()
        margin = self._config.margin * (high - low)
        low, high = low + margin, high - margin
        surplus = high - low - self._config.widest / contrast
        if surplus > 0:
            # From each end by how far it lies beyond what is usual there.
            below, above = max(mean_low - low, 0.0), max(high - mean_high, 0.0)
            share = below / (below + above) if below + above > 0 else 0.5
            low, high = low + share * surplus, high - (1 - share) * surplus
        return low, high

    def _followed(self, bounds: tuple[float, float], low: float, high: float) -> tuple[float, float]:
        config = self._config
        unused = 3 * (high - low) < 2 * (bounds[1] - bounds[0])
        narrowing = max(config.widening, config.narrowing) if unused else config.narrowing
        return (
            bounds[0] + (config.widening if low < bounds[0] else narrowing) * (low - bounds[0]),
            bounds[1] + (config.widening if high > bounds[1] else narrowing) * (high - bounds[1]),
        )


def fixed_range(levels: NDArray[np.float32], tone: Tone | None = None) -> NDArray[np.uint8]:
    """Round to the nearest of 0..255."""
    return _rounded(levels if tone is None else tone(levels))


def stretched_range(levels: NDArray[np.float32], tone: Tone | None = None) -> NDArray[np.uint8]:
    """Map the lowest and highest value to 0 and 255 and truncate, as the NestFuse code does on saving.

    A picture of one single value has no range to stretch and is rounded instead.
    """
    low, high = levels.min(), levels.max()
    if not high > low:
        return fixed_range(levels, tone)
    stretched = np.asarray((levels - low) / (high - low) * np.float32(255))
    return stretched.astype(np.uint8) if tone is None else _rounded(tone(stretched))


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


def _scaled(levels: NDArray[np.float32], low: float, span: float) -> NDArray[np.float32]:
    scaled = levels - np.float32(low)
    scaled *= np.float32(255 / span)
    return scaled


def _rounded(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Halves go up: to the even neighbour, the means of two pictures would leave every other odd level out. In place,
    # and cut off rather than floored once nothing is below 0: memory for temporary pictures costs more than the sums.
    rounded = np.add(levels, np.float32(0.5), dtype=np.float32)
    np.clip(rounded, 0, 255, out=rounded)
    return rounded.astype(np.uint8)


def _overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first[0] <= second[1] and second[0] <= first[1]
