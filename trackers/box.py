"""The box type that crosses package borders, and conversions from and to other conventions.

Coordinates are float pixels of the visible picture; the origin is the top-left corner of the top-left pixel, so a
box ``(0, 0, 1, 1)`` covers exactly that pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fusion.errors import InputError


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned box: top-left corner ``x, y`` and size ``w, h`` in pixels, 0-based, continuous edges.

    Raises:
        InputError: a number is not finite, or the size is negative.
    """

    x: float
    y: float
    w: float
    h: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.x, self.y, self.w, self.h)):
            raise InputError(f"a box needs four finite numbers, not {self.x},{self.y},{self.w},{self.h}")
        if self.w < 0 or self.h < 0:
            raise InputError(f"a box needs a size of at least 0, not {self.w} x {self.h}")

    @property
    def center_xy(self) -> tuple[float, float]:
        """Centre ``(x, y)`` in pixels."""
        return self.x + self.w / 2, self.y + self.h / 2

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.w * self.h

    def as_tuple(self) -> tuple[float, float, float, float]:
        """The numbers ``(x, y, w, h)``."""
        return self.x, self.y, self.w, self.h


def box_from_center(center_xy: tuple[float, float], size_wh: tuple[float, float]) -> Box:
    """Build a box from its centre and size, both in pixels."""
    return Box(center_xy[0] - size_wh[0] / 2, center_xy[1] - size_wh[1] / 2, size_wh[0], size_wh[1])


def box_from_corners(left: float, top: float, right: float, bottom: float) -> Box:
    """Build a box from its left, top, right and bottom edges in pixels."""
    return Box(left, top, right - left, bottom - top)


def box_from_polygon(points_xy: Sequence[float]) -> Box:
    """Axis-aligned hull of a polygon ``x1, y1, x2, y2, ...`` in pixels.

    Raises:
        InputError: fewer than three points, or an odd count of numbers.
    """
    if len(points_xy) < 6 or len(points_xy) % 2:
        raise InputError(f"a polygon needs at least three x,y points, not {len(points_xy)} numbers")
    xs, ys = points_xy[0::2], points_xy[1::2]
    return box_from_corners(min(xs), min(ys), max(xs), max(ys))


def clip_box(box: Box, width: int, height: int) -> Box:
    """The part of a box inside a picture of ``width`` x ``height`` pixels (size 0 when it is outside)."""
    left, right = (min(max(value, 0.0), float(width)) for value in (box.x, box.x + box.w))
    top, bottom = (min(max(value, 0.0), float(height)) for value in (box.y, box.y + box.h))
    return box_from_corners(left, top, right, bottom)


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes by exact area, 0..1; two boxes without area have 0."""
    width = min(first.x + first.w, second.x + second.w) - max(first.x, second.x)
    height = min(first.y + first.h, second.y + second.h) - max(first.y, second.y)
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    return intersection / (first.area + second.area - intersection)
