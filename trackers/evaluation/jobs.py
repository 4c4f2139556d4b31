"""One job of an evaluation: all runs of one tracker over one sequence, written as they end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusion.whole_files import written_whole
from trackers.evaluation.dataset import VideoSequence
from trackers.evaluation.frames import SequenceFrames
from trackers.evaluation.protocol import Run, RunOptions, run_sequence, runs_suffice
from trackers.evaluation.results import find_repetitions, result_file
from trackers.evaluation.specs import TrackerSpec
from trackers.state import Tracker

Builder = Callable[[TrackerSpec], Tracker]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A tracker and a sequence."""

    spec: TrackerSpec
    sequence: VideoSequence

    def __str__(self) -> str:
        return f"{self.spec.name} on {self.sequence.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """What a job did: runs made now, frames tracked, seconds in the tracker and in all, failures of the last run."""

    runs: int
    frames: int
    tracker_s: float
    total_s: float
    failures: int


def is_done(results: Path, job: Job, options: RunOptions) -> bool:
    """Whether the result files that are there are all that is needed."""
    return runs_suffice(read_runs(results, job), options)


def read_runs(results: Path, job: Job) -> list[str]:
    """Texts of the runs that are there, by repetition."""
    paths = find_repetitions(results, job.spec.name, job.sequence.name)
    return [path.read_text(encoding="utf-8") for path in paths]


def do_job(
    job: Job,
    tracker: Tracker,
    results: Path,
    options: RunOptions,
    *,
    before_frame: Callable[[], None] = lambda: None,
) -> JobReport:
    """Make the runs that are missing; each is written as soon as it ends.

    Raises:
        InputError: a picture or a box to start with is unusable.
    """
    begin = time.perf_counter()
    texts = read_runs(results, job)
    frames = SequenceFrames(job.sequence, job.spec.modality)
    runs = 0
    tracker_s = 0.0
    run = Run()
    while not runs_suffice(texts, options):
        run = run_sequence(tracker, frames, job.sequence, options, before_frame=before_frame)
        texts.append(write_run(results, job, len(texts) + 1, run))
        tracker_s += sum(run.seconds)
        runs += 1
    return JobReport(
        runs=runs,
        frames=runs * len(job.sequence),
        tracker_s=tracker_s,
        total_s=time.perf_counter() - begin,
        failures=run.failures,
    )


def write_run(results: Path, job: Job, repetition: int, run: Run) -> str:
    """Write a finished run in one step, its times first; returns the text of the result file."""
    path = result_file(results, job.spec.name, job.sequence.name, repetition)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = run.text
    times = path.with_name(f"{path.stem}_time.value")
    times.write_text("".join(f"{seconds:.6f}\n" for seconds in run.seconds), encoding="utf-8")
    with written_whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return text
