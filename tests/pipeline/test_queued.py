"""Files of a live run, each written in a thread of its own: what a slow, stuck or broken disk costs."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.frames import FramePair, StreamResult
from pipeline.progress import Progress
from pipeline.run_outputs import DroppedPictures, Messages, queued_files
from pipeline.sinks.queued import QueuedSink
from pipeline.sinks.results import ResultRecord, ResultsWriter
from pipeline.sinks.summary import RunStatistics
from pipeline.stream import PairProcessor, run_stream
from pipeline.telemetry import Telemetry
from tests.pipeline.doubles import Collector, make_pair, make_pairs


def test_a_disk_that_stands_still_costs_a_live_run_pictures_of_the_video_and_nothing_else(tmp_path: Path) -> None:
    stuck, release = threading.Event(), threading.Event()

    class StuckVideo(Collector):
        """Takes the first picture and then waits, as a write to a disk that does not answer does."""

        def write(self, result: StreamResult) -> None:
            super().write(result)
            stuck.set()
            release.wait(20)

    class Release(Collector):
        """Sees the last result pass while the disk still stands still."""

        def write(self, result: StreamResult) -> None:
            super().write(result)
            if result.pair.index == 59:
                release.set()

    def pairs() -> Iterator[FramePair]:
        yield make_pair(0)
        stuck.wait(20)
        for index in range(1, 60):
            processed.wait(20)
            processed.clear()
            yield make_pair(index)

    processed = threading.Event()

    class Signalling(PairProcessor):
        def process(self, pair: FramePair, decode_ms: float = 0.0, dropped: int = 0) -> StreamResult:
            result = super().process(pair, decode_ms, dropped)
            processed.set()
            return result

    telemetry = Telemetry()
    statistics = RunStatistics(telemetry=telemetry)
    said: list[str] = []
    video, witness = StuckVideo(), Release()
    results = ResultsWriter(tmp_path / "results.jsonl")
    files = queued_files(video, results, None, statistics, DroppedPictures(statistics, Messages(said.append)))
    with Progress("pairs", quiet=True) as progress:
        run_stream(
            pairs(),
            Signalling(fuser=None, tracker=None),
            [*files, witness],
            statistics=statistics,
            stop=threading.Event(),
            progress=progress,
            live=True,
        )
    for file in files:
        file.close()
        file.close()
    assert len(witness.results) == 60
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(60))
    # The one in hand and the eight newest are kept.
    assert [result.pair.index for result in video.results] == [0, *range(52, 60)]
    assert statistics.recording_dropped == telemetry.snapshot().counters["recording_dropped"] == 51
    assert len(said) == 1
    assert "cannot keep up" in said[0]


def test_a_queued_sink_that_fails_ends_the_run() -> None:
    failed = threading.Event()
    sink = Collector()

    def store(result: StreamResult) -> None:
        if result.pair.index == 3:
            failed.set()
            raise OSError(28, "No space left on device")
        sink.write(result)

    def pairs() -> Iterator[FramePair]:
        yield from make_pairs(4)
        failed.wait(20)
        yield from (make_pair(index) for index in itertools.count(4))

    queued = QueuedSink(lambda result: result, store, sink.close, capacity=8)
    with Progress("pairs", quiet=True) as progress, pytest.raises(OSError, match="No space"):
        run_stream(
            pairs(),
            PairProcessor(fuser=None, tracker=None),
            [queued],
            statistics=RunStatistics(),
            stop=threading.Event(),
            progress=progress,
        )
    with pytest.raises(OSError, match="No space"):
        queued.close()
    assert [result.pair.index for result in sink.results] == [0, 1, 2]


def test_what_waits_is_stored_on_closing() -> None:
    sink = Collector()
    release = threading.Event()

    def store(result: StreamResult) -> None:
        release.wait(20)
        sink.write(result)

    dropped: list[int] = []
    queued = QueuedSink(
        lambda result: result if result.pair.index % 2 else None,
        store,
        sink.close,
        capacity=100,
        on_drop=dropped.append,
    )
    for pair in make_pairs(20):
        queued.write(PairProcessor(fuser=None, tracker=None).process(pair))
    release.set()
    queued.close()
    assert [result.pair.index for result in sink.results] == list(range(1, 20, 2))
    assert dropped == []


def test_lines_of_results_are_never_left_out_in_silence(tmp_path: Path) -> None:
    stuck, release = threading.Event(), threading.Event()

    class StuckResults(ResultsWriter):
        def append(self, record: ResultRecord) -> None:
            stuck.set()
            release.wait(20)
            super().append(record)

    video = Collector()
    files = queued_files(
        video, StuckResults(tmp_path / "results.jsonl"), None, RunStatistics(), lambda count: None, lines_waiting=5
    )
    results = [PairProcessor(fuser=None, tracker=None).process(pair) for pair in make_pairs(7)]
    lines = files[1]
    lines.write(results[0])
    stuck.wait(20)
    for result in results[1:6]:
        lines.write(result)
    with pytest.raises(OSError, match="taken no results"):
        lines.write(results[6])
    release.set()
    for file in files:
        file.close()
