"""Counting pixels of regions on an integer grid, many pairs of regions at once.

A region arrives with integer coordinates relative to a canvas: either an inclusive box, or a polygon that is
scanned row by row with the even-odd walk of the VOT tools. Only counts leave: pixels of either region and of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_ROWS_AT_ONCE = 200_000
_ABSENT = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRegions:
    """N regions on integer coordinates relative to their canvas.

    Attributes:
        boxes: (N, 4) inclusive left, top, right, bottom; used where ``is_box``.
        is_box: (N,) whether the region is filled as an inclusive box.
        vertices: (N, V, 2) integer-valued float64 x, y of the polygon; used elsewhere.
    """

    boxes: IntArray
    is_box: BoolArray
    vertices: FloatArray

    def take(self, chosen: IntArray) -> GridRegions:
        """The regions with the given indices."""
        return GridRegions(boxes=self.boxes[chosen], is_box=self.is_box[chosen], vertices=self.vertices[chosen])


def count_pixels(
    first: GridRegions, second: GridRegions, canvas_wh: IntArray, *, scan_horizontal_edges: bool
) -> tuple[IntArray, IntArray]:
    """Pixels of the intersection and of the union of N pairs of regions.

    Args:
        first: N regions.
        second: N regions on the same canvases.
        canvas_wh: (N, 2) canvas width and height; whatever lies outside is cut.
        scan_horizontal_edges: the rule of vot-toolkit 0.7.4 (a horizontal edge adds its first vertex as a crossing
            and a final pair of equal crossings is filled) instead of the one of the C library.

    Returns:
        (N,) intersection and (N,) union.
    """
    intersection = np.zeros(len(canvas_wh), dtype=np.int64)
    union = np.zeros(len(canvas_wh), dtype=np.int64)
    plain = first.is_box & second.is_box
    chosen = np.flatnonzero(plain)
    if len(chosen):
        intersection[chosen], union[chosen] = _count_boxes(first.boxes[chosen], second.boxes[chosen], canvas_wh[chosen])
    scanned = np.flatnonzero(~plain)
    ends = np.cumsum(canvas_wh[scanned, 1])
    start = 0
    while start < len(scanned):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + _ROWS_AT_ONCE, side="right")))
        chosen = scanned[start:stop]
        intersection[chosen], union[chosen] = _count_scanned(
            first.take(chosen), second.take(chosen), canvas_wh[chosen], scan_horizontal_edges
        )
        start = stop
    return intersection, union


def _clip_boxes(boxes: IntArray, canvas_wh: IntArray) -> IntArray:
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, 2:], canvas_wh - 1)
    return np.concatenate([low, high], axis=1)


def _box_area(boxes: IntArray) -> IntArray:
    span = np.maximum(boxes[:, 2:] - boxes[:, :2] + 1, 0)
    area: IntArray = span[:, 0] * span[:, 1]
    return area


def _count_boxes(first: IntArray, second: IntArray, canvas_wh: IntArray) -> tuple[IntArray, IntArray]:
    first, second = _clip_boxes(first, canvas_wh), _clip_boxes(second, canvas_wh)
    both = np.concatenate([np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])], axis=1)
    intersection = _box_area(both)
    return intersection, _box_area(first) + _box_area(second) - intersection


def _count_scanned(
    first: GridRegions, second: GridRegions, canvas_wh: IntArray, scan_horizontal_edges: bool
) -> tuple[IntArray, IntArray]:
    heights = canvas_wh[:, 1]
    owner = np.repeat(np.arange(len(heights)), heights)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(heights) - heights, heights)
    last_column = canvas_wh[owner, 0] - 1
    spans = [_spans(part, owner, row, last_column, scan_horizontal_edges) for part in (first, second)]
    areas = [sum(np.maximum(end - start + 1, 0) for start, end in part) for part in spans]
    shared = np.zeros(len(owner), dtype=np.int64)
    for first_start, first_end in spans[0]:
        for second_start, second_end in spans[1]:
            length = np.minimum(first_end, second_end) - np.maximum(first_start, second_start) + 1
            shared += np.maximum(length, 0)
    totals = [np.bincount(owner, weights=part, minlength=len(heights)).astype(np.int64) for part in (*areas, shared)]
    return totals[2], totals[0] + totals[1] - totals[2]


def _spans(
    regions: GridRegions, owner: IntArray, row: IntArray, last_column: IntArray, scan_horizontal_edges: bool
) -> list[tuple[IntArray, IntArray]]:
    """Filled columns (inclusive start, end) of every canvas row; an empty span has end < start."""
    if regions.is_box.all():
        return [_box_span(regions.boxes, owner, row, last_column)]
    if not regions.is_box.any():
        return _polygon_spans(regions.vertices, owner, row, last_column, scan_horizontal_edges)
    of_box = regions.is_box[owner]
    start, end = _box_span(regions.boxes, owner, row, last_column)
    spans = []
    in_polygon = np.flatnonzero(~of_box)
    polygon_spans = _polygon_spans(
        regions.vertices, owner[in_polygon], row[in_polygon], last_column[in_polygon], scan_horizontal_edges
    )
    for number, (polygon_start, polygon_end) in enumerate(polygon_spans):
        whole_start = np.where(of_box, start, 1) if number == 0 else np.ones_like(start)
        whole_end = np.where(of_box, end, 0) if number == 0 else np.zeros_like(end)
        whole_start[in_polygon], whole_end[in_polygon] = polygon_start, polygon_end
        spans.append((whole_start, whole_end))
    return spans


def _box_span(boxes: IntArray, owner: IntArray, row: IntArray, last_column: IntArray) -> tuple[IntArray, IntArray]:
    inside = (row >= boxes[owner, 1]) & (row <= boxes[owner, 3])
    start = np.maximum(boxes[owner, 0], 0)
    end = np.where(inside, np.minimum(boxes[owner, 2], last_column), start - 1)
    return start, end


def _polygon_spans(
    vertices: FloatArray, owner: IntArray, row: IntArray, last_column: IntArray, scan_horizontal_edges: bool
) -> list[tuple[IntArray, IntArray]]:
    """Filled columns of every row of polygons.

    Nearly all rows cross the outline twice and are one span; only the others need the walk.
    """
    crossings = _crossings(vertices, owner, row, scan_horizontal_edges)
    present = crossings != _ABSENT
    counts = present.sum(axis=0)
    low = crossings.min(axis=0)
    high = np.where(present, crossings, 0).sum(axis=0) - low
    twice = (counts == 2) & (scan_horizontal_edges | (high > low))
    start = np.where(twice, np.maximum(low, 0), 1)
    end = np.where(twice, np.minimum(high, last_column), 0)
    spans = [(start, end)]
    many = np.flatnonzero(counts > 2)
    if len(many):
        walked = _walk(crossings[:, many], last_column[many], scan_horizontal_edges)
        for number, (part_start, part_end) in enumerate(walked):
            if number == len(spans):
                spans.append((np.ones_like(start), np.zeros_like(end)))
            spans[number][0][many], spans[number][1][many] = part_start, part_end
    return spans


def _walk(crossings: IntArray, last_column: IntArray, scan_horizontal_edges: bool) -> list[tuple[IntArray, IntArray]]:
    """Spans of (V, R) crossings: through the sorted ones in pairs, dropping the first of two that are equal."""
    crossings = np.sort(crossings, axis=0)
    places, rows = crossings.shape
    counts = (crossings != _ABSENT).sum(axis=0)
    index = np.arange(rows)
    position = np.zeros(rows, dtype=np.int64)
    filled_to = np.full(rows, -1, dtype=np.int64)
    spans = []
    for _ in range(places - 1):
        active = position < counts - 1
        here = np.minimum(position, places - 2)
        left, right = crossings[here, index], crossings[here + 1, index]
        drop = active & (left == right)
        if scan_horizontal_edges:
            drop &= position < counts - 2
        fill = active & ~drop
        # Neighbouring spans may share a pixel; it counts once.
        start = np.where(fill, np.maximum(left, filled_to + 1), 1)
        end = np.where(fill, np.minimum(right, last_column), 0)
        filled_to = np.where(fill, np.maximum(filled_to, end), filled_to)
        spans.append((start, end))
        position += np.where(drop, 1, 2)
    return spans


def _crossings(vertices: FloatArray, owner: IntArray, row: IntArray, scan_horizontal_edges: bool) -> IntArray:
    """Columns where the edges cross each row, truncated to integers; (V, R), absent ones are the largest integer."""
    count = vertices.shape[1]
    crossings = np.full((count, len(row)), _ABSENT, dtype=np.int64)
    for number in range(count):
        # Each edge runs from a vertex to the one before it: the direction decides, by rounding, on which side of
        # an integer a crossing falls.
        x, y = vertices[:, number, 0], vertices[:, number, 1]
        before_x, before_y = vertices[:, number - 1, 0], vertices[:, number - 1, 1]
        height = before_y - y
        sloped = height != 0
        # An empty range where the edge is horizontal.
        low = np.where(sloped, np.minimum(y, before_y), 1)
        high = np.where(sloped, np.maximum(y, before_y), 0)
        inside = np.flatnonzero((row >= low[owner]) & (row <= high[owner]))
        edge = owner[inside]
        ratio = (row[inside] - y[edge]) / height[edge]
        crossings[number, inside] = (x[edge] + ratio * (before_x - x)[edge]).astype(np.int64)
        if scan_horizontal_edges and not sloped.all():
            on_edge = np.flatnonzero(~sloped[owner] & (row == y[owner]))
            crossings[number, on_edge] = x[owner[on_edge]].astype(np.int64)
    return crossings
