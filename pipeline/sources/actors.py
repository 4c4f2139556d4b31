"""Who moves in the synthetic scene, along which path, and where each one stands at a moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.scenery import FAR_CURB, HORIZON, NEAR_CURB, PATH_END
from pipeline.sources.sprites import (
    Clothing,
    Sprite,
    paint_bus,
    paint_car,
    paint_dog,
    paint_person,
    paint_truck,
)
from trackers.box import Box

GAIT_PHASES = 16
# The camera hangs this high; a thing that stands on the ground then looks as high as its height in metres times
# the distance of its foot from the horizon, divided by this.
_CAMERA_HEIGHT_M = 3.4
# Sprites are painted this much larger than they appear at most, and reduced when stamped.
_SPARE = 1.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an actor is at a moment.

    Attributes:
        foot_xy: where it touches the ground, in pixels.
        height: in pixels.
        faces_left: drawn mirrored.
        phase: of its gait, 0..1.
    """

    foot_xy: tuple[float, float]
    height: float
    faces_left: bool
    phase: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pose:
    """A sprite placed in the picture.

    Attributes:
        sprite: what is drawn.
        scale: picture pixels per sprite pixel.
        origin_xy: where the sprite's corner comes to lie; its right one when mirrored.
        mirrored: drawn mirrored.
        depth: height of the foot in the picture; larger is nearer.
        lights: places of head lights in the picture.
    """

    sprite: Sprite
    scale: float
    origin_xy: tuple[float, float]
    mirrored: bool
    depth: float
    lights: tuple[tuple[float, float], ...] = ()

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3), sprite to picture, both with whole numbers at pixel centres."""
        across = -self.scale if self.mirrored else self.scale
        half = 0.5 * self.scale - 0.5
        return np.array(
            [
                [across, 0, self.origin_xy[0] + 0.5 * across - 0.5],
                [0, self.scale, self.origin_xy[1] + half],
            ]
        )

    @property
    def box(self) -> Box:
        """Box of the opaque part in picture pixels, not clipped."""
        x, y, w, h = (self.scale * value for value in self.sprite.box)
        left = self.origin_xy[0] - x - w if self.mirrored else self.origin_xy[0] + x
        return Box(left, self.origin_xy[1] + y, w, h)

    @property
    def full_area(self) -> float:
        """Area in picture pixels when nothing hides it."""
        return float(self.sprite.heat[..., 1].sum()) * self.scale**2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """Something that can be placed in the scene.

    Attributes:
        name: what it is.
        sprites: its poses in order of the gait.
        sprite_height: height in sprite pixels.
        light: place of a head light relative to the foot, in heights, for a sprite looking right; None without.
    """

    name: str
    sprites: Sequence[Sprite]
    sprite_height: float
    light: tuple[float, float] | None = None

    def pose_at(self, place: Placement) -> Pose:
        """The figure at a place."""
        sprite = self.sprites[int(place.phase * len(self.sprites)) % len(self.sprites)]
        scale = place.height / self.sprite_height
        across = -scale if place.faces_left else scale
        x, y = place.foot_xy
        lights: tuple[tuple[float, float], ...] = ()
        if self.light is not None:
            side = -1 if place.faces_left else 1
            lights = ((x + side * self.light[0] * place.height, y - self.light[1] * place.height),)
        return Pose(
            sprite=sprite,
            scale=scale,
            origin_xy=(x - across * sprite.anchor_xy[0], y - scale * sprite.anchor_xy[1]),
            mirrored=place.faces_left,
            depth=y,
            lights=lights,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor(Figure):
    """A figure that moves by itself.

    Attributes:
        path: time in seconds to where it is.
    """

    path: Callable[[float], Placement]

    def pose(self, time_s: float) -> Pose:
        """The actor at a moment."""
        return self.pose_at(self.path(time_s))


def apparent_height(metres: float, foot_y: float, picture_height: int) -> float:
    """Height in pixels of a thing whose foot is at ``foot_y``."""
    return metres / _CAMERA_HEIGHT_M * (foot_y - HORIZON * picture_height)


def make_actors(size_wh: tuple[int, int], rng: np.random.Generator) -> tuple[Actor, ...]:
    """The moving objects; the first is the person in red."""
    red = Clothing(jacket=(48, 44, 190), trousers=(105, 72, 48))
    dark = Clothing(jacket=(62, 62, 58), trousers=(58, 52, 50), hair=(40, 60, 90), jacket_celsius=23.0)
    return (
        _walker("person in red", 1.75, red, size_wh, rng, period_s=19.0, start=-0.75, depth=(0.84, 0.035)),
        _walker("person in dark", 1.82, dark, size_wh, rng, period_s=26.0, start=1.9, depth=(0.785, 0.02)),
        _dog(size_wh, rng),
        _car(size_wh, rng),
        _truck(size_wh, rng),
    )


def make_cover(size_wh: tuple[int, int], rng: np.random.Generator) -> Figure:
    """The bus that hides object 0 in scripted occlusions; ``cover_pose`` places it."""
    height = round(apparent_height(3.4, _COVER_FOOT * size_wh[1], size_wh[1]))
    sprite = paint_bus(height, (60, 150, 205), 1.75, rng)

    return Figure(name="bus", sprites=[sprite], sprite_height=height)


_COVER_FOOT = 1.07


def cover_pose(cover: Figure, target: Pose, from_middle: float, count: int, picture_height: int) -> Pose:
    """The cover ``from_middle`` frames after the middle of an occlusion of ``count`` frames of ``target``.

    Its speed relative to the target is such that it covers it completely in just ``count`` frames.
    """
    sprite = cover.sprites[0]
    slack = sprite.box[2] - target.box.w
    center_x = target.box.center_xy[0] + from_middle * slack / count
    foot_y = _COVER_FOOT * picture_height
    return cover.pose_at(Placement(foot_xy=(center_x, foot_y), height=cover.sprite_height, faces_left=False, phase=0.0))


def cover_reach(cover: Figure, picture_width: int) -> float:
    """Distance of the cover's middle from the picture's middle beyond which it is out of sight, in pixels."""
    return (cover.sprites[0].box[2] + picture_width) / 2 + 16


def _walker(
    name: str,
    metres: float,
    clothing: Clothing,
    size_wh: tuple[int, int],
    rng: np.random.Generator,
    *,
    period_s: float,
    start: float,
    depth: tuple[float, float],
) -> Actor:
    """A person who walks to and fro; ``depth`` is the middle and the swing of its foot in picture heights."""
    width, height = size_wh
    sprite_height = _SPARE * apparent_height(metres, (depth[0] + depth[1]) * height, height)
    start += float(rng.uniform(-0.15, 0.15))
    reach = 0.40 * width

    def path(time_s: float) -> Placement:
        turn = 2 * math.pi * time_s / period_s + start
        foot_y = height * (depth[0] + depth[1] * math.sin(0.53 * turn + 1.0))
        tall = apparent_height(metres, foot_y, height)
        half_turns = math.floor(turn / math.pi + 0.5)
        walked = reach * (2 * half_turns + math.sin(turn) * (-1) ** half_turns)
        return Placement(
            foot_xy=(0.5 * width + reach * math.sin(turn), foot_y),
            height=tall,
            faces_left=math.cos(turn) < 0,
            phase=walked / (0.86 * tall) % 1.0,
        )

    sprites = [
        paint_person(round(sprite_height), 2 * math.pi * number / GAIT_PHASES, clothing, rng)
        for number in range(GAIT_PHASES)
    ]
    return Actor(name=name, sprites=sprites, sprite_height=round(sprite_height), path=path)


def _dog(size_wh: tuple[int, int], rng: np.random.Generator) -> Actor:
    width, height = size_wh
    foot_y = (PATH_END - 0.015) * height
    tall = apparent_height(0.62, foot_y, height)
    sprite_height = max(12, round(_SPARE * tall))
    start = float(rng.uniform(0.2, 0.5))

    def path(time_s: float) -> Placement:
        turn = 2 * math.pi * time_s / 11.0 + start
        x = 0.48 * width + 0.46 * width * math.sin(turn)
        return Placement(
            foot_xy=(x, foot_y + 0.02 * height * math.sin(1.7 * turn)),
            height=tall,
            faces_left=math.cos(turn) < 0,
            phase=2.2 * time_s % 1.0,
        )

    sprites = [paint_dog(sprite_height, 2 * math.pi * number / 8, rng) for number in range(8)]
    return Actor(name="dog", sprites=sprites, sprite_height=sprite_height, path=path)


def _car(size_wh: tuple[int, int], rng: np.random.Generator) -> Actor:
    height = size_wh[1]
    foot_y = (NEAR_CURB - 0.022) * height
    tall = apparent_height(1.45, foot_y, height)
    sprite_height = round(_SPARE * tall)
    sprite = paint_car(sprite_height, (150, 92, 42), rng)
    path = _passing(size_wh, foot_y, tall, 3.0 * tall, period_s=9.0, start=float(rng.uniform(0.12, 0.2)), left=False)
    return Actor(name="car", sprites=[sprite], sprite_height=sprite_height, path=path, light=(1.42, 0.36))


def _truck(size_wh: tuple[int, int], rng: np.random.Generator) -> Actor:
    height = size_wh[1]
    foot_y = (FAR_CURB + 0.055) * height
    tall = apparent_height(3.1, foot_y, height)
    sprite_height = round(_SPARE * tall)
    sprite = paint_truck(sprite_height, (224, 222, 216), (150, 110, 60), 1.5, 2.3, rng)
    path = _passing(size_wh, foot_y, tall, 2.3 * tall, period_s=14.0, start=float(rng.uniform(0.15, 0.3)), left=True)
    return Actor(name="cold lorry", sprites=[sprite], sprite_height=sprite_height, path=path, light=(1.1, 0.28))


def _passing(
    size_wh: tuple[int, int],
    foot_y: float,
    tall: float,
    length: float,
    *,
    period_s: float,
    start: float,
    left: bool,
) -> Callable[[float], Placement]:
    """Across the picture from beyond one edge to beyond the other, again every ``period_s``."""

    def path(time_s: float) -> Placement:
        part = (time_s / period_s + start) % 1.0
        x = (size_wh[0] + 1.6 * length) * part - 0.8 * length
        return Placement(foot_xy=(size_wh[0] - x if left else x, foot_y), height=tall, faces_left=left, phase=0.0)

    return path
