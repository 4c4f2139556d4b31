"""Fusing more cheaply where the machine is too slow: when, how, and what is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.factory import build_fuser
from pipeline.degrade import DegradeConfig, DegradePolicy, DegradingFuser, grey_levels_of
from pipeline.frames import FramePair, StreamResult
from pipeline.stream import PairProcessor
from pipeline.telemetry import Telemetry, prometheus_text
from tests.pipeline.doubles import IdentityTracker, make_pair
from trackers.box import Box

CONFIG = DegradeConfig()


class Machine:
    """A camera and a loop with one slot between them, on a clock of their own; returns the level of each result."""

    def __init__(self, policy: DegradePolicy, *, deepest: int = 2, period_s: float = 1 / 30) -> None:
        self.policy = policy
        self.deepest = deepest
        self.period_s = period_s
        self.now_s = 100.0
        self.dropped = 0
        self.ages_s: list[float] = []

    def run(self, duration_s: float, cost_s: Callable[[int], float]) -> list[int]:
        levels = []
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            # The newest picture is taken; those that came since the last one are lost.
            ready_s = self.now_s - self.now_s % self.period_s
            done_s = self.now_s + cost_s(self.policy.level)
            self.ages_s.append(done_s - ready_s)
            levels.append(self.policy.level)
            self.policy.observe(done_s, dropped=self.dropped, latency_s=done_s - ready_s, deepest=self.deepest)
            missed = int((done_s - ready_s) / self.period_s + 1e-9)
            self.dropped += max(missed - 1, 0)
            self.now_s = done_s if missed else ready_s + self.period_s
        return levels


def costing(*costs_ms: float) -> Callable[[int], float]:
    return lambda level: costs_ms[level] / 1e3


def test_a_machine_that_keeps_up_is_left_alone() -> None:
    assert set(Machine(DegradePolicy()).run(120, costing(30, 10, 5))) == {0}


def test_a_slow_method_is_followed_by_a_lighter_one_and_the_age_stays_bounded() -> None:
    machine = Machine(DegradePolicy())
    levels = machine.run(60, costing(120, 25, 5))
    assert levels[0] == 0
    assert 1 in levels
    assert 2 not in levels
    assert max(machine.ages_s) <= 0.12 + 1 / 30 + 1e-6
    assert levels.count(1) > 0.9 * len(levels)


def test_the_last_level_is_taken_where_the_lighter_method_is_too_slow_as_well() -> None:
    machine = Machine(DegradePolicy())
    levels = machine.run(10, costing(300, 120, 20))
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2}
    levels = machine.run(60, costing(300, 120, 20))
    assert levels.count(2) > 0.85 * len(levels)
    assert 0 not in levels


def test_a_method_without_a_lighter_one_stays() -> None:
    assert set(Machine(DegradePolicy(), deepest=0).run(30, costing(300))) == {0}


def test_it_returns_when_there_is_room_again_and_only_after_a_calm_time() -> None:
    machine = Machine(DegradePolicy())
    assert machine.run(10, costing(300, 120, 60))[-1] == 2
    begin_s = machine.now_s
    levels = machine.run(CONFIG.calm_s - 2.5, costing(20, 10, 5))
    assert set(levels) == {2}
    levels = machine.run(30, costing(20, 10, 5))
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == 0
    assert machine.now_s - begin_s > CONFIG.calm_s


def test_trials_that_fail_become_rare() -> None:
    changes: list[int] = []
    machine = Machine(DegradePolicy(on_change=changes.append))
    levels = machine.run(600, costing(120, 20, 5))
    trials = changes.count(0)
    assert 2 <= trials <= 9
    assert levels.count(0) < 0.05 * len(levels)
    # A trial that lasts makes it patient no longer.
    machine.run(300, costing(20, 20, 5))
    assert machine.policy.level == 0
    machine.run(20, costing(120, 20, 5))
    assert machine.policy.level == 1
    machine.run(CONFIG.calm_s + 2.5, costing(20, 20, 5))
    assert machine.policy.level == 0


def test_latency_alone_is_reason_enough() -> None:
    # At three pictures a second none is dropped, but each is old when it comes out.
    machine = Machine(DegradePolicy(), period_s=1 / 3)
    assert machine.run(5, costing(250, 20, 5))[-1] == 1
    assert machine.dropped == 0


def test_a_pause_is_no_reason() -> None:
    policy = DegradePolicy()
    machine = Machine(policy)
    machine.run(5, costing(20))
    policy.restart()
    machine.dropped += 3000
    machine.now_s += 100
    assert set(machine.run(10, costing(20))) == {0}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0.001, 0.5), st.integers(0, 5), st.floats(0, 1)), max_size=300), st.integers(0, 2))
def test_levels_change_by_one_and_not_too_often(steps: list[tuple[float, int, float]], deepest: int) -> None:
    changes: list[tuple[float, int]] = []
    now_s, dropped = 0.0, 0
    policy = DegradePolicy(CONFIG, lambda level: changes.append((now_s, level)))
    before = 0
    for step_s, lost, latency_s in steps:
        now_s, dropped = now_s + step_s, dropped + lost
        level = policy.observe(now_s, dropped=dropped, latency_s=latency_s, deepest=deepest)
        assert abs(level - before) <= 1
        assert 0 <= level <= deepest
        before = level
    assert all(later - earlier >= CONFIG.window_s for (earlier, _), (later, _) in itertools.pairwise(changes))


@pytest.mark.parametrize("wrong", [{"every": 1}, {"most_dropped": 1.0}, {"window_s": 0.0}, {"calm_s": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"degrade.{next(iter(wrong))}"):
        DegradeConfig(**wrong)  # type: ignore[arg-type]


class ConstantFuser:
    """Shows one colour and counts."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.calls = 0

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.calls += 1
        return np.full_like(visible_bgr, self.value)

    def reset(self) -> None:
        self.calls = 0


