"""Bring the thermal picture into the pixels of the visible one, by a fixed homography.

A homography holds for one plane. Elsewhere the two pictures are apart by about ``f * B * |1/Z - 1/Z0|`` pixels (focal
length in pixels, distance of the cameras, depth of the object and of the calibrated plane).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.calibration import Calibration

Matrix = NDArray[np.float64]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A thermal picture in visible pixels, with the part it does not cover.

    Attributes:
        thermal: (H, W), of the type that came in.
        covered: (H, W) bool, False where no thermal picture exists; None when it covers all.
    """

    thermal: NDArray[Any]
    covered: NDArray[np.bool_] | None


class Registrar:
    """Warps thermal pictures of one size into visible pictures of one size.

    The sampling map is computed once. Where the thermal picture does not reach, its own border is continued, which
    keeps the brightness mapping and the fusion free of a hard black edge.

    Args:
        visible_wh: width and height of the visible pictures in pixels.
        thermal_wh: the same for the thermal ones.
        calibration: how they lie to each other; None is the identity for equal sizes, otherwise the thermal picture
            is scaled to fit inside the visible one around the common centre.

    Raises:
        InputError: the calibration was made for pictures of other sizes.
    """

    def __init__(self, visible_wh: Size, thermal_wh: Size, calibration: Calibration | None = None) -> None:
        self.visible_wh, self.thermal_wh = visible_wh, thermal_wh
        self.warning: str | None = None
        self._maps: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._covered: NDArray[np.bool_] | None = None
        if calibration is not None:
            calibration.check_sizes(visible_wh, thermal_wh)
            self.homography = calibration.homography
        elif visible_wh == thermal_wh:
            self.homography = np.eye(3)
        else:
            self.homography = center_fit(visible_wh, thermal_wh)
            self.warning = (
                f"thermal is {_by(thermal_wh)}, visible {_by(visible_wh)}, no calibration given: fitted around the "
                "centre, which aligns only cameras with the same field of view; make one with `calibrate`"
            )
        if not np.array_equal(self.homography, np.eye(3)) or calibration is not None:
            self._prepare(calibration)

    @property
    def is_identity(self) -> bool:
        """Whether pictures pass through unchanged."""
        return self._maps is None

    def __call__(self, thermal: NDArray[Any]) -> Registered:
        """Warp one thermal picture (h, w), uint8 or uint16, into (H, W) of the same type.

        Raises:
            InputError: the picture has another size than announced.
        """
        size = (thermal.shape[1], thermal.shape[0])
        if size != self.thermal_wh:
            raise InputError(f"thermal picture of {_by(size)}, but {_by(self.thermal_wh)} was announced")
        if self._maps is None:
            return Registered(thermal=thermal, covered=None)
        warped = cv2.remap(thermal, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return Registered(thermal=warped, covered=self._covered)

    def _prepare(self, calibration: Calibration | None) -> None:
        grid = _visible_grid(self.visible_wh)
        if calibration is not None and calibration.visible_camera is not None:
            camera = calibration.visible_camera
            grid = cv2.undistortPoints(grid, camera.K, camera.D, P=camera.K).astype(np.float64)
        source = np.asarray(cv2.perspectiveTransform(grid, np.linalg.inv(self.homography)), np.float64)
        if calibration is not None and calibration.thermal_camera is not None:
            thermal_camera = calibration.thermal_camera
            source = _distort(source, thermal_camera.K, thermal_camera.D)
        width, height = self.visible_wh
        x, y = (source[:, 0, axis].reshape(height, width).astype(np.float32) for axis in (0, 1))
        left, top, right, bottom = 0, 0, *self.thermal_wh
        if calibration is not None and calibration.crop is not None:
            left, top, right, bottom = calibration.crop.edges
        inside = (x >= left - 0.5) & (x <= right - 0.5) & (y >= top - 0.5) & (y <= bottom - 0.5)
        if not inside.any():
            raise InputError("the calibration places the thermal picture outside the visible one; calibrate anew")
        np.clip(x, left, right - 1, out=x)
        np.clip(y, top, bottom - 1, out=y)
        # The fixed-point form of the map is about twice as fast to apply as the floating-point one.
        self._maps = cv2.convertMaps(x, y, cv2.CV_16SC2)
        self._covered = None if inside.all() else inside


def center_fit(visible_wh: Size, thermal_wh: Size) -> Matrix:
    """Homography that scales the thermal picture to fit inside the visible one, centres on each other.

    Pixel centres are at whole numbers, so the centre of a picture is ``((w - 1) / 2, (h - 1) / 2)``.
    """
    scale = min(visible_wh[0] / thermal_wh[0], visible_wh[1] / thermal_wh[1])
    matrix = np.diag([scale, scale, 1.0])
    for axis in (0, 1):
        matrix[axis, 2] = (visible_wh[axis] - 1) / 2 - scale * (thermal_wh[axis] - 1) / 2
    return matrix


def _visible_grid(size_wh: Size) -> Matrix:
    x, y = np.meshgrid(np.arange(size_wh[0], dtype=np.float64), np.arange(size_wh[1], dtype=np.float64))
    return np.stack([x, y], axis=-1).reshape(-1, 1, 2)


def _distort(points: Matrix, K: Matrix, D: Matrix) -> Matrix:
    """Pixels of an ideal camera to pixels of the real one with lens distortion ``D``."""
    normalized = cv2.undistortPoints(points, K, np.zeros(5))
    rays = np.concatenate([normalized, np.ones_like(normalized[..., :1])], axis=-1)
    distorted, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, D)
    return np.asarray(distorted, np.float64)


def _by(size_wh: Size) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
