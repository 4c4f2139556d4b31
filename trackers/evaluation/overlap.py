"""Overlap of regions as each tool defines it.

The overlap is the area of the intersection over the area of the union. Three definitions of area exist:

* ``matlab``: the C raster of the MATLAB toolkit 2015-2019 and PySOT, behind all figures published for VOT2016 to
  VOT2019 and VOT-RGBT2019. A rectangle of w x h counts (w + 1)(h + 1) pixels.
* ``toolkit``: the raster of vot-toolkit 0.7.4. A rectangle counts round(w) x round(h) pixels.
* ``exact``: areas of the convex regions themselves. No tool does this; it is a cross-check.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackers.evaluation.exact import exact_overlap
from trackers.evaluation.raster import BoolArray, FloatArray, GridRegions, IntArray, count_pixels
from trackers.evaluation.regions import Regions

OverlapRule = Literal["matlab", "toolkit", "exact"]

# Pixels; coordinates beyond are as good as infinite, and their products still fit 64-bit integers.
_FAR = 1e9

_Float32Array = NDArray[np.float32]


def overlaps(first: Regions, second: Regions, *, bounds_wh: tuple[int, int] | None, rule: OverlapRule) -> FloatArray:
    """Overlap of the regions of N frames.

    Args:
        first: N regions.
        second: N regions.
        bounds_wh: regions are cut to ``[0, width] x [0, height]`` pixels; None leaves them whole (``exact`` only).
            The ``matlab`` lineage gives ``(width - 1, height - 1)`` for EAO and ``(width, height)`` for accuracy.
        rule: whose definition of area.

    Returns:
        (N,) float64 in 0..1; NaN where one of the two frames carries no region.

    Raises:
        ValueError: N differs, or a raster rule has no bounds.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} regions cannot be compared with {len(second)}")
    if bounds_wh is None and rule != "exact":
        raise ValueError(f"the overlap rule {rule} needs the size of the picture")
    result = np.full(len(first), np.nan)
    defined = (first.counts > 0) & (second.counts > 0)
    kinds = np.stack([first.counts, second.counts], axis=1)
    for first_count, second_count in np.unique(kinds[defined], axis=0):
        chosen = np.flatnonzero((first.counts == first_count) & (second.counts == second_count))
        a, b = first.numbers[chosen, :first_count], second.numbers[chosen, :second_count]
        match rule:
            case "matlab":
                assert bounds_wh is not None
                result[chosen] = _matlab_overlap(a, b, bounds_wh)
            case "toolkit":
                assert bounds_wh is not None
                result[chosen] = _toolkit_overlap(a, b, bounds_wh)
            case "exact":
                result[chosen] = exact_overlap(a, b, bounds_wh)
    return result


