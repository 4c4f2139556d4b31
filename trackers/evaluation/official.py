"""Bridge to the official vot-toolkit 0.7.4: workspace files, subprocesses, and nothing imported.

The toolkit is a separate program (GPL-3.0) in a virtual environment of its own, made by
``scripts/install-vot-toolkit``; files are all that is exchanged. Its exit codes do not tell success (0.7.4 returns 0
when results are missing or a tracker crashes), so success is read off what it leaves behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion.errors import InputError, RunError
from trackers.evaluation.dataset import Dataset
from trackers.evaluation.interval import Interval
from trackers.evaluation.report.content import Entry, OfficialRow
from trackers.evaluation.results import EXPERIMENT, find_repetitions, result_file
from trackers.evaluation.scores import ResetScores

TOOLKIT_VERSION = "0.7.4"

_ANALYSIS_TIMEOUT_S = 3600
_SENSITIVITY = 100
_CONCLUDED = "Evaluation concluded successfuly"  # sic
# The environment that keeps 0.7.4 honest: readable results, and no stale figures out of a cache.
_ENVIRONMENT = {"VOT_RESULTS_BINARY": "false", "VOT_PERSISTENT_CACHE": "false", "OMP_NUM_THREADS": "1"}


def check_toolkit(python: Path) -> None:
    """Make sure that an interpreter has the pinned toolkit.

    Raises:
        InputError: it is no interpreter, or has no or another toolkit.
    """
    remedy = "run scripts/install-vot-toolkit DIR and give --official DIR/bin/python"
    code = "from importlib.metadata import version; print(version('vot-toolkit'))"
    try:
        answer = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except OSError as error:
        raise InputError(f"--official {python} cannot be run ({error.strerror}); {remedy}") from error
    if answer.returncode != 0:
        raise InputError(f"--official {python} has no vot-toolkit; {remedy}")
    if answer.stdout.strip() != TOOLKIT_VERSION:
        raise InputError(
            f"--official {python} has vot-toolkit {answer.stdout.strip()}, but {TOOLKIT_VERSION} is needed; {remedy}"
        )


def write_workspace(
    workspace: Path, dataset_folder: Path, trackers: Mapping[str, str], interval: Interval, repetitions: int = 15
) -> None:
    """Write the files that ``vot initialize`` would, without asking for a download.

    Args:
        workspace: folder to make; an existing one is replaced.
        dataset_folder: the dataset in VOT's layout.
        trackers: identifier to the command that starts it under TraX.
        interval: lengths counted from 1; written as the indices counted from 0 that the toolkit takes.
        repetitions: of the reset-based experiment.
    """
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    (workspace / "config.yaml").write_text(
        f"registry:\n- ./trackers.ini\nstack: ./stack.yaml\nsequences: {json.dumps(str(dataset_folder.resolve()))}\n"
    )
    sections = [
        f"[{name}]\nlabel = {name}\nprotocol = trax\ncommand = {command}\ntimeout = 120\n"
        for name, command in trackers.items()
    ]
    (workspace / "trackers.ini").write_text("\n".join(sections))
    analyses: list[dict[str, object]] = [
        {"type": "supervised_average_ar", "name": "ar", "burnin": 10, "sensitivity": _SENSITIVITY},
        {"type": "cumulative_failures", "name": "failures"},
        {"type": "supervised_eao_score", "name": "eao", "low": interval.low - 1, "high": interval.high - 1},
        {"type": "supervised_eao_curve", "name": "eaocurve"},
    ]
    experiment = {
        "type": "supervised",
        "repetitions": repetitions,
        "skip_initialize": 5,
        "failure_overlap": 0,
        "analyses": analyses,
    }
    # JSON is YAML.
    stack = {"title": "reset-based evaluation", "experiments": {EXPERIMENT: experiment}}
    (workspace / "stack.yaml").write_text(json.dumps(stack, indent=1))


def write_plain_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the ground truth of a dataset in VOT's layout, without pictures (analysis needs none)."""
    folder.mkdir(parents=True)
    (folder / "list.txt").write_text("".join(f"{sequence.name}\n" for sequence in dataset.sequences))
    for sequence in dataset.sequences:
        own = folder / sequence.name
        own.mkdir(parents=True)
        lines = [",".join(repr(value) for value in sequence.groundtruth.row(k)) for k in range(len(sequence))]
        (own / "groundtruth.txt").write_text("\n".join(lines) + "\n")
        (own / "sequence").write_text(
            f"channels.color=color/%08d.jpg\nformat=default\nfps={sequence.fps:g}\nname={sequence.name}\n"
            f"width={sequence.width}\nheight={sequence.height}\nlength={len(sequence)}\n"
        )


