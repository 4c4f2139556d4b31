"""Temperatures in a registered pair, out of its raw counts: at a spot and inside boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.frames import FramePair
from pipeline.sources.profile import RegionTemperature, ThermalProfile, region_temperature
from trackers.box import Box
from trackers.state import TrackState


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Where somebody wants to know temperatures, in pixels of the visible picture (continuous, 0 at its left edge)."""

    spot_xy: tuple[float, float] | None = None
    regions: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Temperatures of a probe in degrees Celsius; None where the picture holds no counts."""

    spot: float | None
    regions: tuple[RegionTemperature | None, ...]


def measure(pair: FramePair, probe: Probe, profile: ThermalProfile) -> Measured:
    """Temperatures at the places of ``probe`` in this very pair."""
    spot = None if probe.spot_xy is None else _pixel(probe.spot_xy)
    at_spot = None if spot is None else inside(pair, spot, profile)
    return Measured(
        spot=None if at_spot is None else at_spot.mean,
        regions=tuple(inside(pair, region, profile) for region in probe.regions),
    )


def target_temperatures(
    pair: FramePair, states: Mapping[int, TrackState], profile: ThermalProfile
) -> dict[int, RegionTemperature]:
    """Temperatures inside the boxes of the targets that lie where there are counts."""
    found = {target: inside(pair, state.box, profile) for target, state in states.items()}
    return {target: temperature for target, temperature in found.items() if temperature is not None}


def inside(pair: FramePair, box: Box, profile: ThermalProfile) -> RegionTemperature | None:
    """Temperatures inside a box of the pair; None where it has no counts."""
    if pair.thermal_raw is None or not profile.radiometric:
        return None
    return region_temperature(pair.thermal_raw, box, profile, pair.covered)


def _pixel(spot_xy: tuple[float, float]) -> Box:
    return Box(math.floor(spot_xy[0]), math.floor(spot_xy[1]), 1, 1)
