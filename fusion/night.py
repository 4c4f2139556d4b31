"""Brings what a night scene shows out of the dark.

At night a visible picture of a few grey levels leaves the fused one dark too: its lamps take up the range, and what the
thermal picture adds is small beside them. A tone curve lifts the dark part and leaves black and white where they are.
It acts as far as the visible picture is dark, and no more than brings the middle of the fused picture to a level that
can be read. Its slope is bounded, so that noise is; the colour is kept as it is, since its noise would grow most.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.fuser import NightName, RangeName

Plane = NDArray[np.float32]
# Every so manieth row and column tells the median.
_STEP = 4
_CURVES = 64
# A power so near to 1 changes less than half a grey level.
_STRAIGHT = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class NightConfig:
    """When and how far dark pictures are lifted.

    Attributes:
        dark_level: up to this median of the visible luma the curve acts fully ...
        light_level: ... and from this one on not at all.
        middle_level: grey level that the median of the fused picture is brought to.
        toe_level: added to all levels before the power and taken off after it, which bounds the slope in the dark.
        least_power: the curve is no steeper than this power of the level.
        adaption: share of a new picture in the running curve, per picture of a video.
    """

    dark_level: float = 24.0
    light_level: float = 40.0
    middle_level: float = 64.0
    toe_level: float = 6.0
    least_power: float = 0.35
    adaption: float = 0.05


class NightLift:
    """A tone curve for dark scenes, which follows a video slowly.

    Args:
        config: when and how far it acts.
        always: act whatever the visible picture is like.
    """

    def __init__(self, config: NightConfig | None = None, *, always: bool = False) -> None:
        self._config = config or NightConfig()
        self.always = always
        self._dark: float | None = None
        self._power: float | None = None

    def observe(self, luma: NDArray[np.uint8]) -> bool:
        """Note how dark the visible picture (H, W) is; whether there may be anything to lift."""
        config = self._config
        median = float(np.median(luma[::_STEP, ::_STEP]))
        dark = float(np.clip((config.light_level - median) / (config.light_level - config.dark_level), 0, 1))
        self._dark = _followed(self._dark, 1.0 if self.always else dark, config.adaption)
        return self._dark > 0

    def __call__(self, levels: Plane) -> Plane:
        """The picture (H, W), 0 for black and 255 for white, lifted; as it is where nothing is to be done."""
        config = self._config
        if not self._dark:
            return levels
        toe, middle = config.toe_level, float(np.median(levels[::_STEP, ::_STEP]))
        power = 1 + self._dark * (self._wanted_power(middle) - 1)
        power = self._power = _followed(self._power, power, config.adaption)
        if power > _STRAIGHT:
            return levels
        raised = np.asarray(cv2.pow(np.clip(levels, 0, 255) + np.float32(toe), power), np.float32)
        black, white = toe**power, (255 + toe) ** power
        return (raised - np.float32(black)) * np.float32(255 / (white - black))

    def _wanted_power(self, middle: float) -> float:
        """The power whose curve brings the level ``middle`` to where it is wanted, within the bounds."""
        config, toe = self._config, self._config.toe_level
        powers = np.linspace(1.0, config.least_power, _CURVES)
        black, white = toe**powers, (255 + toe) ** powers
        brought_to = 255 * ((np.clip(middle, 0, 255) + toe) ** powers - black) / (white - black)
        return float(np.interp(config.middle_level, brought_to, powers))

    def reset(self) -> None:
        """Forget earlier pictures."""
        self._dark = self._power = None


def _followed(before: float | None, now: float, share: float) -> float:
    return now if before is None else before + share * (now - before)


def build_night(name: NightName, range_name: RangeName) -> NightLift | None:
    """The lift ``auto`` (dark colour pictures, unless the range is ``fixed`` and so are the levels), ``on`` or ``off``.

    Raises:
        InputError: another name.
    """
    match name:
        case "auto":
            return None if range_name == "fixed" else NightLift()
        case "on":
            return NightLift(always=True)
        case "off":
            return None
        case _:
            raise InputError(f"--night {name}: choose auto, on or off")
