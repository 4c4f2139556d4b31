from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.calibration import read_calibration
from pipeline.cli.main import run
from tests.pipeline.cli.conftest import scene


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    visible, thermal = scene(3)
    paths = tmp_path / "v.png", tmp_path / "t.png"
    for path, picture in zip(paths, (cv2.resize(visible, (192, 144)), thermal), strict=True):
        assert cv2.imwrite(str(path), picture)
    return paths


def calibrate(pictures: tuple[Path, Path], out: Path, *more: object) -> int:
    line = ["calibrate", "--visible", pictures[0], "--thermal", pictures[1], "--out", out, *more]
    return run([str(part) for part in line])


CORNERS = np.array([[10, 10], [80, 12], [78, 60], [14, 58], [40, 30]], float)


@pytest.mark.parametrize(
    "header",
    # The last as spreadsheets save it, with a byte order mark.
    ["", "thermal_x,thermal_y,visible_x,visible_y\n", "\ufeffthermal_x,thermal_y,visible_x,visible_y\n"],
)
def test_points_give_their_homography(
    pictures: tuple[Path, Path], tmp_path: Path, header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    visible = CORNERS * 2 + (3, -4)
    columns = (CORNERS, visible) if header else (visible, CORNERS)
    lines = [",".join(f"{value:g}" for value in row) for row in np.hstack(columns)]
    points = tmp_path / "points.csv"
    points.write_text(header + "# four corners and the middle\n" * (not header) + "\n".join(lines))
    out = tmp_path / "new" / "calibration.yaml"
    assert calibrate(pictures, out, "--points", points, "--plane-distance", "12.5") == 0
    made = read_calibration(out)
    assert np.allclose(made.homography / made.homography[2, 2], [[2, 0, 3], [0, 2, -4], [0, 0, 1]], atol=1e-6)
    assert made.plane_distance_m == 12.5
    assert (made.visible_wh, made.thermal_wh) == ((192, 144), (96, 72))
    said = capsys.readouterr().out
    assert "0.00 px" in said
    assert "Exact at 12.5 m" in said


@pytest.mark.parametrize(
    ("text", "word"),
    [("1,2,3\n", ":1:"), ("1,2,3,x\n", ":1:"), ("0,0,0,0\n1,1,1,1\n2,2,2,2\n", "four"), ("", "four")],
)
def test_wrong_points_are_named(
    pictures: tuple[Path, Path], tmp_path: Path, text: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    points = tmp_path / "points.csv"
    points.write_text(text)
    assert calibrate(pictures, tmp_path / "c.yaml", "--points", points) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "c.yaml").exists()


def test_a_file_of_points_that_is_not_there_or_no_text_is_named(
    pictures: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = tmp_path / "points.csv"
    assert calibrate(pictures, tmp_path / "c.yaml", "--points", points) == 2
    assert f"--points {points} does not exist" in capsys.readouterr().err
    points.write_bytes(b"\xff\xfe1")
    assert calibrate(pictures, tmp_path / "c.yaml", "--points", points) == 2
    assert f"--points {points} cannot be read as text" in capsys.readouterr().err


@pytest.mark.parametrize("distance", ["-1", "0", "nan", "inf"])
def test_a_distance_that_is_none_is_refused(
    pictures: tuple[Path, Path], tmp_path: Path, distance: str, capsys: pytest.CaptureFixture[str]
) -> None:
    points = tmp_path / "points.csv"
    points.write_text("\n".join(",".join(f"{value:g}" for value in row) for row in np.hstack([CORNERS, CORNERS])))
    assert calibrate(pictures, tmp_path / "c.yaml", "--points", points, "--plane-distance", distance) == 2
    assert "--plane-distance" in capsys.readouterr().err
    assert not (tmp_path / "c.yaml").exists()


def test_a_refinement_that_finds_nothing_fails(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    lines = [",".join(f"{value:g}" for value in row) for row in np.hstack([CORNERS * 2, CORNERS])]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    before = tmp_path / "before.yaml"
    assert calibrate(pictures, before, "--points", tmp_path / "points.csv") == 0
    even = tmp_path / "even.png"
    assert cv2.imwrite(str(even), np.full((144, 192, 3), 90, np.uint8))
    out = tmp_path / "after.yaml"
    assert calibrate((even, pictures[1]), out, "--refine", before) == 1
    assert not out.exists()
