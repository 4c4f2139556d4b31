"""Whether a tracker survives a long and ugly run: no exception, only finite numbers, and memory that stays flat.

Use: python benchmarks/tracker_stress.py [--pairs 10000] [--tracker siamrpn-lite] [--modality fused] [--seed 0]
         [--json FILE]

Synthetic pairs in changing sizes; targets with random boxes, some of them half outside of the picture, come and go; one
camera or both go black, white, or freeze for a while. Memory is resident memory; what it has after the first tenth is
compared with the most it ever has later.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.benchmark import resident_mb
from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from trackers.box import Box
from trackers.evaluation.frames import PicturePair
from trackers.factory import TRACKERS, build_tracker
from trackers.state import Modality, Tracker, TrackState

SIZES_WH = ((320, 240), (240, 180), (400, 224), (180, 240))
MOST_TARGETS = 3
_OTHER_SCENE = 0.004
_SPOILED = 0.02
_ADD, _REMOVE = 0.04, 0.04
_SAY_EVERY = 500


@dataclass(slots=True, kw_only=True)
class Stress:
    """What a run met, and the resident memory in MB before the first pair and after each."""

    pairs: int = 0
    targets_added: int = 0
    targets_removed: int = 0
    size_changes: int = 0
    spoiled_pairs: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    resident_mb: list[float] = field(default_factory=list)


def pairs_of(rng: np.random.Generator, report: Stress, count: int) -> Iterator[PicturePair]:
    """Pairs of scenes that change, with black, white and frozen spans in one picture or both."""
    scenes = [
        SyntheticScene(SyntheticConfig(seed=seed, size_wh=size, length=400)) for seed, size in enumerate(SIZES_WH)
    ]
    scene, left, ways = scenes[0], 0, ("as it is", "as it is")
    last: PicturePair | None = None
    for index in range(count):
        if rng.random() < _OTHER_SCENE:
            scene = scenes[int(rng.integers(len(scenes)))]
            report.size_changes += 1
            last = None
        if left == 0 and rng.random() < _SPOILED:
            left = int(rng.integers(1, 40))
            chosen = rng.choice(["as it is", "black", "white", "frozen"], 2)
            ways = (str(chosen[0]), str(chosen[1]))
        visible, thermal = scene.visible(index), scene.thermal(index)
        if left:
            left -= 1
            report.spoiled_pairs += 1
            visible = _spoiled(visible, ways[0], None if last is None else last.visible_bgr)
            thermal = _spoiled(thermal, ways[1], None if last is None else last.thermal)
        last = PicturePair(visible, thermal)
        yield last


def stress(tracker: Tracker, count: int, seed: int = 0) -> Stress:
    """Follow targets that come and go through ``count`` pairs.

    Raises:
        AssertionError: a state that no caller could use.
    """
    rng = np.random.default_rng(seed)
    report = Stress()
    states: list[TrackState] = []
    report.resident_mb.append(resident_mb())
    for pair in pairs_of(rng, report, count):
        states = tracker.update_all(states, pair)
        check(states)
        if states and rng.random() < _REMOVE:
            states.pop(int(rng.integers(len(states))))
            report.targets_removed += 1
        if len(states) < MOST_TARGETS and rng.random() < _ADD:
            states.append(tracker.init(pair, random_box(rng, pair)))
            report.targets_added += 1
        for state in states:
            report.statuses[state.status.value] = report.statuses.get(state.status.value, 0) + 1
        report.pairs += 1
        report.resident_mb.append(resident_mb())
        if report.pairs % _SAY_EVERY == 0:
            print(f"{report.pairs} pairs, {report.resident_mb[-1]:.1f} MB", file=sys.stderr, flush=True)
    return report


def check(states: Sequence[TrackState]) -> None:
    for own, state in enumerate(states):
        assert all(map(math.isfinite, state.box.as_tuple())), state.box
        assert state.box.area > 0, state.box
        assert 0 <= state.score <= 1, state.score
        assert all(0 <= other < len(states) and other != own for other in state.near), state.near


def random_box(rng: np.random.Generator, pair: PicturePair) -> Box:
    """A box whose centre is inside the picture, from a few pixels to half of it."""
    height, width = pair.thermal.shape
    w, h = rng.uniform(3, width / 2), rng.uniform(3, height / 2)
    return Box(float(rng.uniform(0, width) - w / 2), float(rng.uniform(0, height) - h / 2), float(w), float(h))


def _spoiled(picture: NDArray[np.uint8], way: str, last: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    match way:
        case "black":
            return np.zeros_like(picture)
        case "white":
            return np.full_like(picture, 255)
        case "frozen" if last is not None:
            return last
        case _:
            return picture


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--tracker", default="siamrpn-lite", choices=TRACKERS)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--modality", default="fused", choices=[modality.value for modality in Modality])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    tracker = build_tracker(given.tracker, weights=given.weights, modality=Modality(given.modality))
    begin_s = time.perf_counter()
    report = stress(tracker, given.pairs, given.seed)
    memory = report.resident_mb
    warm = memory[max(1, len(memory) // 10)]
    result: dict[str, Any] = {
        **{key: value for key, value in asdict(report).items() if key != "resident_mb"},
        "duration_s": round(time.perf_counter() - begin_s, 1),
        "start_mb": round(memory[0], 1),
        "warm_mb": round(warm, 1),
        "most_later_mb": round(max(memory[max(1, len(memory) // 10) :]), 1),
        "end_mb": round(memory[-1], 1),
    }
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
