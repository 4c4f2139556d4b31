"""One training sample: template and search crops of both modalities, and where the target is.

Sampling after SiamRPN++ (Li et al., CVPR 2019): the target lies anywhere within 64 px of the search crop's centre, so
that the network learns no bias to the middle; some pairs show different objects and teach it to say no. Every sample
carries two modalities: where a recording has only one, the other is made from it or blinded, so one shared backbone
and one fusion learn from all the data there is.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fusion.errors import InputError
from fusion.opencv_names import opencv_name
from trackers.box import Box, iou
from trackers.training import augmentation
from trackers.training.augmentation import Generator, Picture
from trackers.training.geometry import (
    SEARCH_SIZE,
    TEMPLATE_SIZE,
    CropJitter,
    box_in_crop,
    crop_transform,
    warp_crop,
)
from trackers.training.sources import Shot, TrainingSet


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """Shares and strengths of sampling; shares are relative and kinds without data are skipped.

    Each worker keeps decoded pictures up to ``kept_mb`` and forgets those that it used longest ago.
    """

    sequence_share: float = 0.50
    boxed_share: float = 0.22
    photograph_share: float = 0.16
    registered_share: float = 0.12
    negative_probability: float = 0.12
    blind_probability: float = 0.35
    occlusion_probability: float = 0.12
    paste_probability: float = 0.25
    distractor_probability: float = 0.25
    longest_gap_frames: int = 60
    search_shift_px: float = 64.0
    search_scale: float = 0.25
    template_shift_px: float = 5.0
    template_scale: float = 0.06
    kept_mb: float = 1500.0


@dataclass(frozen=True, slots=True)
class _View:
    visible: Picture
    thermal: Picture | None
    box: Box


class PairSampler(Dataset[dict[str, NDArray[np.generic]]]):
    """Random samples, each determined by the seed and its number, so that a resumed run goes on where it stopped.

    A sample has ``template_visible``, ``template_thermal`` (127, 127, 3) and ``search_visible``, ``search_thermal``
    (255, 255, 3) uint8 BGR; ``box`` (4,) float32: centre from the crop's centre and size, in crop pixels, width 0 when
    the target is not in the search crop; and ``sees`` (2,) bool: which of visible and thermal can find the target
    alone, since one of them may be blinded.
    """

    def __init__(self, data: TrainingSet, config: SamplingConfig, *, seed: int, start: int, count: int) -> None:
        if not len(data):
            raise InputError("--data holds nothing to train on")
        self._data = data
        self._config = config
        self._seed = seed
        self._start = start
        self._count = count
        self._pictures: OrderedDict[Path, Picture] = OrderedDict()
        self._kept_bytes = 0
        shares = [
            (config.sequence_share, len(data.sequences)),
            (config.boxed_share, len(data.boxed)),
            (config.photograph_share, len(data.photographs)),
            (config.registered_share, len(data.registered)),
        ]
        weights = np.array([share if size else 0.0 for share, size in shares])
        self._kinds = weights / weights.sum()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, NDArray[np.generic]]:
        """Sample number ``index`` counted from this sampler's start."""
        generator = np.random.default_rng((self._seed, self._start + index))
        template, search = self._views(generator)
        negative = generator.random() < self._config.negative_probability
        if negative:
            _, search = self._views(generator)
        elif template is search and generator.random() < self._config.paste_probability:
            search = self._pasted(search, generator)
        if not negative and generator.random() < self._config.distractor_probability:
            search = self._with_distractor(search, generator)
        return self._crops(template, search, negative, generator)

    def _views(self, generator: Generator) -> tuple[_View, _View]:
        """Two views of one target: two frames of a sequence, or the same still twice (then the same object)."""
        match int(generator.choice(4, p=self._kinds)):
            case 0:
                shots = self._data.sequences[generator.integers(len(self._data.sequences))].shots
                first = int(generator.integers(len(shots)))
                gap = self._config.longest_gap_frames
                second = int(generator.integers(max(0, first - gap), min(len(shots), first + gap + 1)))
                return self._view(shots[first], generator), self._view(shots[second], generator)
            case 1:
                shot = self._data.boxed[generator.integers(len(self._data.boxed))]
            case 2:
                shot = self._data.photographs[generator.integers(len(self._data.photographs))]
            case _:
                shot = self._data.registered[generator.integers(len(self._data.registered))]
        view = self._view(shot, generator)
        return view, view

    def _view(self, shot: Shot, generator: Generator) -> _View:
        visible = self._read(shot.visible) if shot.visible else None
        thermal = self._read(shot.thermal) if shot.thermal else None
        if visible is None and thermal is None:
            raise InputError("a training picture has neither modality")
        if visible is None:
            assert thermal is not None
            visible = thermal  # the caller sees equal arrays and blinds the eye that saw nothing
        height, width = visible.shape[:2]
        box = shot.boxes[generator.integers(len(shot.boxes))] if shot.boxes else random_region(width, height, generator)
        return _View(visible, thermal, box)

    def _read(self, path: Path) -> Picture:
        if path in self._pictures:
            self._pictures.move_to_end(path)
            return self._pictures[path]
        decoded = cv2.imread(opencv_name(path), cv2.IMREAD_COLOR)
        if decoded is None:
            raise InputError(f"training picture {path} cannot be read")
        picture = np.asarray(decoded, dtype=np.uint8)
        self._pictures[path] = picture
        self._kept_bytes += picture.nbytes
        while self._kept_bytes > self._config.kept_mb * 1e6 and len(self._pictures) > 1:
            self._kept_bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture

    def _pasted(self, view: _View, generator: Generator) -> _View:
        """The target cut out by a soft ellipse and set into another picture."""
        _, host = self._views(generator)
        height, width = host.visible.shape[:2]
        factor = float(np.exp(generator.normal(0, 0.3)))
        size = (min(view.box.w * factor, width * 0.6), min(view.box.h * factor, height * 0.6))
        corner = (generator.uniform(0, width - size[0]), generator.uniform(0, height - size[1]))
        place = Box(float(corner[0]), float(corner[1]), float(size[0]), float(size[1]))
        blended = _blended(view, host, place)
        return view if blended is None else _View(blended[0], blended[1], place)

    def _with_distractor(self, view: _View, generator: Generator) -> _View:
        """Another object of about the target's size set beside the target, for telling the two apart."""
        other, _ = self._views(generator)
        factor = float(np.exp(generator.normal(0, 0.2))) * view.box.h / max(other.box.h, 1e-3)
        size = (other.box.w * factor, other.box.h * factor)
        angle = float(generator.uniform(0, 2 * np.pi))
        reach = float(generator.uniform(0.7, 1.8))
        center = (
            view.box.center_xy[0] + np.cos(angle) * reach * (view.box.w + size[0]) / 2 * 1.3,
            view.box.center_xy[1] + np.sin(angle) * reach * (view.box.h + size[1]) / 2,
        )
        place = Box(float(center[0] - size[0] / 2), float(center[1] - size[1] / 2), size[0], size[1])
        height, width = view.visible.shape[:2]
        inside = place.x >= 0 and place.y >= 0 and place.x + place.w <= width and place.y + place.h <= height
        if not inside or iou(place, view.box) > 0.05:
            return view
        blended = _blended(other, view, place)
        return view if blended is None else _View(blended[0], blended[1], view.box)

    def _crops(
        self, template: _View, search: _View, negative: bool, generator: Generator
    ) -> dict[str, NDArray[np.generic]]:
        config = self._config
        mirror = bool(generator.random() < 0.3)
        still = template is search
        near = _jitter(generator, config.template_shift_px, config.template_scale, 0.0, 0.0, mirror)
        turn, stretch = (8.0, 0.1) if still else (3.0, 0.04)
        far = _jitter(generator, config.search_shift_px, config.search_scale, turn, stretch, mirror)
        near_map = crop_transform(template.box, TEMPLATE_SIZE, near)
        far_map = crop_transform(search.box, SEARCH_SIZE, far)
        box = box_in_crop(search.box, far_map, SEARCH_SIZE)
        near_box = box_in_crop(template.box, near_map, TEMPLATE_SIZE)

        near_visible = warp_crop(template.visible, near_map, TEMPLATE_SIZE)
        far_visible = warp_crop(search.visible, far_map, SEARCH_SIZE)
        if template.thermal is not None and search.thermal is not None:
            near_thermal = warp_crop(template.thermal, near_map, TEMPLATE_SIZE)
            far_thermal = warp_crop(search.thermal, far_map, SEARCH_SIZE)
        else:
            look = augmentation.random_thermal_look(generator)
            near_thermal = augmentation.apply_thermal_look(near_visible, look, near_box)
            far_thermal = augmentation.apply_thermal_look(far_visible, look, None if negative else box)
        only_thermal = template.visible is template.thermal

        if generator.random() < 0.15:
            near_visible, far_visible = augmentation.to_grey(near_visible), augmentation.to_grey(far_visible)
        if generator.random() < config.occlusion_probability and not negative:
            _occlude((far_visible, far_thermal), box, generator)
        near_visible, near_thermal = (
            augmentation.change_light(each, generator, 0.5) for each in (near_visible, near_thermal)
        )
        far_visible, far_thermal = (_weather(each, generator) for each in (far_visible, far_thermal))
        near_thermal, far_thermal = augmentation.to_grey(near_thermal), augmentation.to_grey(far_thermal)

        sees = np.array([True, True])
        if only_thermal or generator.random() < config.blind_probability:
            visible_is_blind = only_thermal or generator.random() < 0.6
            sees[0 if visible_is_blind else 1] = False
            both = only_thermal or generator.random() < 0.5
            other = self._other_place(generator)
            if visible_is_blind:
                far_visible = augmentation.blind(far_visible, generator, other)
                near_visible = augmentation.blind(near_visible, generator, _resized(other)) if both else near_visible
            else:
                other = augmentation.to_grey(other)
                far_thermal = augmentation.blind(far_thermal, generator, other)
                near_thermal = augmentation.blind(near_thermal, generator, _resized(other)) if both else near_thermal
        return {
            "template_visible": near_visible,
            "template_thermal": near_thermal,
            "search_visible": far_visible,
            "search_thermal": far_thermal,
            "box": np.array((*box[:2], 0.0, 0.0) if negative else box, np.float32),
            "sees": sees,
        }

    def _other_place(self, generator: Generator) -> Picture:
        _, other = self._views(generator)
        height, width = other.visible.shape[:2]
        region = random_region(width, height, generator)
        return warp_crop(other.visible, crop_transform(region, SEARCH_SIZE, CropJitter()), SEARCH_SIZE)


