"""Overlap: the raster rules against slow readings of their definitions, exact areas, and reference cases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers.evaluation.overlap import matlab_overlaps, overlaps
from trackers.evaluation.regions import Regions, regions_from_rows

REPO = Path(__file__).resolve().parents[3]
CASES = REPO.parent / "shared" / "vot" / "train" / "cases" / "overlap.json"
SIZE = (60, 40)


def one(numbers: list[float]) -> Regions:
    return regions_from_rows([numbers])


def value(a: list[float], b: list[float], rule: str, bounds: tuple[int, int] | None = SIZE) -> float:
    return float(overlaps(one(a), one(b), bounds_wh=bounds, rule=rule)[0])  # type: ignore[arg-type]


def scan(vertices: list[tuple[int, int]], width: int, height: int, horizontal: bool) -> set[tuple[int, int]]:
    """Pixels of an integer polygon, row by row, in plain Python."""
    pixels = set()
    for y in range(height):
        crossings = []
        for number, (x0, y0) in enumerate(vertices):
            x1, y1 = vertices[number - 1]
            if y0 == y1:
                if horizontal and y == y0:
                    crossings.append(x0)
            elif min(y0, y1) <= y <= max(y0, y1):
                crossings.append(int(x0 + (y - y0) / (y1 - y0) * (x1 - x0)))
        crossings.sort()
        place = 0
        while place < len(crossings) - 1:
            left, right = crossings[place], crossings[place + 1]
            if left == right and not (horizontal and place == len(crossings) - 2):
                place += 1
                continue
            pixels |= {(x, y) for x in range(max(left, 0), min(right, width - 1) + 1)}
            place += 2
    return pixels


def slow_matlab(a: list[float], b: list[float], bounds: tuple[int, int]) -> float:
    def away(number: float) -> int:
        return int(math.copysign(math.floor(abs(number) + 0.5), number))

    outlines, hulls = [], []
    for numbers in (a, b):
        values = [np.float32(number) for number in numbers]
        if len(values) == 4:
            x, y, w, h = values
            values = [x, y, x + w, y, x + w, y + h, x, y + h]
        points = [(float(x), float(y)) for x, y in zip(values[0::2], values[1::2], strict=True)]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        outlines.append(points)
        hulls.append(
            [
                min(max(edge, 0), limit)
                for edge, limit in (
                    (math.floor(min(xs)), bounds[0]),
                    (math.floor(min(ys)), bounds[1]),
                    (math.ceil(max(xs)), bounds[0]),
                    (math.ceil(max(ys)), bounds[1]),
                )
            ]
        )
    for left, top, right, bottom in hulls:
        if right <= left or bottom <= top:
            return 0.0
    if any(hulls[0][k] >= hulls[1][k + 2] or hulls[1][k] >= hulls[0][k + 2] for k in (0, 1)):
        return 0.0
    left, top = (min(hulls[0][k], hulls[1][k]) for k in (0, 1))
    right, bottom = (max(hulls[0][k], hulls[1][k]) for k in (2, 3))
    sets = [
        scan(
            [(away(np.float32(x) - np.float32(left)), away(np.float32(y) - np.float32(top))) for x, y in points],
            right - left + 1,
            bottom - top + 1,
            horizontal=False,
        )
        for points in outlines
    ]
    union = len(sets[0] | sets[1])
    return float(np.float32(len(sets[0] & sets[1]) / union)) if union else 0.0


coordinate = st.integers(-120, 600).map(lambda number: number / 8)
span = st.integers(0, 400).map(lambda number: number / 8)
rectangle = st.tuples(coordinate, coordinate, span, span).map(list)
polygon = st.lists(coordinate, min_size=8, max_size=8)
triangle = st.lists(coordinate, min_size=6, max_size=6)
region = st.one_of(rectangle, polygon, triangle)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(region, region)
def test_matlab_raster_is_the_scan_of_its_definition(a: list[float], b: list[float]) -> None:
    assert value(a, b, "matlab") == slow_matlab(a, b, SIZE)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(region, region), min_size=1, max_size=12))
def test_many_pairs_at_once_equal_one_by_one(pairs: list[tuple[list[float], list[float]]]) -> None:
    first, second = (regions_from_rows([pair[k] for pair in pairs]) for k in (0, 1))
    for rule in ("matlab", "toolkit"):
        together = overlaps(first, second, bounds_wh=SIZE, rule=rule)  # type: ignore[arg-type]
        assert together.tolist() == [value(a, b, rule) for a, b in pairs]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(region, region)
def test_overlap_is_symmetric_and_between_0_and_1(a: list[float], b: list[float]) -> None:
    for rule in ("matlab", "toolkit"):
        assert 0 <= value(a, b, rule) <= 1
        assert value(a, b, rule) == value(b, a, rule)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(region, region)
def test_bounds_for_eao_and_accuracy_in_one_go(a: list[float], b: list[float]) -> None:
    inner, outer = matlab_overlaps(one(a), one(b), size_wh=SIZE)
    assert inner[0] == value(a, b, "matlab", (SIZE[0] - 1, SIZE[1] - 1))
    assert outer[0] == value(a, b, "matlab", SIZE)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(rectangle, rectangle)
def test_exact_overlap_of_rectangles_is_that_of_their_polygons(a: list[float], b: list[float]) -> None:
    def outline(box: list[float]) -> list[float]:
        x, y, w, h = box
        return [x, y, x + w, y, x + w, y + h, x, y + h]

    for bounds in (SIZE, None):
        expected = value(a, b, "exact", bounds)
        assert value(outline(a), outline(b), "exact", bounds) == pytest.approx(expected, abs=1e-9)
        points = outline(b)
        turned = [number for k in (6, 4, 2, 0) for number in points[k : k + 2]]
        assert value(a, turned, "exact", bounds) == pytest.approx(expected, abs=1e-9)


def test_a_frame_without_region_is_undefined() -> None:
    first = regions_from_rows([(), (1, 1, 5, 5)])
    second = regions_from_rows([(1, 1, 5, 5), (1, 1, 5, 5)])
    result = overlaps(first, second, bounds_wh=SIZE, rule="matlab")
    assert np.isnan(result[0])
    assert result[1] == 1


def test_regions_far_off_the_picture_have_no_overlap() -> None:
    assert value([1e30, 1e30, 1e30, 1e30], [1, 1, 5, 5], "matlab") == 0
    assert value([1e30, 1e30, 1e30, 1e30], [1, 1, 5, 5], "toolkit") == 0


def test_rectangle_counts_one_more_pixel_a_side_in_the_matlab_lineage_only() -> None:
    assert value([0, 0, 10, 10], [0, 0, 20, 20], "matlab") == pytest.approx(11 * 11 / (21 * 21))
    assert value([0, 0, 10, 10], [0, 0, 20, 20], "toolkit") == pytest.approx(0.25)
    assert value([0, 0, 10, 10], [0, 0, 20, 20], "exact") == 0.25


@pytest.mark.skipif(not CASES.is_file(), reason="the reference overlap cases are not beside the checkout")
def test_reference_cases() -> None:
    cases = json.loads(CASES.read_text())
    for case in cases:
        width, height = case["width"], case["height"]
        for key, rule, bounds in (
            ("c_raster_bound_wh_minus_1", "matlab", (width - 1, height - 1)),
            ("c_raster_bound_wh", "matlab", (width, height)),
            ("toolkit", "toolkit", (width, height)),
            ("exact_bounded", "exact", (width, height)),
            ("exact_unbounded", "exact", None),
        ):
            if case.get(key) is not None:
                assert value(case["a"], case["b"], rule, bounds) == pytest.approx(case[key], abs=1e-6), case
    assert len(cases) > 250
