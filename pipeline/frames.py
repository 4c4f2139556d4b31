"""The values that travel through the pipeline: a frame of one stream, a registered pair, a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackers.state import TrackState


class PairStatus(StrEnum):
    """How a pair came about: both frames fresh, only one stream, or the other stream's last frame held."""

    PAIRED = "paired"
    SINGLE = "single"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of one stream.

    Attributes:
        image: (H, W) or (H, W, 3) BGR, uint8; or (H, W) uint16 for raw thermal counts.
        time_s: capture time on the common clock, in seconds.
        arrival_s: host time of arrival, in seconds (equal to ``time_s`` for recorded sources).
        index: number of the frame in its stream, from 0.
        epoch: counts reconnects and jumps of the time stamps.
        suspect: the decoder reported damage since the last key frame.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    time_s: float
    arrival_s: float
    index: int
    epoch: int = 0
    suspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePair:
    """Registered pictures of one moment, of the same height and width.

    Attributes:
        index: number of the pair, from 0.
        time_s: time of the reference (visible) frame in seconds.
        dt_s: thermal time minus visible time in seconds.
        visible_bgr: (H, W, 3) uint8.
        thermal: (H, W) uint8, as displayed (hot is bright).
        thermal_raw: (H, W) uint16 counts before display mapping, or None for 8-bit sources.
        thermal_native: the thermal picture as the camera gave it, before registration; None when there is none.
        covered: (H, W) bool, False where no thermal picture reaches; None when it covers all.
        status: paired, single or held.
        missing: ``"visible"``, ``"thermal"`` or None: the stream that has no usable picture in this pair.

    Raises:
        ValueError: shapes or types do not agree.
    """

    index: int
    time_s: float
    dt_s: float
    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]
    thermal_raw: NDArray[np.uint16] | None = None
    thermal_native: NDArray[Any] | None = None
    covered: NDArray[np.bool_] | None = None
    status: PairStatus = PairStatus.PAIRED
    missing: str | None = None

    def __post_init__(self) -> None:
        if self.visible_bgr.ndim != 3 or self.visible_bgr.shape[2] != 3 or self.visible_bgr.dtype != np.uint8:
            raise ValueError(
                f"visible_bgr must be (H, W, 3) uint8, not {self.visible_bgr.shape} {self.visible_bgr.dtype}"
            )
        size = self.visible_bgr.shape[:2]
        if self.thermal.shape != size or self.thermal.dtype != np.uint8:
            raise ValueError(f"thermal must be {size} uint8, not {self.thermal.shape} {self.thermal.dtype}")
        if self.thermal_raw is not None and (self.thermal_raw.shape != size or self.thermal_raw.dtype != np.uint16):
            raise ValueError(
                f"thermal_raw must be {size} uint16, not {self.thermal_raw.shape} {self.thermal_raw.dtype}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """One pair after fusion and tracking.

    Attributes:
        pair: the registered pictures.
        fused_bgr: (H, W, 3) uint8, without overlay.
        states: target id to its state.
        stage_ms: duration of each stage in milliseconds.
        dropped: frames thrown away before this pair since the run began.
        level: how far fusion was degraded, see ``pipeline.degrade``; 0 is as asked.
        backdated: pair index to states by target id, of targets that were added on earlier pairs since the last
            result.
        title: names of the methods that made it, where they can change during the run.
    """

    pair: FramePair
    fused_bgr: NDArray[np.uint8]
    states: dict[int, TrackState] = field(default_factory=dict)
    stage_ms: dict[str, float] = field(default_factory=dict)
    dropped: int = 0
    level: int = 0
    backdated: dict[int, dict[int, TrackState]] = field(default_factory=dict)
    title: str | None = None
