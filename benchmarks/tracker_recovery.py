"""Whether a tracker notices that its target is gone and finds it again, on the synthetic scene.

Use: python benchmarks/tracker_recovery.py [--tracker siamrpn-lite] [--weights FILE] [--seeds 10] [--modality fused]
         [--night] [--set FIELD=VALUE ...] [--json FILE]

Two events, each with every seed: a bus hides the person in red completely for 30 pairs, or the person is away for 60
pairs. "Recovered" is a target that within 45 pairs after it came back is tracked (status "tracking", IoU of 0.5 or
more); the pairs in which a tree or somebody else hides half of it or more do not count towards the 45. "False" is the
share of pairs with status "tracking" among those in which nothing of the target is to be seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from trackers.box import iou
from trackers.factory import build_tracker
from trackers.state import Modality, Tracker, TrackStatus

Event = Literal["hidden", "absent"]

EVENT_PAIRS: dict[Event, int] = {"hidden": 30, "absent": 60}
FIRST = 40
PATIENCE = 45
_TAIL = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    event: Event
    seed: int
    iou_before: float
    recovered: bool
    pairs_until_tracked: int | None
    gone_pairs: int
    falsely_tracked: int


def follow_event(tracker: Tracker, event: Event, seed: int, *, night: bool = False) -> Recovery:
    """One event; the person in red is the target, and the event begins after 40 pairs."""
    count = EVENT_PAIRS[event]
    end, length = FIRST + count, FIRST + count + _TAIL
    span = ((FIRST, count),)
    scene = SyntheticScene(
        SyntheticConfig(
            seed=seed,
            length=length,
            occlude=span if event == "hidden" else (),
            absent=span if event == "absent" else (),
            dark=((0, 10 * length),) if night else (),
        )
    )
    first = scene.frame(0)
    if first.boxes[0] is None:
        raise ValueError(f"the target of seed {seed} is not in the first picture")
    state = tracker.init(first, first.boxes[0])
    before: list[float] = []
    gone = false = waited = 0
    until: int | None = None
    for index in range(1, length):
        moment = scene.frame(index)
        state = tracker.update(state, moment)
        truth, visible = moment.boxes[0], moment.visibility[0]
        is_tracked = state.status is TrackStatus.TRACKING
        overlap = iou(state.box, truth) if truth is not None else 0.0
        if index < FIRST:
            before.append(overlap)
        if visible == 0:
            gone += 1
            false += is_tracked
        if index >= end:
            waited += visible > 0.5
            if is_tracked and overlap >= 0.5:
                until = waited
                break
            if waited >= PATIENCE:
                break
    return Recovery(
        event=event,
        seed=seed,
        iou_before=float(np.mean(before)),
        recovered=until is not None,
        pairs_until_tracked=until,
        gone_pairs=gone,
        falsely_tracked=false,
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracker", default="siamrpn-lite")
    parser.add_argument("--weights", type=Path, help="in place of the tracker's own weights")
    parser.add_argument("--modality", default="fused", choices=[modality.value for modality in Modality])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--night", action="store_true", help="the visible camera sees next to nothing")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="constants of the loop")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    tracker = build_tracker(
        given.tracker,
        weights=given.weights,
        modality=Modality(given.modality),
        overrides={key: json.loads(value) for key, value in (entry.split("=", 1) for entry in given.set)},
    )
    rows = []
    for event in EVENT_PAIRS:
        for seed in range(given.seeds):
            rows.append(row := follow_event(tracker, event, seed, night=given.night))
            outcome = "not recovered" if row.pairs_until_tracked is None else f"after {row.pairs_until_tracked} pairs"
            print(
                f"{event:7} seed {seed:2}: IoU before {row.iou_before:.2f}, {outcome}, "
                f"tracking in {row.falsely_tracked} of {row.gone_pairs} pairs while gone",
                flush=True,
            )
    for event in EVENT_PAIRS:
        own = [row for row in rows if row.event == event]
        false = sum(row.falsely_tracked for row in own) / max(1, sum(row.gone_pairs for row in own))
        print(f"{event}: recovered {sum(row.recovered for row in own)} of {len(own)}, false tracking {false:.1%}")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
