"""Pairing: nearest in time, within tolerance, in order, and every reference frame accounted for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError, RunError
from pipeline.clock import ClockMapper
from pipeline.frames import Frame, PairStatus
from pipeline.pairing import PairedFrames, Pairer, PairerConfig, pair_offline

PIXEL = np.zeros((1, 1), np.uint8)


def frame(index: int, time_s: float, arrival_s: float | None = None, epoch: int = 0) -> Frame:
    return Frame(
        image=PIXEL,
        time_s=time_s,
        arrival_s=time_s if arrival_s is None else arrival_s,
        index=index,
        epoch=epoch,
    )


def stream(times_s: list[float]) -> list[Frame]:
    return [frame(index, time_s) for index, time_s in enumerate(times_s)]


def regular(fps: float, length: int, start_s: float = 0.0) -> list[Frame]:
    return stream([start_s + index / fps for index in range(length)])


def run(
    visible: list[Frame], thermal: list[Frame], config: PairerConfig, period_s: float | None = None
) -> tuple[list[PairedFrames], Pairer]:
    pairer = Pairer(config, visible_period_s=period_s, thermal_period_s=period_s)
    return list(pair_offline(visible, thermal, pairer=pairer)), pairer


def times(gaps_ms: list[int]) -> list[float]:
    return [total / 1000 for total in itertools.accumulate(gaps_ms)]


stamps = st.lists(st.integers(1, 120), max_size=40).map(times)


@settings(deadline=None, max_examples=200)
@given(
    visible=stamps, thermal=stamps, tolerance_ms=st.integers(0, 80), hold=st.sampled_from(["drop", "single", "hold"])
)
def test_offline_pairs_are_nearest_within_tolerance_in_order_and_complete(
    visible: list[float], thermal: list[float], tolerance_ms: int, hold: str
) -> None:
    tolerance_s = tolerance_ms / 1000
    config = PairerConfig(tolerance_s=tolerance_s, on_unpaired=hold, hold_s=0.1)  # type: ignore[arg-type]
    pairs, pairer = run(stream(visible), stream(thermal), config)
    stats = pairer.stats()

    assert [pair.index for pair in pairs] == list(range(len(pairs)))
    references = [pair.visible.time_s for pair in pairs if pair.visible]
    assert references == sorted(set(references))
    for pair in pairs:
        assert pair.visible is not None
        nearest_s = min((abs(t - pair.visible.time_s) for t in thermal), default=math.inf)
        match pair.status:
            case PairStatus.PAIRED:
                assert abs(pair.dt_s) <= tolerance_s
                assert abs(pair.dt_s) == nearest_s
            case PairStatus.HELD:
                assert nearest_s > tolerance_s
                assert -0.1 <= pair.dt_s <= 0
            case PairStatus.SINGLE:
                assert nearest_s > tolerance_s
                assert pair.thermal is None
    assert stats.paired + stats.held + stats.single + stats.dropped == stats.visible == len(visible)
    assert stats.paired + stats.held + stats.single == len(pairs)
    assert stats.waiting == 0
    used = {id(pair.thermal) for pair in pairs if pair.thermal}
    assert stats.thermal == len(thermal) == len(used) + stats.unused
    if hold != "drop":
        assert references == visible


@settings(deadline=None, max_examples=100)
@given(visible=stamps, thermal=stamps)
def test_without_reuse_each_thermal_frame_serves_once(visible: list[float], thermal: list[float]) -> None:
    pairs, _ = run(stream(visible), stream(thermal), PairerConfig(tolerance_s=0.05, reuse=False))
    used = [pair.thermal.index for pair in pairs if pair.thermal]
    assert used == sorted(set(used))


@settings(deadline=None, max_examples=100)
@given(
    visible=st.lists(st.integers(20, 50), min_size=1, max_size=30).map(times),
    thermal=st.lists(st.integers(20, 120), min_size=1, max_size=30).map(times),
    delays_ms=st.lists(st.integers(0, 60), min_size=60, max_size=60),
)
def test_live_pairing_keeps_the_tolerance_and_accounts_for_every_frame(
    visible: list[float], thermal: list[float], delays_ms: list[int]
) -> None:
    config = PairerConfig(tolerance_s=0.04, max_wait_s=0.05)
    pairer = Pairer(config)
    events = []
    for role, stamps_s, delays in (("visible", visible, delays_ms[:30]), ("thermal", thermal, delays_ms[30:])):
        last = 0.0
        for index, (time_s, delay) in enumerate(zip(stamps_s, delays, strict=False)):
            last = max(last, time_s + delay / 1000)
            events.append((last, role, frame(index, time_s, last)))
    pairs = []
    for arrival_s, role, item in sorted(events, key=lambda event: event[:2]):
        pairs += pairer.advance(arrival_s)
        pairs += pairer.push(role, item)  # type: ignore[arg-type]
    pairs += pairer.advance(1e6)
    assert [pair.visible.time_s for pair in pairs if pair.visible] == visible
    assert all(abs(pair.dt_s) <= 0.04 for pair in pairs)
    assert pairer.stats().waiting == 0


def test_equal_time_stamps_pair_with_no_difference() -> None:
    pairs, pairer = run(regular(30, 90), regular(30, 90), PairerConfig())
    assert [pair.dt_s for pair in pairs] == [0.0] * 90
    assert all(pair.status is PairStatus.PAIRED for pair in pairs)
    assert pairer.stats().unpaired == 0


@pytest.mark.parametrize(("fps", "reused"), [(25.0, True), (9.0, True), (60.0, False)])
def test_other_rates_pair_every_reference_frame(fps: float, reused: bool) -> None:
    pairer = Pairer(PairerConfig(), visible_period_s=1 / 30, thermal_period_s=1 / fps)
    pairs = list(pair_offline(regular(30, 300), regular(fps, int(fps * 10) + 1), pairer=pairer))
    assert len(pairs) == 300
    assert sum(pair.status is PairStatus.PAIRED for pair in pairs) >= 0.995 * 300
    assert (pairer.stats().reused > 0) == reused


def test_a_shorter_thermal_stream_leaves_single_frames_and_a_shorter_visible_one_unused_frames() -> None:
    pairs, pairer = run(regular(30, 60), regular(30, 20), PairerConfig(), 1 / 30)
    assert len(pairs) == 60
    assert pairer.stats().single == 40
    pairs, pairer = run(regular(30, 20), regular(30, 60), PairerConfig(), 1 / 30)
    assert len(pairs) == 20
    assert pairer.stats().unused == 40


def test_a_stream_that_breaks_ends_and_the_error_comes_after_the_last_pair() -> None:
    def breaking() -> Iterator[Frame]:
        yield from regular(30, 5)
        raise RunError("damaged")

    pairs: list[PairedFrames] = []
    with pytest.raises(RunError, match="damaged"):
        pairs.extend(pair_offline(regular(30, 20), breaking(), PairerConfig()))
    assert [pair.status for pair in pairs] == [PairStatus.PAIRED] * 5 + [PairStatus.SINGLE] * 15


def test_memory_stays_bounded_while_one_stream_starts_late() -> None:
    waiting = 0

    def counted(frames: list[Frame], step: int) -> Iterator[Frame]:
        nonlocal waiting
        for item in frames:
            waiting += step
            yield item

    worst = 0
    visible, thermal = regular(30, 2000), regular(30, 1000, start_s=30.0)
    for _pair in pair_offline(counted(visible, 1), counted(thermal, 0), PairerConfig()):
        waiting -= 1
        worst = max(worst, waiting)
    assert worst <= 3


def test_drops_cost_little_time_error() -> None:
    rng = np.random.default_rng(3)
    visible = [item for item in regular(30, 1800) if rng.random() > 0.01]
    thermal = [item for item in regular(30, 1800, start_s=0.004) if rng.random() > 0.01]
    _, pairer = run(visible, thermal, PairerConfig(tolerance_s=0.04))
    assert pairer.stats().mean_abs_dt_s < 0.005


def test_live_emits_early_when_no_later_frame_can_be_nearer() -> None:
    pairer = Pairer(PairerConfig(max_wait_s=1.0))
    for index in range(10):
        pairer.push("thermal", frame(index, index / 30))
    pairs = pairer.push("visible", frame(0, 9 / 30 + 0.010))
    assert [pair.thermal.index for pair in pairs if pair.thermal] == [9]
    assert pairer.push("visible", frame(1, 9 / 30 + 0.020)) == []
    assert len(pairer.advance(9 / 30 + 1.1)) == 1


def test_hold_passes_on_alone_once_too_old() -> None:
    config = PairerConfig(tolerance_s=0.01, on_unpaired="hold", hold_s=0.2)
    pairs, _ = run(regular(10, 6), regular(10, 1), config)
    statuses = [str(pair.status) for pair in pairs]
    assert statuses == ["paired", "held", "held", "single", "single", "single"]


def test_the_other_stream_takes_over_when_the_reference_is_gone() -> None:
    pairer = Pairer(PairerConfig(max_wait_s=0.05, takeover_s=0.5))
    assert pairer.push("thermal", frame(0, 0.0)) == []
    assert pairer.push("visible", frame(0, 0.0))
    assert pairer.push("thermal", frame(1, 0.3)) == []
    pairs = pairer.push("thermal", frame(2, 0.6))
    assert [pair.visible for pair in pairs] == [None, None]
    assert [pair.status for pair in pairs] == [PairStatus.SINGLE] * 2
    assert pairer.push("visible", frame(1, 0.7)) == []
    assert pairer.push("thermal", frame(3, 0.7))[0].status is PairStatus.PAIRED
    assert pairer.end("visible") == []
    assert pairer.push("thermal", frame(4, 0.8))[0].visible is None


def test_thermal_as_reference() -> None:
    pairs, _ = run(regular(30, 30), regular(10, 10), PairerConfig(reference="thermal"), 1 / 10)
    assert len(pairs) == 10
    assert all(pair.visible is not None for pair in pairs)


def test_frames_out_of_order_are_counted_and_a_new_epoch_may_start_earlier() -> None:
    pairer = Pairer(PairerConfig(tolerance_s=0.01))
    pairer.push("thermal", frame(0, 1.0))
    pairer.push("thermal", frame(1, 0.9))
    assert pairer.stats().out_of_order == 1
    pairer.push("thermal", frame(2, 0.5, epoch=1))
    pairs = pairer.push("visible", frame(0, 0.5))
    assert [pair.thermal.index for pair in pairs if pair.thermal] == [2]


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_numbers_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"pairing\.tolerance_s"):
        PairerConfig(tolerance_s=value)


def test_clock_mapping_follows_drift_under_jitter() -> None:
    rng = np.random.default_rng(1)
    mapper = ClockMapper()
    errors_ms = []
    for index in range(900):
        true_s = 1000 + index / 30
        stamp_s = (true_s - 1000) * (1 + 80e-6)
        arrival_s = true_s + 0.005 + rng.exponential(0.02)
        errors_ms.append(1000 * (mapper.map(stamp_s, arrival_s) - true_s - 0.005))
    assert np.abs(errors_ms[450:]).max() < 1.0
    assert np.median(np.abs(errors_ms[450:])) < 0.3


def test_clock_mapping_rises_and_can_be_reset() -> None:
    mapper = ClockMapper(offset_s=0.5)
    mapped = [mapper.map(stamp_s, 100 + stamp_s) for stamp_s in (0.0, 0.1, 0.2)]
    assert mapped == pytest.approx([100.5, 100.6, 100.7])
    mapper.reset()
    assert mapper.map(0.0, 103.0) == pytest.approx(103.5)
