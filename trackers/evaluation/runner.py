"""Many jobs on several processes of this machine.

Each worker is a spawned process with one thread that builds every tracker once. A job writes its results itself, so
whatever is killed, finished sequences stay. A worker that dies is replaced and its job tried once more; a tracker
that raises is reported with the sequence, and the other jobs go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from fusion.errors import InputError, RunError
from trackers.evaluation.jobs import Builder, Job, JobReport, do_job
from trackers.evaluation.protocol import RunOptions
from trackers.evaluation.specs import TrackerSpec
from trackers.state import Tracker

_ATTEMPTS = 2
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job that did not end: what went wrong, in one line, and the traceback if there is one."""

    job: Job
    reason: str
    details: str = ""


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job | None = None


@dataclass(slots=True)
class _Queue:
    waiting: deque[Job]
    attempts: dict[int, int] = field(default_factory=dict)

    def take(self) -> Job | None:
        if not self.waiting:
            return None
        job = self.waiting.popleft()
        self.attempts[id(job)] = self.attempts.get(id(job), 0) + 1
        return job

    def give_back(self, job: Job) -> bool:
        """Put a job back whose worker died, unless it had its chances."""
        if self.attempts[id(job)] >= _ATTEMPTS:
            return False
        self.waiting.appendleft(job)
        return True


def longest_first(jobs: Iterable[Job]) -> list[Job]:
    """Jobs in the order that ends soonest on several workers; ties keep their order."""
    return sorted(jobs, key=lambda job: -len(job.sequence))


def run_jobs(
    jobs: Sequence[Job],
    results: Path,
    options: RunOptions,
    *,
    workers: int,
    builder: Builder,
    done: Callable[[Job, JobReport], None],
) -> list[Failure]:
    """Run all jobs and return those that failed.

    Args:
        jobs: what to run.
        results: folder of all results.
        options: how to run.
        workers: processes.
        builder: makes a tracker; must be importable by name in a fresh process.
        done: called here when a job has ended well.

    Raises:
        InputError: fewer than one worker.
    """
    if workers < 1:
        raise InputError(f"--workers must be at least 1, not {workers}")
    queue = _Queue(deque(longest_first(jobs)))
    failures: list[Failure] = []
    with _pool(min(workers, len(jobs)), results, options, builder) as pool:
        for worker in pool.workers:
            _hand_out(worker, queue)
        while any(worker.job for worker in pool.workers):
            busy = {worker.connection: worker for worker in pool.workers if worker.job}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                _receive(worker, pool, queue, failures, done)
    return failures


def _hand_out(worker: _Worker, queue: _Queue) -> None:
    worker.job = queue.take()
    if worker.job is not None:
        worker.connection.send(worker.job)


def _receive(
    worker: _Worker,
    pool: _Pool,
    queue: _Queue,
    failures: list[Failure],
    done: Callable[[Job, JobReport], None],
) -> None:
    job = worker.job
    assert job is not None
    try:
        answer = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        reason = f"its worker process died ({_ending(worker.process.exitcode)})"
        if not queue.give_back(job):
            failures.append(Failure(job=job, reason=f"{reason}, twice"))
        pool.replace(worker)
    else:
        if isinstance(answer, JobReport):
            done(job, answer)
        else:
            reason, details = answer
            failures.append(Failure(job=job, reason=reason, details=details))
    _hand_out(worker, queue)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


class _Pool:
    def __init__(self, count: int, results: Path, options: RunOptions, builder: Builder) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._arguments = (results, options, builder)
        self.workers = [self._start() for _ in range(count)]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, os.getpid(), *self._arguments), name="evaluation", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def replace(self, worker: _Worker) -> None:
        worker.connection.close()
        fresh = self._start()
        worker.process, worker.connection = fresh.process, fresh.connection

    def close(self) -> None:
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
            worker.process.join()


@contextmanager
def _pool(count: int, results: Path, options: RunOptions, builder: Builder) -> Iterator[_Pool]:
    with _one_thread_each():
        pool = _Pool(count, results, options, builder)
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the processes started meanwhile compute with one thread; the workers share the cores among them."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, parent: int, results: Path, options: RunOptions, builder: Builder) -> None:
    """The life of a worker: take jobs until the other end closes."""
    # Ctrl-C reaches the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trackers: dict[TrackerSpec, Tracker] = {}

    def check_parent() -> None:
        if os.getppid() != parent:
            # Nobody would hear of the result, and a new run may already be at this sequence.
            os._exit(1)

    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            if job.spec not in trackers:
                trackers[job.spec] = builder(job.spec)
            answer: object = do_job(job, trackers[job.spec], results, options, before_frame=check_parent)
        except (InputError, RunError) as error:
            answer = (str(error), "")
        except Exception as error:
            answer = (f"{type(error).__name__}: {error}", traceback.format_exc())
        connection.send(answer)
