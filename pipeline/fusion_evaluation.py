"""Scores of fused stills: finds the pairs, measures every method's pictures, writes numbers and tables."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError, RunError
from fusion.metrics import METRIC_NAMES, ConventionName, score_conventions
from fusion.metrics.pictures import SMALLEST_SIDE
from pipeline.sources.images import list_images, natural_key, read_image

ConventionChoice = Literal["paper", "standard", "both"]

_PAIR_NAME = re.compile(r"(IR|VIS)[_-]?(\d+)", re.IGNORECASE)
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class StillPair:
    """One infrared and one visible picture of the same scene; ``name`` is what follows IR and VIS."""

    name: str
    ir: Path
    visible: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodScores:
    """What one method reached.

    Attributes:
        method: its name, the key in every file written.
        names: names of the pairs, in the order of the per-image values.
        per_image: convention -> metric -> one value per pair.
    """

    method: str
    names: tuple[str, ...]
    per_image: dict[ConventionName, dict[str, tuple[float, ...]]]

    def means(self, convention: ConventionName) -> dict[str, float]:
        """Arithmetic mean over the pairs of each metric: an entry of the published tables."""
        return {metric: float(np.mean(values)) for metric, values in self.per_image[convention].items()}


def conventions_of(choice: ConventionChoice) -> tuple[ConventionName, ...]:
    """The conventions a choice stands for, the paper's first."""
    match choice:
        case "paper":
            return ("paper",)
        case "standard":
            return ("standard",)
        case "both":
            return ("paper", "standard")
        case _:
            assert_never(choice)


def find_pairs(folder: Path) -> list[StillPair]:
    """Pairs of a folder in natural order: ``IR{n}.*`` and ``VIS{n}.*``, or same names in ``ir/`` and ``vis/``.

    Raises:
        InputError: there are none, a picture has no partner, or one is there twice.
    """
    if (folder / "ir").is_dir() and (folder / "vis").is_dir():
        found = {"IR": _by_name(folder / "ir", "--data"), "VIS": _by_name(folder / "vis", "--data")}
    else:
        found = _numbered(folder)
    for kind, other in (("IR", "VIS"), ("VIS", "IR")):
        alone = sorted(found[kind].keys() - found[other].keys(), key=natural_key)
        if alone:
            raise InputError(
                f"--data {folder}: {len(alone)} {kind} pictures have no {other} partner ({', '.join(alone[:5])}); "
                "add or remove them"
            )
    return [StillPair(name, found["IR"][name], found["VIS"][name]) for name in sorted(found["IR"], key=natural_key)]


def _numbered(folder: Path) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {"IR": {}, "VIS": {}}
    for path in list_images(folder):
        match = _PAIR_NAME.fullmatch(path.stem)
        if match is None:
            continue
        known = found[match[1].upper()]
        _add_once(known, match[2], path, "--data")
    if not found["IR"] and not found["VIS"]:
        raise InputError(
            f"--data {folder}: no pictures named IR1.*, VIS1.*, IR2.*, ...; rename thermal pictures IR{{n}}.*, "
            "visible ones VIS{n}.*"
        )
    return found


