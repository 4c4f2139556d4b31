"""The tracker: pictures and boxes on one side, a siamese network's tensors on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.attention import PAPER
from fusion.errors import InputError
from trackers.box import Box, box_from_center, clip_box
from trackers.networks.interface import Features, SiameseNetwork
from trackers.reliability import Trust, answer_margins, blend_views, first_trust, later_trust
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
from trackers.subwindow import channel_average, crop_square, crops_to_tensor
from trackers.views import (
    FeatureFusion,
    Images,
    only_modality,
    stacked_templates,
    stacked_views,
    usable_modalities,
    usable_views,
    views_of,
    watch,
)


class SiameseTracker:
    """A :class:`trackers.state.Tracker` around any siamese network.

    Args:
        network: shared by both modalities and all targets; must be in evaluation mode.
        config: constants of the loop.
        modality: which pictures are looked at.
        fusion: how two modalities are fused, for template and search alike; see :func:`trackers.views.views_of`.
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
                seen_in=self._seen_in(memory.usable),
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
        memory = TargetMemory(
            features=(),
            center_xy=center_xy,
            size_wh=size_wh,
            fills=tuple(channel_average(image) for image in images),
            last_seen=watch(images),
            usable=(True,) * len(images),
        )
        side = max(1, round(context_side(size_wh, self.config.context_amount)))
        views = self._views(images, [memory], [side], self.config.exemplar_size)
        with torch.inference_mode():
            memory = replace(memory, features=self.network.encode_template(stacked_views(views)))
        if len(views) == 1:
            return memory
        # The template on its own picture shows where else each view answers.
        score, boxes = self._answers([memory], images, memory.usable)
        margins = answer_margins(score[:, 0], boxes[:, 0], self._in_crop([memory]).repeat(len(views), axis=0))
        return replace(memory, trust=first_trust(margins))

    def advance(self, memories: Sequence[TargetMemory], images: Images) -> tuple[list[TargetMemory], Proposals]:
        """Find every target on the next pictures: their new memories and the proposals these came from."""
        seen = watch(images, [memory.last_seen for memory in memories])
        usable = usable_modalities(images, seen, self.config.frozen_after)
        score, boxes = self._answers(memories, images, usable)
        in_crop = self._in_crop(memories)
        trusts: list[Trust | None] = [memory.trust for memory in memories]
        if len(score) == 1:
            proposals = choose_proposals(score[0], boxes[0], in_crop[:, 2:], self.config)
        else:
            views = usable_views(usable)
            weights = np.stack([_weights(memory.trust, views) for memory in memories], axis=1)
            proposals = choose_proposals(*blend_views(score, boxes, weights), in_crop[:, 2:], self.config)
            margins = np.stack([answer_margins(*view, proposals.boxes) for view in zip(score, boxes, strict=True)])
            trusts = [
                later_trust(memory.trust, margins[:, index], views) if memory.trust else None
                for index, memory in enumerate(memories)
            ]
        height, width = images[0].shape[:2]
        moved = []
        for index, (memory, trust) in enumerate(zip(memories, trusts, strict=True)):
            center_xy, size_wh = move_target(
                memory.center_xy,
                memory.size_wh,
                proposal_in_crop=proposals.boxes[index],
                crop_scale=self._crop_scale(memory),
                size_rate=float(proposals.penalties[index] * proposals.scores[index]) * self.config.learning_rate,
                picture_wh=(width, height),
            )
            moved.append(
                replace(memory, center_xy=center_xy, size_wh=size_wh, trust=trust, last_seen=seen, usable=usable)
            )
        return moved, proposals

    def _seen_in(self, usable: tuple[bool, ...]) -> Modality:
        if self.modality is not Modality.FUSED or all(usable) or not self._can_fall_back:
            return self.modality
        return Modality.RGB if usable[0] else Modality.IR

    @property
    def _can_fall_back(self) -> bool:
        # The other fusions mix the modalities in the template already.
        return self.fusion in ("adaptive", "gate")

    def _crop_scale(self, memory: TargetMemory) -> float:
        return self.config.exemplar_size / context_side(memory.size_wh, self.config.context_amount)

    def _in_crop(self, memories: Sequence[TargetMemory]) -> NDArray[np.float64]:
        """Where each target was last, ``cx, cy, w, h`` in search-crop pixels relative to the crop centre, (B, 4)."""
        return np.asarray(
            [(0.0, 0.0, *(self._crop_scale(memory) * side for side in memory.size_wh)) for memory in memories]
        )

    def _answers(
        self, memories: Sequence[TargetMemory], images: Images, usable: tuple[bool, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores (V, B, A, H, W) and boxes (V, B, 4, A, H, W) of V views around B targets."""
        config = self.config
        zoom = config.instance_size / config.exemplar_size
        sides = [max(1, round(context_side(memory.size_wh, config.context_amount) * zoom)) for memory in memories]
        views = self._views(images, memories, sides, config.instance_size)
        with torch.inference_mode():
            template = stacked_templates([memory.features for memory in memories])
            search = stacked_views(views)
            if self.fusion == "gate" and not all(usable):
                only, count = usable.index(True), len(images)
                template, search = only_modality(template, only, count), only_modality(search, only, count)
            response = self.network.respond(template, search)
            # One transfer instead of two: on a GPU each of them waits for the device.
            both = torch.cat((response.score.unsqueeze(1), response.boxes), dim=1)
        found = both.float().cpu().numpy()
        found = found.reshape(len(views), len(memories), *found.shape[1:])
        return found[:, :, 0], found[:, :, 1:]

    def _views(
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
        with torch.inference_mode():
            levels = self.network.extract(crops_to_tensor(crops, self.device).to(self.dtype))
            modalities = list(zip(*(level.chunk(len(images)) for level in levels), strict=True))
            return views_of(modalities, self.fusion)


def _weights(trust: Trust | None, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    if trust is None:
        raise ValueError("this state was made by a tracker with another fusion")
    return trust.weights(usable)
