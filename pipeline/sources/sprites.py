"""Things that move in the synthetic scene, drawn from simple shapes in a visible and a thermal form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]
Point = tuple[float, float]

# Shapes are drawn large and reduced, so that edges are smooth.
_SUPERSAMPLE = 3
_SHIFT = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sprite:
    """One pose of one thing.

    Attributes:
        visible: (h, w, 4) uint8, BGR times alpha and alpha.
        heat: (h, w, 2) float32, degrees Celsius times alpha and alpha, softer than the visible form.
        box: left, top, width and height of the opaque part in sprite pixels.
        anchor_xy: point of the sprite that stands on the ground, in sprite pixels.
    """

    visible: NDArray[np.uint8]
    heat: NDArray[np.float32]
    box: tuple[float, float, float, float]
    anchor_xy: Point


class Painter:
    """A canvas for one sprite; coordinates in sprite pixels, y down.

    Args:
        size_wh: size of the sprite in pixels.
        margin: transparent border around it in pixels.
    """

    def __init__(self, size_wh: tuple[int, int], margin: int = 6) -> None:
        self._margin = margin
        width, height = (value + 2 * margin for value in size_wh)
        shape = (height * _SUPERSAMPLE, width * _SUPERSAMPLE)
        self._color = np.zeros((*shape, 3), np.float32)
        self._heat = np.zeros(shape, np.float32)
        self._mask = np.zeros(shape, np.uint8)

    def polygon(self, points: Sequence[Point], color: Sequence[float], celsius: float) -> None:
        """Fill a polygon with a color (BGR) and a temperature."""
        corners = np.rint((np.asarray(points) + self._margin) * (_SUPERSAMPLE << _SHIFT)).astype(np.int32)
        left, top = np.maximum(corners.min(axis=0) >> _SHIFT, 0)
        right, bottom = (corners.max(axis=0) >> _SHIFT) + 2
        area = slice(top, bottom), slice(left, right)
        mask = np.zeros_like(self._mask[area])
        if mask.size:
            cv2.fillPoly(mask, [corners - np.array([left, top]) * (1 << _SHIFT)], 255, cv2.LINE_8, _SHIFT)
            self._color[area][mask > 0] = color
            self._heat[area][mask > 0] = celsius
            self._mask[area] |= mask

    def ellipse(
        self, center: Point, radii: Point, color: Sequence[float], celsius: float, angle_deg: float = 0.0
    ) -> None:
        """Fill an ellipse."""
        turns = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        x, y = radii[0] * np.cos(turns), radii[1] * np.sin(turns)
        points = np.stack([center[0] + x * cos - y * sin, center[1] + x * sin + y * cos], axis=1)
        self.polygon([(float(px), float(py)) for px, py in points], color, celsius)

    def limb(self, start: Point, end: Point, widths: Point, color: Sequence[float], celsius: float) -> None:
        """Fill a limb with round ends, its width going from the first to the second of ``widths``."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length / 2, dx / length / 2
        first, second = widths
        self.polygon(
            [
                (start[0] + nx * first, start[1] + ny * first),
                (end[0] + nx * second, end[1] + ny * second),
                (end[0] - nx * second, end[1] - ny * second),
                (start[0] - nx * first, start[1] - ny * first),
            ],
            color,
            celsius,
        )
        self.ellipse(start, (first / 2, first / 2), color, celsius)
        self.ellipse(end, (second / 2, second / 2), color, celsius)

    def finish(
        self,
        rng: np.random.Generator,
        *,
        anchor_xy: Point,
        roundness: float = 0.5,
        texture: float = 0.06,
        shadow_xy: Point | None = None,
    ) -> Sprite:
        """Shade, texture and reduce the drawing.

        Args:
            rng: source of the texture.
            anchor_xy: see ``Sprite``.
            roundness: strength of the shading that makes flat shapes look round, lit from the upper left.
            texture: strength of the fabric.
            shadow_xy: radii of a soft shadow on the ground around the anchor, in the visible form only.
        """
        depth = np.sqrt(cv2.distanceTransform(self._mask, cv2.DIST_L2, 3))
        depth = cv2.GaussianBlur(depth, (0, 0), 2.0 * _SUPERSAMPLE)
        slope = cv2.Sobel(depth, cv2.CV_32F, 1, 0) + cv2.Sobel(depth, cv2.CV_32F, 0, 1)
        light = 1 + roundness * np.tanh(slope * 0.35)
        height, width = self._mask.shape
        grain = rng.normal(0, 1, (height // 4 + 1, width // 4 + 1)).astype(np.float32)
        light *= 1 + texture * cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
        alpha = (self._mask > 0).astype(np.float32)
        covered = alpha if shadow_xy is None else np.maximum(alpha, self._shadow(anchor_xy, shadow_xy))
        visible = np.dstack([np.clip(self._color * light[..., None], 0, 255) * alpha[..., None], 255 * covered])
        warmth = self._heat + 0.6 * np.tanh(slope * 0.2)
        heat = cv2.GaussianBlur(np.dstack([warmth * alpha, alpha]), (0, 0), 0.9 * _SUPERSAMPLE)
        size = (width // _SUPERSAMPLE, height // _SUPERSAMPLE)
        small = cv2.resize(visible, size, interpolation=cv2.INTER_AREA)
        margin = self._margin
        return Sprite(
            visible=np.rint(small).astype(np.uint8),
            heat=np.asarray(cv2.resize(heat, size, interpolation=cv2.INTER_AREA), np.float32),
            box=_opaque_box(small[..., 3]),
            anchor_xy=(anchor_xy[0] + margin, anchor_xy[1] + margin),
        )

    def _shadow(self, anchor_xy: Point, radii: Point) -> NDArray[np.float32]:
        y, x = np.mgrid[0 : self._mask.shape[0], 0 : self._mask.shape[1]].astype(np.float32) / _SUPERSAMPLE
        x, y = (x - self._margin - anchor_xy[0]) / radii[0], (y - self._margin - anchor_xy[1]) / radii[1]
        return np.asarray(0.45 * np.exp(-(x**2) - y**2), np.float32)


def _opaque_box(alpha: NDArray[np.generic]) -> tuple[float, float, float, float]:
    """Box of what is at least half opaque."""
    rows = np.flatnonzero((np.asarray(alpha) >= 128).any(axis=1))
    columns = np.flatnonzero((np.asarray(alpha) >= 128).any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


@dataclass(frozen=True, slots=True, kw_only=True)
class Clothing:
    """Colors (BGR) of a person and how well the jacket keeps the warmth in."""

    jacket: Color
    trousers: Color
    hair: Color = (30, 40, 55)
    skin: Color = (135, 165, 215)
    jacket_celsius: float = 21.0


def paint_person(height: int, phase: float, clothing: Clothing, rng: np.random.Generator) -> Sprite:
    """A person walking to the right.

    Args:
        height: from feet to crown, in sprite pixels.
        phase: of the gait, 0 to 2 pi.
        clothing: what to wear.
        rng: source of the texture.
    """
    unit = float(height)
    ground, middle = unit, 0.36 * unit
    painter = Painter((round(0.72 * unit), round(1.02 * unit)))
    bob = 0.012 * math.cos(2 * phase)
    hip = (middle, ground - (0.50 + bob) * unit)
    neck = (middle + 0.03 * unit, ground - (0.83 + bob) * unit)
    darker = tuple(0.7 * value for value in clothing.trousers)
    sleeve = tuple(0.78 * value for value in clothing.jacket)
    _arm(painter, neck, -phase, unit, sleeve, clothing)
    _leg(painter, hip, phase + math.pi, unit, darker, ground)
    _leg(painter, hip, phase, unit, clothing.trousers, ground)
    painter.limb(hip, neck, (0.155 * unit, 0.20 * unit), clothing.jacket, clothing.jacket_celsius)
    painter.ellipse((hip[0], hip[1] + 0.02 * unit), (0.088 * unit, 0.05 * unit), clothing.jacket, 22.0)
    head = (neck[0] + 0.02 * unit, neck[1] - 0.095 * unit)
    painter.limb(neck, head, (0.07 * unit, 0.07 * unit), clothing.skin, 32.0)
    painter.ellipse(head, (0.062 * unit, 0.075 * unit), clothing.skin, 33.5)
    painter.ellipse((head[0] - 0.016 * unit, head[1] - 0.022 * unit), (0.058 * unit, 0.058 * unit), clothing.hair, 27.0)
    _arm(painter, neck, phase + math.pi, unit, clothing.jacket, clothing)
    return painter.finish(rng, anchor_xy=(middle, ground), shadow_xy=(0.22 * unit, 0.035 * unit))


def _leg(painter: Painter, hip: Point, phase: float, unit: float, color: Sequence[float], ground: float) -> None:
    swing = 0.48 * math.sin(phase)
    flex = 0.12 + 0.75 * max(0.0, math.cos(phase)) ** 2
    knee = (hip[0] + 0.25 * unit * math.sin(swing), hip[1] + 0.25 * unit * math.cos(swing))
    lower = swing - flex
    foot = (knee[0] + 0.225 * unit * math.sin(lower), knee[1] + 0.225 * unit * math.cos(lower))
    foot = (foot[0], min(foot[1], ground - 0.025 * unit))
    painter.limb(hip, knee, (0.115 * unit, 0.085 * unit), color, 24.5)
    painter.limb(knee, foot, (0.085 * unit, 0.058 * unit), color, 22.5)
    painter.limb(
        foot, (foot[0] + 0.065 * unit, foot[1] + 0.008 * unit), (0.05 * unit, 0.036 * unit), (28, 28, 34), 17.0
    )


def _arm(painter: Painter, neck: Point, phase: float, unit: float, color: Sequence[float], clothing: Clothing) -> None:
    swing = 0.42 * math.sin(phase)
    shoulder = (neck[0] - 0.01 * unit, neck[1] + 0.045 * unit)
    elbow = (shoulder[0] + 0.16 * unit * math.sin(swing), shoulder[1] + 0.16 * unit * math.cos(swing))
    lower = swing + 0.35
    hand = (elbow[0] + 0.14 * unit * math.sin(lower), elbow[1] + 0.14 * unit * math.cos(lower))
    painter.limb(shoulder, elbow, (0.075 * unit, 0.06 * unit), color, clothing.jacket_celsius + 1)
    painter.limb(elbow, hand, (0.06 * unit, 0.045 * unit), color, clothing.jacket_celsius + 2)
    painter.ellipse(hand, (0.026 * unit, 0.03 * unit), clothing.skin, 30.0)


def paint_dog(height: int, phase: float, rng: np.random.Generator) -> Sprite:
    """A dog running to the right; ``height`` in sprite pixels, ``phase`` of the gait from 0 to 2 pi."""
    unit = float(height)
    painter = Painter((round(1.75 * unit), round(1.05 * unit)))
    coat, shade = (70.0, 110.0, 160.0), (48.0, 78.0, 118.0)
    back, chest = (0.45 * unit, 0.45 * unit), (1.1 * unit, 0.43 * unit + 0.02 * unit * math.sin(2 * phase))
    for start, turn, color in (
        (back, phase + 2.6, shade),
        (chest, phase + 0.6, shade),
        (back, phase + 2.0, coat),
        (chest, phase, coat),
    ):
        swing = 0.6 * math.sin(turn)
        knee = (start[0] + 0.27 * unit * math.sin(swing), start[1] + 0.27 * unit * math.cos(swing))
        lower = swing - 0.5 * max(0.0, math.cos(turn))
        foot = (knee[0] + 0.26 * unit * math.sin(lower), min(knee[1] + 0.26 * unit * math.cos(lower), 0.97 * unit))
        painter.limb(start, knee, (0.15 * unit, 0.1 * unit), color, 29.0)
        painter.limb(knee, foot, (0.09 * unit, 0.07 * unit), color, 25.0)
    painter.limb(back, chest, (0.27 * unit, 0.34 * unit), coat, 27.5)
    tail = (0.14 * unit, (0.2 + 0.08 * math.sin(2 * phase)) * unit)
    painter.limb((0.36 * unit, 0.38 * unit), tail, (0.09 * unit, 0.05 * unit), coat, 24.0)
    head = (1.38 * unit, 0.2 * unit)
    painter.limb(chest, head, (0.26 * unit, 0.2 * unit), coat, 28.5)
    painter.limb(head, (1.58 * unit, 0.25 * unit), (0.2 * unit, 0.1 * unit), coat, 32.0)
    painter.polygon([(1.27 * unit, 0.16 * unit), (1.3 * unit, 0.0), (1.4 * unit, 0.12 * unit)], shade, 30.0)
    return painter.finish(rng, anchor_xy=(0.8 * unit, unit), texture=0.12, shadow_xy=(0.6 * unit, 0.09 * unit))


def paint_car(height: int, paint: Color, rng: np.random.Generator) -> Sprite:
    """A car driving to the right, its engine and brakes hot; ``height`` in sprite pixels, ``paint`` in BGR."""
    unit = float(height)
    length = 3.0 * unit
    painter = Painter((round(length), round(1.02 * unit)))
    body = [
        (0.03, 0.62),
        (0.06, 0.45),
        (0.34, 0.38),
        (2.05, 0.40),
        (2.72, 0.48),
        (2.95, 0.60),
        (2.97, 0.84),
        (0.04, 0.84),
    ]
    roof = [(0.32, 0.42), (0.68, 0.08), (0.95, 0.02), (1.55, 0.02), (1.80, 0.10), (2.18, 0.42)]
    glass = [(0.50, 0.39), (0.76, 0.12), (1.50, 0.09), (1.72, 0.15), (2.00, 0.39)]
    painter.polygon(_scaled(roof, unit), paint, 14.5)
    painter.polygon(_scaled(body, unit), paint, 15.0)
    painter.polygon(_scaled(glass, unit), (72, 62, 52), 9.5)
    painter.polygon(_scaled([(1.18, 0.09), (1.25, 0.09), (1.25, 0.40), (1.18, 0.40)], unit), paint, 14.5)
    painter.polygon(_scaled([(2.12, 0.44), (2.66, 0.50), (2.84, 0.60), (2.10, 0.58)], unit), paint, 38.0)
    painter.polygon(_scaled([(2.78, 0.58), (2.95, 0.60), (2.95, 0.70), (2.80, 0.68)], unit), (215, 235, 245), 24.0)
    painter.polygon(_scaled([(0.03, 0.55), (0.12, 0.52), (0.13, 0.66), (0.03, 0.66)], unit), (40, 40, 190), 15.0)
    painter.polygon(_scaled([(0.04, 0.76), (2.97, 0.76), (2.97, 0.84), (0.04, 0.84)], unit), (52, 50, 50), 17.0)
    for axle in (0.62, 2.38):
        _wheel(painter, (axle * unit, 0.80 * unit), 0.20 * unit)
    painter.ellipse((0.08 * unit, 0.84 * unit), (0.07 * unit, 0.035 * unit), (30, 30, 30), 46.0)
    shadow = (0.50 * length, 0.08 * unit)
    return painter.finish(rng, anchor_xy=(length / 2, unit), roundness=0.35, texture=0.015, shadow_xy=shadow)


def paint_truck(
    height: int, box_paint: Color, cab_paint: Color, box_celsius: float, aspect: float, rng: np.random.Generator
) -> Sprite:
    """A lorry driving to the right; the temperature of its box makes it cold cargo or an ordinary one.

    Args:
        height: in sprite pixels.
        box_paint: color of the box, BGR.
        cab_paint: color of the cab, BGR.
        box_celsius: temperature of the box.
        aspect: length divided by height.
        rng: source of the texture.
    """
    unit = float(height)
    length = aspect * unit
    cab = length - 0.62 * unit
    painter = Painter((round(length), round(1.01 * unit)))
    painter.polygon(
        [(0.02 * unit, 0.78 * unit), (length, 0.78 * unit), (length, 0.88 * unit), (0.02 * unit, 0.88 * unit)],
        (45, 45, 45),
        16.0,
    )
    painter.polygon(
        [(0, 0), (cab - 0.03 * unit, 0), (cab - 0.03 * unit, 0.80 * unit), (0, 0.80 * unit)], box_paint, box_celsius
    )
    edge = tuple(0.82 * value for value in box_paint)
    step = 0.16 * unit
    for number in range(1, int(cab / step)):
        x = number * step
        painter.polygon(
            [(x, 0.03 * unit), (x + 0.018 * unit, 0.03 * unit), (x + 0.018 * unit, 0.77 * unit), (x, 0.77 * unit)],
            edge,
            box_celsius + 1.2,
        )
    painter.polygon(
        [(0, 0.50 * unit), (cab - 0.03 * unit, 0.50 * unit), (cab - 0.03 * unit, 0.60 * unit), (0, 0.60 * unit)],
        cab_paint,
        box_celsius + 0.4,
    )
    front = [
        (cab, 0.20),
        (cab + 0.42 * unit, 0.20),
        (cab + 0.56 * unit, 0.50),
        (length, 0.54),
        (length, 0.86),
        (cab, 0.86),
    ]
    painter.polygon([(x, y * unit) for x, y in front], cab_paint, 16.0)
    window = [
        (cab + 0.10 * unit, 0.26),
        (cab + 0.40 * unit, 0.26),
        (cab + 0.50 * unit, 0.48),
        (cab + 0.10 * unit, 0.48),
    ]
    painter.polygon([(x, y * unit) for x, y in window], (70, 60, 52), 9.5)
    painter.polygon(
        [
            (cab + 0.30 * unit, 0.60 * unit),
            (length, 0.58 * unit),
            (length, 0.78 * unit),
            (cab + 0.30 * unit, 0.78 * unit),
        ],
        cab_paint,
        33.0,
    )
    painter.ellipse((length - 0.04 * unit, 0.72 * unit), (0.035 * unit, 0.05 * unit), (215, 235, 245), 26.0)
    for axle in (0.35 * unit, 0.68 * unit, length - 0.34 * unit):
        _wheel(painter, (axle, 0.87 * unit), 0.13 * unit)
    shadow = (0.50 * length, 0.06 * unit)
    return painter.finish(rng, anchor_xy=(length / 2, unit), roundness=0.25, texture=0.02, shadow_xy=shadow)


def paint_bus(height: int, paint: Color, aspect: float, rng: np.random.Generator) -> Sprite:
    """A bus driving to the right, opaque from roof to wheels.

    Args:
        height: in sprite pixels.
        paint: color of the lower half, BGR.
        aspect: length divided by height.
        rng: source of the texture.
    """
    unit = float(height)
    length = aspect * unit
    painter = Painter((round(length), round(1.01 * unit)))
    end = length / unit
    body = [(0.03, 0.0), (end - 0.08, 0.0), (end, 0.10), (end, 0.93), (0.0, 0.93), (0.0, 0.05)]
    painter.polygon(_scaled(body, unit), (212, 216, 218), 14.0)
    painter.polygon(_scaled([(0, 0.52), (end, 0.52), (end, 0.93), (0, 0.93)], unit), paint, 14.6)
    painter.polygon(_scaled([(0, 0.60), (0.5, 0.60), (0.5, 0.88), (0, 0.88)], unit), paint, 31.0)
    count = max(2, round((end - 0.25) / 0.36))
    pitch = (end - 0.12) / count
    for number in range(count):
        left = 0.06 + number * pitch
        pane = [(left, 0.12), (left + pitch - 0.05, 0.12), (left + pitch - 0.05, 0.48), (left, 0.48)]
        painter.polygon(_scaled(pane, unit), (84, 70, 58), 11.0)
        seat = (left + 0.5 * pitch - 0.02, 0.43)
        if number % 2 == 0:
            painter.ellipse((seat[0] * unit, seat[1] * unit), (0.045 * unit, 0.06 * unit), (58, 54, 56), 11.0)
    for axle in (0.42 * unit, length - 0.40 * unit):
        _wheel(painter, (axle, 0.86 * unit), 0.13 * unit)
    shadow = (0.50 * length, 0.05 * unit)
    return painter.finish(rng, anchor_xy=(length / 2, unit), roundness=0.2, texture=0.02, shadow_xy=shadow)


def _wheel(painter: Painter, center: Point, radius: float) -> None:
    painter.ellipse(center, (radius, radius), (32, 30, 30), 24.0)
    painter.ellipse(center, (0.58 * radius, 0.58 * radius), (150, 150, 152), 36.0)
    painter.ellipse(center, (0.22 * radius, 0.22 * radius), (70, 70, 72), 30.0)


def _scaled(points: Sequence[Point], unit: float) -> list[Point]:
    return [(x * unit, y * unit) for x, y in points]
