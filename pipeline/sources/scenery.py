"""The still part of the synthetic scene: sky, houses, trees, road and grass at dusk, in light and in warmth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sources.sprites import Color, Painter, Sprite

Array = NDArray[np.float32]
Area = tuple[slice, slice]

EVERYWHERE: Area = (slice(None), slice(None))

# Heights in the picture as parts of its height: what stands where.
HORIZON = 0.42
FAR_CURB = 0.585
NEAR_CURB = 0.745
PATH_END = 0.90


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenery:
    """The background without what moves.

    Attributes:
        visible: (H, W, 3) uint8 BGR by day.
        lamps: (H, W, 3) float32, light that street lamps cast by night, 0..1.
        windows: (H, W, 3) float32, light of windows by night, which falls on nothing that moves, 0..1.
        celsius: (H, W) float32 temperatures.
        tree: foreground tree that hides what walks behind it.
        tree_xy: where its foot stands in the picture, in pixels.
    """

    visible: NDArray[np.uint8]
    lamps: Array
    windows: Array
    celsius: Array
    tree: Sprite
    tree_xy: tuple[float, float]


def paint_scenery(size_wh: tuple[int, int], rng: np.random.Generator) -> Scenery:
    """Paint the background for pictures of ``size_wh`` pixels."""
    width, height = size_wh
    scene = _Layers(width, height, rng)
    scene.sky()
    scene.hills()
    scene.ground()
    for center, crown in ((0.05, 0.125), (0.335, 0.10), (0.80, 0.115), (0.97, 0.14)):
        scene.house(center)
        scene.bush_tree(center + 0.09, crown)
    scene.road()
    scene.lamp_posts()
    tree_xy = (0.655 * width, 0.965 * height)
    scene.shadow(tree_xy, 0.10 * height)
    return Scenery(
        visible=np.clip(np.rint(scene.color), 0, 255).astype(np.uint8),
        lamps=np.clip(scene.lamps, 0, 1),
        windows=np.clip(scene.windows, 0, 1),
        celsius=cv2.GaussianBlur(scene.celsius, (0, 0), 0.8).astype(np.float32),
        tree=paint_tree(height, rng),
        tree_xy=tree_xy,
    )


def fractal_noise(shape: tuple[int, int], rng: np.random.Generator, *, cell: float, octaves: int = 5) -> Array:
    """Smooth noise with detail at several scales, mean about 0, most of it within -1..1.

    Args:
        shape: height and width.
        rng: source of the noise.
        cell: size of the largest blobs in pixels.
        octaves: number of scales, each half as large and half as strong as the one before.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(1.0, cell / 2**octave)
        grid = rng.normal(0, 1, (math.ceil(height / step) + 2, math.ceil(width / step) + 2)).astype(np.float32)
        large = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += np.asarray(large[:height, :width], np.float32) / 2**octave
    return total / np.float32(1.3)


def paint_tree(picture_height: int, rng: np.random.Generator) -> Sprite:
    """The foreground tree: a trunk wide enough to hide a person, and the lower part of its crown."""
    unit = picture_height / 480
    width, height = round(260 * unit), round(500 * unit)
    painter = Painter((width, height))
    middle = width / 2
    bark: Color = (52, 70, 88)
    painter.limb((middle, 0), (middle, height - 40 * unit), (36 * unit, 40 * unit), bark, 12.5)
    painter.polygon(
        [
            (middle - 19 * unit, height - 60 * unit),
            (middle + 19 * unit, height - 60 * unit),
            (middle + 34 * unit, height),
            (middle - 36 * unit, height),
        ],
        bark,
        12.0,
    )
    for side in (-1, 1):
        painter.limb((middle, 150 * unit), (middle + side * 70 * unit, 50 * unit), (18 * unit, 12 * unit), bark, 12.0)
    for _ in range(230):
        x, y = middle + rng.normal(0, 58 * unit), min(abs(rng.normal(0, 50 * unit)), 105 * unit)
        if abs(x - middle) / (105 * unit) + y / (150 * unit) > 1:
            continue
        green = rng.uniform(0.75, 1.15)
        radii = (rng.uniform(9, 20) * unit, rng.uniform(7, 14) * unit)
        x = float(np.clip(x, radii[0], width - radii[0]))
        painter.ellipse((x, y), radii, (38 * green, 92 * green, 74 * green), 11.0 + green, rng.uniform(-40, 40))
    return painter.finish(rng, anchor_xy=(middle, height), roundness=0.45, texture=0.22)


