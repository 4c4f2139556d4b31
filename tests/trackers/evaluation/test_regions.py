"""Region files and polygon-to-box conversion."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fusion.errors import InputError
from trackers.box import Box
from trackers.evaluation.regions import area_preserving_box, initial_box, read_lines, regions_from_rows

REPO = Path(__file__).resolve().parents[3]
CASES = REPO.parent / "shared" / "vot" / "train" / "cases" / "polygon_to_box.json"


def test_rectangle_passes_unchanged() -> None:
    assert area_preserving_box([3, 4, 5, 6]) == Box(3, 4, 5, 6)


def test_axis_aligned_polygon_is_its_rectangle() -> None:
    assert area_preserving_box([20, 10, 40, 10, 40, 30, 20, 30]) == Box(20, 10, 20, 20)


def test_rotated_rectangle_keeps_centre_and_area() -> None:
    angle = 0.7
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(-15, -5), (15, -5), (15, 5), (-15, 5)]
    points = [number for x, y in corners for number in (50 + cos * x - sin * y, 40 + sin * x + cos * y)]
    box = area_preserving_box(points)
    assert box.area == pytest.approx(300)
    assert box.center_xy == pytest.approx((50, 40))
    assert initial_box(points, "hull").area > 300


@pytest.mark.skipif(not CASES.is_file(), reason="the reference polygon cases are not beside the checkout")
def test_reference_cases() -> None:
    for case in json.loads(CASES.read_text()):
        assert area_preserving_box(case["polygon"]).as_tuple() == pytest.approx(case["box"], abs=1e-6)
        assert initial_box(case["polygon"], "hull").as_tuple() == pytest.approx(case["min_max_box"], abs=1e-6)


def test_rows_of_different_kinds_come_back_as_they_were() -> None:
    rows = [(), (1.0, 2.0, 3.0, 4.0), (0.0, 0.0, 4.0, 0.0, 2.0, 3.0)]
    regions = regions_from_rows(rows)
    assert [regions.row(index) for index in range(3)] == rows


def test_a_polygon_of_two_points_is_refused() -> None:
    with pytest.raises(InputError):
        area_preserving_box([1, 2, 3, 4, 5])


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text("\ufeff1,2,3,4\n5,6,7,8\n\n", encoding="utf-8")
    assert read_lines(path, "ground truth") == ["1,2,3,4", "5,6,7,8"]
