"""Raw results of reset-based runs: one line per frame, a code or a region."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from trackers.evaluation.regions import (
    Regions,
    check_one_kind,
    check_region_count,
    parse_numbers,
    read_lines,
    regions_from_rows,
)

EXPERIMENT = "baseline"


class Code(IntEnum):
    """What a frame without a region means."""

    UNKNOWN = 0
    START = 1
    FAILURE = 2


_REGION = -1


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One run over one sequence of N frames.

    Attributes:
        codes: (N,) int8; a ``Code``, or -1 where the frame carries a region.
        regions: the regions of N frames, none where a code stands.
    """

    codes: NDArray[np.int8]
    regions: Regions

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def starts(self) -> tuple[int, ...]:
        """Frames at which the tracker was started."""
        return tuple(int(frame) for frame in np.flatnonzero(self.codes == Code.START))

    @property
    def failures(self) -> tuple[int, ...]:
        """Frames at which it lost the target completely."""
        return tuple(int(frame) for frame in np.flatnonzero(self.codes == Code.FAILURE))


def trajectory_from_rows(rows: Sequence[Sequence[float]]) -> Trajectory:
    """Pack one row per frame: a single code, or the numbers of a region."""
    codes = np.array([int(row[0]) if len(row) == 1 else _REGION for row in rows], dtype=np.int8)
    return Trajectory(codes, regions_from_rows([() if len(row) == 1 else row for row in rows]))


def read_trajectory(path: Path, length: int) -> Trajectory:
    """Read a raw result file of a reset-based run.

    Args:
        path: the file.
        length: frames of the sequence.

    Raises:
        InputError: the file is missing or empty, a line is no code or region, rectangles and polygons are mixed,
            the first line does not start the tracker, or the count of lines is not ``length``.
    """
    rows = _read_rows(path)
    if rows[0] != [Code.START]:
        raise InputError(
            f"{path}, line 1: a reset-based run begins with the code 1 (start), not with "
            f"{','.join(str(value) for value in rows[0])[:60]}; one-pass results are scored with --protocol ope"
        )
    _check_length(path, len(rows), length)
    return trajectory_from_rows(rows)


def read_one_pass(results: Path, tracker: str, sequence: str, length: int) -> Trajectory:
    """Read the result of a one-pass run: ``<tracker>/baseline/<sequence>/<sequence>_001.txt``, or
    ``<tracker>/<sequence>.txt`` as OTB-style tools write it. The first line may be the code 1 or a box.

    Raises:
        InputError: the file is missing, a line is no region, or the count of lines is not ``length``.
    """
    path = result_file(results, tracker, sequence, 1)
    flat = results / tracker / f"{sequence}.txt"
    if not path.is_file() and flat.is_file():
        path = flat
    if not path.is_file():
        raise InputError(
            f"{path} does not exist (nor {flat}): the results of {tracker} lack the sequence {sequence}, or belong to "
            "another dataset"
        )
    rows = _read_rows(path)
    for number, row in enumerate(rows, start=1):
        if len(row) == 1 and (number > 1 or row[0] != Code.START):
            raise InputError(f"{path}, line {number}: a one-pass run has a region in every frame after the first")
    _check_length(path, len(rows), length)
    return trajectory_from_rows(rows)


def _read_rows(path: Path) -> list[list[float]]:
    rows = []
    for number, line in enumerate(read_lines(path, "result file"), start=1):
        where = f"{path}, line {number}"
        values = parse_numbers(line, where)
        if len(values) == 1:
            if values[0] not in tuple(Code):
                raise InputError(f"{where}: {line.strip()} is no code (0 unknown, 1 start, 2 failure)")
        else:
            check_region_count(values, where)
        rows.append(values)
    check_one_kind([len(row) for row in rows], path)
    return rows


def _check_length(path: Path, found: int, length: int) -> None:
    if found != length:
        raise InputError(
            f"{path}, line {min(found, length) + (found > length)}: {found} lines, but the sequence has {length} "
            "frames; the results belong to another dataset or the run is not complete"
        )


def result_file(results: Path, tracker: str, sequence: str, repetition: int) -> Path:
    """Where the run of a tracker over a sequence is stored; repetitions count from 1."""
    return results / tracker / EXPERIMENT / sequence / f"{sequence}_{repetition:03d}.txt"


def find_repetitions(results: Path, tracker: str, sequence: str) -> list[Path]:
    """Raw result files of one sequence, by repetition; companions like ``_time.txt`` are not among them."""
    folder = results / tracker / EXPERIMENT / sequence
    pattern = re.compile(re.escape(sequence) + r"_(\d+)\.txt")
    found = [(int(match[1]), path) for path in folder.glob("*.txt") if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def find_trackers(results: Path) -> list[str]:
    """Names of the trackers that have results below a folder.

    Raises:
        InputError: the folder is missing or holds none.
    """
    if not results.is_dir():
        raise InputError(f"--results {results} is not a folder")
    names = sorted(
        path.name
        for path in results.iterdir()
        if path.is_dir() and ((path / EXPERIMENT).is_dir() or any(path.glob("*.txt")))
    )
    if not names:
        raise InputError(
            f"--results {results} holds no results; expected {results}/<tracker>/{EXPERIMENT}/<sequence>/"
            "<sequence>_001.txt"
        )
    return names


def read_sequence_runs(results: Path, tracker: str, sequence: str, length: int) -> list[Trajectory]:
    """All repetitions of a tracker over one sequence; files of equal content are read once.

    Raises:
        InputError: there is none, or a file is wrong.
    """
    paths = find_repetitions(results, tracker, sequence)
    if not paths:
        raise InputError(
            f"{result_file(results, tracker, sequence, 1)} does not exist: the results of {tracker} lack the "
            f"sequence {sequence}, or belong to another dataset"
        )
    known: dict[bytes, Trajectory] = {}
    runs = []
    for path in paths:
        content = path.read_bytes()
        if content not in known:
            known[content] = read_trajectory(path, length)
        runs.append(known[content])
    return runs


def format_line(numbers: Sequence[float] | Code) -> str:
    """One line of a raw result file: a code, or numbers with four digits."""
    if isinstance(numbers, Code):
        return str(int(numbers))
    return ",".join(f"{value:.4f}" for value in numbers)
