from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from fusion.errors import InputError, RunError
from pipeline.frames import FramePair, StreamResult
from pipeline.handover import Handover, HandoverClosed
from pipeline.progress import Progress
from pipeline.sinks import Sink
from pipeline.sinks.summary import RunStatistics
from pipeline.stream import PairProcessor, run_stream
from tests.pipeline.doubles import Collector, IdentityTracker, make_pair, make_pairs
from trackers.box import Box
from trackers.state import ImagePair, Modality, TrackState


def run(
    pairs: Iterator[FramePair],
    processor: PairProcessor,
    *sinks: Sink,
    stop: threading.Event | None = None,
    live: bool = False,
) -> RunStatistics:
    statistics = RunStatistics()
    run_stream(
        pairs,
        processor,
        sinks,
        statistics=statistics,
        stop=stop or threading.Event(),
        progress=Progress("pairs", quiet=True),
        live=live,
    )
    return statistics


def mean_fuser(visible_bgr: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    return ((visible_bgr.astype(np.uint16) + thermal[..., None]) // 2).astype(np.uint8)


def processor(*boxes: Box, fail_at: int | None = None, side_by_side: bool = False) -> PairProcessor:
    class Fuser:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, visible_bgr: np.ndarray, thermal: np.ndarray) -> np.ndarray:
            self.calls += 1
            if fail_at is not None and self.calls > fail_at:
                raise RunError("the fuser broke")
            return mean_fuser(visible_bgr, thermal)

        def reset(self) -> None:
            pass

    return PairProcessor(fuser=Fuser(), tracker=IdentityTracker(), boxes=boxes, side_by_side=side_by_side)


def test_every_pair_arrives_in_order_with_its_targets() -> None:
    sink = Collector()
    boxes = (Box(1, 2, 10, 12), Box(20, 20, 8, 8))
    statistics = run(make_pairs(50), processor(*boxes), sink)
    assert [result.pair.index for result in sink.results] == list(range(50))
    assert all([result.states[1].box, result.states[2].box] == list(boxes) for result in sink.results)
    assert all(set(result.stage_ms) == {"decode", "fuse", "track"} for result in sink.results)
    assert statistics.pairs == len(statistics.latency_ms) == len(statistics.stage_ms["record"]) == 50
    expected = mean_fuser(sink.results[7].pair.visible_bgr, sink.results[7].pair.thermal)
    assert np.array_equal(sink.results[7].fused_bgr, expected)


@pytest.mark.parametrize(
    "box", [Box(60, 10, 20, 20), Box(-30, 0, 20, 20), Box(5, 5, 0, 10), Box(5, 47.9, 5, 30), Box(0, 0, 0.5, 5)]
)
def test_a_box_out_of_the_picture_is_refused_by_name(box: Box) -> None:
    with pytest.raises(InputError, match="--box"):
        run(make_pairs(3), processor(box))


def test_a_failing_reader_loses_nothing_read_before() -> None:
    def pairs() -> Iterator[FramePair]:
        yield from make_pairs(7)
        raise RunError("the file is damaged")

    sink = Collector()
    with pytest.raises(RunError, match="damaged"):
        run(pairs(), processor(), sink)
    assert len(sink.results) == 7


def test_a_failing_processor_ends_the_reader_and_keeps_the_results() -> None:
    closed = threading.Event()

    def pairs() -> Iterator[FramePair]:
        try:
            yield from make_pairs(10_000)
        finally:
            closed.set()

    sink = Collector()
    with pytest.raises(RunError, match="fuser broke"):
        run(pairs(), processor(fail_at=5), sink)
    assert len(sink.results) == 5
    assert closed.is_set()


def test_a_failing_sink_ends_the_run() -> None:
    sink = Collector(fail_at=5)
    with pytest.raises(OSError, match="No space"):
        run(make_pairs(10_000), processor(), sink)
    assert len(sink.results) == 5


def test_a_sink_that_fails_on_the_last_pair_is_not_overlooked() -> None:
    with pytest.raises(OSError, match="No space"):
        run(make_pairs(6), processor(), Collector(fail_at=5))


def test_stop_ends_between_two_pairs() -> None:
    stop = threading.Event()

    class Stopper(Collector):
        def write(self, result: StreamResult) -> None:
            super().write(result)
            if result.pair.index == 4:
                stop.set()

    sink = Stopper()
    run(make_pairs(100_000), processor(), sink, stop=stop)
    assert 5 <= len(sink.results) < 40
    assert [result.pair.index for result in sink.results] == list(range(len(sink.results)))


def test_stop_ends_a_reader_that_waits_for_a_camera() -> None:
    stop = threading.Event()
    release = threading.Event()

    def pairs() -> Iterator[FramePair]:
        yield make_pair(0)
        stop.set()
        release.wait(20)

    sink = Collector()
    threading.Timer(0.5, release.set).start()
    run(pairs(), processor(), sink, stop=stop)
    assert len(sink.results) <= 1


def test_live_drops_what_waits_and_counts_it() -> None:
    produced = threading.Event()

    class Slow(Collector):
        def write(self, result: StreamResult) -> None:
            produced.wait(10)
            super().write(result)

    def pairs() -> Iterator[FramePair]:
        yield from make_pairs(200)
        produced.set()

    sink = Slow()
    run(pairs(), processor(), sink, live=True)
    assert len(sink.results) < 200
    assert sink.results[-1].pair.index == 199
    assert sink.results[-1].dropped == 200 - len(sink.results)


@pytest.mark.parametrize(
    ("missing", "modality", "shown"),
    [
        (None, Modality.FUSED, "visible"),
        (None, Modality.IR, "thermal"),
        ("visible", Modality.FUSED, "thermal"),
        ("thermal", Modality.IR, "visible"),
    ],
)
def test_without_fuser_the_picture_at_hand_is_shown(missing: str | None, modality: Modality, shown: str) -> None:
    pair = make_pair(0)
    pair = FramePair(
        index=0,
        time_s=0.0,
        dt_s=0.0,
        visible_bgr=pair.visible_bgr,
        thermal=pair.thermal,
        missing=missing,
    )
    result = PairProcessor(fuser=None, tracker=None, modality=modality).process(pair)
    expected = pair.visible_bgr if shown == "visible" else np.repeat(pair.thermal[..., None], 3, axis=2)
    assert np.array_equal(result.fused_bgr, expected)


def test_a_closed_handover_wakes_its_sender() -> None:
    handover: Handover[int] = Handover(1)
    handover.put(1)
    threading.Timer(0.05, handover.close).start()
    with pytest.raises(HandoverClosed):
        handover.put(2)


def test_latest_wins_keeps_the_newest() -> None:
    handover: Handover[int] = Handover(1, latest_wins=True)
    for number in range(5):
        handover.put(number)
    handover.finish()
    assert list(handover.drain()) == [4]
    assert handover.dropped == 4


def test_a_stale_item_gives_way_to_a_newer_one_but_a_burst_is_kept() -> None:
    handover: Handover[int] = Handover(3, latest_wins=True, is_stale=lambda number: number < 3)
    for number in (1, 2, 3, 4):
        handover.put(number)
    handover.finish()
    assert list(handover.drain()) == [3, 4]
    assert handover.dropped == 2
    alone: Handover[int] = Handover(3, latest_wins=True, is_stale=lambda number: True)
    alone.put(1)
    alone.finish()
    assert list(alone.drain()) == [1]


@pytest.mark.parametrize(
    ("longest_wait_s", "taken"), [(-1.0, [0, 49]), (3600.0, [0, 47, 48, 49])], ids=["waited", "burst"]
)
def test_the_pairs_after_a_pause_are_the_newest(
    monkeypatch: pytest.MonkeyPatch, longest_wait_s: float, taken: list[int]
) -> None:
    """While a run is paused its reader goes on, and what waits is replaced by what is newer."""
    monkeypatch.setattr("pipeline.stream._LIVE_WAIT_S", longest_wait_s)
    read_on, paused = threading.Event(), threading.Event()

    class Pausing(PairProcessor):
        done = 0

        def wait_while_paused(self) -> None:
            if self.done == 1:
                paused.set()
                read_on.wait(20)

        def process(self, pair: FramePair, decode_ms: float = 0.0, dropped: int = 0) -> StreamResult:
            self.done += 1
            return super().process(pair, decode_ms, dropped)

    def pairs() -> Iterator[FramePair]:
        yield make_pair(0)
        paused.wait(20)
        yield from (make_pair(index) for index in range(1, 50))
        read_on.set()

    sink = Collector()
    statistics = run(pairs(), Pausing(fuser=None, tracker=None), sink, live=True)
    assert [result.pair.index for result in sink.results] == taken
    assert statistics.dropped == 50 - len(taken)


def test_side_by_side_tracks_while_it_fuses_with_the_same_results() -> None:
    # Each waits for the other to have begun: one after the other they would never get past this.
    meeting = threading.Barrier(2, timeout=20)

    class MeetingFuser:
        def __call__(self, visible_bgr: np.ndarray, thermal: np.ndarray) -> np.ndarray:
            meeting.wait()
            return mean_fuser(visible_bgr, thermal)

        def reset(self) -> None: ...

    class MeetingTracker(IdentityTracker):
        def init(self, pair: ImagePair, box: Box) -> TrackState:
            meeting.wait()
            return super().init(pair, box)

        def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
            meeting.wait()
            return super().update_all(states, pair)

    boxes = (Box(1, 2, 10, 12),)
    beside = PairProcessor(fuser=MeetingFuser(), tracker=MeetingTracker(), boxes=boxes, side_by_side=True)
    together = [beside.process(pair) for pair in make_pairs(5)]
    alone = processor(*boxes)
    for result, pair in zip(together, make_pairs(5), strict=True):
        expected = alone.process(pair)
        assert np.array_equal(result.fused_bgr, expected.fused_bgr)
        assert result.states == expected.states
        assert set(result.stage_ms) == {"decode", "fuse", "track"}


def test_side_by_side_a_failure_of_either_comes_out() -> None:
    with pytest.raises(InputError, match="--box"):
        processor(Box(900, 1, 5, 5), side_by_side=True).process(make_pair(0))
    with pytest.raises(RunError, match="fuser broke"):
        processor(fail_at=0, side_by_side=True).process(make_pair(0))
