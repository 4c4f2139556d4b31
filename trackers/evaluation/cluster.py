"""Jobs on a Ray cluster (optional extra ``ray``): the same jobs, on machines that see the dataset under the same path.

Every worker process builds a tracker once. Runs come back to this process, which writes them, so a node may die at any
moment: Ray gives its jobs to other nodes, and finished sequences are on disk here.
"""

from __future__ import annotations

import functools
import importlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion.errors import InputError, RunError
from trackers.evaluation.evaluation import Executor
from trackers.evaluation.frames import SequenceFrames
from trackers.evaluation.jobs import Builder, Job, JobReport, read_runs, write_run
from trackers.evaluation.protocol import Run, RunOptions, run_sequence, runs_suffice
from trackers.evaluation.runner import Failure, longest_first
from trackers.evaluation.specs import TrackerSpec, build
from trackers.state import Tracker

# How often a job may lose its node or process before it counts as failed.
_LOSSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    runs: tuple[Run, ...] = ()
    reason: str = ""
    details: str = ""


def ray_executor(address: str, builder: Builder = build) -> Executor:
    """Run jobs on a Ray cluster.

    Args:
        address: of the head node (``host:port``), or ``auto`` for the cluster that runs on this machine.
        builder: makes a tracker; must be importable by name on every node.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise InputError("--ray needs the optional extra: pip install 'rgbt-stream[ray]'") from error

    def execute(
        jobs: Sequence[Job], results: Path, options: RunOptions, done: Callable[[Job, JobReport], None]
    ) -> list[Failure]:
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=False,
                runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--ray {address}: no cluster answers there ({error})") from error
        try:
            return _run_on_cluster(ray, jobs, results, options, builder, done)
        finally:
            ray.shutdown()

    return execute


def _run_on_cluster(
    ray: Any,
    jobs: Sequence[Job],
    results: Path,
    options: RunOptions,
    builder: Builder,
    done: Callable[[Job, JobReport], None],
) -> list[Failure]:
    # A worker process with one core per job; a lost node is no fault of the job.
    remote = ray.remote(num_cpus=1, max_retries=_LOSSES)(_run_remotely)
    waiting = {}
    for job in longest_first(jobs):
        waiting[remote.remote(job, options, tuple(read_runs(results, job)), builder)] = job
    failures = []
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1)
        job = waiting.pop(ready[0])
        try:
            answer: _Answer = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            failures.append(Failure(job=job, reason=f"it was lost {_LOSSES + 1} times ({type(error).__name__})"))
            continue
        if answer.reason:
            failures.append(Failure(job=job, reason=answer.reason, details=answer.details))
            continue
        first = len(read_runs(results, job)) + 1
        for number, run in enumerate(answer.runs, start=first):
            write_run(results, job, number, run)
        seconds = sum(sum(run.seconds) for run in answer.runs)
        done(
            job,
            JobReport(
                runs=len(answer.runs),
                frames=len(answer.runs) * len(job.sequence),
                tracker_s=seconds,
                total_s=seconds,
                failures=answer.runs[-1].failures if answer.runs else 0,
            ),
        )
    return failures


@functools.lru_cache(maxsize=8)
def _built(builder: Builder, spec: TrackerSpec) -> Tracker:
    """The tracker of a specification, built once in each worker process."""
    return builder(spec)


def _run_remotely(job: Job, options: RunOptions, texts: tuple[str, ...], builder: Builder) -> _Answer:
    try:
        tracker = _built(builder, job.spec)
        frames = SequenceFrames(job.sequence, job.spec.modality)
        known = list(texts)
        runs = []
        while not runs_suffice(known, options):
            run = run_sequence(tracker, frames, job.sequence, options)
            runs.append(run)
            known.append(run.text)
        return _Answer(runs=tuple(runs))
    except (InputError, RunError) as error:
        return _Answer(reason=str(error))
    except Exception as error:
        return _Answer(reason=f"{type(error).__name__}: {error}", details=traceback.format_exc())
