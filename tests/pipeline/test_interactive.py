"""Steering a run: targets from the past, the shelf they start from, and the lines they are written into."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.control import AddTarget, RemoveTarget, RunControl, RunEvent, RunState, SetPaused, SetRecording
from pipeline.frames import FramePair, StreamResult
from pipeline.interactive import InteractiveProcessor
from pipeline.shelf import PairShelf, ShelfConfig
from pipeline.sinks.results import ResultsWriter
from tests.pipeline.doubles import IdentityTracker, make_pair
from trackers.box import Box
from trackers.state import ImagePair, TrackState, TrackStatus


class CountingTracker(IdentityTracker):
    """Moves every box one pixel to the right on each pair it sees, and notes which those are."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        assert isinstance(pair, FramePair)
        self.seen.append(pair.index)
        box = state.box
        return TrackState(
            box=Box(box.x + 1, box.y, box.w, box.h), score=1.0, status=TrackStatus.TRACKING, template=None
        )

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        return [self.update(state, pair) for state in states]


class Witness:
    def __init__(self) -> None:
        self.results: list[StreamResult] = []
        self.events: list[RunEvent] = []

    def publish(self, result: StreamResult) -> None:
        self.results.append(result)

    def announce(self, event: RunEvent) -> None:
        self.events.append(event)


class Bench:
    def __init__(self, tracker: Any = None, **shelf: Any) -> None:
        self.control = RunControl(RunState(methods=("average",)))
        self.witness = Witness()
        self.control.add_observer(self.witness)
        self.shelf = PairShelf(ShelfConfig(**shelf))
        self.stop = threading.Event()
        self.processor = InteractiveProcessor(
            fuser=None, tracker=tracker, control=self.control, shelf=self.shelf, stop=self.stop
        )

    def run(self, *indices: int) -> list[StreamResult]:
        return [self.processor.process(make_pair(index)) for index in indices]

    def refusals(self) -> list[str]:
        return [event.text for event in self.witness.events if event.kind == "refused"]


def test_a_target_is_followed_from_its_frame_to_now() -> None:
    tracker = CountingTracker()
    bench = Bench(tracker)
    bench.run(*range(6))
    bench.control.post(AddTarget(frame=2, box=Box(10, 10, 8, 8)))
    (result,) = bench.run(6)
    assert tracker.seen == [3, 4, 5, 6]
    assert result.states[1].box.x == 14
    assert {index: states[1].box.x for index, states in result.backdated.items()} == {2: 10, 3: 11, 4: 12, 5: 13}
    (after,) = bench.run(7)
    assert not after.backdated


def test_catching_up_is_bounded() -> None:
    tracker = CountingTracker()
    bench = Bench(tracker, pairs=100, held_pairs=100)
    bench.run(*range(60))
    bench.control.post(AddTarget(frame=0, box=Box(10, 10, 8, 8)))
    bench.run(60)
    assert len(tracker.seen) == 13
    assert tracker.seen[-2:] == [59, 60]


def test_what_cannot_be_done_is_refused_and_the_run_goes_on() -> None:
    bench = Bench(IdentityTracker(), pairs=2)
    bench.run(0, 1, 2, 3)
    for command in (
        AddTarget(frame=0, box=Box(1, 1, 9, 9)),
        AddTarget(frame=3, box=Box(500, 1, 9, 9)),
        AddTarget(frame=3, box=Box(5, 5, 0.2, 9)),
        RemoveTarget(7),
        SetRecording(True),
    ):
        bench.control.post(command)
    bench.run(4)
    assert len(bench.refusals()) == 5
    without_tracker = Bench(None)
    without_tracker.run(0)
    without_tracker.control.post(AddTarget(frame=0, box=Box(1, 1, 9, 9)))
    without_tracker.run(1)
    assert "no tracker" in without_tracker.refusals()[0]


def test_a_pause_ends_with_the_run() -> None:
    bench = Bench()
    bench.control.post(SetPaused(True))
    thread = threading.Thread(target=bench.processor.wait_while_paused)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    bench.stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_the_mailbox_is_bounded() -> None:
    control = RunControl()
    assert sum(control.post(RemoveTarget(1)) for _ in range(1000)) == 64
    assert len(control.take()) == 64
    assert control.take() == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.just(None), st.integers(0, 3)), max_size=80))
