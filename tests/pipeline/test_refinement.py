"""Refinement on outlines, and calibrations made with other tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from fusion.errors import InputError
from pipeline.calibration import Calibration, CameraModel
from pipeline.calibration_import import import_opencv, import_ros, plane_homography
from pipeline.refinement import refine
from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene

SIZES = {"visible_wh": (320, 240), "thermal_wh": (160, 120)}
TRUE = np.array([[1.98, 0.03, 3.0], [-0.02, 2.01, 1.5], [0.0, 0.0, 1.0]])
K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """A visible picture, and the thermal one as a camera sees it that ``TRUE`` describes."""
    scene = SyntheticScene(SyntheticConfig(seed=1, size_wh=(320, 240), occlude=(), dark=()))
    thermal = cv2.warpPerspective(
        scene.thermal(60), np.linalg.inv(TRUE), (160, 120), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return scene.visible(60), thermal


def error_px(homography: np.ndarray) -> float:
    points = np.array([[[20.0, 15]], [[140, 15]], [[140, 105]], [[20, 105]], [[80, 60]]])
    difference = cv2.perspectiveTransform(points, homography) - cv2.perspectiveTransform(points, TRUE)
    return float(np.linalg.norm(difference, axis=2).mean())


@pytest.mark.parametrize("shift", [(4.0, -3.0), (-5.0, 4.0), (0.0, 6.0)])
def test_a_small_error_is_corrected_across_the_two_kinds_of_picture(
    pictures: tuple[np.ndarray, np.ndarray], shift: tuple[float, float]
) -> None:
    wrong = TRUE.copy()
    wrong[:2, 2] += shift
    start = Calibration(**SIZES, homography=wrong)
    result = refine([pictures], start)
    assert result.accepted, result.reason
    assert error_px(result.calibration.homography) < 1.3
    assert error_px(wrong) > 4
    assert result.score > result.score_before
    assert result.shift_px == pytest.approx(np.hypot(*shift), abs=2.5)


def test_a_refinement_without_sense_is_not_accepted(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    start = Calibration(**SIZES, homography=TRUE)
    noise = np.random.default_rng(0).integers(0, 256, (120, 160)).astype(np.uint8)
    for thermal in (noise, np.full((120, 160), 90, np.uint8)):
        result = refine([(pictures[0], thermal)], start)
        assert not result.accepted
        assert result.reason
        assert result.calibration is start


def test_pictures_of_another_size_and_no_pictures_are_refused(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    start = Calibration(**SIZES, homography=TRUE)
    with pytest.raises(InputError, match="at least one pair"):
        refine([], start)
    with pytest.raises(InputError, match="thermal pictures of 100x75"):
        refine([pictures], replace(start, thermal_wh=(100, 75)))


def test_opencv_storage_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "stereo.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("H", TRUE)
    storage.write("K_thermal", K)
    storage.write("D_thermal", np.array([[0.1, -0.2, 0, 0, 0.05]]))
    storage.release()
    calibration = import_opencv(path, **SIZES)
    assert np.array_equal(calibration.homography, TRUE)
    assert calibration.visible_camera is None
    assert calibration.thermal_camera is not None
    assert calibration.thermal_camera.D.tolist() == [0.1, -0.2, 0, 0, 0.05]


def test_opencv_storage_without_a_homography_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stereo.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("K", K)
    storage.release()
    with pytest.raises(InputError, match="no homography"):
        import_opencv(path, **SIZES)
    (tmp_path / "other.yml").write_text("hello")
    for name in ("other.yml", "nowhere.yml"):
        with pytest.raises(InputError, match="OpenCV storage"):
            import_opencv(tmp_path / name, **SIZES)


def ros_content() -> dict[str, object]:
    return {
        "image_width": 320,
        "image_height": 240,
        "distortion_model": "plumb_bob",
        "camera_matrix": {"rows": 3, "cols": 3, "data": K.ravel().tolist()},
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, 0, 0, 0, 0]},
    }


def test_ros_camera_info_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump(ros_content()))
    camera, size = import_ros(path)
    assert np.array_equal(camera.K, K)
    assert camera.D.tolist() == [0.1, 0, 0, 0, 0]
    assert size == (320, 240)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"distortion_model": "equidistant"}, "distortion model 'equidistant'"),
        ({"image_width": "wide"}, "image_width"),
        ({"camera_matrix": {"rows": 3, "cols": 3, "data": [1, 2]}}, "camera_matrix"),
        ({"distortion_coefficients": {"rows": 1, "cols": 2, "data": [1, 2]}}, "2 distortion coefficients"),
    ],
)
def test_what_is_wrong_with_camera_info_is_named(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump(ros_content() | changes))
    with pytest.raises(InputError, match=complaint):
        import_ros(path)


def test_the_homography_of_a_plane_maps_its_points() -> None:
    visible, thermal = CameraModel(K, np.zeros(5)), CameraModel(K * [[0.5], [0.5], [1]], np.zeros(5))
    rotation, _ = cv2.Rodrigues(np.array([0.01, -0.03, 0.02]))
    translation = np.array([0.06, 0.01, -0.02])
    homography = plane_homography(visible, thermal, rotation, translation, 5.0)
    for point in np.array([[0.5, -0.4, 5.0], [-1.0, 0.7, 5.0]]):
        seen_thermal = thermal.K @ point
        seen_visible = visible.K @ (rotation @ point + translation)
        mapped = homography @ (seen_thermal / seen_thermal[2])
        assert mapped[:2] / mapped[2] == pytest.approx(seen_visible[:2] / seen_visible[2], abs=1e-6)
