"""Small stand-ins for the parts that other tests prove: an unmoving tracker and generated pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.frames import FramePair, StreamResult
from trackers.box import Box
from trackers.state import ImagePair, TrackState, TrackStatus


class IdentityTracker:
    """Says that nothing moved."""

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        return TrackState(box=box, score=1.0, status=TrackStatus.TRACKING, template=None)

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        return state

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        return [self.update(state, pair) for state in states]


def make_pair(index: int, *, width: int = 64, height: int = 48, seed: int = 0) -> FramePair:
    generator = np.random.default_rng((seed, index))
    return FramePair(
        index=index,
        time_s=index / 25,
        dt_s=0.0,
        visible_bgr=generator.integers(0, 255, (height, width, 3), np.uint8),
        thermal=generator.integers(0, 255, (height, width), np.uint8),
    )


def make_pairs(count: int, *, width: int = 64, height: int = 48) -> Iterator[FramePair]:
    for index in range(count):
        yield make_pair(index, width=width, height=height)


class Collector:
    """A sink that keeps results, on a disk that is full at one of them where asked."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self.results: list[StreamResult] = []
        self._fail_at = fail_at

    def write(self, result: StreamResult) -> None:
        if result.pair.index == self._fail_at:
            raise OSError(28, "No space left on device")
        self.results.append(result)

    def close(self) -> None:
        pass
