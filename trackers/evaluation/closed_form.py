"""Trackers whose boxes follow a formula and need no picture: they test the protocol itself.

With n frames since the start and the box (x, y, w, h) given there: ``closed-static`` keeps it, ``closed-shift`` moves
it by (1.25 n, 0.5 n) pixels, ``closed-zoom`` scales it about its centre by 1 + n / 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from trackers.box import Box, box_from_center
from trackers.state import ImagePair, TrackState, TrackStatus

ClosedFormName = Literal["closed-static", "closed-shift", "closed-zoom"]
CLOSED_FORMS: tuple[ClosedFormName, ...] = get_args(ClosedFormName)


@dataclass(frozen=True, slots=True)
class ClosedFormTracker:
    """A ``trackers.state.Tracker`` that looks at no picture."""

    form: ClosedFormName

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        """Start at ``box``."""
        return TrackState(box=box, score=1.0, status=TrackStatus.TRACKING, template=(box, 0))

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        """The box of the next frame."""
        first, count = state.template
        return TrackState(
            box=self._box(first, count + 1), score=1.0, status=TrackStatus.TRACKING, template=(first, count + 1)
        )

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        """The boxes of several targets on the next frame."""
        return [self.update(state, pair) for state in states]

    def _box(self, first: Box, count: int) -> Box:
        match self.form:
            case "closed-static":
                return first
            case "closed-shift":
                return Box(first.x + 1.25 * count, first.y + 0.5 * count, first.w, first.h)
            case "closed-zoom":
                scale = 1 + count / 64
                return box_from_center(first.center_xy, (first.w * scale, first.h * scale))
