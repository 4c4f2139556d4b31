"""The tracker: pictures and boxes on one side, a siamese network's tensors on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import PAPER, AttentionStrategy, fuse_features
from fusion.errors import InputError
from trackers.box import Box, box_from_center, clip_box
from trackers.networks.interface import Features, SiameseNetwork
from trackers.siamese_core import (
    Proposals,
    SiameseTrackerConfig,
    TargetMemory,
    choose_proposals,
    context_side,
    move_target,
    next_status,
)
from trackers.state import ImagePair, Modality, TrackState, TrackStatus
from trackers.subwindow import Fill, channel_average, crop_square, crops_to_tensor

FeatureFusion = AttentionStrategy | Literal["mean", "gate"]
"""How features of several modalities become one; see :func:`fuse_modalities`."""

Images = tuple[NDArray[np.uint8], ...]
"""The pictures of the modalities in use, (H, W, 3) or (H, W) uint8, visible first."""


class SiameseTracker:
    """A :class:`trackers.state.Tracker` around any siamese network.

    Args:
        network: shared by both modalities and all targets; must be in evaluation mode.
        config: constants of the loop.
        modality: which pictures are looked at.
        fusion: how features of two modalities are fused at each scale, for template and search alike.
        device: where the network's parameters are.
        dtype: type of the network's parameters; crops are given in it, scores and boxes stay float32.
    """

    def __init__(
        self,
        network: SiameseNetwork,
        config: SiameseTrackerConfig,
        modality: Modality = Modality.FUSED,
        fusion: FeatureFusion = PAPER,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.config = config
        self.modality = modality
        self.fusion = fusion
        self.device = device or torch.device("cpu")
        self.dtype = dtype

    def init(self, pair: ImagePair, box: Box) -> TrackState:
        """State of a new target at ``box`` (pixels of ``pair.visible_bgr``).

        Raises:
            InputError: the box has no area inside the picture.
        """
        height, width = pair.visible_bgr.shape[:2]
        if clip_box(box, width, height).area <= 0:
            raise InputError(
                f"target box {box.x:g},{box.y:g},{box.w:g},{box.h:g} has no area inside the {width} x {height} picture"
            )
        memory = self.remember(self.images_of(pair), box.center_xy, (box.w, box.h))
        return TrackState(box=box, score=1.0, status=TrackStatus.TRACKING, template=memory)

    def update(self, state: TrackState, pair: ImagePair) -> TrackState:
        """State of the same target on the next picture pair."""
        return self.update_all([state], pair)[0]

    def update_all(self, states: Sequence[TrackState], pair: ImagePair) -> list[TrackState]:
        """States of several targets on the next pair, through one batched backbone pass."""
        if not states:
            return []
        memories, proposals = self.advance([state.template for state in states], self.images_of(pair))
        return [
            TrackState(
                box=box_from_center(memory.center_xy, memory.size_wh),
                score=min(max(score, 0.0), 1.0),
                status=next_status(state.status, score, self.config),
                template=memory,
            )
            for state, memory, score in zip(states, memories, proposals.scores.tolist(), strict=True)
        ]

    def images_of(self, pair: ImagePair) -> Images:
        """The pictures that this tracker looks at."""
        match self.modality:
            case Modality.FUSED:
                return pair.visible_bgr, pair.thermal
            case Modality.RGB:
                return (pair.visible_bgr,)
            case Modality.IR:
                return (pair.thermal,)

    def remember(self, images: Images, center_xy: tuple[float, float], size_wh: tuple[float, float]) -> TargetMemory:
        """Memory of a new target, centre and size in picture pixels."""
        fills = tuple(channel_average(image) for image in images)
        side = max(1, round(context_side(size_wh, self.config.context_amount)))
        features = self._features(images, [(center_xy, side, fills)], self.config.exemplar_size)
        with torch.inference_mode():
            template = self.network.encode_template(features)
        return TargetMemory(features=template, center_xy=center_xy, size_wh=size_wh, fills=fills)

    def advance(self, memories: Sequence[TargetMemory], images: Images) -> tuple[list[TargetMemory], Proposals]:
        """Find every target on the next pictures: their new memories and the proposals these came from."""
        config = self.config
        sides = [context_side(memory.size_wh, config.context_amount) for memory in memories]
        zoom = config.instance_size / config.exemplar_size
        crops = [
            (memory.center_xy, max(1, round(side * zoom)), memory.fills)
            for memory, side in zip(memories, sides, strict=True)
        ]
        features = self._features(images, crops, config.instance_size)
        with torch.inference_mode():
            template = _stacked([memory.features for memory in memories])
            response = self.network.respond(template, features)
            # One transfer instead of two: on a GPU each of them waits for the device.
            found = torch.cat((response.score.unsqueeze(1), response.boxes), dim=1).float().cpu().numpy()
        scales = [config.exemplar_size / side for side in sides]
        sizes = np.asarray([memory.size_wh for memory in memories]) * np.asarray(scales)[:, None]
        proposals = choose_proposals(found[:, 0], found[:, 1:], sizes, config)
        height, width = images[0].shape[:2]
        moved = []
        for index, (memory, scale) in enumerate(zip(memories, scales, strict=True)):
            rate = float(proposals.penalties[index] * proposals.scores[index]) * config.learning_rate
            center_xy, size_wh = move_target(
                memory.center_xy,
                memory.size_wh,
                proposal_in_crop=proposals.boxes[index],
                crop_scale=scale,
                size_rate=rate,
                picture_wh=(width, height),
            )
            moved.append(
                TargetMemory(features=memory.features, center_xy=center_xy, size_wh=size_wh, fills=memory.fills)
            )
        return moved, proposals

    def _features(
        self,
        images: Images,
        crops: Sequence[tuple[tuple[float, float], int, tuple[Fill, ...]]],
        output_size_px: int,
    ) -> Features:
        # One backbone batch for all modalities and targets: modality-major, so that a chunk is a modality.
        pictures = [
            crop_square(
                image,
                center_xy,
                source_size_px=side,
                output_size_px=output_size_px,
                fill=fills[modality],
            )
            for modality, image in enumerate(images)
            for center_xy, side, fills in crops
        ]
        with torch.inference_mode():
            levels = self.network.extract(crops_to_tensor(pictures, self.device).to(self.dtype))
            modalities = list(zip(*(level.chunk(len(images)) for level in levels), strict=True))
            return fuse_modalities(modalities, self.fusion)


def fuse_modalities(modalities: Sequence[Features], fusion: FeatureFusion) -> Features:
    """Features for the rest of the network from those of each modality.

    Args:
        modalities: for each modality the features (B, C, H, W) of every scale.
        fusion: the strategy of :mod:`fusion.attention`, the plain mean, or ``gate``, which passes the modalities on
            one after the other to a network that weighs them itself.
    """
    if len(modalities) == 1:
        return modalities[0]
    match fusion:
        case "gate":
            return tuple(level for features in modalities for level in features)
        case "mean":
            return tuple(torch.stack(levels).mean(0) for levels in zip(*modalities, strict=True))
        case AttentionStrategy():
            return tuple(fuse_features(levels, fusion) for levels in zip(*modalities, strict=True))


def _stacked(templates: Sequence[Features]) -> Features:
    if len(templates) == 1:
        return templates[0]
    tensors: list[Tensor] = [torch.cat(parts) for parts in zip(*templates, strict=True)]
    return tuple(tensors)
