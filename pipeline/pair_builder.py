"""From two frames to one registered pair: registration, thermal display, and fill-in for what is missing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.calibration import Calibration, Size
from pipeline.frames import FramePair
from pipeline.pairing import PairedFrames
from pipeline.registration import Registered, Registrar
from pipeline.thermal import ThermalConfig, ThermalDisplay

MIN_SIDE_PX = 16


class PairBuilder:
    """Makes registered pairs of paired frames: registration, thermal display, and fill-in for what is missing.

    Where one stream has no frame its picture is black and ``FramePair.missing`` says so. A change of a stream's
    picture size is followed, except with a calibration, which holds for one size only. Registration and display can
    be changed while pairs are built, from any thread.
    """

    def __init__(self, calibration: Calibration | None = None, display: ThermalConfig | None = None) -> None:
        self._given = calibration
        self._calibration = calibration
        self._display_config = display or ThermalConfig()
        self._display = ThermalDisplay(display)
        self._registrar: Registrar | None = None
        self._changing = threading.Lock()
        self._visible_wh: tuple[int, int] | None = None
        self._warnings: list[str] = []
        self._built = 0
        self.stage_ms: dict[str, float] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, one line each."""
        return tuple(self._warnings)

    @property
    def calibration(self) -> Calibration | None:
        """What registers the pairs now: what was given or set, else what sizes alone tell; None before the first."""
        with self._changing:
            known = self._registrar
            if self._calibration is not None or known is None:
                return self._calibration
        return Calibration(visible_wh=known.visible_wh, thermal_wh=known.thermal_wh, homography=known.homography)

    @property
    def display_config(self) -> ThermalConfig:
        """How 16-bit thermal becomes 8 bits now."""
        return self._display_config

    def recalibrate(self, calibration: Calibration | None) -> None:
        """Register by ``calibration`` from the next pair on; None goes back to how it began.

        Raises:
            InputError: it places the thermal picture outside the visible one.
        """
        chosen = self._given if calibration is None else calibration
        sizes = self._registrar if chosen is None else chosen
        # Its map takes longest; it is not made in the thread that builds pairs.
        registrar = None if sizes is None else Registrar(sizes.visible_wh, sizes.thermal_wh, chosen)
        with self._changing:
            self._calibration, self._registrar = chosen, registrar

    def redisplay(self, config: ThermalConfig) -> None:
        """Map thermal pictures by ``config`` from the next pair on."""
        self._display_config = config
        self._display = ThermalDisplay(config)

    def rebuild(self, pair: FramePair) -> FramePair:
        """The same pair as it would be built now, for a run that stands still."""
        native = pair.thermal_native
        if native is None:
            return pair
        height, width = pair.visible_bgr.shape[:2]
        registered = self._registrar_for((width, height), (native.shape[1], native.shape[0]))(native)
        thermal, raw = _shown(native, pair.time_s, registered, ThermalDisplay(self._display_config))
        return replace(pair, thermal=thermal, thermal_raw=raw, covered=registered.covered)

    def expect_visible(self, size_wh: tuple[int, int]) -> None:
        """Say the visible size beforehand, for pairs that come before the first visible frame."""
        self._visible_wh = size_wh

    def build(self, frames: PairedFrames) -> FramePair:
        """Register and map one pair of frames.

        Raises:
            InputError: a picture is too small, or its size is not that of the calibration.
        """
        begin_s = time.perf_counter()
        if frames.visible is not None:
            height, width = frames.visible.image.shape[:2]
            self._visible_wh = (width, height)
        registered = None if frames.thermal is None else self._register(frames.thermal.image)
        registered_s = time.perf_counter()
        thermal, raw = None, None
        if frames.thermal is not None and registered is not None:
            thermal, raw = _shown(frames.thermal.image, frames.thermal.time_s, registered, self._display)
        if frames.visible is not None:
            visible = np.asarray(frames.visible.image, np.uint8)
        elif thermal is not None:
            visible = np.zeros((*thermal.shape, 3), np.uint8)
        else:
            raise ValueError("a pair needs at least one frame")
        if thermal is None:
            thermal = np.zeros(visible.shape[:2], np.uint8)
        self.stage_ms = {
            "register": (registered_s - begin_s) * 1e3,
            "thermal": (time.perf_counter() - registered_s) * 1e3,
        }
        index, self._built = self._built, self._built + 1
        return FramePair(
            index=index,
            time_s=(frames.visible or frames.thermal).time_s,  # type: ignore[union-attr]
            dt_s=frames.dt_s,
            visible_bgr=visible,
            thermal=thermal,
            thermal_raw=raw,
            thermal_native=None if frames.thermal is None else frames.thermal.image,
            covered=None if registered is None else registered.covered,
            status=frames.status,
            missing="visible" if frames.visible is None else "thermal" if frames.thermal is None else None,
        )

    def _register(self, thermal: NDArray[Any]) -> Registered:
        thermal_wh = (thermal.shape[1], thermal.shape[0])
        return self._registrar_for(self._visible_wh or thermal_wh, thermal_wh)(thermal)

    def _registrar_for(self, visible_wh: Size, thermal_wh: Size) -> Registrar:
        with self._changing:
            known, calibration = self._registrar, self._calibration
        if known is not None and (known.visible_wh, known.thermal_wh) == (visible_wh, thermal_wh):
            return known
        for role, size in (("visible", visible_wh), ("thermal", thermal_wh)):
            check_size(role, *size)
        chosen = calibration
        if chosen is not self._given and chosen is not None:
            self._warn("the pictures have another size now: the registration made during the run is dropped")
            chosen = self._given
        known = Registrar(visible_wh, thermal_wh, chosen)
        if known.warning:
            self._warn(known.warning)
        with self._changing:
            if self._calibration is calibration:
                self._calibration, self._registrar = chosen, known
        return known

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)


def _shown(
    native: NDArray[Any], time_s: float, registered: Registered, display: ThermalDisplay
) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
    """A registered picture in 8 bits after ``display`` has seen the native one, and its counts if it has any."""
    display.observe(native, time_s)
    warped = registered.thermal
    return display.apply(warped), warped if warped.dtype == np.uint16 else None


def check_size(role: str, width: int, height: int) -> None:
    """Refuse pictures too small to work with.

    Raises:
        InputError: a side is shorter than ``MIN_SIDE_PX``.
    """
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(
            f"the {role} picture has {width}x{height} pixels; at least {MIN_SIDE_PX}x{MIN_SIDE_PX} are needed"
        )