def _blended(view: _View, host: _View, place: Box) -> tuple[Picture, Picture | None] | None:
    """The object of ``view`` set into ``host`` at ``place`` by a soft ellipse; None when their modalities differ."""
    if (host.thermal is None) != (view.thermal is None):
        return None
    height, width = host.visible.shape[:2]
    scale = np.array([place.w / max(view.box.w, 1e-3), place.h / max(view.box.h, 1e-3)])
    shift = np.array([place.x, place.y]) - scale * np.array([view.box.x, view.box.y])
    transform = np.hstack([np.diag(scale), shift[:, None]])
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = ((x + 0.5 - place.center_xy[0]) / max(place.w / 2, 1)) ** 2
    radius += ((y + 0.5 - place.center_xy[1]) / max(place.h / 2, 1)) ** 2
    mask = np.clip((1.1 - radius) / 0.25, 0, 1)[:, :, None]

    def blend(source: Picture, background: Picture) -> Picture:
        moved = cv2.warpAffine(source, transform, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved * mask + background * (1 - mask), dtype=np.uint8)

    visible = blend(view.visible, host.visible)
    if view.visible is view.thermal and host.visible is host.thermal:
        return visible, visible  # a recording without a visible stream stays one
    thermal = blend(view.thermal, host.thermal) if view.thermal is not None and host.thermal is not None else None
    return visible, thermal


