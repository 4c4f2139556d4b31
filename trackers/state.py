"""What a tracker knows of one target, and the interface every tracker has.

A state is an immutable value and the network holds no target, so one network serves any number of targets, and
resets, replays and tests are trivial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trackers.box import Box


class TrackStatus(StrEnum):
    """How far a tracker trusts its own box."""

    TRACKING = "tracking"
    UNCERTAIN = "uncertain"
    LOST = "lost"


class Modality(StrEnum):
    """Which pictures a tracker looks at."""

    FUSED = "fused"
    RGB = "rgb"
    IR = "ir"


class ImagePair(Protocol):
    """Registered pictures of one moment: ``visible_bgr`` (H, W, 3) uint8 and ``thermal`` (H, W) uint8."""

    @property
    def visible_bgr(self) -> NDArray[np.uint8]:
        """Visible picture, (H, W, 3) uint8, BGR."""
        ...

    @property
    def thermal(self) -> NDArray[np.uint8]:
        """Thermal picture as displayed, (H, W) uint8."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackState:
    """One target after one picture.

    Attributes:
        box: where it is, in pixels of the visible picture.
        score: the tracker's trust in the box, 0..1.
        status: tracking, uncertain or lost.
        template: what the tracker remembers of the target; opaque outside the tracker that made it.
        seen_in: the pictures this state was found in; one modality only while the other shows nothing.
        near: the other targets whose boxes overlap this one's, so that the two may be confused. From a tracker these
            are positions in the list of states updated together, in a :class:`pipeline.frames.StreamResult` ids.
    """

    box: Box
    score: float
    status: TrackStatus
    template: Any
    seen_in: Modality = Modality.FUSED
    near: tuple[int, ...] = ()


class Tracker(Protocol):
    """A tracker of single targets on visible and thermal pictures.

    Implementations hold the network and its configuration, never a target.
    """

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        """State of a new target at ``box`` (pixels of ``pair.visible_bgr``).

        Raises:
            InputError: the box has no area inside the picture.
        """
        ...

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        """State of the same target on the next picture pair."""
        ...

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        """States of several targets on the next pair, through one batched backbone pass."""
        ...
