"""Targets near each other, from the tracker's positions to the ids in results.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.sinks.results import ResultsWriter
from pipeline.stream import PairProcessor
from tests.pipeline.doubles import IdentityTracker, make_pairs
from trackers.box import Box
from trackers.state import ImagePair, TrackState


class CrowdingTracker(IdentityTracker):
    """As if the last two targets were on one spot."""

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        last = len(states) - 1
        near = {last: (last - 1,), last - 1: (last,)}
        return [replace(state, near=near.get(index, ())) for index, state in enumerate(states)]


def test_a_line_names_the_targets_that_are_near_each_other_by_their_ids(tmp_path: Path) -> None:
    boxes = [Box(4.0 * number, 4, 8, 8) for number in range(3)]
    processor = PairProcessor(fuser=None, tracker=CrowdingTracker(), boxes=boxes)
    writer = ResultsWriter(tmp_path / "r.jsonl")
    for pair in make_pairs(3):
        writer.write(processor.process(pair))
    writer.close()
    lines = [json.loads(line)["targets"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    for targets in lines[1:]:
        assert [(target["id"], target.get("near")) for target in targets] == [(1, None), (2, [3]), (3, [2])]
