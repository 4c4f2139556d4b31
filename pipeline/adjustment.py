"""Calibrations made and moved by hand: nudges, pairs of points, and what to say of the result."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fusion.errors import InputError
from pipeline.calibration import (
    Calibration,
    CameraModel,
    Matrix,
    Size,
    calibrate_from_points,
    is_sound,
    transfer_errors,
)

LEAST_PAIRS = 4
# One step of a hand; more at once is a mistake.
_MOST_SCALE = 4.0

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """A move of the thermal picture on the visible one, about the centre of the visible picture.

    Attributes:
        shift_xy: in pixels of the visible picture, to the right and down.
        scale: above 1 makes the thermal picture larger.
        turn_deg: clockwise.
    """

    shift_xy: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    turn_deg: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.shift_xy, self.scale, self.turn_deg)):
            raise InputError("a nudge must be of finite numbers")
        if not 1 / _MOST_SCALE <= self.scale <= _MOST_SCALE:
            raise InputError(f"a nudge scales by {1 / _MOST_SCALE:g} to {_MOST_SCALE:g}, not {self.scale:g}")

    def matrix(self, visible_wh: Size) -> Matrix:
        """The move as a (3, 3) matrix of visible pixels."""
        center = np.array([(side - 1) / 2 for side in visible_wh])
        angle = math.radians(self.turn_deg)
        matrix = np.eye(3)
        matrix[:2, :2] = self.scale * np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        matrix[:2, 2] = center - matrix[:2, :2] @ center + np.array(self.shift_xy)
        return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPairs:
    """The same points in both pictures, in pixels with whole numbers at their centres, as a points file has them.

    Attributes:
        visible_xy: points of the visible picture.
        thermal_xy: the same ones in the thermal picture as the camera gives it.
        plane_distance_m: how far from the cameras they lie; None when unknown.
    """

    visible_xy: Points
    thermal_xy: Points
    plane_distance_m: float | None = None

    def __post_init__(self) -> None:
        if len(self.visible_xy) != len(self.thermal_xy):
            raise InputError("there must be as many points in the visible as in the thermal picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFit:
    """A calibration made of pairs of points, and how far each pair is off in visible pixels."""

    calibration: Calibration
    errors_px: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the thermal picture has moved, at the centre of the visible one; fields as in `Nudge`."""

    shift_xy: tuple[float, float]
    scale: float
    turn_deg: float


def nudged(calibration: Calibration, nudge: Nudge) -> Calibration:
    """The calibration after a nudge.

    Raises:
        InputError: it would be no usable calibration any more.
    """
    homography = nudge.matrix(calibration.visible_wh) @ calibration.homography
    if not is_sound(homography, calibration.thermal_wh):
        raise InputError("the thermal picture cannot be moved that far")
    return replace(calibration, homography=homography, rms_px=None, date=today())


def fit_points(points: PointPairs, like: Calibration) -> PointFit:
    """Fit a homography to pairs of points by `calibrate_from_points`; sizes, lenses and crop stay those of ``like``.

    Raises:
        InputError: fewer than four pairs, or they fit no homography.
    """
    if len(points.visible_xy) < LEAST_PAIRS:
        raise InputError(f"{len(points.visible_xy)} pairs of points; {LEAST_PAIRS} are needed")
    visible_xy = _without_distortion(points.visible_xy, like.visible_camera)
    thermal_xy = _without_distortion(points.thermal_xy, like.thermal_camera)
    fitted = calibrate_from_points(
        thermal_xy,
        visible_xy,
        visible_wh=like.visible_wh,
        thermal_wh=like.thermal_wh,
        plane_distance_m=points.plane_distance_m,
        date=today(),
    )
    errors = transfer_errors(fitted.homography, thermal_xy, visible_xy)
    fitted = replace(fitted, visible_camera=like.visible_camera, thermal_camera=like.thermal_camera, crop=like.crop)
    return PointFit(calibration=fitted, errors_px=tuple(float(error) for error in errors))


def difference(before: Calibration, after: Calibration) -> Difference:
    """What moved between two calibrations of the same pictures."""
    change = after.homography @ np.linalg.inv(before.homography)
    center = np.array([(side - 1) / 2 for side in before.visible_wh])
    steps = (center + np.array([[0, 0], [1, 0], [0, 1]]))[:, None]
    moved = cv2.perspectiveTransform(steps, change)[:, 0]
    right, down = moved[1] - moved[0], moved[2] - moved[0]
    return Difference(
        shift_xy=(float(moved[0, 0] - center[0]), float(moved[0, 1] - center[1])),
        scale=math.sqrt(abs(float(right[0] * down[1] - right[1] * down[0]))),
        turn_deg=math.degrees(math.atan2(right[1], right[0])),
    )


def parallax_note(calibration: Calibration) -> str:
    """For people: where the calibration is exact, and how far apart the pictures are elsewhere.

    By ``f * B * |1/Z - 1/Z0|`` (see `pipeline.registration`), which is ``f * B / Z0`` both at half the distance of the
    plane and far away. The focal length is that of the visible camera, or of a lens of 60 degrees.
    """
    distance_m = calibration.plane_distance_m
    if not distance_m:
        return (
            "One registration fits one distance; nearer and farther things lie apart. "
            "Note the distance of the points to know how far."
        )
    camera, width = calibration.visible_camera, calibration.visible_wh[0]
    focal_px = width / (2 * math.tan(math.radians(30))) if camera is None else float(camera.K[0, 0])
    lens = "for a lens of 60°" if camera is None else "for this lens"
    return (
        f"Exact at {distance_m:g} m. For each 10 cm between the cameras, things at {distance_m / 2:g} m and things far "
        f"away lie about {focal_px * 0.1 / distance_m:.1f} px apart ({lens})."
    )


def today() -> str:
    """The date as calibration files note it."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _without_distortion(points_xy: Points, camera: CameraModel | None) -> Matrix:
    points = np.array(points_xy, np.float64).reshape(-1, 2)
    if camera is None:
        return points
    return np.asarray(cv2.undistortPoints(points[:, None], camera.K, camera.D, P=camera.K), np.float64)[:, 0]
