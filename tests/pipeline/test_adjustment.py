"""Calibrations moved by hand and fitted to picked points."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError
from pipeline.adjustment import Nudge, PointPairs, difference, fit_points, nudged, parallax_note
from pipeline.calibration import Calibration, CameraModel, calibrate_from_points

TRUE = np.array([[2.1, 0.05, -12.0], [-0.03, 2.0, 9.0], [1e-5, -2e-5, 1.0]])
BASE = Calibration(visible_wh=(640, 480), thermal_wh=(320, 240), homography=np.diag([2.0, 2.0, 1.0]), rms_px=0.4)
THERMAL = ((20.0, 30.0), (300.0, 22.0), (290.0, 215.0), (25.0, 220.0), (160.0, 110.0), (90.0, 60.0))


def moved(points: tuple[tuple[float, float], ...], homography: np.ndarray) -> tuple[tuple[float, float], ...]:
    found = cv2.perspectiveTransform(np.array(points)[:, None], homography)[:, 0]
    return tuple((float(x), float(y)) for x, y in found)


@settings(deadline=None)
@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.8, 1.25), st.floats(-10, 10))
def test_a_nudge_moves_the_centre_and_is_told_again(dx: float, dy: float, scale: float, turn_deg: float) -> None:
    after = nudged(BASE, Nudge(shift_xy=(dx, dy), scale=scale, turn_deg=turn_deg))
    found = difference(BASE, after)
    assert found.shift_xy == pytest.approx((dx, dy), abs=1e-6)
    assert found.scale == pytest.approx(scale, abs=1e-9)
    assert found.turn_deg == pytest.approx(turn_deg, abs=1e-9)
    assert after.rms_px is None  # it was of the points before


def test_a_turn_is_clockwise_about_the_centre() -> None:
    after = nudged(BASE, Nudge(turn_deg=90.0))
    start = cv2.perspectiveTransform(np.array([[[319.5, 0.0]]]), np.linalg.inv(BASE.homography))
    x, y = cv2.perspectiveTransform(start, after.homography)[0, 0]
    assert (x, y) == pytest.approx((319.5 + 239.5, 239.5))


@pytest.mark.parametrize("fields", [{"scale": 0.1}, {"scale": float("nan")}, {"shift_xy": (float("inf"), 0.0)}])
def test_a_nudge_that_no_hand_makes_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match="a nudge"):
        Nudge(**fields)  # type: ignore[arg-type]


def test_points_give_what_calibrate_gives_and_the_error_of_each() -> None:
    visible = [list(point) for point in moved(THERMAL, TRUE)]
    visible[4][0] += 3.0
    points = PointPairs(visible_xy=tuple((x, y) for x, y in visible), thermal_xy=THERMAL, plane_distance_m=12.0)
    fit = fit_points(points, BASE)
    same = calibrate_from_points(THERMAL, visible, visible_wh=(640, 480), thermal_wh=(320, 240))
    assert np.array_equal(fit.calibration.homography, same.homography)
    assert fit.calibration.rms_px == same.rms_px
    assert fit.calibration.rms_px == pytest.approx(np.sqrt(np.mean(np.square(fit.errors_px))))
    assert int(np.argmax(fit.errors_px)) == 4
    assert fit.calibration.plane_distance_m == 12.0


def test_lenses_are_kept_and_left_out_of_the_homography() -> None:
    camera = CameraModel(np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]), np.array([-0.3, 0.1, 0, 0, 0]))
    like = replace(BASE, visible_camera=camera)
    ideal = np.array(moved(THERMAL, TRUE))
    rays = np.column_stack([(ideal - (319.5, 239.5)) / 500, np.ones(len(ideal))])
    seen, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.K, camera.D)
    points = PointPairs(visible_xy=tuple((float(x), float(y)) for x, y in seen[:, 0]), thermal_xy=THERMAL)
    fit = fit_points(points, like)
    assert fit.calibration.visible_camera is camera
    assert np.allclose(moved(THERMAL, fit.calibration.homography), moved(THERMAL, TRUE), atol=0.02)
    assert fit.calibration.rms_px is not None
    assert fit.calibration.rms_px < 0.02


def test_few_or_odd_points_are_refused() -> None:
    with pytest.raises(InputError, match="3 pairs of points; 4 are needed"):
        fit_points(PointPairs(visible_xy=THERMAL[:3], thermal_xy=THERMAL[:3]), BASE)
    with pytest.raises(InputError, match="as many points"):
        PointPairs(visible_xy=THERMAL[:3], thermal_xy=THERMAL)
    line = tuple((float(x), float(x)) for x in range(10, 60, 10))
    with pytest.raises(InputError, match="fit no homography"):
        fit_points(PointPairs(visible_xy=line, thermal_xy=line), BASE)


def test_the_note_tells_how_far_things_lie_apart_elsewhere() -> None:
    assert "distance" in parallax_note(BASE)
    camera = CameraModel(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), np.zeros(5))
    note = parallax_note(replace(BASE, plane_distance_m=10.0, visible_camera=camera))
    assert "Exact at 10 m" in note
    assert "5 m" in note
    assert "6.0 px" in note  # 600 px * 0.1 m / 10 m