def _by_name(folder: Path, option: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in list_images(folder):
        _add_once(found, path.stem, path, option)
    return found


def _add_once(found: dict[str, Path], name: str, path: Path, option: str) -> None:
    if name in found:
        raise InputError(f"{option} {path.parent}: {found[name].name} and {path.name} are the same picture; keep one")
    found[name] = path


def find_fused(folder: Path, pairs: Sequence[StillPair], *, option: str = "--fused") -> list[Path]:
    """The picture ``{n}.*`` of every pair n in a folder of pictures fused elsewhere.

    Raises:
        InputError: one is missing, or there twice.
    """
    by_name = _by_name(folder, option)
    missing = [pair.name for pair in pairs if pair.name not in by_name]
    if missing:
        raise InputError(
            f"{option} {folder}: no picture for {len(missing)} of {len(pairs)} pairs ({', '.join(missing[:5])}); "
            "expected one file {n}.* for each IR{n}, VIS{n}"
        )
    return [by_name[pair.name] for pair in pairs]


def read_visible(path: Path) -> NDArray[np.uint8]:
    """A visible picture as (H, W, 3) BGR uint8."""
    picture, _ = read_image(path, "visible")
    return np.asarray(picture, dtype=np.uint8)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An 8-bit picture as (H, W) uint8; colour becomes BT.601 luma.

    Raises:
        InputError: it is unreadable or not of 8 bits.
    """
    # "visible" refuses 16 bits, which the metrics are not defined for.
    return np.asarray(cv2.cvtColor(read_visible(path), cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def write_grey(path: Path, picture_bgr: NDArray[np.uint8]) -> None:
    """Store a fused picture (H, W, 3) as an 8-bit grey PNG."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2GRAY))
    path.write_bytes(data.tobytes())


def check_pictures(pairs: Sequence[StillPair], fused: Iterable[Sequence[Path]] = ()) -> None:
    """Read every picture once, so that a bad one stops the run before the work rather than in its middle.

    Raises:
        InputError: a picture is unreadable, too small to be measured, or differs in size from its partner.
    """
    folders = [*fused]
    for index, pair in enumerate(pairs):
        expected = read_grey(pair.ir).shape
        if min(expected) < SMALLEST_SIDE:
            raise InputError(
                f"{pair.ir}: {expected[1]}x{expected[0]} pixels; "
                f"the metrics need at least {SMALLEST_SIDE} pixels a side"
            )
        for path in (pair.visible, *(paths[index] for paths in folders)):
            shape = read_grey(path).shape
            if shape != expected:
                raise InputError(
                    f"{path}: {shape[1]}x{shape[0]} pixels, but {pair.ir.name} has {expected[1]}x{expected[0]}; "
                    "metrics need registered pictures of one size"
                )


def score_methods(
    fused: Mapping[str, Sequence[Path]],
    pairs: Sequence[StillPair],
    choice: ConventionChoice,
    *,
    workers: int,
    on_picture: Callable[[], None] = lambda: None,
) -> list[MethodScores]:
    """Measure the stored pictures of every method, in ``workers`` processes (1: in this one).

    Args:
        fused: method -> one stored picture per pair.
        pairs: the sources.
        choice: conventions to compute.
        workers: number of processes, at least 1.
        on_picture: called after each picture, for progress.
    """
    conventions = conventions_of(choice)
    tasks = [(pair, path, conventions) for paths in fused.values() for pair, path in zip(pairs, paths, strict=True)]
    rows = []
    for row in _map(tasks, min(workers, len(tasks))):
        rows.append(row)
        on_picture()
    results = []
    for number, method in enumerate(fused):
        own = rows[number * len(pairs) : (number + 1) * len(pairs)]
        per_image: dict[ConventionName, dict[str, tuple[float, ...]]] = {
            convention: {metric: tuple(row[convention][metric] for row in own) for metric in METRIC_NAMES}
            for convention in conventions
        }
        results.append(MethodScores(method=method, names=tuple(pair.name for pair in pairs), per_image=per_image))
    return results


_Task = tuple[StillPair, Path, tuple[ConventionName, ...]]
_Row = dict[ConventionName, dict[str, float]]


def _map(tasks: Sequence[_Task], workers: int) -> Iterator[_Row]:
    if workers <= 1:
        yield from map(_score_files, tasks)
        return
    # Spawned, not forked: a fork in a process that has run torch threads can hang.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
            yield from pool.map(_score_files, tasks)
    except BrokenProcessPool as error:
        raise RunError("a measuring process was killed, perhaps for want of memory; try --workers 1") from error


def _start_worker() -> None:
    # An interrupt from the terminal reaches the whole group; the parent alone ends the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One core per process; threads inside would only fight for them.
    cv2.setNumThreads(1)


def _score_files(task: _Task) -> _Row:
    pair, fused, conventions = task
    return score_conventions(read_grey(pair.ir), read_grey(pair.visible), read_grey(fused), conventions)


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ranks(results: Sequence[MethodScores], convention: ConventionName, metric: str) -> dict[str, int]:
    """Method -> 1 for the best mean, 2 for the second best; ties as printed share a place. More is better.

    Empty when there is only one method, which nothing can be compared with.
    """
    if len(results) < 2:
        return {}
    printed = {scores.method: round(scores.means(convention)[metric], _DECIMALS) for scores in results}
    places = sorted(set(printed.values()), reverse=True)[:2]
    return {method: places.index(value) + 1 for method, value in printed.items() if value in places}


def write_scores(folder: Path, results: Sequence[MethodScores]) -> None:
    """Write ``scores.json``, ``scores.csv`` (one row per picture) and ``table.md`` into ``folder``."""
    (folder / "scores.json").write_text(
        json.dumps({s.method: _entry(s) for s in results}, indent=1) + "\n", encoding="utf-8"
    )
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["method", "image", "convention", *METRIC_NAMES])
        for scores in results:
            for convention, columns in scores.per_image.items():
                for index, name in enumerate(scores.names):
                    values = [repr(columns[metric][index]) for metric in METRIC_NAMES]
                    writer.writerow([scores.method, name, convention, *values])
    (folder / "table.md").write_text(_tables(results), encoding="utf-8")


def _entry(scores: MethodScores) -> dict[str, object]:
    """One method's entry of scores.json.

    With both conventions the plain names are the paper's and ``std_`` marks the textbook's.
    """
    entry: dict[str, object] = {}
    per_image: dict[str, list[float]] = {}
    for convention, columns in scores.per_image.items():
        prefix = "std_" if convention == "standard" and len(scores.per_image) > 1 else ""
        entry |= {prefix + metric: value for metric, value in scores.means(convention).items()}
        per_image |= {prefix + metric: list(values) for metric, values in columns.items()}
    return entry | {
        "convention": "both" if len(scores.per_image) > 1 else next(iter(scores.per_image)),
        "pairs": len(scores.names),
        "images": list(scores.names),
        "per_image": per_image,
    }


def _tables(results: Sequence[MethodScores]) -> str:
    blocks = []
    for convention in results[0].per_image:
        lines = [
            f"## {convention} convention, mean of {len(results[0].names)} pairs",
            "",
            f"| method | {' | '.join(METRIC_NAMES)} |",
            f"|---|{'---:|' * len(METRIC_NAMES)}",
        ]
        places = {metric: ranks(results, convention, metric) for metric in METRIC_NAMES}
        for scores in results:
            means = scores.means(convention)
            cells = [_marked(means[metric], places[metric].get(scores.method)) for metric in METRIC_NAMES]
            lines.append(f"| {scores.method} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    note = "More is better in every column." + (" **Best**, *second best*." if len(results) > 1 else "")
    return "\n\n".join([*blocks, note]) + "\n"


def _marked(value: float, place: int | None) -> str:
    text = f"{value:.{_DECIMALS}f}"
    match place:
        case 1:
            return f"**{text}**"
        case 2:
            return f"*{text}*"
        case _:
            return text
