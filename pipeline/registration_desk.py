"""Where people change registration and thermal display while a run goes on: nudges, points, refinement, undo."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.adjustment import Nudge, PointFit, PointPairs, difference, fit_points, nudged, parallax_note, today
from pipeline.calibration import Calibration
from pipeline.control import PictureChanged, RunControl
from pipeline.frames import FramePair
from pipeline.pair_builder import PairBuilder
from pipeline.refinement import refine
from pipeline.registration import Registrar
from pipeline.thermal import ThermalConfig, ThermalDisplay

RegistrationStep = Literal["undo", "reset", "refine"]
Origin = Literal["sizes", "file", "nudged", "points", "refined"]

_MOST_UNDO = 200
_MOST_WAITING = 16
_REFINEMENT_PICTURES = 8
# Counts that few pixels lie outside of, for a fixed range that nobody has set.
_RANGE_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class ChangeRegistration:
    """Take the last change back, all of them, or refine on the outlines of the last pictures."""

    step: RegistrationStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDisplay:
    """Map 16-bit thermal to 8 bits like this from now on; a fixed range without bounds takes those of the picture."""

    mode: Literal["plateau", "fixed"]
    polarity: Literal["white-hot", "black-hot"]
    low: float | None = None
    high: float | None = None


Adjustment = Nudge | PointPairs | ChangeRegistration | ChangeDisplay


@dataclass(frozen=True, slots=True)
class _Made:
    """A calibration and where it came from; None stands for how the run began."""

    calibration: Calibration | None
    origin: Origin


class RegistrationDesk:
    """Takes changes from any thread and carries them out one after another in a thread of its own.

    Args:
        builder: makes the pairs of the run.
        control: is told what happened.
        newest: the newest pair, or None before the first one.
        recent: some of the last pairs, for a refinement.
        changed: called after each change.
    """

    def __init__(
        self,
        builder: PairBuilder,
        *,
        control: RunControl,
        newest: Callable[[], FramePair | None],
        recent: Callable[[], Sequence[FramePair]],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._builder = builder
        self._control = control
        self._newest = newest
        self._recent = recent
        self._changed = changed
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="registration")
        self._lock = threading.Lock()
        self._waiting = 0
        self._begin: Calibration | None = None
        self._first = _Made(None, "sizes" if builder.calibration is None else "file")
        self._history: list[_Made] = []

    def post(self, adjustment: Adjustment) -> bool:
        """Carry a change out soon; False when too many wait already."""
        with self._lock:
            if self._waiting >= _MOST_WAITING:
                return False
            self._waiting += 1
        self._worker.submit(self._carry_out, adjustment)
        return True

    def close(self) -> None:
        """End the thread."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    @property
    def calibration(self) -> Calibration:
        """What registers the pictures now, complete with their sizes.

        Raises:
            InputError: there has been no thermal picture yet.
        """
        known = self._builder.calibration
        if known is None:
            raise InputError("there is no thermal picture yet")
        return known

    def status(self) -> dict[str, Any]:
        """What the page shows of the registration."""
        known = self._builder.calibration
        if known is None:
            return {"ready": False}
        moved = asdict(difference(self._begin or known, known))
        return {
            "ready": True,
            "origin": self._made.origin,
            "visible_wh": known.visible_wh,
            "thermal_wh": known.thermal_wh,
            "rms_px": known.rms_px,
            "plane_distance_m": known.plane_distance_m,
            "note": parallax_note(known),
            "undo": len(self._history),
            "shift_xy": [_told(value) for value in moved["shift_xy"]],
            "scale": _told(moved["scale"]),
            "turn_deg": _told(moved["turn_deg"]),
        }

    def display_status(self) -> dict[str, Any]:
        """What the page shows of the thermal display."""
        config, pair = self._builder.display_config, self._newest()
        return {
            "mode": config.mode,
            "polarity": config.polarity,
            "low": config.low,
            "high": config.high,
            "counts": pair is not None and pair.thermal_raw is not None,
        }

    def fit(self, points: PointPairs) -> PointFit:
        """What ``points`` would give, without using it.

        Raises:
            InputError: they fit no homography, or there has been no thermal picture yet.
        """
        return fit_points(points, self.calibration)

    def native_picture(self, pair: FramePair) -> NDArray[np.uint8] | None:
        """The thermal picture (h, w) of a pair as the camera gave it, in 8 bits; None where there is none."""
        if pair.thermal_native is None:
            return None
        return ThermalDisplay(self._builder.display_config)(pair.thermal_native, 0.0)

    def registered_picture(self, pair: FramePair, calibration: Calibration) -> NDArray[np.uint8] | None:
        """The thermal picture (H, W) of a pair as ``calibration`` would register it, in 8 bits.

        Raises:
            InputError: the calibration is for other sizes, or places it outside.
        """
        native = self.native_picture(pair)
        if native is None:
            return None
        height, width = pair.visible_bgr.shape[:2]
        registrar = Registrar((width, height), (native.shape[1], native.shape[0]), calibration)
        return np.asarray(registrar(native).thermal, np.uint8)

    def _carry_out(self, adjustment: Adjustment) -> None:
        with self._lock:
            self._waiting -= 1
        try:
            self._do(adjustment)
        except (InputError, cv2.error) as error:
            self._control.announce("refused", str(error))
            return
        self._control.post(PictureChanged())
        self._changed()

    def _do(self, adjustment: Adjustment) -> None:
        begin, known = self._begin, self._builder.calibration
        if begin is not None and known is not None and not _same_sizes(begin, known):
            self._begin = None  # a camera changed its size, which has dropped all changes
            self._history.clear()
        match adjustment:
            case Nudge():
                self._use(nudged(self.calibration, adjustment), "nudged")
            case PointPairs():
                fit = fit_points(adjustment, self.calibration)
                self._use(fit.calibration, "points")
                self._say(f"registered by {len(fit.errors_px)} points, rms {fit.calibration.rms_px:.2f} px")
            case ChangeRegistration(step="undo"):
                if not self._history:
                    raise InputError("there is nothing to take back")
                self._builder.recalibrate(self._history[-2].calibration if len(self._history) > 1 else None)
                self._history.pop()
                self._say("the last change of the registration is taken back")
            case ChangeRegistration(step="reset"):
                self._builder.recalibrate(None)
                self._history.clear()
                self._say("the registration is as it was at the beginning")
            case ChangeRegistration(step="refine"):
                self._refine()
            case ChangeDisplay():
                self._builder.redisplay(self._display(adjustment))

    @property
    def _made(self) -> _Made:
        return self._history[-1] if self._history else self._first

    def _use(self, calibration: Calibration, origin: Origin) -> None:
        self._begin = self._begin or self.calibration
        self._builder.recalibrate(calibration)
        # A chain of nudges is one step back.
        if origin == "nudged" and self._made.origin == "nudged":
            self._history.pop()
        self._history.append(_Made(calibration, origin))
        del self._history[:-_MOST_UNDO]

    def _refine(self) -> None:
        pictures = [
            (pair.visible_bgr, pair.thermal_native)
            for pair in self._recent()
            if pair.missing is None and pair.thermal_native is not None
        ]
        chosen = pictures[:: max(len(pictures) // _REFINEMENT_PICTURES, 1)][-_REFINEMENT_PICTURES:]
        found = refine(chosen, self.calibration)
        if not found.accepted:
            raise InputError(f"the refinement is not believable ({found.reason}); nothing was changed")
        self._use(replace(found.calibration, date=today()), "refined")
        self._say(
            f"refined by up to {found.shift_px:.1f} px; outlines agree {found.score:.2f} "
            f"instead of {found.score_before:.2f}"
        )

    def _display(self, wanted: ChangeDisplay) -> ThermalConfig:
        low, high = wanted.low, wanted.high
        if wanted.mode == "plateau":
            low = high = None
        elif low is None or high is None:
            pair = self._newest()
            if pair is None or pair.thermal_raw is None:
                raise InputError("a fixed range needs thermal pictures of 16 bits")
            bounds = np.percentile(pair.thermal_raw, _RANGE_PERCENTILES)
            low = float(np.floor(bounds[0])) if low is None else low
            high = float(np.ceil(bounds[1]) + 1) if high is None else high
        return replace(self._builder.display_config, mode=wanted.mode, polarity=wanted.polarity, low=low, high=high)

    def _say(self, text: str) -> None:
        self._control.announce("registration", text)


def _told(value: float) -> float:
    """A number for the wire; where the centre of the picture lies beyond the horizon it is none, and told as 0."""
    return round(value, 5) if math.isfinite(value) else 0.0


def _same_sizes(first: Calibration, second: Calibration) -> bool:
    return (first.visible_wh, first.thermal_wh) == (second.visible_wh, second.thermal_wh)