def scene(index: int) -> FramePair:
    """A square that moves over a ramp, warm in the thermal picture."""
    ramp = np.broadcast_to(np.linspace(40, 200, 96, dtype=np.uint8), (64, 96))
    visible = np.stack([ramp, ramp // 2, ramp], axis=2).copy()
    thermal = np.full((64, 96), 60, np.uint8)
    left = 3 * index
    visible[20:40, left : left + 12] = (10, 250, 250)
    thermal[20:40, left : left + 12] = 240
    return replace(make_pair(index, width=96, height=64), visible_bgr=visible, thermal=thermal)


def test_each_level_fuses_its_way() -> None:
    asked, lighter = ConstantFuser(200), ConstantFuser(100)
    fuser = DegradingFuser(asked, lighter, every=3)
    pair = scene(0)
    fuser(pair.visible_bgr, pair.thermal)
    fuser.level = 1
    assert fuser(pair.visible_bgr, pair.thermal)[0, 0, 0] == 100
    fuser.level = 2
    for index in range(9):
        pair = scene(index)
        fuser(pair.visible_bgr, pair.thermal)
    assert (asked.calls, lighter.calls) == (1, 1 + 3)
    fuser.level = 0
    assert fuser(pair.visible_bgr, pair.thermal)[0, 0, 0] == 200


def test_the_pictures_between_are_new_and_look_alike() -> None:
    full = build_fuser("laplacian", range_name="smooth")
    fuser = DegradingFuser(full, build_fuser("laplacian", range_name="smooth"), every=4)
    fuser.level = 2
    reference = build_fuser("laplacian", range_name="smooth")
    shown = []
    for index in range(8):
        pair = scene(index)
        shown.append(fuser(pair.visible_bgr, pair.thermal))
        wanted = reference(pair.visible_bgr, pair.thermal)
        assert abs(float(shown[-1].mean()) - float(wanted.mean())) < 6
        assert abs(float(shown[-1].std()) - float(wanted.std())) < 8
        # The square is where it is now, not where it was.
        seen = np.abs(shown[-1].astype(int) - np.roll(shown[-1], 12, axis=1)).sum(axis=2)[
            22:38, 3 * index : 3 * index + 3
        ]
        assert seen.mean() > 20
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(shown))


def test_without_a_lighter_fuser_no_level_is_deeper() -> None:
    fuser = DegradingFuser(ConstantFuser(7), None)
    fuser.level = 2
    assert (fuser.deepest, fuser.level) == (0, 0)
    assert fuser(scene(0).visible_bgr, scene(0).thermal)[0, 0, 0] == 7


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255))
def test_the_table_of_grey_levels_rises_whatever_the_pictures(seed: int, low: int, high: int) -> None:
    generator = np.random.default_rng(seed)
    low, high = min(low, high), max(low, high)
    visible = generator.integers(low, high + 1, (24, 32, 3), np.uint8)
    thermal = generator.integers(low, high + 1, (24, 32), np.uint8)
    table = grey_levels_of(generator.integers(low, high + 1, (24, 32, 3), np.uint8), visible, thermal)
    assert table.shape == (256,)
    assert table.dtype == np.uint8
    assert (np.diff(table.astype(int)) >= 0).all()
    grey = cv2.cvtColor(visible, cv2.COLOR_BGR2GRAY)
    assert low - 1 <= cv2.LUT(grey, table).min()
    assert cv2.LUT(grey, table).max() <= high + 1


def slow_run(count: int) -> list[StreamResult]:
    """A processor whose pairs take 100 ms of a made clock each, at 30 a second."""
    fuser = DegradingFuser(ConstantFuser(200), ConstantFuser(100), every=4)
    policy = DegradePolicy()
    processor = PairProcessor(fuser=fuser, tracker=IdentityTracker(), boxes=[Box(5, 5, 10, 10)], policy=policy)
    results = []
    for index in range(count):
        results.append(processor.process(scene(index % 20), dropped=2 * index))
        processor.keep_pace(index * 0.1, dropped=2 * index, latency_s=0.1)
    return results


def test_results_name_their_level_and_every_pair_is_tracked() -> None:
    results = slow_run(60)
    assert {result.level for result in results} == {0, 1, 2}
    assert all(result.states[1].box == Box(5, 5, 10, 10) for result in results)
    telemetry = Telemetry()
    for result in results:
        telemetry.add_result(result)
    snapshot = telemetry.snapshot()
    assert snapshot.level == 2
    counts = [sum(result.level == level for result in results) for level in (1, 2)]
    assert [snapshot.counters["level_1"], snapshot.counters["level_2"]] == counts
    assert "rgbt_degradation_level 2" in prometheus_text(snapshot, {})
