"""The synthetic scene as two sources: the embedded default, for demonstrations and for tests with known truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.frames import Frame
from pipeline.sources.actors import Pose, cover_pose, cover_reach, make_actors, make_cover
from pipeline.sources.base import RecordedSource, Role, SourceInfo, SourceOptions
from pipeline.sources.scenery import paint_scenery
from pipeline.thermal import equalized_levels
from trackers.box import Box, clip_box

Span = tuple[int, int]
Region = tuple[slice, slice]

_ZERO_CELSIUS = 27315
_NIGHT = 0.035
_SHORTEST_WITH_EVENTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """What the scene shows. Object 0, a person in red, is the one the scripted events happen to.

    Attributes:
        seed: all that is random follows from it.
        size_wh: width and height in pixels.
        fps: frames per second.
        length: number of frames.
        occlude: spans ``(first, count)`` in which a bus covers object 0 completely; None is one in the middle.
        absent: spans in which object 0 is not in the scene.
        dark: spans of night in the visible picture; None is the last third.
        tree: a tree stands in front, which hides who passes behind it for a moment.
        noise: strength of the camera noise, 1 is that of an ordinary camera.
    """

    seed: int = 0
    size_wh: tuple[int, int] = (640, 480)
    fps: float = 30.0
    length: int = 300
    occlude: tuple[Span, ...] | None = None
    absent: tuple[Span, ...] = ()
    dark: tuple[Span, ...] | None = None
    tree: bool = True
    noise: float = 1.0

    def __post_init__(self) -> None:
        if min(self.size_wh) < 64 or max(self.size_wh) > 4096:
            raise InputError(f"the synthetic scene needs a size of 64 to 4096 pixels, not {self.size_wh}")
        if not 0 < self.fps <= 1000 or self.length < 1 or self.seed < 0:
            raise InputError("the synthetic scene needs fps above 0, a length of at least 1, a seed of at least 0")
        if not 0 <= self.noise <= 10:
            raise InputError(f"the noise of the synthetic scene must be from 0 to 10, not {self.noise}")
        for first, count in (*(self.occlude or ()), *self.absent, *(self.dark or ())):
            if first < 0 or count < 1:
                raise InputError(f"a span of the synthetic scene is (first frame, count), not {(first, count)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticFrame:
    """One moment of the scene.

    Attributes:
        visible_bgr: (H, W, 3) uint8.
        thermal: (H, W) uint8, hot is bright.
        thermal_raw: (H, W) uint16 counts of 0.01 K.
        boxes: box of each object inside the picture, also while something hides it; None while it is outside of
            the picture or absent.
        visibility: visible part of each object, 0..1.
    """

    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]
    thermal_raw: NDArray[np.uint16]
    boxes: tuple[Box | None, ...]
    visibility: tuple[float, ...]


class SyntheticScene:
    """A street at dusk, seen by a visible and a thermal camera; any frame can be asked for in any order.

    People, a dog, a car and a cold lorry move on known paths, pass behind each other and behind a tree; night
    falls, and the thermal camera goes on seeing.
    """

    def __init__(self, config: SyntheticConfig | None = None) -> None:
        self.config = config or SyntheticConfig()
        width, height = self.config.size_wh
        rng = np.random.default_rng([self.config.seed, 1])
        self._scenery = paint_scenery(self.config.size_wh, rng)
        self._counts = np.rint(self._scenery.celsius * 100 + _ZERO_CELSIUS).astype(np.float32)
        self._counts += rng.normal(0, 1.5, (1, width)).astype(np.float32)  # the columns of a detector differ
        self._actors = make_actors(self.config.size_wh, np.random.default_rng([self.config.seed, 2]))
        self._cover = make_cover(self.config.size_wh, np.random.default_rng([self.config.seed, 3]))
        length = self.config.length
        lively = length >= _SHORTEST_WITH_EVENTS
        middle, dusk = int(0.40 * length), int(0.62 * length)
        self._occlude: tuple[Span, ...] = ((middle, max(1, int(0.06 * length))),) if lively else ()
        self._dark: tuple[Span, ...] = ((dusk, length - dusk),) if lively else ()
        if self.config.occlude is not None:
            self._occlude = self.config.occlude
        if self.config.dark is not None:
            self._dark = self.config.dark
        self._size = height, width
        self._tree = Pose(
            sprite=self._scenery.tree,
            scale=1.0,
            origin_xy=(
                round(self._scenery.tree_xy[0] - self._scenery.tree.anchor_xy[0]),
                round(self._scenery.tree_xy[1] - self._scenery.tree.anchor_xy[1]),
            ),
            mirrored=False,
            depth=self._scenery.tree_xy[1],
        )
        self._lit: tuple[float, NDArray[np.uint8], NDArray[np.uint8]] | None = None
        noise_rng = np.random.default_rng([self.config.seed, 5])
        large = (height + 64, width + 64)
        grain = self.config.noise * noise_rng.normal(0, 1, (*large, 3)).astype(np.float32)
        self._visible_noise = [np.rint(sigma * grain).astype(np.int16) for sigma in (2.2, 4.5)]
        warmth = cv2.GaussianBlur(noise_rng.normal(0, 1, large).astype(np.float32), (0, 0), 0.6)
        self._thermal_noise = np.rint(9 * self.config.noise * warmth).astype(np.int16)

    @property
    def names(self) -> tuple[str, ...]:
        """What each object is."""
        return tuple(actor.name for actor in self._actors)

    def frame(self, index: int) -> SyntheticFrame:
        """The moment ``index`` with its truth."""
        counts = self.thermal_raw(index)
        return SyntheticFrame(
            visible_bgr=self.visible(index),
            thermal=self._table.take(counts),
            thermal_raw=counts,
            boxes=self.boxes(index),
            visibility=self.visibility(index),
        )

    def boxes(self, index: int) -> tuple[Box | None, ...]:
        """Box of each object, see ``SyntheticFrame``."""
        height, width = self._size
        found: list[Box | None] = []
        for pose in self._poses(index):
            box = None if pose is None else clip_box(pose.box, width, height)
            found.append(None if box is None or min(box.w, box.h) < 2 else box)
        return tuple(found)

    def visibility(self, index: int) -> tuple[float, ...]:
        """Visible part of each object, see ``SyntheticFrame``."""
        poses = self._poses(index)
        stamps = [(pose, *self._stamp(pose, pose.sprite.heat)) for pose in self._drawn(index, poses)]
        seen: list[float] = []
        for target in poses:
            left = 0.0
            for number, (pose, region, heat) in enumerate(stamps):
                if pose is target:
                    alpha = heat[..., 1].copy()
                    for _, other, cover in stamps[number + 1 :]:
                        _hide(alpha, region, other, cover[..., 1])
                    left = float(alpha.sum()) / pose.full_area
            seen.append(min(1.0, left))
        return tuple(seen)

    def visible(self, index: int) -> NDArray[np.uint8]:
        """Visible picture of the moment ``index``, (H, W, 3) BGR."""
        daylight = self._daylight(index)
        background, light = self._background(round(daylight, 3))
        picture = background.copy()
        drawn = self._drawn(index, self._poses(index))
        for pose in drawn:
            region, stamp = self._stamp(pose, pose.sprite.visible)
            if stamp.size:
                colors = stamp[..., :3]
                if light is not None:
                    colors = cv2.multiply(colors, light[region], scale=1 / 255)
                rest = cv2.cvtColor(255 - stamp[..., 3], cv2.COLOR_GRAY2BGR)
                picture[region] = cv2.add(cv2.multiply(picture[region], rest, scale=1 / 255), colors)
        if daylight < 1:
            self._shine(picture, 1 - daylight, [light for pose in drawn for light in pose.lights])
        noise = self._noise_at(index, self._visible_noise[0 if daylight > 0.5 else 1])
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)

    def thermal_raw(self, index: int) -> NDArray[np.uint16]:
        """Thermal counts of the moment ``index``, (H, W), 0.01 K each."""
        counts = self._counts.copy()
        for pose in self._drawn(index, self._poses(index)):
            region, stamp = self._stamp(pose, pose.sprite.heat)
            if stamp.size:
                part, alpha = counts[region], stamp[..., 1]
                counts[region] = part + 100 * stamp[..., 0] + alpha * (_ZERO_CELSIUS - part)
        noise = self._noise_at(index, self._thermal_noise)
        return np.asarray(cv2.add(counts, noise, dtype=cv2.CV_16U), np.uint16)

    def thermal(self, index: int) -> NDArray[np.uint8]:
        """Thermal picture of the moment ``index`` in 8 bits, through one table for the whole scene."""
        return self._table.take(self.thermal_raw(index))

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        degrees = np.array([-15, 2, 9, 16, 24, 36])
        contrast = np.interp(np.arange(65536), _ZERO_CELSIUS + 100 * degrees, [0, 22, 70, 130, 205, 255])
        equalized = equalized_levels(self.thermal_raw(0), plateau=0.3, max_step=1.0)
        return np.asarray(np.rint(0.75 * contrast + 0.25 * equalized), np.uint8)

    def _poses(self, index: int) -> list[Pose | None]:
        """Pose of each actor."""
        time_s = index / self.config.fps
        poses: list[Pose | None] = [actor.pose(time_s) for actor in self._actors]
        if any(first <= index < first + count for first, count in self.config.absent):
            poses[0] = None
        return poses

    def _drawn(self, index: int, actors: list[Pose | None]) -> list[Pose]:
        """All poses from back to front, with the tree and the cover."""
        height, width = self._size
        poses = [pose for pose in actors if pose is not None]
        if self.config.tree:
            poses.append(self._tree)
        reach = cover_reach(self._cover, width)
        for first, count in self._occlude:
            target = self._actors[0].pose(index / self.config.fps)
            pose = cover_pose(self._cover, target, index - first - (count - 1) / 2, count, height)
            if abs(pose.box.center_xy[0] - width / 2) < reach:
                poses.append(pose)
        return sorted(poses, key=lambda pose: pose.depth)

    def _stamp(self, pose: Pose, layer: NDArray[Any]) -> tuple[Region, NDArray[Any]]:
        """A layer of a sprite as it comes to lie in the picture: the region and its pixels, empty when outside."""
        height, width = self._size
        matrix = pose.matrix
        corners = matrix @ np.array([[-0.5, layer.shape[1] - 0.5], [-0.5, layer.shape[0] - 0.5], [1, 1]])
        (left, right), (top, bottom) = np.sort(corners, axis=1)
        left, top = max(0, math.floor(left)), max(0, math.floor(top))
        right, bottom = min(width, math.ceil(right) + 1), min(height, math.ceil(bottom) + 1)
        if left >= right or top >= bottom:
            return (slice(0, 0), slice(0, 0)), layer[:0, :0]
        matrix = matrix - [[0, 0, left], [0, 0, top]]
        pixels = cv2.warpAffine(layer, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        return (slice(top, bottom), slice(left, right)), pixels

    def _daylight(self, index: int) -> float:
        """Light of the day, 1 by day and ``_NIGHT`` by night, with dusk and dawn of most of a second."""
        dusk = max(1.0, 0.8 * self.config.fps)
        night = 0.0
        for first, count in self._dark:
            end = first + count
            inward = index - first + 1
            if end < self.config.length:
                inward = min(inward, end - index)
            if first <= index < end:
                night = max(night, min(1.0, inward / dusk))
        return float((1 - night) + night * _NIGHT)

    def _background(self, daylight: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """What does not move, and the light that falls on what does (None by day); the last one is kept."""
        if daylight == 1:
            return self._scenery.visible, None
        if self._lit is None or self._lit[0] != daylight:
            lamps, windows = ((1 - daylight) * part for part in (self._scenery.lamps, self._scenery.windows))
            light = daylight * np.array([1.25, 1.0, 0.85], np.float32) + 0.75 * lamps
            glow = 190 * np.clip(np.maximum(lamps, windows) - 0.35, 0, 1)
            shown = self._scenery.visible * np.clip(light + 0.75 * windows, 0, 1) + glow
            self._lit = (
                daylight,
                np.rint(np.clip(shown, 0, 255)).astype(np.uint8),
                np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8),
            )
        return self._lit[1], self._lit[2]

    def _shine(self, picture: NDArray[np.uint8], strength: float, lights: list[tuple[float, float]]) -> None:
        """Add head lights to a picture."""
        height, width = self._size
        beam = (self._beam * strength).astype(np.uint8)
        radius = beam.shape[0] // 2
        for x, y in lights:
            left, top = round(x) - radius, round(y) - radius
            rows = slice(max(0, top), min(height, top + 2 * radius + 1))
            columns = slice(max(0, left), min(width, left + 2 * radius + 1))
            if rows.start < rows.stop and columns.start < columns.stop:
                part = beam[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                picture[rows, columns] = cv2.add(picture[rows, columns], part)

    @cached_property
    def _beam(self) -> NDArray[np.float32]:
        radius = round(0.085 * self._size[0])
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
        near = np.exp(-np.hypot(x, y) / 0.12) + 0.25 * np.exp(-(x**2 + y**2) / 0.12)
        glow = np.clip(near, 0, 1) * np.clip(1.25 - np.hypot(x, y), 0, 1)
        return np.asarray(glow[..., None] * np.array([200, 235, 255]), np.float32)

    def _noise_at(self, index: int, field: NDArray[np.int16]) -> NDArray[np.int16]:
        """A window into a field of noise, at a place that depends on the index only."""
        height, width = self._size
        rng = np.random.default_rng([self.config.seed, 4, index])
        top, left = (int(rng.integers(extra + 1)) for extra in (field.shape[0] - height, field.shape[1] - width))
        return field[top : top + height, left : left + width]


@lru_cache(maxsize=2)
def shared_scene(config: SyntheticConfig) -> SyntheticScene:
    """The scene of a configuration, painted once for the visible and the thermal source of a run."""
    return SyntheticScene(config)


def _hide(alpha: NDArray[np.float32], region: Region, other: Region, cover: NDArray[np.float32]) -> None:
    """Take from ``alpha``, which lies at ``region``, what ``cover`` at ``other`` hides."""
    top, left = (max(a.start, b.start) for a, b in zip(region, other, strict=True))
    bottom, right = (min(a.stop, b.stop) for a, b in zip(region, other, strict=True))
    if top < bottom and left < right:
        hidden = cover[top - other[0].start : bottom - other[0].start, left - other[1].start : right - other[1].start]
        rows = slice(top - region[0].start, bottom - region[0].start)
        alpha[rows, left - region[1].start : right - region[1].start] *= 1 - hidden


class SyntheticSource(RecordedSource):
    """One of the two pictures of the synthetic scene as a recorded source."""

    def __init__(self, seed: int, role: Role, options: SourceOptions | None = None) -> None:
        options = options or SourceOptions()
        self.scene = shared_scene(
            SyntheticConfig(
                seed=seed,
                size_wh=options.size_wh or (640, 480),
                fps=options.fps or 30.0,
                length=options.length,
            )
        )
        self._role: Role = role
        self._offset_s = options.offset_s
        self._raw = options.thermal_16bit and role == "thermal"
        width, height = self.scene.config.size_wh
        super().__init__(
            SourceInfo(
                name=f"synthetic:{seed}/{role}",
                width=width,
                height=height,
                fps=self.scene.config.fps,
                length=self.scene.config.length,
                is_thermal_16bit=self._raw,
                live=False,
            )
        )

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the beginning."""
        for index in range(self.scene.config.length):
            time_s = index / self.scene.config.fps + self._offset_s
            yield Frame(image=self._picture(index), time_s=time_s, arrival_s=time_s, index=index)

    def _picture(self, index: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        match self._role:
            case "visible":
                return self.scene.visible(index)
            case "thermal":
                return self.scene.thermal_raw(index) if self._raw else self.scene.thermal(index)
