"""Looks a dataset over and says all that is wrong with it, not only the first thing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fusion.errors import InputError
from trackers.evaluation.benchmarks import Benchmark
from trackers.evaluation.dataset import VideoSequence, sequence_names
from trackers.evaluation.frames import count_pictures
from trackers.evaluation.layouts import read_sequence
from trackers.evaluation.raster import FloatArray
from trackers.evaluation.regions import Regions


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was found.

    Attributes:
        sequences: how many were read.
        frames: lines of ground truth in them.
        errors: what makes an evaluation impossible or wrong; file and line are named.
        warnings: what is odd, but can be evaluated.
    """

    sequences: int
    frames: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def check_dataset(root: Path, *, every_picture: bool = False, expected: Benchmark | None = None) -> CheckReport:
    """Check counts, sizes, ground truth and tags of every sequence.

    Args:
        root: folder of any known layout.
        every_picture: decode all pictures instead of the first, middle and last of each channel.
        expected: compare names and frame counts with a published benchmark.

    Raises:
        InputError: the folder is missing or holds no sequence at all.
    """
    errors: list[str] = []
    warnings: list[str] = []
    lengths: dict[str, int] = {}
    for name in sequence_names(root):
        try:
            sequence = read_sequence(root / name, name)
        except InputError as error:
            errors.append(str(error))
            continue
        lengths[name] = len(sequence)
        errors += _picture_errors(sequence, every_picture)
        for regions in (sequence.groundtruth, *([sequence.alternative] if sequence.alternative else [])):
            found = _region_problems(sequence, regions)
            errors += found[0]
            warnings += found[1]
        warnings += [f"sequence {name} has no channel '{channel}'" for channel in _absent(sequence)]
    if expected is not None:
        errors += _compare(lengths, expected)
    return CheckReport(
        sequences=len(lengths), frames=sum(lengths.values()), errors=tuple(errors), warnings=tuple(warnings)
    )


def _absent(sequence: VideoSequence) -> list[str]:
    return [channel for channel in ("color", "ir") if channel not in sequence.channels]


def _picture_errors(sequence: VideoSequence, every_picture: bool) -> list[str]:
    errors = []
    for channel, files in sequence.channels.items():
        count = count_pictures(sequence, channel)
        if count != len(sequence):
            errors.append(
                f"sequence {sequence.name}: {count} pictures in channel {channel}, but {len(sequence)} lines in "
                f"{sequence.source}"
            )
        some = sorted({0, len(files) // 2, len(files) - 1})
        for index in range(len(files)) if every_picture else some:
            path = files[index]
            if not path.is_file():
                continue
            picture = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
            if picture is None:
                errors.append(f"{path} is damaged or no picture")
            elif (picture.shape[1], picture.shape[0]) != (sequence.width, sequence.height):
                errors.append(
                    f"{path}: {picture.shape[1]} x {picture.shape[0]} pixels instead of "
                    f"{sequence.width} x {sequence.height}"
                )
    return errors


def _region_problems(sequence: VideoSequence, regions: Regions) -> tuple[list[str], list[str]]:
    corners = _hulls(regions)
    errors: list[str] = []
    warnings: list[str] = []
    outside = (
        (corners[:, 0] >= sequence.width)
        | (corners[:, 1] >= sequence.height)
        | (corners[:, 2] <= 0)
        | (corners[:, 3] <= 0)
    )
    empty = (corners[:, 2] <= corners[:, 0]) | (corners[:, 3] <= corners[:, 1])
    where = f"{sequence.source}, line"
    outside &= ~empty
    if outside.any():
        errors.append(
            f"{where} {outside.argmax() + 1}: the region lies outside the picture ({outside.sum()} such lines)"
        )
    if empty.any():
        text = f"{where} {empty.argmax() + 1}: the region has no area ({empty.sum()} such lines)"
        (errors if empty[0] else warnings).append(text)
    return errors, warnings


def _hulls(regions: Regions) -> FloatArray:
    """Left, top, right, bottom of every region."""
    corners = np.zeros((len(regions), 4))
    for count in np.unique(regions.counts):
        chosen = np.flatnonzero(regions.counts == count)
        numbers = regions.numbers[chosen, :count]
        if count == 4:
            corners[chosen] = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
        else:
            points = numbers.reshape(len(chosen), -1, 2)
            corners[chosen] = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return corners


def _compare(lengths: dict[str, int], expected: Benchmark) -> list[str]:
    errors = [
        f"{expected.name} has {frames} frames in the sequence {name}, here are {lengths[name]}"
        for name, frames in expected.sequences.items()
        if name in lengths and lengths[name] != frames
    ]
    missing = [name for name in expected.sequences if name not in lengths]
    more = [name for name in lengths if name not in expected.sequences]
    if missing:
        errors.append(f"{len(missing)} sequences of {expected.name} are missing: {', '.join(missing[:8])}")
    if more:
        errors.append(f"{len(more)} sequences are not part of {expected.name}: {', '.join(more[:8])}")
    return errors