def random_region(width: int, height: int, generator: Generator) -> Box:
    """A region that stands for an object: 7 to 40 % of the shorter side, aspect 1:3 to 3:1."""
    side = min(width, height) * float(np.exp(generator.uniform(np.log(0.07), np.log(0.4))))
    aspect = float(np.exp(generator.uniform(np.log(1 / 3), np.log(3)) / 2))
    size = min(max(side * aspect, 6.0), width - 1.0), min(max(side / aspect, 6.0), height - 1.0)
    return Box(
        float(generator.uniform(0, width - size[0])), float(generator.uniform(0, height - size[1])), size[0], size[1]
    )


def _jitter(
    generator: Generator, shift_px: float, scale: float, angle_degrees: float, aspect: float, mirror: bool
) -> CropJitter:
    shift = generator.uniform(-shift_px, shift_px, 2)
    return CropJitter(
        shift_xy=(float(shift[0]), float(shift[1])),
        scale=float(np.exp(generator.uniform(-scale, scale))),
        aspect=float(np.exp(generator.normal(0, aspect))) if aspect else 1.0,
        angle_degrees=float(generator.normal(0, angle_degrees)) if angle_degrees else 0.0,
        mirror=mirror,
    )


def _weather(picture: Picture, generator: Generator) -> Picture:
    picture = augmentation.change_light(picture, generator)
    if generator.random() < 0.2:
        picture = augmentation.soften(picture, generator)
    if generator.random() < 0.2:
        picture = augmentation.add_noise(picture, generator)
    return picture


def _occlude(pictures: tuple[Picture, Picture], box: tuple[float, float, float, float], generator: Generator) -> None:
    """Cover up to half of the target by a patch of its surroundings, at the same place in both modalities."""
    size = pictures[0].shape[0]
    width, height = max(int(box[2] * generator.uniform(0.3, 0.6)), 3), max(int(box[3] * generator.uniform(0.3, 0.6)), 3)
    center = (size - 1) / 2 + np.array(box[:2]) + generator.uniform(-0.5, 0.5, 2) * np.array(box[2:])
    left, top = int(center[0] - width / 2), int(center[1] - height / 2)
    from_left, from_top = (int(generator.integers(0, max(size - side, 1))) for side in (width, height))
    left, top = min(max(left, 0), max(size - width, 0)), min(max(top, 0), max(size - height, 0))
    width, height = min(width, size), min(height, size)
    for picture in pictures:
        patch = picture[from_top : from_top + height, from_left : from_left + width].copy()
        picture[top : top + height, left : left + width] = patch


def _resized(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (TEMPLATE_SIZE, TEMPLATE_SIZE)), dtype=np.uint8)
