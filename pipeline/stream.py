"""The stream loop: takes pairs, fuses, tracks, hands the results to the sinks.

Three threads with bounded queues between them: one reads and pairs, the caller's fuses and tracks, one draws and
writes. Each ends when a neighbour fails, and what was processed before is still written.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.fuser import Fuser
from pipeline.degrade import DegradePolicy, DegradingFuser
from pipeline.frames import FramePair, StreamResult
from pipeline.handover import Handover, HandoverClosed
from pipeline.progress import Progress
from pipeline.sinks import Sink
from pipeline.sinks.summary import RunStatistics
from trackers.box import Box
from trackers.state import Modality, Tracker, TrackState

# Long enough to even out slow pictures, short enough to hold few of them in memory. Live it holds what comes at once:
# with a thermal camera of 9 Hz, visible pictures wait for the thermal one that shows which is nearest.
_PAIRS_AHEAD = 3
# A live pair that has waited longer gives way to a newer one: so a burst is used whole and delay never grows.
_LIVE_WAIT_S = 0.05
_RESULTS_BEHIND = 4
_READER_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Read:
    """A pair with the duration of its reading and the moment it was ready (``time.perf_counter``)."""

    pair: FramePair
    decode_ms: float
    ready_s: float


class PairProcessor:
    """Fuses and tracks one pair after another; knows the targets.

    Args:
        fuser: makes the fused picture, or None to show the picture the tracker looks at.
        tracker: follows the targets, or None.
        boxes: the targets in the first pair, numbered from 1, in pixels of the visible picture.
        modality: which picture is shown when ``fuser`` is None.
        policy: says how far to degrade a `DegradingFuser`; None never does.
        side_by_side: track in a thread of its own while fusing, for neither needs the other; the results are the same.
    """

    def __init__(
        self,
        *,
        fuser: Fuser | None,
        tracker: Tracker | None,
        boxes: Sequence[Box] = (),
        modality: Modality = Modality.FUSED,
        policy: DegradePolicy | None = None,
        side_by_side: bool = False,
    ) -> None:
        self._fuser = fuser
        self._tracker = tracker
        self._boxes = tuple(boxes)
        self._modality = modality
        self._policy = policy
        self._states: dict[int, TrackState] = {}
        self._started = False
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="track") if side_by_side and tracker else None

    def process(self, pair: FramePair, decode_ms: float = 0.0, dropped: int = 0) -> StreamResult:
        """Fuse and track one pair.

        Raises:
            InputError: in the first pair, a box does not lie in the picture.
        """
        tracking = None if self._beside is None else self._beside.submit(self._track, pair)
        begin_s = time.perf_counter()
        try:
            fused_bgr = self._fuse(pair)
        finally:
            # Also where fusing fails: nothing may go on in the background.
            fuse_ms = (time.perf_counter() - begin_s) * 1e3
            track_ms = self._track(pair) if tracking is None else tracking.result()
        stage_ms = {"decode": decode_ms, "fuse": fuse_ms, "track": track_ms}
        return StreamResult(
            pair=pair,
            fused_bgr=fused_bgr,
            states=dict(self._states),
            stage_ms=stage_ms,
            dropped=dropped,
            level=self._fuser.level if isinstance(self._fuser, DegradingFuser) else 0,
        )

    def wait_while_paused(self) -> None:
        """Return at once: this one is never paused."""

    def keep_pace(self, now_s: float, *, dropped: int, latency_s: float) -> None:
        """Say how the run keeps up, after each result: the next pair may be fused more cheaply, or as asked again.

        Args:
            now_s: the time on any clock that does not jump.
            dropped: pairs dropped since the run began.
            latency_s: time from the reading of the pair to its result.
        """
        if self._policy is not None and isinstance(self._fuser, DegradingFuser):
            self._fuser.level = self._policy.observe(
                now_s, dropped=dropped, latency_s=latency_s, deepest=self._fuser.deepest
            )

    def _fuse(self, pair: FramePair) -> NDArray[np.uint8]:
        thermal_only = pair.missing == "visible" or (self._fuser is None and self._modality is Modality.IR)
        if thermal_only and pair.missing != "thermal":
            return np.asarray(cv2.cvtColor(pair.thermal, cv2.COLOR_GRAY2BGR), np.uint8)
        if self._fuser is None or pair.missing == "thermal":
            return pair.visible_bgr
        return self._fuser(pair.visible_bgr, pair.thermal)

    def _track(self, pair: FramePair) -> float:
        """Follow the targets; returns the time it took, in milliseconds."""
        begin_s = time.perf_counter()
        if self._tracker is not None:
            self._follow(self._tracker, pair)
        return (time.perf_counter() - begin_s) * 1e3

    def _follow(self, tracker: Tracker, pair: FramePair) -> None:
        if not self._started:
            height, width = pair.visible_bgr.shape[:2]
            for number, box in enumerate(self._boxes, start=1):
                check_box(box, width, height)
                self._states[number] = tracker.init(pair, box)
            self._started = True
        elif self._states:
            updated = tracker.update_all(list(self._states.values()), pair)
            targets = list(self._states)
            self._states = {
                target: replace(state, near=tuple(targets[other] for other in state.near)) if state.near else state
                for target, state in zip(targets, updated, strict=True)
            }


def check_box(box: Box, width: int, height: int) -> None:
    """Refuse a target that no tracker could start on.

    Raises:
        InputError: the box is smaller than a pixel, or its centre lies outside the picture.
    """
    shown = ",".join(f"{value:g}" for value in box.as_tuple())
    if box.w < 1 or box.h < 1:
        raise InputError(f"--box {shown}: a target needs at least 1 x 1 pixel; give x,y,width,height")
    x, y = box.center_xy
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            f"--box {shown}: its centre lies outside the {width} x {height} picture; "
            "give x,y,width,height in pixels of the visible picture"
        )


def run_stream(
    pairs: Iterable[FramePair],
    processor: PairProcessor,
    sinks: Sequence[Sink],
    *,
    statistics: RunStatistics,
    stop: threading.Event,
    progress: Progress,
    live: bool = False,
    max_pairs: int | None = None,
    read_ms: Callable[[], float] | None = None,
) -> None:
    """Carry every pair through ``processor`` to ``sinks`` until the pairs end or ``stop`` is set.

    Args:
        pairs: read in a thread of their own; closed at the end where they have ``close``.
        processor: called in the caller's thread.
        sinks: written in one further thread, in order; closing them is left to the caller.
        statistics: filled as results are written, so it is right after an error too.
        stop: ends the run after the pair in hand.
        progress: counts written results.
        live: pairs that came together are all taken; of pairs that have waited, only the newest, and the others are
            dropped and counted.
        max_pairs: end after so many results; None goes on to the end.
        read_ms: how long the newest pair took to read, without waiting for a camera, in milliseconds; None
            measures the time until it came.

    Raises:
        InputError, RunError, OSError: of reading, processing or writing; every result before it is written.
    """
    incoming: Handover[_Read] = Handover(_PAIRS_AHEAD, latest_wins=live, is_stale=_has_waited if live else None)
    outgoing: Handover[tuple[StreamResult, float]] = Handover(_RESULTS_BEHIND)
    reader = threading.Thread(target=_read_pairs, args=(pairs, incoming, read_ms), name="pairs", daemon=True)
    writer = threading.Thread(
        target=_write_results, args=(outgoing, sinks, statistics, progress), name="results", daemon=True
    )
    reader.start()
    writer.start()
    done = 0
    try:
        while done != max_pairs:
            # Before a pair is taken: in a pause the newest one goes on replacing the one that waits.
            processor.wait_while_paused()
            read = incoming.get(stop)
            if read is None:
                break
            result = processor.process(read.pair, read.decode_ms, incoming.dropped)
            outgoing.put((result, read.ready_s))
            done += 1
            now_s = time.perf_counter()
            processor.keep_pace(now_s, dropped=incoming.dropped, latency_s=now_s - read.ready_s)
    finally:
        statistics.dropped = incoming.dropped
        incoming.close()
        outgoing.finish()
        writer.join()
        # A read that blocks in a driver cannot be ended from here; the thread is a daemon and does not hold the exit.
        reader.join(_READER_GRACE_S)
    outgoing.raise_receiver_error()


def _has_waited(read: _Read) -> bool:
    return time.perf_counter() - read.ready_s > _LIVE_WAIT_S


def in_real_time(pairs: Iterable[FramePair]) -> Iterator[FramePair]:
    """Recorded pairs, each not before its time, as if they came from cameras."""
    begin_s = time.monotonic()
    for pair in pairs:
        time.sleep(max(0.0, begin_s + pair.time_s - time.monotonic()))
        yield pair


def _read_pairs(pairs: Iterable[FramePair], outgoing: Handover[_Read], read_ms: Callable[[], float] | None) -> None:
    iterator = iter(pairs)
    failure: BaseException | None = None
    try:
        while True:
            begin_s = time.perf_counter()
            pair = next(iterator, None)
            ready_s = time.perf_counter()
            if pair is None:
                break
            decode_ms = (ready_s - begin_s) * 1e3 if read_ms is None else read_ms()
            outgoing.put(_Read(pair, decode_ms, ready_s))
    except HandoverClosed:
        pass
    except BaseException as error:  # raised again in the thread that waits for the pairs
        failure = error
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        outgoing.finish(failure)


def _write_results(
    incoming: Handover[tuple[StreamResult, float]],
    sinks: Sequence[Sink],
    statistics: RunStatistics,
    progress: Progress,
) -> None:
    try:
        for result, ready_s in incoming.drain():
            begin_s = time.perf_counter()
            for sink in sinks:
                sink.write(result)
            end_s = time.perf_counter()
            statistics.add(result, (end_s - ready_s) * 1e3)
            statistics.add_stage("record", (end_s - begin_s) * 1e3)
            progress.step()
    except BaseException as error:  # raised again in the thread that makes the results
        incoming.close(error)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets, so that a run ends between two pairs; the second one raises
    ``KeyboardInterrupt`` at once. Outside the main thread signals are left alone."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
