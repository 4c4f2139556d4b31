"""The ``calibrate`` command's work: from pictures and points, or an earlier calibration, to a calibration file."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError, RunError
from fusion.text_files import read_text
from pipeline.adjustment import today
from pipeline.calibration import Calibration, calibrate_from_points, read_calibration
from pipeline.calibration_import import import_opencv
from pipeline.refinement import Refinement, refine
from pipeline.sources import open_source
from pipeline.sources.base import Role

_COLUMNS = ("visible_x", "visible_y", "thermal_x", "thermal_y")

# Pictures of a video or folder that a refinement looks at, this many frames apart.
_REFINEMENT_PICTURES = 8
_REFINEMENT_STRIDE = 5


def calibrate_points_file(
    visible: Path, thermal: Path, points: Path, plane_distance_m: float | None = None
) -> Calibration:
    """Calibrate from point pairs in a file.

    The file has a line ``visible_x,visible_y,thermal_x,thermal_y`` in pixels for every pair, four or more; a header
    with these names may give another order. Lines that begin with ``#`` are left out.

    Raises:
        InputError: a picture or the file cannot be read, or the points fit no homography.
    """
    visible_xy, thermal_xy = read_points(points)
    return calibrate_from_points(
        thermal_xy,
        visible_xy,
        visible_wh=_size(_pictures(visible, "visible", 1)[0]),
        thermal_wh=_size(_pictures(thermal, "thermal", 1)[0]),
        plane_distance_m=plane_distance_m,
        date=today(),
    )


def refine_file(visible: Path, thermal: Path, calibration: Path) -> Refinement:
    """Refine an earlier calibration on the outlines of the two pictures, folders or videos.

    Raises:
        InputError: a picture or the calibration cannot be used.
        RunError: the refinement is not believable; the message says why.
    """
    before = read_calibration(calibration)
    pairs = list(
        zip(
            _pictures(visible, "visible", _REFINEMENT_PICTURES),
            _pictures(thermal, "thermal", _REFINEMENT_PICTURES),
            strict=False,
        )
    )
    found = refine([(np.asarray(first, np.uint8), second) for first, second in pairs], before)
    if not found.accepted:
        raise RunError(f"the refinement is not believable ({found.reason}); the calibration stays as it was")
    return found


def import_opencv_file(visible: Path, thermal: Path, storage: Path) -> Calibration:
    """Take over a homography and lens models from an OpenCV storage file.

    Raises:
        InputError: a picture or the file cannot be used.
    """
    return import_opencv(
        storage,
        visible_wh=_size(_pictures(visible, "visible", 1)[0]),
        thermal_wh=_size(_pictures(thermal, "thermal", 1)[0]),
    )


def read_points(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Visible and thermal points, each (N, 2), of a points file.

    Raises:
        InputError: the file cannot be read, or a line is not four numbers; the message names the line.
    """
    lines = read_text(path, "--points").splitlines()
    columns: tuple[str, ...] = _COLUMNS
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line.replace(";", ",")]))]
        if not rows and sorted(cells) == sorted(_COLUMNS):
            columns = tuple(cells)
            continue
        try:
            values = [float(cell) for cell in (cells if len(cells) > 1 else line.split())]
        except ValueError:
            values = []
        if len(values) != 4:
            raise InputError(f"--points {path}:{number}: {line.strip()!r} is not {','.join(columns)} in pixels")
        rows.append([values[columns.index(name)] for name in _COLUMNS])
    points = np.asarray(rows, np.float64).reshape(-1, 4)
    return points[:, :2], points[:, 2:]


def _pictures(path: Path, role: Role, count: int) -> list[NDArray[Any]]:
    with open_source(str(path), role=role) as source:
        frames = islice(iter(source), 0, count * _REFINEMENT_STRIDE, _REFINEMENT_STRIDE)
        pictures: list[NDArray[Any]] = [frame.image for frame in frames]
    if not pictures:
        raise InputError(f"--{role} {path}: there is no picture")
    return pictures


def _size(picture: NDArray[Any]) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]
