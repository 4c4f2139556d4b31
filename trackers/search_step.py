"""All that a pair needs of the device, as one function of tensors of fixed shapes: from pictures to a few numbers.

Nothing in it waits for the device or asks for its values, so that a CUDA graph can hold it (:mod:`trackers.
captured_steps`). What a target's place is comes in as numbers, what was found goes out as numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trackers.anchors import hanning_window
from trackers.appearance import described, look_at, similarity
from trackers.device_choice import CHOICE_NUMBERS, blend_on_device, choose_on_device, margins_on_device
from trackers.device_crop import PLACE_NUMBERS, PicturePlace, crop_squares, place_numbers
from trackers.finding import Finding, Search, view_weights
from trackers.networks.interface import Features, SiameseNetwork
from trackers.siamese_core import Proposals, SiameseTrackerConfig, TargetMemory, places_in_crop, search_side_px
from trackers.views import FeatureFusion, only_modality, stacked_templates, stacked_views, views_of

_CUT_NUMBERS = PLACE_NUMBERS + 3
_TARGET_NUMBERS = 3


@dataclass(frozen=True, slots=True)
class StepShape:
    """What a step is made for.

    Attributes:
        targets: number of places searched.
        modalities: number of pictures.
        only: the one modality that a gate is given; None gives it all, and to other fusions always all.
        with_looks: compare the findings' looks.
    """

    targets: int
    modalities: int
    only: int | None
    with_looks: bool


@dataclass(frozen=True, slots=True)
class StepOutput:
    """``rows`` (B, R) float64 of numbers for the host; ``looks`` (B, C, n, n) of each modality, which stay."""

    rows: Tensor
    looks: Features


class SearchStep:
    """A search of one shape; calls with the same shapes do the same operations.

    Args:
        network: with parameters of type ``dtype``, in evaluation mode.
        config: constants of the loop.
        fusion: how modalities are fused.
        shape: what the step is made for.
        dtype: type of the crops.
    """

    def __init__(
        self,
        network: SiameseNetwork,
        config: SiameseTrackerConfig,
        fusion: FeatureFusion,
        shape: StepShape,
        dtype: torch.dtype,
    ) -> None:
        self.shape = shape
        self._network = network
        self._config = config
        self._fusion = fusion
        self.dtype = dtype
        self._views = shape.modalities + 1 if fusion == "adaptive" and shape.modalities > 1 else 1
        self._layout = _layout_of(network)
        self._windows: dict[tuple[int, ...], Tensor] = {}

    def numbers(
        self, search: Search, pictures: Sequence[PicturePlace], usable: tuple[bool, ...]
    ) -> NDArray[np.float64]:
        """What is different from pair to pair, (B, P): sizes, shares of the window and the views, and what to cut."""
        config, memories = self._config, search.memories
        influence = search.window_influence
        if influence is None:
            influence = np.full(len(memories), config.window_influence)
        parts = [places_in_crop(memories, config)[:, 2:], influence[:, None]]
        if self._views > 1:
            parts.append(view_weights(memories, usable).T)
        cuts = [[number for cut in _cuts(memory, pictures, config) for number in cut] for memory in memories]
        return np.concatenate((*parts, np.asarray(cuts, np.float64)), axis=1)

    def template(self, memories: Sequence[TargetMemory]) -> Features:
        """What the network remembers of the targets, as one batch."""
        template = stacked_templates([memory.features for memory in memories])
        if self.shape.only is None:
            return template
        return only_modality(template, self.shape.only, self.shape.modalities)

    def albums(self, memories: Sequence[TargetMemory]) -> Features:
        """What the targets have looked like, (B, K, C, n, n) for each modality; empty without looks."""
        if not self.shape.with_looks:
            return ()
        return tuple(torch.cat(looks) for looks in zip(*(memory.looks for memory in memories), strict=True))

    def __call__(self, frames: Tensor, numbers: Tensor, template: Features, albums: Features) -> StepOutput:
        """The search itself.

        Args:
            frames: (bytes,) uint8, the pictures one after the other.
            numbers: (B, P) float64 as of :meth:`numbers`.
            template: as of :meth:`template`.
            albums: as of :meth:`albums`.
        """
        shape, config = self.shape, self._config
        at = _TARGET_NUMBERS + (self._views if self._views > 1 else 0)
        cuts = numbers[:, at:].reshape(shape.targets, shape.modalities, _CUT_NUMBERS).transpose(0, 1).flatten(0, 1)
        places, fills = cuts[:, :PLACE_NUMBERS], cuts[:, PLACE_NUMBERS:].to(torch.uint8)
        crops = crop_squares(frames, places, fills, config.instance_size, self.dtype, self._layout)
        # Modality-major, so that a chunk is a modality.
        levels = [level.chunk(shape.modalities) for level in self._network.extract(crops)]
        modalities: list[Features] = list(zip(*levels, strict=True))
        features = stacked_views(views_of(modalities, self._fusion))
        if shape.only is not None:
            features = only_modality(features, shape.only, shape.modalities)
        response = self._network.respond(template, features)
        window = self._window(response.score)
        score = response.score.float().reshape(self._views, shape.targets, -1)
        boxes = response.boxes.float().reshape(self._views, shape.targets, 4, -1)
        sizes, influence = numbers[:, :2], numbers[:, 2]
        if self._views == 1:
            found = choose_on_device(score[0], boxes[0], sizes, influence, window, config.penalty_k)
            rows = [found]
        else:
            blended = blend_on_device(score, boxes, numbers[:, _TARGET_NUMBERS:at].T)
            found = choose_on_device(*blended, sizes, influence, window, config.penalty_k)
            rows = [found, margins_on_device(score, boxes, found[:, :4]).T]
        if not shape.with_looks:
            return StepOutput(torch.cat(rows, dim=1), ())
        looks: list[Tensor] = []
        for levels_of_one, album in zip(modalities, albums, strict=True):
            centers = found[:, :2].float()
            cells = album.shape[-1]
            looks.append(look_at(levels_of_one, centers, cells=cells, search_size_px=config.instance_size))
            rows.append(similarity(looks[-1], album).double())
        return StepOutput(torch.cat(rows, dim=1), tuple(looks))

    def finding(self, rows: NDArray[np.float64], looks: Features, usable: tuple[bool, ...]) -> Finding:
        """What was found, from the step's output; ``rows`` on the host."""
        proposals = Proposals(
            boxes=rows[:, :4], scores=rows[:, 4], penalties=rows[:, 5], indices=rows[:, 6].astype(np.int64)
        )
        at, margins = CHOICE_NUMBERS, None
        if self._views > 1:
            margins = rows[:, at : at + self._views].T
            at += self._views
        seen = described(looks, rows[:, at:].reshape(len(rows), -1, 2)) if self.shape.with_looks else None
        return Finding(proposals=proposals, margins=margins, usable=usable, looks=seen)

    def _window(self, score: Tensor) -> Tensor:
        sides = tuple(score.shape[1:])
        if sides not in self._windows:
            window = np.broadcast_to(hanning_window(*sides[1:]), sides)
            self._windows[sides] = torch.from_numpy(window.reshape(-1).copy()).to(score.device)
        return self._windows[sides]


def _layout_of(network: SiameseNetwork) -> torch.memory_format:
    """How the kernels of a network lie in memory, which is how it is fastest with its crops."""
    if isinstance(network, nn.Module):
        kernels = (each for each in network.parameters() if each.ndim == 4 and min(each.shape[1:]) > 1)
        if not next(kernels, torch.empty(0, 2, 2, 2)).is_contiguous(memory_format=torch.channels_last):
            return torch.contiguous_format
    return torch.channels_last


def _cuts(
    memory: TargetMemory, pictures: Sequence[PicturePlace], config: SiameseTrackerConfig
) -> list[tuple[float, ...]]:
    """The numbers of the crops of one target, one in each picture."""
    side = search_side_px(memory.size_wh, config)
    size = config.instance_size
    return [
        (
            *place_numbers(picture, memory.center_xy, side, size),
            *(float(int(value)) for value in (fill if len(fill) == 3 else fill * 3)),
        )
        for picture, fill in zip(pictures, memory.fills, strict=True)
    ]