def matlab_overlaps(first: Regions, second: Regions, *, size_wh: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Overlaps of the ``matlab`` lineage for EAO, bounds (width - 1, height - 1), and for accuracy, (width, height).

    The two differ only where a region reaches the right or lower border, so only those frames are counted twice.
    """
    outer = overlaps(first, second, bounds_wh=size_wh, rule="matlab")
    bounds_wh = max(size_wh[0] - 1, 1), max(size_wh[1] - 1, 1)
    reaching = np.flatnonzero(_reaches(first, bounds_wh) | _reaches(second, bounds_wh))
    inner = outer.copy()
    inner[reaching] = overlaps(first.take(reaching), second.take(reaching), bounds_wh=bounds_wh, rule="matlab")
    return inner, outer


def _reaches(regions: Regions, bounds_wh: tuple[int, int]) -> BoolArray:
    """(N,) whether a region extends beyond the bounds to the right or below."""
    result = np.zeros(len(regions), dtype=np.bool_)
    for count in np.unique(regions.counts[regions.counts > 0]):
        chosen = np.flatnonzero(regions.counts == count)
        corner = _float32_vertices(regions.numbers[chosen, :count]).max(axis=1)
        result[chosen] = (corner > np.array(bounds_wh, dtype=np.float32)).any(axis=1)
    return result


def _ratio(intersection: IntArray, union: IntArray) -> FloatArray:
    return np.where(union > 0, intersection / np.maximum(union, 1), 0.0)


def _aligned_boxes(vertices: FloatArray) -> tuple[IntArray, BoolArray]:
    """Min/max boxes (N, 4) of integer polygons and whether the polygon is that box."""
    low, high = vertices.min(axis=1), vertices.max(axis=1)
    boxes = np.concatenate([low, high], axis=1).astype(np.int64)
    if vertices.shape[1] != 4:
        return boxes, np.zeros(len(vertices), dtype=np.bool_)
    x, y = vertices[:, :, 0], vertices[:, :, 1]
    first_edge_horizontal = (y[:, 0] == y[:, 1]) & (x[:, 1] == x[:, 2]) & (y[:, 2] == y[:, 3]) & (x[:, 3] == x[:, 0])
    first_edge_vertical = (x[:, 0] == x[:, 1]) & (y[:, 1] == y[:, 2]) & (x[:, 2] == x[:, 3]) & (y[:, 3] == y[:, 0])
    return boxes, first_edge_horizontal | first_edge_vertical


# --- the C raster of the MATLAB toolkit and PySOT ---


def _float32_vertices(numbers: FloatArray) -> _Float32Array:
    """Polygons (N, V, 2) in single precision; a rectangle becomes (x,y) (x+w,y) (x+w,y+h) (x,y+h)."""
    single = numbers.astype(np.float32)
    if single.shape[1] == 4:
        x, y, w, h = single.T
        single = np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1)
    return single.reshape(len(single), -1, 2)


def _round_half_away(values: FloatArray) -> FloatArray:
    return np.clip(np.copysign(np.floor(np.abs(values) + 0.5), values), -_FAR, _FAR)


def _matlab_overlap(a: FloatArray, b: FloatArray, bounds_wh: tuple[int, int]) -> FloatArray:
    vertices = [_float32_vertices(numbers) for numbers in (a, b)]
    limit = np.array(bounds_wh, dtype=np.float64)
    low = [np.clip(np.floor(part.min(axis=1)), 0, limit) for part in vertices]
    high = [np.clip(np.ceil(part.max(axis=1)), 0, limit) for part in vertices]
    possible = np.ones(len(a), dtype=np.bool_)
    for part_low, part_high in zip(low, high, strict=True):
        possible &= (part_high > part_low).all(axis=1)
    possible &= ((low[0] < high[1]) & (low[1] < high[0])).all(axis=1)
    result = np.zeros(len(a))
    chosen = np.flatnonzero(possible)
    if not len(chosen):
        return result
    origin = np.minimum(low[0], low[1])[chosen]
    canvas_wh = (np.maximum(high[0], high[1])[chosen] - origin + 1).astype(np.int64)
    first, second = (_matlab_grid(part[chosen], origin) for part in vertices)
    intersection, union = count_pixels(first, second, canvas_wh, scan_horizontal_edges=False)
    result[chosen] = _ratio(intersection, union).astype(np.float32)
    return result


def _matlab_grid(vertices: _Float32Array, origin: FloatArray) -> GridRegions:
    shifted = vertices - origin.astype(np.float32)[:, None, :]
    whole = _round_half_away(shifted.astype(np.float64))
    boxes, is_box = _aligned_boxes(whole)
    # A row with a single distinct crossing stays empty, and an all-horizontal outline has no crossings.
    flat = is_box & (boxes[:, 2:] == boxes[:, :2]).any(axis=1)
    boxes[flat] = (0, 0, -1, -1)
    return GridRegions(boxes=boxes, is_box=is_box, vertices=whole)


# --- the raster of vot-toolkit 0.7.4 ---


def _toolkit_overlap(a: FloatArray, b: FloatArray, bounds_wh: tuple[int, int]) -> FloatArray:
    shapes = [_toolkit_shape(numbers) for numbers in (a, b)]
    low = np.minimum(shapes[0][0][:, :2], shapes[1][0][:, :2])
    high = np.maximum(shapes[0][0][:, 2:], shapes[1][0][:, 2:])
    tiny = (high - low <= 0).any(axis=1)
    low = np.maximum(low, 0)
    high = np.minimum(high, np.array(bounds_wh, dtype=np.int64) - 1)
    # At most one pixel wide or high: 1 by definition before the cut to the picture, 0 after it.
    result = np.where(tiny, 1.0, 0.0)
    chosen = np.flatnonzero(~tiny & (high - low > 0).all(axis=1))
    if not len(chosen):
        return result
    origin = low[chosen]
    first, second = (
        GridRegions(
            boxes=boxes[chosen] - np.tile(origin, 2),
            is_box=is_box[chosen],
            vertices=vertices[chosen] - origin[:, None, :],
        )
        for boxes, is_box, vertices in shapes
    )
    canvas_wh = high[chosen] - origin + 1
    intersection, union = count_pixels(first, second, canvas_wh, scan_horizontal_edges=True)
    result[chosen] = _ratio(intersection, union)
    return result


def _toolkit_shape(numbers: FloatArray) -> tuple[IntArray, BoolArray, FloatArray]:
    """Inclusive boxes (N, 4), whether the region is its box, and rounded vertices (N, V, 2)."""
    whole = np.clip(np.rint(numbers.astype(np.float32)).astype(np.float64), -_FAR, _FAR)
    if whole.shape[1] == 4:
        x, y, w, h = whole.T
        boxes = np.stack([x, y, x + w - 1, y + h - 1], axis=1).astype(np.int64)
        return boxes, np.ones(len(whole), dtype=np.bool_), np.zeros((len(whole), 4, 2))
    vertices = whole.reshape(len(whole), -1, 2)
    boxes, is_box = _aligned_boxes(vertices)
    return boxes, is_box, vertices
