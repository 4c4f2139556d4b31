"""Targets that come near each other: they are flagged, and each stays itself when they part."""

from __future__ import annotations

import pytest

from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from trackers.box import Box, iou
from trackers.factory import build_tracker
from trackers.nearness import gives_way, near_each, with_near
from trackers.recovery import Evidence, judge
from trackers.siamese_core import SiameseTrackerConfig, TargetMemory
from trackers.state import TrackState, TrackStatus

HERE, BESIDE, FAR = Box(10, 10, 20, 40), Box(14, 12, 20, 40), Box(200, 10, 20, 40)
CONFIG = SiameseTrackerConfig(recovery=True, tracking_above=0.5, lost_below=0.1)


def test_overlapping_targets_are_named_to_each_other() -> None:
    assert near_each([HERE, FAR, BESIDE, HERE]) == [(2, 3), (), (0, 3), (0, 2)]
    assert near_each([HERE]) == [()]
    assert near_each([]) == []
    states = [TrackState(box=box, score=1, status=TrackStatus.TRACKING, template=None) for box in (HERE, BESIDE, FAR)]
    assert [state.near for state in with_near(states)] == [(1,), (0,), ()]
    assert [state.near for state in with_near(with_near(states)[:1])] == [()]


def test_a_place_belongs_to_the_target_that_looks_like_it() -> None:
    assert gives_way(HERE, 0.6, [(BESIDE, 0.9)])
    assert not gives_way(BESIDE, 0.9, [(HERE, 0.6)])
    assert not gives_way(HERE, 0.85, [(BESIDE, 0.9)])
    assert not gives_way(HERE, 0.1, [(FAR, 0.9)])
    assert not gives_way(HERE, 0.1, [])


def test_whoever_sits_on_another_target_is_lost_however_sure_the_network_is() -> None:
    memory = TargetMemory(
        features=(), center_xy=(0, 0), size_wh=(1, 1), fills=(), usual_similarity=(0.9,), doubtful_pairs=2
    )
    taken = Evidence(score=0.95, likeness=(0.75,), is_near=True, is_taken=True)
    assert judge(memory, [taken], CONFIG).status is TrackStatus.LOST
    near = Evidence(score=0.95, likeness=(0.95,), is_near=True)
    verdict = judge(memory, [near], CONFIG)
    assert verdict.status is TrackStatus.TRACKING
    assert not verdict.may_learn
    lost = TargetMemory(features=(), center_xy=(0, 0), size_wh=(1, 1), fills=(), lost_pairs=3)
    own = Evidence(score=0.8, likeness=(0.9,))
    assert judge(lost, [taken, own], CONFIG).place == 1
    assert judge(lost, [taken, taken], CONFIG).status is TrackStatus.LOST


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_two_people_who_cross_are_flagged_and_stay_themselves(seed: int) -> None:
    scene = SyntheticScene(SyntheticConfig(seed=seed, length=150, occlude=(), dark=(), tree=False))
    tracker = build_tracker("siamrpn-lite")
    begin = scene.frame(68)
    assert begin.boxes[0] is not None
    assert begin.boxes[1] is not None
    states = [tracker.init(begin, begin.boxes[0]), tracker.init(begin, begin.boxes[1])]
    flagged = 0
    for index in range(69, 135):
        states = tracker.update_all(states, scene.frame(index))
        flagged += any(state.near for state in states)
        assert [bool(state.near) for state in states] in ([True, True], [False, False])
    assert flagged
    for state, truth in zip(states, scene.boxes(134)[:2], strict=True):
        assert truth is not None
        assert state.status is TrackStatus.TRACKING
        assert not state.near
        assert iou(state.box, truth) > 0.4