def run_analysis(python: Path, workspace: Path, trackers: Sequence[str]) -> dict[str, Any]:
    """Run ``vot analysis`` in a workspace and return its results by the name of the analysis.

    Raises:
        RunError: it left no result file.
    """
    command = [str(python), "-m", "vot", "analysis", *trackers]
    command += ["--workspace", str(workspace), "--name", "out", "--format", "json"]
    target = workspace / "analysis" / "out.json"
    target.unlink(missing_ok=True)
    log = run_toolkit(command, workspace / "analysis.log", timeout_s=_ANALYSIS_TIMEOUT_S)
    if not target.is_file():
        raise RunError(f"the official toolkit left no analysis: {_last_words(log)} (log: {workspace / 'analysis.log'})")
    results = json.loads(target.read_text(encoding="utf-8"))["results"][EXPERIMENT]
    names = [analysis["name"] for analysis in results["parameters"]["analyses"]]
    return dict(zip(names, results["results"], strict=True))


def run_evaluation(python: Path, workspace: Path, tracker: str, *, timeout_s: float = _ANALYSIS_TIMEOUT_S) -> Path:
    """Let the toolkit run a tracker of its workspace over TraX, and return the folder of its results.

    Raises:
        RunError: the toolkit did not say that the evaluation concluded (its exit code is 0 either way).
    """
    log_file = workspace / "evaluate.log"
    command = [str(python), "-m", "vot", "evaluate", tracker, "--workspace", str(workspace)]
    log = run_toolkit(command, log_file, timeout_s=timeout_s)
    if _CONCLUDED not in log:
        raise RunError(f"the official toolkit did not finish with {tracker}: {_last_words(log)} (log: {log_file})")
    return workspace / "results" / tracker / EXPERIMENT


def run_toolkit(command: Sequence[str], log: Path, *, timeout_s: float) -> str:
    """Run the toolkit, keep what it says in a log, and return that text.

    Raises:
        RunError: it did not end in time.
    """
    try:
        answer = subprocess.run(
            list(command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, **_ENVIRONMENT},
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"the official toolkit did not end within {timeout_s:.0f} s (log: {log})") from error
    log.write_text(answer.stdout)
    return answer.stdout


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def compare_with_official(
    python: Path, dataset: Dataset, results: Path, entries: Sequence[Entry], interval: Interval, out: Path
) -> tuple[OfficialRow, ...]:
    """Have the official toolkit analyse the same raw results, and put its figures beside ours.

    A workspace is made afresh in ``out/official``. ``python`` has the toolkit, see :func:`check_toolkit`.

    Raises:
        RunError: the toolkit did not deliver.
    """
    # Absolute, but not resolved: the interpreter of a virtual environment is a link to the system's.
    python = Path(os.path.abspath(python))  # noqa: PTH100
    workspace = (out / "official").resolve()
    identifiers = {entry.name: f"tracker{number:03d}" for number, entry in enumerate(entries)}
    write_workspace(workspace, workspace / "dataset", dict.fromkeys(identifiers.values(), "/bin/false"), interval)
    write_plain_dataset(dataset, workspace / "dataset")
    for name, identifier in identifiers.items():
        for sequence in dataset.sequences:
            for number, path in enumerate(find_repetitions(results, name, sequence.name), start=1):
                target = result_file(workspace / "results", identifier, sequence.name, number)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    found = run_analysis(python, workspace, list(identifiers.values()))
    rows = []
    for number, entry in enumerate(entries):
        if isinstance(entry.scores, ResetScores):
            ours = entry.scores.numbers
            accuracy, failures_weighted, _, _ = found["ar"][number]
            for measure, key, official in (
                ("EAO", "eao_toolkit", found["eao"][number][0]),
                ("accuracy", "accuracy_toolkit", accuracy),
                ("failures, sum", "failures_sum", found["failures"][number][0]),
                (
                    "failures per sequence, by length",
                    "failures_per_sequence_weighted_by_length",
                    failures_weighted,
                ),
            ):
                rows.append(OfficialRow(tracker=entry.name, measure=measure, ours=ours[key], official=float(official)))
    return tuple(rows)
