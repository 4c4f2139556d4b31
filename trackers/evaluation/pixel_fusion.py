"""Fusion at the level of pixels: the two pictures become one, and a tracker of visible pictures follows it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.fuser import Fuser
from trackers.box import Box
from trackers.evaluation.frames import PicturePair
from trackers.state import ImagePair, Tracker, TrackState


@dataclass(frozen=True, slots=True)
class PixelFusionTracker:
    """A ``trackers.state.Tracker`` that sees the fused picture in place of the visible one.

    Attributes:
        inner: looks at visible pictures only.
        fuser: must not carry state from picture to picture (a fixed range).
    """

    inner: Tracker
    fuser: Fuser

    def _fused(self, pair: ImagePair) -> PicturePair:
        return PicturePair(self.fuser(pair.visible_bgr, pair.thermal), pair.thermal)

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        """State of a new target at ``box``."""
        return self.inner.init(self._fused(pair), box)

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        """State of the same target on the next pair."""
        return self.inner.update(state, self._fused(pair))

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        """States of several targets on the next pair; the pictures are fused once."""
        return self.inner.update_all(states, self._fused(pair))


def fuser_digest(fuser: Fuser) -> str:
    """Digest of what a fuser makes of a fixed pair of pictures, which changes with its weights and its code."""
    random = np.random.default_rng(0)
    visible_bgr = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    thermal = random.integers(0, 256, (64, 64), dtype=np.uint8)
    return hashlib.sha256(fuser(visible_bgr, thermal).tobytes()).hexdigest()
