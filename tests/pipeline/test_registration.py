"""Registration: where a thermal pixel lands in the visible picture, and which calibrations are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError
from pipeline.calibration import (
    Calibration,
    CameraModel,
    Crop,
    calibrate_from_points,
    read_calibration,
    write_calibration,
)
from pipeline.registration import Registrar, center_fit

SIZES = {"visible_wh": (160, 120), "thermal_wh": (80, 64)}
TILTED = np.array([[1.9, 0.05, 4.0], [-0.03, 1.85, 2.0], [1e-5, -2e-5, 1.0]])


def blobs(points_xy: np.ndarray, size_wh: tuple[int, int], dtype: type = np.uint8) -> np.ndarray:
    y, x = np.mgrid[0 : size_wh[1], 0 : size_wh[0]]
    image = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points_xy)
    return (image * (200 if dtype is np.uint8 else 40000)).astype(dtype)


def peak(image: np.ndarray, near_xy: np.ndarray) -> np.ndarray:
    left, top = (max(0, round(value) - 12) for value in near_xy)
    part = image[top : top + 25, left : left + 25].astype(float)
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    return np.array([(x * part).sum(), (y * part).sum()]) / part.sum() + (left, top)


def test_equal_sizes_pass_through_untouched() -> None:
    registrar = Registrar((64, 48), (64, 48))
    image = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    result = registrar(image)
    assert registrar.is_identity
    assert registrar.warning is None
    assert result.thermal is image
    assert result.covered is None


def test_other_sizes_are_fitted_around_the_centre_with_a_warning() -> None:
    registrar = Registrar((160, 120), (80, 64))
    assert registrar.warning is not None
    assert "80x64" in registrar.warning
    assert "calibrate" in registrar.warning
    image = np.full((64, 80), 50, np.uint8)
    image[:, 40:] = 150
    result = registrar(image)
    assert result.thermal.shape == (120, 160)
    assert result.covered is not None
    assert result.covered.mean() == pytest.approx(150 / 160, abs=0.02)
    assert np.array_equal(result.thermal[:, 79:81].mean(axis=0), [result.thermal[0, 79], result.thermal[0, 80]])
    assert abs(float(result.thermal[60].mean()) - 100) < 1


@settings(deadline=None, max_examples=50)
@given(
    visible=st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
    thermal=st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
)
def test_centre_fit_keeps_the_centre_and_the_aspect_and_fits_inside(
    visible: tuple[int, int], thermal: tuple[int, int]
) -> None:
    matrix = center_fit(visible, thermal)
    assert matrix[0, 0] == matrix[1, 1]
    edges = matrix @ np.array([[-0.5, thermal[0] - 0.5], [-0.5, thermal[1] - 0.5], [1, 1]])
    assert edges[:2].sum(axis=1) == pytest.approx([visible[0] - 1, visible[1] - 1])
    assert edges[:2, 0].min() >= -0.5 - 1e-6
    assert np.isclose(edges[:2, 0], -0.5, atol=1e-6).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_homography_moves_pixels_to_where_it_says(dtype: type) -> None:
    points = np.array([[20.0, 15.0], [60.0, 20.0], [40.0, 45.0]])
    registrar = Registrar(**SIZES, calibration=Calibration(**SIZES, homography=TILTED))
    warped = registrar(blobs(points, (80, 64), dtype)).thermal
    assert warped.dtype == dtype
    for target in cv2.perspectiveTransform(points[:, None], TILTED)[:, 0]:
        assert peak(warped, target) == pytest.approx(target, abs=0.15)


def test_lens_distortion_of_both_cameras_is_taken_into_account() -> None:
    visible_camera = CameraModel(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]), np.array([-0.2, 0.05, 0, 0, 0]))
    thermal_camera = CameraModel(np.array([[75.0, 0, 40], [0, 75, 32], [0, 0, 1]]), np.array([-0.3, 0.1, 0, 0, 0]))
    calibration = Calibration(**SIZES, homography=TILTED, visible_camera=visible_camera, thermal_camera=thermal_camera)
    ideal = np.array([[25.0, 20.0], [55.0, 40.0]])
    rays = np.concatenate([cv2.undistortPoints(ideal[:, None], thermal_camera.K, np.zeros(5)), np.ones((2, 1, 1))], 2)
    seen, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), thermal_camera.K, thermal_camera.D)
    straight = cv2.perspectiveTransform(ideal[:, None], TILTED)
    rays = np.concatenate([cv2.undistortPoints(straight, visible_camera.K, np.zeros(5)), np.ones((2, 1, 1))], 2)
    target, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), visible_camera.K, visible_camera.D)
    warped = Registrar(**SIZES, calibration=calibration)(blobs(seen[:, 0], (80, 64))).thermal
    for point in target[:, 0]:
        assert peak(warped, point) == pytest.approx(point, abs=0.25)


def test_the_crop_limits_what_is_covered() -> None:
    calibration = Calibration(**SIZES, homography=center_fit(**SIZES), crop=Crop(10, 0, 60, 64))
    covered = Registrar(**SIZES, calibration=calibration)(np.zeros((64, 80), np.uint8)).covered
    assert covered is not None
    assert covered.mean() == pytest.approx(0.75 * 150 / 160, abs=0.02)


def test_pictures_of_another_size_than_the_calibration_are_refused() -> None:
    calibration = Calibration(**SIZES, homography=TILTED)
    with pytest.raises(InputError, match="thermal pictures of 80x64, not 100x64"):
        Registrar((160, 120), (100, 64), calibration)
    with pytest.raises(InputError, match="visible pictures of 160x120, not 320x240"):
        Registrar((320, 240), (80, 64), calibration)
    with pytest.raises(InputError, match="was announced"):
        Registrar(**SIZES, calibration=calibration)(np.zeros((10, 10), np.uint8))


def test_a_calibration_that_misses_the_picture_is_refused() -> None:
    away = np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(InputError, match="outside"):
        Registrar(**SIZES, calibration=Calibration(**SIZES, homography=away))


# Points


def test_points_give_the_homography_and_its_error() -> None:
    rng = np.random.default_rng(2)
    thermal = rng.uniform((0, 0), (80, 64), (12, 2))
    visible = cv2.perspectiveTransform(thermal[:, None], TILTED)[:, 0]
    calibration = calibrate_from_points(thermal, visible, **SIZES)
    assert calibration.homography / calibration.homography[2, 2] == pytest.approx(TILTED, abs=1e-3)
    assert calibration.rms_px == pytest.approx(0, abs=1e-3)
    noisy = calibrate_from_points(thermal, visible + rng.normal(0, 1, visible.shape), **SIZES)
    assert noisy.rms_px is not None
    assert 0.5 < noisy.rms_px < 2.0


@pytest.mark.parametrize(
    "points",
    [
        [[0, 0], [1, 0], [1, 1]],
        [[0, 0], [1, 1], [2, 2], [3, 3]],
        [[0, 0], [1, 0], [1, 1], [float("nan"), 1]],
    ],
)
def test_points_that_fit_no_homography_are_refused(points: list[list[float]]) -> None:
    with pytest.raises(InputError, match="calibration"):
        calibrate_from_points(points, points, **SIZES)


# Files


def full_calibration() -> Calibration:
    return Calibration(
        **SIZES,
        homography=TILTED,
        visible_camera=CameraModel(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]), np.zeros(5)),
        thermal_camera=CameraModel(np.array([[75.0, 0, 40], [0, 75, 32], [0, 0, 1]]), np.zeros(4)),
        plane_distance_m=12.5,
        rms_px=0.7,
        date="2026-01-02",
        crop=Crop(2, 3, 70, 60),
    )


def test_a_calibration_file_comes_back_as_it_was(tmp_path: Path) -> None:
    write_calibration(full_calibration(), tmp_path / "c.yaml")
    read = read_calibration(tmp_path / "c.yaml")
    made = full_calibration()
    assert np.array_equal(read.homography, made.homography)
    assert read.visible_camera is not None
    assert made.visible_camera is not None
    assert np.array_equal(read.visible_camera.K, made.visible_camera.K)
    assert (read.visible_wh, read.thermal_wh, read.crop) == (made.visible_wh, made.thermal_wh, made.crop)
    assert (read.plane_distance_m, read.rms_px, read.date) == (12.5, 0.7, "2026-01-02")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scale": 2}, "unknown key 'scale'"),
        ({"version": 2}, "version must be 1"),
        ({"H": None}, "H must be 3 x 3"),
        ({"H": [[1, 0], [0, 1]]}, "H must be 3 x 3"),
        ({"H": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, "invertible"),
        ({"H": [[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]]}, "invertible"),
        ({"visible_size": [160, "x"]}, "visible_size must be a list of 2 whole numbers"),
        ({"visible_size": [160, 0]}, "at least 1"),
        ({"thermal_camera": {"K": 1}}, "thermal_camera must have the keys K and D"),
        ({"thermal_camera": {"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "D": [1]}}, "thermal_camera.D"),
        ({"plane_distance_m": "far"}, "plane_distance_m must be a number"),
        ({"crop": [0, 0, 500, 10]}, "crop must lie inside"),
    ],
)
def test_what_is_wrong_with_a_calibration_file_is_named(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "c.yaml"
    write_calibration(full_calibration(), path)
    content = yaml.safe_load(path.read_text())
    content.update(changes)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=complaint) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_calibration_are_refused(tmp_path: Path) -> None:
    for name, text, complaint in (("a", "just text", "not a calibration"), ("b", "{x: [", "not valid YAML")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=complaint):
            read_calibration(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration(tmp_path / "nowhere.yaml")
    (tmp_path / "c").write_text("version: 1\nvisible_size: [10, 10]\n")
    with pytest.raises(InputError, match=r"(thermal_size|H) is missing"):
        read_calibration(tmp_path / "c")
