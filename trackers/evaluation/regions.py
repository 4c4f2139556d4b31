"""Regions of many frames as arrays: rectangles, polygons, and frames that carry none.

A region is 4 numbers ``x, y, width, height`` or an even count of at least 6 numbers ``x1, y1, x2, y2, ...``
(a polygon), in pixels with the origin at the top-left corner of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.text_files import read_text
from trackers.box import Box, box_from_center, box_from_polygon

FloatArray = NDArray[np.float64]
InitialBox = Literal["area", "hull"]

_RECTANGLE = 4


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of N frames.

    Attributes:
        numbers: (N, K) float64; a row holds ``counts[i]`` numbers, the rest is NaN.
        counts: (N,) int64; 4 for a rectangle, 6 or more for a polygon, 0 for a frame without a region.
    """

    numbers: FloatArray
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    def row(self, index: int) -> tuple[float, ...]:
        """The numbers of one frame, empty when it carries no region."""
        return tuple(float(value) for value in self.numbers[index, : self.counts[index]])

    def take(self, frames: NDArray[np.int64]) -> Regions:
        """The regions of the given frames."""
        return Regions(self.numbers[frames], self.counts[frames])


def regions_from_rows(rows: Sequence[Sequence[float]]) -> Regions:
    """Pack rows of 0, 4, or an even count >= 6 of numbers into arrays."""
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    width = max(_RECTANGLE, int(counts.max(initial=0)))
    numbers = np.full((len(rows), width), np.nan)
    for count in np.unique(counts[counts > 0]):
        chosen = np.flatnonzero(counts == count)
        numbers[chosen, :count] = np.array([rows[index] for index in chosen.tolist()], dtype=np.float64)
    return Regions(numbers, counts)


def read_lines(path: Path, what: str) -> list[str]:
    """Lines of a text file without the empty ones at its end.

    Raises:
        InputError: the file is missing, not text, or empty.
    """
    lines = read_text(path, what).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{what} {path} is empty; one line per frame is needed")
    return lines


def parse_numbers(line: str, where: str) -> list[float]:
    """Numbers of one line, separated by commas, tabs or spaces.

    Raises:
        InputError: a part is not a finite number; ``where`` (file and line) is named.
    """
    parts = line.replace(",", " ").split()
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise InputError(f"{where}: '{line.strip()[:60]}' is not a list of numbers") from error
    if not values:
        raise InputError(f"{where}: the line is empty; each line needs the region of one frame")
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{where}: '{line.strip()[:60]}' holds a number that is not finite")
    return values


def check_region_count(values: Sequence[float], where: str) -> None:
    """Refuse counts of numbers that are no region.

    Raises:
        InputError: neither 4 numbers nor an even count of at least 6.
    """
    if len(values) != _RECTANGLE and (len(values) < 6 or len(values) % 2):
        raise InputError(
            f"{where}: a region needs 4 numbers (x,y,width,height) or a polygon of at least 3 points, "
            f"not {len(values)} numbers"
        )


def check_one_kind(counts: Sequence[int], path: Path) -> None:
    """Refuse a file that mixes rectangles and polygons.

    Args:
        counts: numbers on each line; values below 4 (codes) are of no kind.
        path: the file, for the message.

    Raises:
        InputError: both kinds occur; the first line of the other kind is named.
    """
    kinds = [(line, count == _RECTANGLE) for line, count in enumerate(counts, start=1) if count >= _RECTANGLE]
    for line, is_rectangle in kinds:
        if is_rectangle != kinds[0][1]:
            raise InputError(
                f"{path}, line {line}: {counts[line - 1]} numbers, but line {kinds[0][0]} has "
                f"{counts[kinds[0][0] - 1]}; a file holds either rectangles or polygons"
            )


def area_preserving_box(points_xy: Sequence[float]) -> Box:
    """Axis-aligned box with the centre and (about) the area of a four-point polygon.

    The centre is the mean of the points; the min/max box is scaled by the root of the ratio of
    ``|P1 P2| |P2 P3|`` to its own area. Four numbers pass unchanged; polygons of another count of points get
    their min/max box (the rule needs sides of a quadrilateral).
    Source: VOT and PySOT's usual initialisation, without PySOT's "+ 1".

    Raises:
        InputError: the count of numbers is no region's.
    """
    if len(points_xy) == _RECTANGLE:
        return Box(*points_xy)
    hull = box_from_polygon(points_xy)
    if len(points_xy) != 8 or hull.area == 0:
        return hull
    corners = np.asarray(points_xy, dtype=np.float64).reshape(4, 2)
    sides = np.linalg.norm(corners[0] - corners[1]) * np.linalg.norm(corners[1] - corners[2])
    scale = math.sqrt(float(sides) / hull.area)
    center_x, center_y = corners.mean(axis=0)
    return box_from_center((float(center_x), float(center_y)), (hull.w * scale, hull.h * scale))


def initial_box(region: Sequence[float], how: InitialBox) -> Box:
    """The box a tracker starts with: area-preserving (``area``) or the min/max box (``hull``).

    Raises:
        InputError: the count of numbers is no region's.
    """
    match how:
        case "area":
            return area_preserving_box(region)
        case "hull":
            return Box(*region) if len(region) == _RECTANGLE else box_from_polygon(region)
