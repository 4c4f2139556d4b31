"""The only place where pictures become tensors: crops into the network, answers out of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.devices import gpu_convolutions
from trackers.appearance import Looks, appearance_of, described, look_at, similarity
from trackers.networks.interface import Features, SiameseNetwork
from trackers.siamese_core import SiameseTrackerConfig, TargetMemory, context_side, search_side_px
from trackers.subwindow import crop_square, crops_to_tensor
from trackers.views import (
    FeatureFusion,
    Images,
    only_modality,
    stacked_templates,
    stacked_views,
    views_of,
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a network sees of B targets in V views.

    Attributes:
        score: (V, B, A, H, W) probability.
        boxes: (V, B, 4, A, H, W) ``cx, cy, w, h`` in search-crop pixels relative to the crop centre.
        modalities: search features (B, C, H, W) of every scale, for each modality.
    """

    score: NDArray[np.float32]
    boxes: NDArray[np.float32]
    modalities: list[Features]


def network_arithmetic(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """What a network of this type runs under on a device, so that float32 is what it says."""
    is_coarse = device.type == "cuda" and dtype is torch.float32
    return gpu_convolutions("ieee") if is_coarse else nullcontext()


class Observer:
    """Crops of targets through a network; arguments as of :class:`trackers.siamese_tracker.SiameseTracker`."""

    def __init__(
        self,
        network: SiameseNetwork,
        config: SiameseTrackerConfig,
        fusion: FeatureFusion,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network = network
        self._config = config
        self._fusion = fusion
        self._device = device
        self._dtype = dtype

    def _arithmetic(self) -> AbstractContextManager[None]:
        return network_arithmetic(self._device, self._dtype)

    def templates(self, images: Images, memory: TargetMemory) -> tuple[Features, Features]:
        """Template tensors (V, ...) of a target, and what it looks like in each modality."""
        side = max(1, round(context_side(memory.size_wh, self._config.context_amount)))
        modalities = self._extract(images, [memory], [side], self._config.exemplar_size)
        with torch.inference_mode(), self._arithmetic():
            features = self._network.encode_template(stacked_views(views_of(modalities, self._fusion)))
            return features, tuple(appearance_of(levels) for levels in modalities)

    def answers(self, memories: Sequence[TargetMemory], images: Images, usable: Sequence[bool]) -> Answers:
        """What the network sees around each target."""
        config = self._config
        sides = [search_side_px(memory.size_wh, config) for memory in memories]
        modalities = self._extract(images, memories, sides, config.instance_size)
        with torch.inference_mode(), self._arithmetic():
            views = views_of(modalities, self._fusion)
            template, search = stacked_templates([memory.features for memory in memories]), stacked_views(views)
            if self._fusion == "gate" and not all(usable):
                only, count = list(usable).index(True), len(images)
                template, search = only_modality(template, only, count), only_modality(search, only, count)
            response = self._network.respond(template, search)
            # One transfer instead of two: on a GPU each of them waits for the device.
            both = torch.cat((response.score.unsqueeze(1), response.boxes), dim=1)
        found = both.float().cpu().numpy()
        found = found.reshape(len(views), len(memories), *found.shape[1:])
        return Answers(found[:, :, 0], found[:, :, 1:], modalities)

    def looks(self, memories: Sequence[TargetMemory], answers: Answers, boxes_in_crop: NDArray[np.float64]) -> Looks:
        """What each finding (B, 4) looks like, and how much like its target."""
        centers = torch.from_numpy(boxes_in_crop[:, :2].astype(np.float32)).to(self._device)
        found, each = [], []
        with torch.inference_mode():
            for index, levels in enumerate(answers.modalities):
                album = torch.cat([memory.looks[index] for memory in memories])
                size = self._config.instance_size
                found.append(look_at(levels, centers, cells=album.shape[-1], search_size_px=size))
                each.append(similarity(found[-1], album))
            return described(tuple(found), torch.stack(each, dim=1).double().cpu().numpy())

    def _extract(
        self, images: Images, memories: Sequence[TargetMemory], sides: Sequence[int], output_size_px: int
    ) -> list[Features]:
        # One backbone batch for all modalities and targets: modality-major, so that a chunk is a modality.
        crops = [
            crop_square(
                image,
                memory.center_xy,
                source_size_px=side,
                output_size_px=output_size_px,
                fill=memory.fills[modality],
            )
            for modality, image in enumerate(images)
            for memory, side in zip(memories, sides, strict=True)
        ]
        with torch.inference_mode(), self._arithmetic():
            levels = self._network.extract(crops_to_tensor(crops, self._device).to(self._dtype))
            return list(zip(*(level.chunk(len(images)) for level in levels), strict=True))
