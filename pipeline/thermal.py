"""From thermal counts of 16 bits to a picture of 8 bits that does not flicker, and false colors for display."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError

PaletteName = Literal["white-hot", "black-hot", "ironbow", "inferno", "magma", "turbo", "jet", "hot", "bone", "viridis"]

_COUNTS = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalConfig:
    """How thermal pictures become 8 bits.

    Attributes:
        mode: ``plateau`` equalises the histogram, each count weighing at most a plateau; ``fixed`` maps the counts
            from ``low`` to ``high`` linearly. Pictures of 8 bits pass unchanged in both.
        polarity: whether the camera shows hot things bright or dark; the result is always white-hot.
        low: counts shown black in fixed mode.
        high: counts shown white in fixed mode.
        plateau: greatest weight of a count, as a multiple of the weight that an average pixel's count has.
        smoothing_s: time constant with which the table follows the scene; 0 follows at once.
        max_step: greatest difference of brightness between neighbouring counts, which keeps the noise of an even
            scene from filling the whole range.
    """

    mode: Literal["plateau", "fixed"] = "plateau"
    polarity: Literal["white-hot", "black-hot"] = "white-hot"
    low: float | None = None
    high: float | None = None
    plateau: float = 0.1
    smoothing_s: float = 2.5
    max_step: float = 1.0

    def __post_init__(self) -> None:
        if self.mode == "fixed":
            if self.low is None or self.high is None or not self.low < self.high:
                raise InputError(f"thermal.mode fixed needs low < high in counts, not {self.low} and {self.high}")
        elif self.low is not None or self.high is not None:
            raise InputError("thermal.low and thermal.high need thermal.mode fixed")
        for name, least in (("plateau", 0.01), ("smoothing_s", 0.0), ("max_step", 1e-3)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"thermal.{name} must be at least {least}, not {value}")


class ThermalDisplay:
    """Maps thermal pictures to 8 bits through one table of 65536 entries that follows the scene slowly.

    The table is smoothed over time, not the picture: moving things leave no trail, and when something hot enters,
    the background keeps its brightness. Plateau equalisation after Vickers, "Plateau equalization algorithm for
    real-time display of high-quality infrared imagery" (Optical Engineering 35(7), 1996).
    """

    def __init__(self, config: ThermalConfig | None = None) -> None:
        self._config = config or ThermalConfig()
        self._levels: NDArray[np.float32] | None = None
        self._table = np.zeros(_COUNTS, np.uint8)
        self._time_s = 0.0
        if self._config.mode == "fixed":
            low, high = float(self._config.low or 0), float(self._config.high or 0)
            counts = np.arange(_COUNTS, dtype=np.float32)
            self._set_levels(np.clip((counts - low) * (255 / (high - low)), 0, 255))

    def reset(self) -> None:
        """Forget the scene, for a new recording."""
        if self._config.mode == "plateau":
            self._levels = None

    def observe(self, thermal: NDArray[Any], time_s: float) -> None:
        """Let the table follow a picture, best the camera's own before any warping.

        Args:
            thermal: (H, W) uint16 counts; pictures of 8 bits change nothing.
            time_s: its time in seconds, on any clock that rises.
        """
        if thermal.dtype != np.uint16 or self._config.mode == "fixed":
            return
        levels = equalized_levels(thermal, plateau=self._config.plateau, max_step=self._config.max_step)
        if self._levels is not None and self._config.smoothing_s > 0:
            share = 1 - math.exp(-max(0.0, time_s - self._time_s) / self._config.smoothing_s)
            levels = self._levels + np.float32(share) * (levels - self._levels)
        self._time_s = time_s
        self._set_levels(levels)

    def apply(self, thermal: NDArray[Any]) -> NDArray[np.uint8]:
        """Picture of 8 bits, hot is bright, of (H, W) uint16 counts or (H, W) or (H, W, 3) uint8.

        Raises:
            ValueError: another type, or counts before the first call of ``observe``.
        """
        if thermal.dtype == np.uint8:
            gray = cv2.cvtColor(thermal, cv2.COLOR_BGR2GRAY) if thermal.ndim == 3 else thermal
            picture = np.asarray(gray, np.uint8)
            return picture if self._config.polarity == "white-hot" else np.asarray(255 - picture, np.uint8)
        if thermal.dtype != np.uint16 or thermal.ndim != 2:
            raise ValueError(f"thermal must be (H, W) uint16 or uint8, not {thermal.shape} {thermal.dtype}")
        if self._levels is None:
            raise ValueError("observe a picture before applying the table")
        return self._table.take(thermal)

    def __call__(self, thermal: NDArray[Any], time_s: float) -> NDArray[np.uint8]:
        """Observe and apply."""
        self.observe(thermal, time_s)
        return self.apply(thermal)

    def _set_levels(self, levels: NDArray[np.float32]) -> None:
        self._levels = levels
        table = np.rint(levels).astype(np.uint8)
        self._table = table if self._config.polarity == "white-hot" else 255 - table


def equalized_levels(thermal: NDArray[np.uint16], *, plateau: float, max_step: float) -> NDArray[np.float32]:
    """Brightness 0..255 of each of the 65536 counts by plateau equalisation of one picture.

    Args:
        thermal: (H, W) counts.
        plateau: greatest weight of a count, as a multiple of the weight that an average pixel's count has; few
            pixels spread over many counts, as of a hot object, hardly change that average.
        max_step: greatest difference of brightness between neighbouring counts.
    """
    histogram = cv2.calcHist([thermal], [0], None, [_COUNTS], [0, _COUNTS]).ravel()
    weight = float(np.dot(histogram, histogram)) / thermal.size
    np.minimum(histogram, plateau * weight, out=histogram)
    steps = histogram * (255 / histogram.sum())
    np.minimum(steps, max_step, out=steps)
    levels = np.cumsum(steps, dtype=np.float32)
    # Half of its own step belongs to a count; what the limit took away is left over evenly at both ends.
    levels += (255 - levels[-1]) / 2 - steps / 2
    return np.clip(levels, 0, 255)


def colorize(thermal: NDArray[np.uint8], palette: PaletteName) -> NDArray[np.uint8]:
    """False colors (H, W, 3) BGR of a thermal picture (H, W) of 8 bits, hot is bright."""
    table = palette_table(palette)
    return np.asarray(table[thermal], np.uint8)


@cache
def palette_table(palette: PaletteName) -> NDArray[np.uint8]:
    """Colors (256, 3) uint8 BGR of a palette, from cold to hot; not to be written to."""
    ramp = np.arange(256, dtype=np.uint8)
    match palette:
        case "white-hot":
            table: NDArray[Any] = np.repeat(ramp[:, None], 3, axis=1)
        case "black-hot":
            table = np.repeat(ramp[::-1, None], 3, axis=1)
        case "ironbow":
            table = _ironbow()
        case _:
            table = cv2.applyColorMap(ramp, _OPENCV_PALETTES[palette]).reshape(256, 3)
    colors = np.asarray(table, np.uint8)
    colors.setflags(write=False)
    return colors


_OPENCV_PALETTES = {
    "inferno": cv2.COLORMAP_INFERNO,
    "magma": cv2.COLORMAP_MAGMA,
    "turbo": cv2.COLORMAP_TURBO,
    "jet": cv2.COLORMAP_JET,
    "hot": cv2.COLORMAP_HOT,
    "bone": cv2.COLORMAP_BONE,
    "viridis": cv2.COLORMAP_VIRIDIS,
}


def _ironbow() -> NDArray[np.uint8]:
    """Black, violet, red, orange, yellow, white, with evenly rising luma so that brightness still means heat."""
    stops = np.array([0.0, 0.14, 0.30, 0.46, 0.62, 0.78, 0.90, 1.0])
    red = [0, 40, 118, 190, 232, 250, 255, 255]
    green = [0, 0, 0, 28, 90, 162, 222, 255]
    blue = [14, 110, 158, 138, 40, 6, 70, 250]
    position = np.linspace(0, 1, 256)
    channels = [np.interp(position, stops, values) for values in (blue, green, red)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)
