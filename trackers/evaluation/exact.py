"""Overlap of convex regions by their exact areas, many pairs at once."""

from __future__ import annotations

import numpy as np

from trackers.evaluation.raster import FloatArray, IntArray

_SLACK = 1e-12
_NO_AREA = 1e-9


def exact_overlap(a: FloatArray, b: FloatArray, bounds_wh: tuple[int, int] | None) -> FloatArray:
    """Intersection over union by area of N pairs of convex regions, each cut to ``[0, width] x [0, height]``.

    Args:
        a: (N, 4) rectangles or (N, 2 V) polygons, pixels.
        b: (N, 4) rectangles or (N, 2 V) polygons, pixels.
        bounds_wh: width and height of the picture in pixels, or None for no cut.

    Returns:
        (N,) in 0..1; two regions without area have 0. Meaningless for polygons that are not convex.
    """
    if a.shape[1] == 4 and b.shape[1] == 4:
        first, second = _corners(a, bounds_wh), _corners(b, bounds_wh)
        areas: list[FloatArray] = [_corner_area(corners) for corners in (first, second)]
        both = np.concatenate(
            [np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])], axis=1
        )
        intersection: FloatArray = _corner_area(both)
    else:
        polygons = [_polygon(numbers) for numbers in (a, b)]
        if bounds_wh is not None:
            frame = np.array([[0, 0], [bounds_wh[0], 0], [bounds_wh[0], bounds_wh[1]], [0, bounds_wh[1]]], float)
            frames = np.broadcast_to(frame, (len(a), 4, 2))
            polygons = [_clip(*polygon, frames) for polygon in polygons]
        areas = [np.abs(_signed_area(*polygon)) for polygon in polygons]
        other = _polygon(b)[0]
        intersection = np.abs(_signed_area(*_clip(*polygons[0], other)))
    union: FloatArray = areas[0] + areas[1] - intersection
    # Rounding leaves regions without area a tiny one.
    valid = union > _NO_AREA
    return np.where(valid, intersection / np.where(valid, union, 1.0), 0.0)


def _corners(rectangles: FloatArray, bounds_wh: tuple[int, int] | None) -> FloatArray:
    corners = np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], axis=1)
    if bounds_wh is None:
        return corners
    limit = np.array([*bounds_wh, *bounds_wh], dtype=np.float64)
    cut: FloatArray = np.minimum(np.maximum(corners, 0.0), limit)
    return cut


def _corner_area(corners: FloatArray) -> FloatArray:
    size = np.maximum(corners[:, 2:] - corners[:, :2], 0.0)
    area: FloatArray = size[:, 0] * size[:, 1]
    return area


def _polygon(numbers: FloatArray) -> tuple[FloatArray, IntArray]:
    """Vertices (N, V, 2) in one orientation, and how many of them count (N,)."""
    if numbers.shape[1] == 4:
        x, y, w, h = numbers.T
        numbers = np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1)
    vertices = numbers.reshape(len(numbers), -1, 2)
    counts = np.full(len(vertices), vertices.shape[1], dtype=np.int64)
    turned = _signed_area(vertices, counts) < 0
    return np.where(turned[:, None, None], vertices[:, ::-1], vertices), counts


def _signed_area(vertices: FloatArray, counts: IntArray) -> FloatArray:
    """Shoelace formula; unused places repeat the last vertex and so add nothing."""
    following = np.roll(vertices, -1, axis=1)
    cross = vertices[:, :, 0] * following[:, :, 1] - vertices[:, :, 1] * following[:, :, 0]
    area: FloatArray = cross.sum(axis=1) / 2
    return np.where(counts >= 3, area, 0.0)


def _clip(vertices: FloatArray, counts: IntArray, window: FloatArray) -> tuple[FloatArray, IntArray]:
    """Cut polygons to convex windows of positive orientation, one window edge after the other.

    Source: Sutherland and Hodgman, Reentrant polygon clipping, 1974.
    """
    for edge in range(window.shape[1]):
        start = window[:, edge]
        direction = window[:, (edge + 1) % window.shape[1]] - start
        vertices, counts = _cut_half_plane(vertices, counts, start, direction)
    return vertices, counts


def _cut_half_plane(
    vertices: FloatArray, counts: IntArray, start: FloatArray, direction: FloatArray
) -> tuple[FloatArray, IntArray]:
    number, places = vertices.shape[:2]
    used = np.arange(places)[None, :] < counts[:, None]
    following = np.roll(vertices, -1, axis=1)
    last = np.maximum(counts - 1, 0)
    following[np.arange(number), last] = vertices[:, 0]

    def side(points: FloatArray) -> FloatArray:
        relative = points - start[:, None, :]
        value: FloatArray = direction[:, None, 0] * relative[:, :, 1] - direction[:, None, 1] * relative[:, :, 0]
        return value

    here, there = side(vertices), side(following)
    keep = used & (here >= 0)
    cross = used & ((here >= 0) != (there >= 0))
    gap = here - there
    share = np.where(cross, here / np.where(np.abs(gap) > _SLACK, gap, 1.0), 0.0)
    points = vertices + share[:, :, None] * (following - vertices)
    # Each vertex emits itself when inside, then the crossing of the edge that leaves it.
    emitted = np.stack([keep, cross], axis=2).reshape(number, -1)
    values = np.stack([vertices, points], axis=2).reshape(number, -1, 2)
    new_counts = emitted.sum(axis=1)
    width = max(3, int(new_counts.max(initial=0)))
    result = np.zeros((number, width, 2))
    row, column = np.nonzero(emitted)
    place = (np.cumsum(emitted, axis=1) - 1)[row, column]
    result[row, place] = values[row, column]
    final = result[np.arange(number), np.maximum(new_counts - 1, 0)]
    unused = np.arange(width)[None, :] >= new_counts[:, None]
    return np.where(unused[:, :, None], final[:, None, :], result), new_counts
