"""A whole evaluation: check, run what is missing, score, report."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusion.errors import InputError, RunError
from trackers.evaluation.dataset import Dataset
from trackers.evaluation.frames import check_pictures
from trackers.evaluation.jobs import Builder, Job, JobReport, is_done
from trackers.evaluation.protocol import RunOptions
from trackers.evaluation.runner import Failure, run_jobs
from trackers.evaluation.scoring import ScoringOptions, check_options, score_results
from trackers.evaluation.specs import (
    TrackerSpec,
    build,
    check_identity,
    check_names,
    fingerprint,
    sequence_fingerprint,
    variant,
)

# Runs the jobs that are missing and returns the failures: processes here, or a cluster.
Executor = Callable[[Sequence[Job], Path, RunOptions, Callable[[Job, JobReport], None]], list[Failure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSummary:
    """What an evaluation did: the table as text, jobs that were there, jobs run now."""

    table: str
    kept: int
    ran: int


def local_executor(workers: int, builder: Builder = build) -> Executor:
    """Run jobs on processes of this machine."""

    def execute(
        jobs: Sequence[Job], results: Path, options: RunOptions, done: Callable[[Job, JobReport], None]
    ) -> list[Failure]:
        return run_jobs(jobs, results, options, workers=workers, builder=builder, done=done)

    return execute


def evaluate(
    dataset: Dataset,
    specs: tuple[TrackerSpec, ...],
    out: Path,
    options: RunOptions,
    scoring: ScoringOptions,
    *,
    execute: Executor,
    builder: Builder = build,
    overwrite: bool = False,
    configuration: Mapping[str, str] | None = None,
) -> EvaluationSummary:
    """Run trackers over a dataset, go on where an earlier run stopped, score and report.

    Results go to ``out/results/<name>/baseline/...``; one line per finished job is appended to ``out/runs.jsonl``.

    Raises:
        InputError: the dataset lacks pictures, a tracker cannot be built, or results there were made by something
            else and ``overwrite`` is not set.
        RunError: a tracker failed; the sequences are named, everything that ended well is kept.
    """
    check_options(scoring, dataset)
    done = run_missing(dataset, specs, out, options, execute=execute, builder=builder, overwrite=overwrite)
    table = score_results(
        dataset,
        out / "results",
        [spec.name for spec in specs],
        out,
        scoring,
        configuration={
            "runs": json.dumps(asdict(options)),
            **done.made_by,
            **(configuration or {}),
        },
    )
    return EvaluationSummary(table=table, kept=done.kept, ran=done.ran)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Jobs that were there, jobs run now, and what each tracker is made of, in words."""

    kept: int
    ran: int
    made_by: Mapping[str, str]


def run_missing(
    dataset: Dataset,
    specs: tuple[TrackerSpec, ...],
    out: Path,
    options: RunOptions,
    *,
    execute: Executor,
    builder: Builder = build,
    overwrite: bool = False,
) -> Done:
    """Run what is missing of ``out/results``; arguments and errors as in :func:`evaluate`."""
    check_names(specs)
    for sequence in dataset.sequences:
        for modality in sorted({spec.modality for spec in specs}):
            check_pictures(sequence, modality)
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results"
    digests = {sequence.name: sequence_fingerprint(sequence) for sequence in dataset.sequences}
    with _alone(out):
        made_by: dict[str, str] = {}
        for spec in specs:
            tracker = builder(spec)
            description = fingerprint(spec, options, tracker)
            made_by[spec.name] = _made_by(description)
            if overwrite:
                shutil.rmtree(results / spec.name, ignore_errors=True)
            check_identity(results, spec, variant(spec, tracker), description, digests)
        jobs = [Job(spec=spec, sequence=sequence) for spec in specs for sequence in dataset.sequences]
        missing = [job for job in jobs if not is_done(results, job, options)]
        log = _Log(out / "runs.jsonl", len(jobs) - len(missing), len(jobs))
        failures = execute(missing, results, options, log.done) if missing else []
    if failures:
        raise RunError(_describe(failures, len(jobs) - len(failures), len(jobs), out))
    return Done(kept=len(jobs) - len(missing), ran=len(missing), made_by=made_by)


def _made_by(description: Mapping[str, Any]) -> str:
    weights = description["weights"][:16] or "none"
    return f"weights {weights} (sha256 of the tensors), {description['config'] or 'no settings'}"


class _Log:
    """Says and records each finished job."""

    def __init__(self, path: Path, kept: int, total: int) -> None:
        self._path, self._count, self._total = path, kept, total
        if kept:
            print(f"{kept} of {total} sequences are there already", file=sys.stderr)

    def done(self, job: Job, report: JobReport) -> None:
        self._count += 1
        fps = report.frames / report.tracker_s if report.tracker_s > 0 else 0.0
        print(
            f"[{self._count}/{self._total}] {job}: {report.runs} x {len(job.sequence)} frames, {fps:.1f} frames/s, "
            f"{report.failures} failures",
            file=sys.stderr,
            flush=True,
        )
        line = {"tracker": job.spec.name, "sequence": job.sequence.name, **asdict(report)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _describe(failures: Sequence[Failure], good: int, total: int, out: Path) -> str:
    details = [f"{failure.job}\n{failure.details}\n" for failure in failures if failure.details]
    where = ""
    if details:
        (out / "errors.txt").write_text("\n".join(details), encoding="utf-8")
        where = f"; tracebacks in {out / 'errors.txt'}"
    first = "; ".join(f"{failure.job}: {failure.reason}" for failure in failures[:3])
    more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
    return f"{first}{more}\n{good} of {total} sequences are finished and kept; run again to go on{where}"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second evaluation away from the same folder."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"--out {out}: another evaluation is at work there; wait for it or choose another"
            ) from error
        yield