class _Layers:
    """The pictures under construction."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.width, self.height, self.rng = width, height, rng
        self.unit = height / 480
        self.color = np.zeros((height, width, 3), np.float32)
        self.celsius = np.zeros((height, width), np.float32)
        self.lamps = np.zeros((height, width, 3), np.float32)
        self.windows = np.zeros((height, width, 3), np.float32)
        self.y, self.x = np.mgrid[0:height, 0:width].astype(np.float32)

    def noise(self, cell: float, octaves: int = 5) -> Array:
        return fractal_noise((self.height, self.width), self.rng, cell=cell * self.unit, octaves=octaves)

    def put(
        self,
        mask: NDArray[np.bool_] | Array,
        color: NDArray[np.float32] | Color,
        celsius: Array | float,
        area: Area = EVERYWHERE,
    ) -> None:
        """Mix a color and a temperature into an area by the strength of its mask."""
        alpha = np.asarray(mask, np.float32)
        self.color[area] += alpha[..., None] * (np.asarray(color, np.float32) - self.color[area])
        self.celsius[area] += alpha * (celsius - self.celsius[area])

    def put_rectangle(self, left: float, top: float, width: float, height: float, color: Color, celsius: float) -> None:
        """Fill a rectangle."""
        area = self.area(left, top, width, height)
        self.color[area], self.celsius[area] = color, celsius

    def area(self, left: float, top: float, width: float, height: float) -> Area:
        """The pixels of a rectangle that lie in the picture."""
        rows = slice(max(0, round(top)), max(0, round(top + height)))
        return rows, slice(max(0, round(left)), max(0, round(left + width)))

    def sky(self) -> None:
        depth = np.clip(self.y / (HORIZON * self.height), 0, 1)
        top, low = np.array([206, 158, 112], np.float32), np.array([205, 212, 226], np.float32)
        color = top + depth[..., None] ** 1.3 * (low - top)
        clouds = np.clip(0.5 + 0.9 * self._stretched_noise(), 0, 1) ** 2
        color += (clouds * 0.65)[..., None] * (np.array([228, 228, 232], np.float32) - color)
        self.put(np.ones_like(self.y), color, -14 + 12 * depth**2 + 7 * clouds)

    def _stretched_noise(self) -> Array:
        flat = fractal_noise((self.height * 2, self.width), self.rng, cell=120 * self.unit)
        return np.asarray(cv2.resize(flat, (self.width, self.height), interpolation=cv2.INTER_AREA), np.float32)

    def hills(self) -> None:
        line = self.rng.normal(0, 1, 9)
        ridge = cv2.resize(line.reshape(1, -1).astype(np.float32), (self.width, 1), interpolation=cv2.INTER_CUBIC)
        rough = cv2.GaussianBlur(self.rng.normal(0, 1, (1, self.width)).astype(np.float32), (0, 0), 2)
        top = HORIZON * self.height - (26 + 9 * ridge + 5 * rough) * self.unit
        color = np.array([118, 122, 104], np.float32) * (1 + 0.12 * self.noise(14))[..., None]
        self.put(self.y > top, color, 6.5 + 0.5 * self.noise(20))

    def ground(self) -> None:
        """Grass in perspective: noise on a plane, seen from a few metres above."""
        depth = self.height * (1 - HORIZON) / np.maximum(self.y - HORIZON * self.height, 1.0)
        texture = fractal_noise((1024, 1024), self.rng, cell=90, octaves=7)
        u = ((self.x - self.width / 2) / self.unit * depth * 0.8 + 700) % 1023
        v = (depth * 620) % 1023
        grain = cv2.remap(texture, u, v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        patches = self.noise(150, 3)
        blades = np.float32(0.35) * self.noise(4, 3) / np.maximum(depth, 1)
        green = np.array([52, 112, 98], np.float32) * (1 + 0.17 * grain + 0.5 * blades)[..., None]
        dry = np.array([70, 128, 140], np.float32) * (1 + 0.15 * grain + 0.5 * blades)[..., None]
        mix = np.clip(0.35 + 0.35 * patches, 0, 1)[..., None]
        haze = np.clip((depth - 2.5) / 14, 0, 0.6)[..., None]
        color = green + mix * (dry - green)
        color += haze * (np.array([150, 158, 156], np.float32) - color)
        self.put(self.y > HORIZON * self.height, color, 8.2 + 0.7 * grain + 0.8 * patches)

    def house(self, center: float) -> None:
        rng, unit = self.rng, self.unit
        wide, tall = rng.uniform(78, 110) * unit, rng.uniform(58, 84) * unit
        left, base = center * self.width - wide / 2, (HORIZON + 0.045) * self.height
        top = base - tall
        walls = ((98, 122, 168), (150, 168, 182), (132, 140, 150), (110, 138, 176))
        wall = np.array(walls[int(rng.integers(len(walls)))], np.float32)
        inside = (self.x >= left) & (self.x < left + wide) & (self.y >= top) & (self.y < base)
        bricks = 1 + 0.05 * self.noise(3, 2) - 0.09 * ((self.y - top) % (5 * unit) < unit)
        light = bricks * (1.06 - 0.22 * (self.x - left) / wide)
        self.put(inside, wall * light[..., None], 12.5 + 0.5 * self.noise(30, 3))
        slope = np.abs(self.x - left - wide / 2) / (wide / 2 + 5 * unit)
        roof = (self.y < top) & (self.y > top - 26 * unit * (1 - slope))
        tiles = 1 + 0.1 * ((self.y - top) % (4 * unit) < unit) + 0.08 * self.noise(4, 2)
        self.put(roof, np.array([62, 66, 112], np.float32) * tiles[..., None], 4.0)
        columns, rows = int(wide // (21 * unit)), int(tall // (25 * unit))
        for column in range(columns):
            for row in range(rows):
                x0 = left + (column + 0.5) * wide / columns - 5.5 * unit
                y0 = top + (row + 0.25) * tall / rows
                self._window(x0, y0, lit=rng.random() < 0.4)

    def _window(self, left: float, top: float, *, lit: bool) -> None:
        unit = self.unit
        self.put_rectangle(left - unit, top - unit, 13 * unit, 17 * unit, (205, 212, 214), 11.0)
        self.put_rectangle(left, top, 11 * unit, 15 * unit, (110, 96, 84), 14.5 if lit else 10.0)
        self.put_rectangle(left + 5 * unit, top, unit, 15 * unit, (205, 212, 214), 11.0)
        if lit:
            warm = np.array([0.45, 0.78, 1.0], np.float32)
            near = self.area(left - 25 * unit, top - 25 * unit, 61 * unit, 65 * unit)
            x, y = self.x[near] - left - 5 * unit, self.y[near] - top - 8 * unit
            self.windows[near] += 0.12 * np.exp(-(x**2 + y**2) / (2 * (7 * unit) ** 2))[..., None] * warm
            self.windows[self.area(left, top, 11 * unit, 15 * unit)] += 0.85 * warm

    def bush_tree(self, center: float, crown: float) -> None:
        rng, unit = self.rng, self.unit
        x0, base, size = center * self.width, (HORIZON + 0.075) * self.height, crown * self.height
        self.shadow((x0, base), size * 0.8)
        self.put_rectangle(x0 - 4 * unit, base - size, 8 * unit, size, (58, 72, 88), 10.5)
        for _ in range(60):
            angle, radius = rng.uniform(0, 2 * math.pi), size * 0.62 * math.sqrt(rng.random())
            x, y = x0 + radius * math.cos(angle), base - 1.35 * size + 0.85 * radius * math.sin(angle)
            area = self.area(x - 0.17 * size, y - 0.13 * size, 0.34 * size, 0.26 * size)
            away = np.hypot((self.x[area] - x) / (0.17 * size), (self.y[area] - y) / (0.13 * size))
            blob = np.clip(1.6 - 1.6 * away, 0, 1)
            shade = 1.0 - 0.35 * (y - (base - 2 * size)) / (1.3 * size) + rng.uniform(-0.12, 0.12)
            self.put(blob, (44 * shade, 104 * shade, 82 * shade), 9.6 + 0.8 * shade, area)

    def road(self) -> None:
        """Road, path and curbs across the picture."""
        height, grain, wear = self.height, self.noise(2.5, 2), self.noise(170, 3)
        far, near, end = (part * height for part in (FAR_CURB, NEAR_CURB, PATH_END))
        asphalt = np.array([96, 95, 94], np.float32) * (1 + 0.07 * grain + 0.06 * wear)[..., None]
        self.put((self.y >= far) & (self.y < near), asphalt, 13.2 + 0.5 * wear + 0.15 * grain)
        middle = (far + near) / 2 - 6 * self.unit
        tracks = np.exp(-(((self.y - middle + 14 * self.unit) / (5 * self.unit)) ** 2))
        tracks += np.exp(-(((self.y - middle - 30 * self.unit) / (7 * self.unit)) ** 2))
        self.celsius += np.float32(1.0) * tracks * ((self.y >= far) & (self.y < near))
        dash = ((self.x / self.unit) % 70 < 38) & (np.abs(self.y - middle) < 1.6 * self.unit)
        self.put(dash, np.array([200, 205, 206], np.float32) * (1 + 0.08 * grain)[..., None], 12.6)
        slabs = np.array([142, 150, 156], np.float32) * (1 + 0.05 * grain + 0.05 * self.noise(40, 3))[..., None]
        gaps = ((self.x - 0.7 * self.y) / self.unit % 46 < 1.4) | ((self.y - near) / self.unit % 24 < 1.2)
        slabs = np.where(gaps[..., None], slabs * 0.72, slabs)
        self.put((self.y >= near) & (self.y < end), slabs, 11.4 + 0.5 * self.noise(60, 3))
        for edge, thick in ((far, 3), (near, 4), (end, 3)):
            self.put(np.abs(self.y - edge) < thick * self.unit / 2, (176, 182, 186), 10.6)

    def lamp_posts(self) -> None:
        unit = self.unit
        for center in (0.20, 0.52, 0.90):
            x0, base, top = center * self.width, FAR_CURB * self.height - 2 * unit, 0.16 * self.height
            self.put_rectangle(x0 - 1.5 * unit, top, 3 * unit, base - top, (70, 72, 74), 9.0)
            self.put_rectangle(x0, top - 2 * unit, 20 * unit, 3 * unit, (70, 72, 74), 9.0)
            self.put_rectangle(x0 + 12 * unit, top + unit, 12 * unit, 4 * unit, (225, 235, 240), 24.0)
            lamp_x, lamp_y = x0 + 18 * unit, top + 3 * unit
            halo = np.exp(-np.hypot(self.x - lamp_x, self.y - lamp_y) / (12 * unit))
            pool_x, pool_y = (self.x - lamp_x) / (115 * unit), (self.y - 0.68 * self.height) / (62 * unit)
            pool = 0.62 * np.exp(-(pool_x**2 + pool_y**2)) * (self.y > HORIZON * self.height)
            self.lamps += (halo + pool)[..., None] * np.array([0.55, 0.83, 1.0], np.float32)

    def shadow(self, foot_xy: tuple[float, float], size: float) -> None:
        spread = ((self.x - foot_xy[0] - 0.4 * size) / (1.3 * size)) ** 2 + ((self.y - foot_xy[1]) / (0.3 * size)) ** 2
        dark = np.where(self.y > HORIZON * self.height, 0.45 * np.exp(-spread), 0)
        self.color *= (1 - dark)[..., None]
