"""Running a tracker over a sequence: reset-based, one-pass, and against the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fusion.errors import InputError
from trackers.box import Box
from trackers.evaluation.dataset import VideoSequence
from trackers.evaluation.eao import SKIP_FRAMES
from trackers.evaluation.frames import FrameSource
from trackers.evaluation.overlap import overlaps
from trackers.evaluation.regions import InitialBox, initial_box, regions_from_rows
from trackers.evaluation.results import Code, format_line
from trackers.state import Tracker, TrackState

RunKind = Literal["resets", "one-pass"]

# Runs that must agree before a tracker counts as deterministic, and the most runs over one sequence.
IDENTICAL_RUNS = 3
MOST_REPETITIONS = 15

# Digits behind the point in result files; overlaps are taken of what is written.
_DIGITS = 4

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How trackers are run.

    Attributes:
        kind: reset-based (started anew 5 frames after each complete loss) or one-pass.
        start: the box given for a polygon: of equal area (``area``), or its min/max box (``hull``).
        realtime_fps: frames that arrive while the tracker is busy are skipped at this rate; None waits for it.
        repetitions: most runs over one sequence; three equal ones end it earlier.
    """

    kind: RunKind = "resets"
    start: InitialBox = "area"
    realtime_fps: float | None = None
    repetitions: int = MOST_REPETITIONS

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise InputError(f"--repetitions must be at least 1, not {self.repetitions}")
        if self.realtime_fps is not None and not 0 < self.realtime_fps < float("inf"):
            raise InputError(f"--realtime needs frames per second above 0, not {self.realtime_fps}")


@dataclass(slots=True)
class Run:
    """What one run left: a result line and the seconds the tracker took, for each frame."""

    lines: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, line: Sequence[float] | Code, seconds: float = 0.0) -> None:
        """Append one frame."""
        self.lines.append(format_line(line))
        self.seconds.append(seconds)

    @property
    def text(self) -> str:
        """The run as a result file has it."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def failures(self) -> int:
        """How often the target was lost."""
        return self.lines.count(format_line(Code.FAILURE))


class _Clocked:
    """A tracker at work on one target, with the time it takes, and what a viewer would have of it in real time."""

    def __init__(self, tracker: Tracker, realtime_fps: float | None, clock: Clock) -> None:
        self._tracker = tracker
        self._step_s = None if realtime_fps is None else 1.0 / realtime_fps
        self._clock = clock
        self._state: TrackState | None = None
        self._shown: Box | None = None
        self._arrival_s = 0.0
        self._free_s = 0.0

    def start(self, frames: FrameSource, index: int, box: Box) -> float:
        pair = frames[index]
        begin = self._clock()
        self._state = self._tracker.init(pair, box)
        seconds = self._clock() - begin
        self._shown = box
        # Arrival times count from the start; the initialisation is given all the time it needs.
        self._arrival_s = self._free_s = 0.0
        return seconds

    def step(self, frames: FrameSource, index: int) -> tuple[Box, float]:
        assert self._state is not None
        assert self._shown is not None
        if self._step_s is None:
            pair = frames[index]
            begin = self._clock()
            self._state = self._tracker.update(self._state, pair)
            return self._state.box, self._clock() - begin
        self._arrival_s += self._step_s
        if self._free_s > self._arrival_s:
            # Still busy with an earlier frame: this one is never seen.
            if self._free_s <= self._arrival_s + self._step_s:
                self._shown = self._state.box
            return self._shown, 0.0
        self._shown = self._state.box
        pair = frames[index]
        begin = self._clock()
        self._state = self._tracker.update(self._state, pair)
        seconds = self._clock() - begin
        self._free_s = self._arrival_s + seconds
        if self._free_s <= self._arrival_s + self._step_s:
            self._shown = self._state.box
        return self._shown, seconds


def run_sequence(
    tracker: Tracker,
    frames: FrameSource,
    sequence: VideoSequence,
    options: RunOptions,
    *,
    clock: Clock = time.perf_counter,
    before_frame: Callable[[], None] = lambda: None,
) -> Run:
    """Run a tracker once over a sequence of N frames.

    Reset-based: the tracker starts on the ground truth of the first frame; when its region has no overlap with the
    ground truth (raster of vot-toolkit 0.7.4), the frame is a failure, 4 frames are skipped, and it starts afresh on
    the next. Source: Kristan et al., VOT challenges 2015 to 2019 (supervised experiment).

    Args:
        tracker: holds no target; is started anew at every reset.
        frames: the pictures.
        sequence: the ground truth.
        options: how to run.
        clock: seconds, for the time a tracker takes.
        before_frame: called before each frame; may raise to give up.

    Raises:
        InputError: a picture or a box to start with is unusable.
    """
    run = Run()
    worker = _Clocked(tracker, options.realtime_fps, clock)
    index, length = 0, len(sequence)
    while index < length:
        before_frame()
        box = initial_box(sequence.groundtruth.row(index), options.start)
        run.add(Code.START, worker.start(frames, index, box))
        index += 1
        while index < length:
            before_frame()
            found, seconds = worker.step(frames, index)
            region = tuple(round(value, _DIGITS) for value in found.as_tuple())
            if options.kind == "resets" and _lost(region, sequence, index):
                run.add(Code.FAILURE, seconds)
                skipped = min(SKIP_FRAMES - 1, length - index - 1)
                for _ in range(skipped):
                    run.add(Code.UNKNOWN)
                index += SKIP_FRAMES
                break
            run.add(region, seconds)
            index += 1
    return run


def _lost(region: Sequence[float], sequence: VideoSequence, index: int) -> bool:
    truth = sequence.groundtruth.row(index)
    size_wh = sequence.width, sequence.height
    if len(truth) == 4 and surely_overlap(region, truth, size_wh):
        return False
    overlap = overlaps(regions_from_rows([region]), regions_from_rows([truth]), bounds_wh=size_wh, rule="toolkit")
    return bool(overlap[0] <= 0)


def surely_overlap(first: Sequence[float], second: Sequence[float], size_wh: tuple[int, int]) -> bool:
    """Whether two rectangles share at least 2 x 2 pixels of the picture by exact edges.

    Then they share a pixel of the toolkit's raster too: rounding moves a left or upper edge by at most half a pixel and
    a right or lower one by at most one. This spares nearly every frame the raster.
    """
    return all(
        min(first[k] + first[k + 2], second[k] + second[k + 2], size_wh[k]) - max(first[k], second[k], 0.0) >= 2.0
        for k in (0, 1)
    )


def runs_suffice(runs: Sequence[str], options: RunOptions) -> bool:
    """Whether the result texts so far are all that is needed: as many as asked for, or the first three equal."""
    if options.kind == "one-pass":
        return len(runs) >= 1
    if len(runs) >= options.repetitions:
        return True
    return len(runs) >= IDENTICAL_RUNS and len(set(runs[:IDENTICAL_RUNS])) == 1
