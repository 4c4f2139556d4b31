"""Calibrations made with other tools: OpenCV's FileStorage and the camera_info files of ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.opencv_names import opencv_name
from pipeline.calibration import Calibration, CameraModel, is_sound

Matrix = NDArray[np.float64]
Size = tuple[int, int]

_K_NAMES = ("K", "camera_matrix", "cameraMatrix", "M")
_D_NAMES = ("D", "distortion_coefficients", "dist_coeffs", "distCoeffs")
_H_NAMES = ("H", "homography", "H_thermal_to_visible")


def import_opencv(path: Path | str, *, visible_wh: Size, thermal_wh: Size) -> Calibration:
    """Read an OpenCV FileStorage (YAML, XML or JSON) that holds a homography from thermal to visible pixels.

    The homography may be called ``H``, ``homography`` or ``H_thermal_to_visible``. Lens models are taken from
    ``K_visible``/``D_visible`` and ``K_thermal``/``D_thermal`` (or the usual longer names with these endings).

    Raises:
        InputError: the file cannot be read, or a matrix is missing or has the wrong shape.
    """
    path = Path(path)
    storage = _open_storage(path)
    try:
        homography = _storage_matrix(storage, _H_NAMES, path, (3, 3))
        if homography is None:
            raise InputError(f"{path}: no homography; expected a 3 x 3 matrix called {' or '.join(_H_NAMES)}")
        if not is_sound(homography, thermal_wh):
            raise InputError(f"{path}: the homography cannot be inverted; calibrate anew")
        cameras = [_storage_camera(storage, role, path) for role in ("visible", "thermal")]
    finally:
        storage.release()
    return Calibration(
        visible_wh=visible_wh,
        thermal_wh=thermal_wh,
        homography=homography,
        visible_camera=cameras[0],
        thermal_camera=cameras[1],
    )


def import_ros(path: Path | str) -> tuple[CameraModel, Size]:
    """Read a ROS camera_info file: the lens model, and the picture size it holds for.

    Raises:
        InputError: the file cannot be read, has no such content, or a distortion model other than ``plumb_bob``
            and ``rational_polynomial``.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML; check the path of the camera_info file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a camera_info file; expected image_width, camera_matrix and others")
    model = content.get("distortion_model", "plumb_bob")
    if model not in ("plumb_bob", "rational_polynomial"):
        raise InputError(f"{path}: distortion model {model!r} is not supported; use plumb_bob or rational_polynomial")
    size = content.get("image_width"), content.get("image_height")
    if not (isinstance(size[0], int) and isinstance(size[1], int) and size[0] > 0 and size[1] > 0):
        raise InputError(f"{path}: image_width and image_height must be whole numbers above 0")
    K = _ros_matrix(content, "camera_matrix", path)
    D = _ros_matrix(content, "distortion_coefficients", path).ravel()
    return _camera(K, D, path), (size[0], size[1])


def plane_homography(
    visible: CameraModel, thermal: CameraModel, rotation: Matrix, translation_m: Matrix, plane_distance_m: float
) -> Matrix:
    """Homography from thermal to visible pixels of a plane that faces the thermal camera.

    ``H = K_v (R + t n^T / d) K_t^-1`` with ``n`` the viewing direction of the thermal camera (Hartley and
    Zisserman, "Multiple View Geometry", section 13.1, with the sign of ``t`` for a point moving with the camera).

    Args:
        visible: lens of the visible camera.
        thermal: lens of the thermal camera.
        rotation: (3, 3), from the thermal camera's axes to the visible one's.
        translation_m: (3,), origin of the thermal camera in the visible one's axes, in metres.
        plane_distance_m: distance of the plane from the thermal camera.
    """
    plane = np.outer(np.asarray(translation_m, np.float64).ravel(), [0, 0, 1]) / plane_distance_m
    homography = visible.K @ (np.asarray(rotation, np.float64) + plane) @ np.linalg.inv(thermal.K)
    return np.asarray(homography / homography[2, 2], np.float64)


def _open_storage(path: Path) -> cv2.FileStorage:
    try:
        storage = cv2.FileStorage(opencv_name(path), cv2.FILE_STORAGE_READ)
    except (cv2.error, SystemError) as error:
        raise InputError(f"{path}: not an OpenCV storage file; check the path") from error
    if not storage.isOpened():
        raise InputError(f"{path}: cannot be opened as an OpenCV storage file; check the path")
    return storage


def _storage_matrix(
    storage: cv2.FileStorage, names: Sequence[str], path: Path, shape: tuple[int, int] | None
) -> Matrix | None:
    for name in names:
        node = storage.getNode(name)
        if node.empty():
            continue
        matrix = node.mat() if not node.isSeq() else None
        if matrix is None or (shape is not None and matrix.shape != shape) or not np.isfinite(matrix).all():
            expected = "a matrix" if shape is None else f"a {shape[0]} x {shape[1]} matrix"
            raise InputError(f"{path}: {name} must be {expected} of finite numbers")
        return np.asarray(matrix, np.float64)
    return None


def _storage_camera(storage: cv2.FileStorage, role: str, path: Path) -> CameraModel | None:
    K = _storage_matrix(storage, [f"{name}_{role}" for name in _K_NAMES], path, (3, 3))
    if K is None:
        return None
    D = _storage_matrix(storage, [f"{name}_{role}" for name in _D_NAMES], path, None)
    return _camera(K, np.zeros(5) if D is None else D.ravel(), path)


def _ros_matrix(content: dict[str, Any], key: str, path: Path) -> Matrix:
    try:
        node = content[key]
        matrix = np.asarray(node["data"], np.float64).reshape(node["rows"], node["cols"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {key} must have rows, cols and data that agree") from error
    return matrix


def _camera(K: Matrix, D: Matrix, path: Path) -> CameraModel:
    if K.shape != (3, 3) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise InputError(f"{path}: the camera matrix must be 3 x 3 with focal lengths above 0")
    if D.size not in (4, 5, 8, 12, 14) or not np.isfinite(D).all():
        raise InputError(f"{path}: {D.size} distortion coefficients; expected 4, 5, 8, 12 or 14 finite ones")
    return CameraModel(K, D)
