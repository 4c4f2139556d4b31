"""Calibration of a visible and a thermal camera to each other: the file, its making from points, and imports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.configuration import parse_yaml

Matrix = NDArray[np.float64]
Size = tuple[int, int]

FILE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Crop:
    """Part of the thermal picture that holds scenery: left, top, width and height in pixels."""

    x: int
    y: int
    w: int
    h: int

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge."""
        return self.x, self.y, self.x + self.w, self.y + self.h


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """Pinhole camera with lens distortion, as OpenCV has it.

    Attributes:
        K: (3, 3) camera matrix in pixels.
        D: distortion coefficients, 4, 5, 8, 12 or 14 of them.
    """

    K: Matrix
    D: Matrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How thermal pixels lie in the visible picture.

    Attributes:
        visible_wh: width and height of the visible pictures it holds for.
        thermal_wh: the same for the thermal ones.
        homography: (3, 3), thermal pixel to visible pixel, between pictures without lens distortion where the
            cameras are given.
        visible_camera: lens of the visible camera, or None to leave distortion alone.
        thermal_camera: lens of the thermal camera, or None.
        plane_distance_m: distance of the plane for which the homography is exact, or None when unknown.
        rms_px: root mean square error of the points it was made from, in visible pixels, or None.
        date: when it was made, free text.
        crop: part of the thermal picture to use, or None for all of it.
    """

    visible_wh: Size
    thermal_wh: Size
    homography: Matrix
    visible_camera: CameraModel | None = None
    thermal_camera: CameraModel | None = None
    plane_distance_m: float | None = None
    rms_px: float | None = None
    date: str | None = None
    crop: Crop | None = None

    def check_sizes(self, visible_wh: Size, thermal_wh: Size) -> None:
        """Refuse pictures of other sizes than the calibration's.

        Raises:
            InputError: a size differs.
        """
        for role, made, given in (
            ("visible", self.visible_wh, visible_wh),
            ("thermal", self.thermal_wh, thermal_wh),
        ):
            if made != given:
                raise InputError(
                    f"the calibration is for {role} pictures of {made[0]}x{made[1]}, not {given[0]}x{given[1]}; "
                    "calibrate anew at this size"
                )


def calibrate_from_points(
    thermal_xy: NDArray[Any] | Sequence[Sequence[float]],
    visible_xy: NDArray[Any] | Sequence[Sequence[float]],
    *,
    visible_wh: Size,
    thermal_wh: Size,
    plane_distance_m: float | None = None,
    date: str | None = None,
) -> Calibration:
    """Homography from at least four pairs of points by least squares of the transfer error in the visible picture.

    Args:
        thermal_xy: (N, 2) pixels of the thermal picture.
        visible_xy: (N, 2) the same points in the visible picture.
        visible_wh: size of the visible picture.
        thermal_wh: size of the thermal picture.
        plane_distance_m: distance of the points from the cameras, recorded in the file.
        date: recorded in the file.

    Raises:
        InputError: fewer than four pairs, points that are not finite or on a line, or a distance that is none.
    """
    source, target = np.asarray(thermal_xy, np.float64), np.asarray(visible_xy, np.float64)
    if len(source) < 4:
        raise InputError(f"calibration needs at least four pairs of points, not {len(source)}")
    if source.ndim != 2 or source.shape[1:] != (2,) or source.shape != target.shape:
        raise InputError(f"calibration needs pairs of x,y points, not {source.shape}, {target.shape}")
    if plane_distance_m is not None and not 0 < plane_distance_m < math.inf:
        raise InputError(f"--plane-distance {plane_distance_m:g}: give metres above 0")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InputError("calibration points must be finite numbers")
    homography, _ = cv2.findHomography(source, target, 0)
    if homography is None or not is_sound(np.asarray(homography, np.float64), thermal_wh):
        raise InputError("the calibration points fit no homography; spread them, no three on one line")
    rms_px = float(np.sqrt(np.mean(transfer_errors(np.asarray(homography, np.float64), source, target) ** 2)))
    return Calibration(
        visible_wh=visible_wh,
        thermal_wh=thermal_wh,
        homography=np.asarray(homography, np.float64),
        plane_distance_m=plane_distance_m,
        rms_px=rms_px,
        date=date,
    )


def transfer_errors(homography: Matrix, thermal_xy: Matrix, visible_xy: Matrix) -> Matrix:
    """How far each thermal point (N, 2) lands from its visible one (N, 2), in visible pixels, (N,)."""
    moved = cv2.perspectiveTransform(thermal_xy[:, None], homography)[:, 0]
    return np.asarray(np.linalg.norm(moved - visible_xy, axis=1), np.float64)


def read_calibration(path: Path | str) -> Calibration:
    """Read a calibration file, strictly.

    Raises:
        InputError: it cannot be read, has an unknown or missing key, or a value of the wrong kind; the message names
            file and key.
    """
    path = Path(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; check the path of the calibration file") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())[:160]})") from error
    return _Reader(content, str(path)).calibration()


def write_calibration(calibration: Calibration, path: Path | str) -> None:
    """Write a calibration file that ``read_calibration`` reads back to the same numbers."""
    content: dict[str, Any] = {
        "version": FILE_VERSION,
        "visible_size": list(calibration.visible_wh),
        "thermal_size": list(calibration.thermal_wh),
        "H": calibration.homography.tolist(),
    }
    for name, camera in (("visible", calibration.visible_camera), ("thermal", calibration.thermal_camera)):
        if camera is not None:
            content[f"{name}_camera"] = {"K": camera.K.tolist(), "D": camera.D.ravel().tolist()}
    for name in ("plane_distance_m", "rms_px", "date"):
        if getattr(calibration, name) is not None:
            content[name] = getattr(calibration, name)
    if calibration.crop is not None:
        content["crop"] = [calibration.crop.x, calibration.crop.y, calibration.crop.w, calibration.crop.h]
    Path(path).write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), encoding="utf-8")


class _Reader:
    """Turns the content of a calibration file into a ``Calibration``, naming file and key in every complaint."""

    _KEYS = (
        "version",
        "visible_size",
        "thermal_size",
        "H",
        "visible_camera",
        "thermal_camera",
        "plane_distance_m",
        "rms_px",
        "date",
        "crop",
    )

    def __init__(self, content: object, name: str) -> None:
        self._name = name
        if not isinstance(content, Mapping):
            raise InputError(f"{name}: not a calibration file; expected keys {', '.join(self._KEYS)}")
        unknown = [str(key) for key in content if key not in self._KEYS]
        if unknown:
            raise InputError(f"{name}: unknown key {unknown[0]!r}; known are {', '.join(self._KEYS)}")
        self._content = content

    def calibration(self) -> Calibration:
        if self._required("version") != FILE_VERSION:
            raise self._error("version", f"must be {FILE_VERSION}, not {self._content['version']!r}")
        thermal_wh = self._size("thermal_size")
        homography = self._matrix("H", self._required("H"), (3, 3))
        if not is_sound(np.asarray(homography, np.float64), thermal_wh):
            raise self._error("H", "is not an invertible homography of thermal to visible pixels")
        date = self._content.get("date")
        return Calibration(
            visible_wh=self._size("visible_size"),
            thermal_wh=thermal_wh,
            homography=homography,
            visible_camera=self._camera("visible_camera"),
            thermal_camera=self._camera("thermal_camera"),
            plane_distance_m=self._positive("plane_distance_m"),
            rms_px=self._positive("rms_px"),
            date=None if date is None else str(date),
            crop=self._crop(thermal_wh),
        )

    def _error(self, key: str, complaint: str) -> InputError:
        return InputError(f"{self._name}: {key} {complaint}; correct the file or calibrate anew")

    def _required(self, key: str) -> Any:
        if key not in self._content:
            raise self._error(key, "is missing")
        return self._content[key]

    def _integers(self, key: str, value: object, count: int) -> list[int]:
        if not isinstance(value, list) or len(value) != count or not all(type(item) is int for item in value):
            raise self._error(key, f"must be a list of {count} whole numbers, not {value!r}")
        return value

    def _size(self, key: str) -> Size:
        width, height = self._integers(key, self._required(key), 2)
        if min(width, height) < 1:
            raise self._error(key, "must be a width and height of at least 1")
        return width, height

    def _matrix(self, key: str, value: object, shape: tuple[int, ...]) -> Matrix:
        try:
            matrix = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            matrix = np.empty(0)
        if matrix.shape != shape or not np.isfinite(matrix).all():
            raise self._error(key, f"must be {' x '.join(map(str, shape))} finite numbers")
        return matrix

    def _camera(self, key: str) -> CameraModel | None:
        value = self._content.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping) or set(value) != {"K", "D"}:
            raise self._error(key, "must have the keys K and D")
        K = self._matrix(f"{key}.K", value["K"], (3, 3))
        D = value["D"]
        if not isinstance(D, list) or len(D) not in (4, 5, 8, 12, 14):
            raise self._error(f"{key}.D", "must be a list of 4, 5, 8, 12 or 14 numbers")
        if min(K[0, 0], K[1, 1]) <= 0:
            raise self._error(f"{key}.K", "must have focal lengths above 0")
        return CameraModel(K, self._matrix(f"{key}.D", D, (len(D),)))

    def _positive(self, key: str) -> float | None:
        value = self._content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self._error(key, f"must be a number of at least 0, not {value!r}")
        return float(value)

    def _crop(self, thermal_wh: Size) -> Crop | None:
        value = self._content.get("crop")
        if value is None:
            return None
        crop = Crop(*self._integers("crop", value, 4))
        left, top, right, bottom = crop.edges
        if min(left, top) < 0 or min(crop.w, crop.h) < 1 or right > thermal_wh[0] or bottom > thermal_wh[1]:
            raise self._error("crop", f"must lie inside the thermal picture, not {value!r}")
        return crop


def is_sound(homography: Matrix, thermal_wh: Size) -> bool:
    """Whether a homography is finite, invertible, not mirrored, and keeps the picture in front of the horizon."""
    if not np.isfinite(homography).all() or abs(np.linalg.det(homography)) < 1e-12:
        return False
    width, height = thermal_wh
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)
    depth = corners @ homography[2]
    return bool((depth > 0).all() or (depth < 0).all())
