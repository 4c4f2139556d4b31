"""Trackers with known faults and data without pictures, importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from trackers.box import Box
from trackers.evaluation.closed_form import ClosedFormTracker
from trackers.evaluation.frames import PicturePair
from trackers.evaluation.specs import TrackerSpec
from trackers.state import ImagePair, Tracker, TrackState

# The frame whose grey value makes a double misbehave.
BAD_GREY = 200


class NoPictures:
    """Frames for trackers that look at none."""

    def __getitem__(self, index: int) -> PicturePair:
        return PicturePair(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))


class _OnBadFrame:
    """Keeps its box; ``misbehave`` is called on the marked frame."""

    def __init__(self) -> None:
        self._inner = ClosedFormTracker("closed-static")

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        return self._inner.init(pair, box)

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        if pair.thermal.max() >= BAD_GREY:
            self.misbehave()
        return self._inner.update(state, pair)

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        return [self.update(state, pair) for state in states]

    def misbehave(self) -> None:
        raise NotImplementedError


class _Raising(_OnBadFrame):
    def misbehave(self) -> None:
        raise ArithmeticError("the score map is empty")


class _Killed(_OnBadFrame):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class _KilledOnce(_OnBadFrame):
    """Dies in the first process that meets the marked frame; a file tells the next one."""

    def misbehave(self) -> None:
        marker = Path(os.environ["EVALUATION_TEST_MARKER"])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class _Slow(_OnBadFrame):
    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        time.sleep(0.01)
        return self._inner.update(state, pair)


class Drunken:
    """Differs from run to run, unlike every real tracker here."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(4)
        self._inner = ClosedFormTracker("closed-static")

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        return self._inner.init(pair, box)

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        found = self._inner.update(state, pair)
        dx, dy = self._random.normal(size=2)
        box = Box(found.box.x + dx, found.box.y + dy, found.box.w, found.box.h)
        return TrackState(box=box, score=1.0, status=found.status, template=found.template)

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        return [self.update(state, pair) for state in states]


class PixelTracker:
    """Moves right by a hundredth of the mean of the visible picture, down by one of the thermal."""

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        return ClosedFormTracker("closed-static").init(pair, box)

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        box = state.box
        moved = Box(box.x + pair.visible_bgr.mean() / 100, box.y + pair.thermal.mean() / 100, box.w, box.h)
        return TrackState(box=moved, score=1.0, status=state.status, template=state.template)

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        return [self.update(state, pair) for state in states]


def build_double(spec: TrackerSpec) -> Tracker:
    match spec.tracker:
        case "raising":
            return _Raising()
        case "killed":
            return _Killed()
        case "killed-once":
            return _KilledOnce()
        case "slow":
            return _Slow()
        case "drunken":
            return Drunken()
        case _:
            return ClosedFormTracker("closed-shift")


def write_sequences(root: Path, lengths: dict[str, int], *, bad: str = "") -> Path:
    """A dataset with small pictures; the marked grey value is in the thermal channel of ``bad``, frame 3."""
    for name, length in lengths.items():
        folder = root / name
        for channel in ("color", "ir"):
            (folder / channel).mkdir(parents=True)
            for frame in range(length):
                grey = BAD_GREY if (channel, name, frame) == ("ir", bad, 3) else 40
                cv2.imwrite(str(folder / channel / f"{frame + 1:08d}.png"), np.full((24, 32), grey, np.uint8))
        boxes = [(4 + frame, 5, 8, 6) for frame in range(length)]
        (folder / "groundtruth.txt").write_text("".join("{},{},{},{}\n".format(*box) for box in boxes))
        (folder / "sequence").write_text(
            "width=32\nheight=24\nchannels.color=color/%08d.png\nchannels.ir=ir/%08d.png\n"
        )
    return root