def test_the_shelf_keeps_the_newest_what_is_held_and_never_more_than_it_may(steps: list[int | None]) -> None:
    shelf = PairShelf(ShelfConfig(pairs=4, held_pairs=8))
    held: dict[int, int] = {}
    index = -1
    for who in steps:
        if who is None:
            index += 1
            shelf.put(make_pair(index))
        elif who in held:
            shelf.release(who)
            del held[who]
        elif index >= 0:
            assert shelf.hold(who, index)
            held[who] = index
        assert all(shelf.get(number) is not None for number in held.values())
        assert index < 0 or shelf.get(index) is not None
        assert len(shelf) <= 8
    assert not shelf.hold("late", index + 1)


def test_the_shelf_counts_bytes_and_forgets_holds_in_time() -> None:
    size = make_pair(0).visible_bgr.nbytes + make_pair(0).thermal.nbytes
    shelf = PairShelf(ShelfConfig(pairs=100, most_bytes=3 * size, hold_s=0.0))
    shelf.put(make_pair(0))
    assert shelf.hold("someone", 0)
    for index in range(1, 10):
        shelf.put(make_pair(index))
    assert len(shelf) == 3
    assert shelf.get(0) is None


def state(x: float) -> TrackState:
    return TrackState(box=Box(x, 2, 3, 4), score=0.5, status=TrackStatus.TRACKING, template=None)


def result(index: int, **more: Any) -> StreamResult:
    pair = make_pair(index)
    return StreamResult(pair=pair, fused_bgr=pair.visible_bgr, **more)


def test_a_target_from_the_past_is_written_into_the_lines_of_its_pairs(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    writer = ResultsWriter(path)
    for index in range(5):
        writer.write(result(index, states={2: state(index)}))
    before = path.read_text().splitlines()
    backdated = {2: {1: state(10)}, 4: {1: state(12)}}
    writer.write(result(5, states={1: state(13), 2: state(5)}, backdated=backdated))
    writer.write(result(6, states={1: state(14)}, backdated={2: {3: state(20)}, 99: {3: state(21)}}))
    writer.close()
    texts = path.read_text().splitlines()
    lines = [json.loads(text) for text in texts]
    assert [line["index"] for line in lines] == list(range(7))
    assert [[target["id"] for target in line["targets"]] for line in lines] == [
        [2],
        [2],
        [1, 2, 3],
        [2],
        [1, 2],
        [1, 2],
        [1],
    ]
    assert lines[4]["targets"][0]["box"] == [12.0, 2.0, 3.0, 4.0]
    assert [*texts[:2], texts[3]] == [*before[:2], before[3]]


@contextmanager
def files_of_at_most(length: int) -> Iterator[None]:
    """No file of this process can grow beyond ``length`` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("index", [0, 3])
def test_no_room_for_the_amended_lines_leaves_them_as_they_were(tmp_path: Path, index: int) -> None:
    path = tmp_path / "results.jsonl"
    writer = ResultsWriter(path)
    for number in range(4):
        writer.write(result(number))
    before = path.read_bytes()
    with files_of_at_most(len(before) + 20), pytest.raises(OSError, match="too large") as caught:
        writer.write(result(4, backdated={index: {1: state(1)}}))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    # With room again, it goes on.
    writer.write(result(4, backdated={index: {1: state(1)}}))
    writer.close()
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert [line["index"] for line in lines if line["targets"]] == [index]
    assert [line["index"] for line in lines] == list(range(5))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_who_reads_while_lines_are_amended_finds_them_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    writer = ResultsWriter(path)
    for number in range(1000):
        writer.write(result(number))
    opened = path.open("rb")
    read = opened.read(20_000)
    writer.write(result(1000, backdated={5: {1: state(1)}}))
    read += opened.read()
    opened.close()
    writer.close()
    assert [json.loads(line)["index"] for line in read.splitlines()] == list(range(1000))
    assert sum(1 for line in path.read_text().splitlines() if json.loads(line)["targets"]) == 1
