"""The tracker: where each target is, picture after picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import torch

from fusion.attention import PAPER
from fusion.errors import InputError
from trackers.appearance import album_of
from trackers.box import Box, box_from_center, clip_box, iou
from trackers.captured_steps import GraphFinder
from trackers.finding import Finder, Finding, PlainFinder, Search, known_trust
from trackers.nearness import NEAR_IOU, gives_way, with_near
from trackers.networks.interface import SiameseNetwork
from trackers.observer import Observer
from trackers.precision import ExecutionName
from trackers.recovery import (
    Evidence,
    after_verdict,
    evidence_for,
    is_lost,
    judge,
    learned,
    places_of_this_pair,
    search_places,
)
from trackers.reliability import answer_margins, first_trust, later_trust
from trackers.siamese_core import (
    Proposals,
    SiameseTrackerConfig,
    TargetMemory,
    context_side,
    crop_scale,
    move_target,
    next_status,
    places_in_crop,
)
from trackers.state import ImagePair, Modality, TrackState, TrackStatus
from trackers.subwindow import channel_average
from trackers.views import FeatureFusion, Images, usable_modalities, usable_views, watch


class SiameseTracker:
    """A :class:`trackers.state.Tracker` around any siamese network.

    Args:
        network: shared by both modalities and all targets; must be in evaluation mode.
        config: constants of the loop.
        modality: which pictures are looked at.
        fusion: how two modalities are fused, for template and search alike; see :func:`trackers.views.views_of`.
        device: where the network's parameters are.
        dtype: type of the network's parameters; crops are given in it, scores and boxes stay float32.
        execution: how a pair is searched: ``eager``, one operation after the other with crops and choice on the CPU, or
            ``graphs``, all on the device, see :class:`trackers.captured_steps.GraphFinder`.

    Attributes:
        finder: searches the pairs.
    """

    def __init__(
        self,
        network: SiameseNetwork,
        config: SiameseTrackerConfig,
        modality: Modality = Modality.FUSED,
        fusion: FeatureFusion = PAPER,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        execution: ExecutionName = "eager",
    ) -> None:
        self.network = network
        self.config = config
        self.modality = modality
        self.fusion = fusion
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        self.execution = execution
        self._observer = Observer(network, config, fusion, self.device, dtype)
        self.finder: Finder = (
            PlainFinder(self._observer, config)
            if execution == "eager"
            else GraphFinder(network, config, fusion, self.device, dtype)
        )

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
        images = self.images_of(pair)
        if self.config.recovery:
            return self._update_and_recover(states, images)
        memories, proposals = self.advance([state.template for state in states], images)
        return with_near(
            [
                self._state(memory, score, next_status(state.status, score, self.config))
                for state, memory, score in zip(states, memories, proposals.scores.tolist(), strict=True)
            ]
        )

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
        features, appearance = self._observer.templates(images, memory)
        memory = replace(memory, features=features, first_features=features)
        if self.config.recovery:
            memory = replace(memory, looks=album_of(appearance), sure_place=(center_xy, size_wh))
        if self.fusion != "adaptive" or len(images) == 1:
            return memory
        # The template on its own picture shows where else each view answers.
        answers = self._observer.answers([memory], images, memory.usable)
        place = places_in_crop([memory], self.config).repeat(len(answers.score), axis=0)
        return replace(memory, trust=first_trust(answer_margins(answers.score[:, 0], answers.boxes[:, 0], place)))

    def advance(self, memories: Sequence[TargetMemory], images: Images) -> tuple[list[TargetMemory], Proposals]:
        """The paper's step: move every target to the best proposal, whatever its score.

        Returns:
            The new memories, and the proposals they came from.
        """
        search = Search(memories=memories, images=images)
        self.finder.begin(search, memories[0].usable)
        seen, usable = self._watch(memories, images)
        finding = self.finder.find(search, usable)
        moved = [
            replace(self._moved(memory, finding, index, images), last_seen=seen, usable=usable)
            for index, memory in enumerate(memories)
        ]
        return moved, finding.proposals

    def _update_and_recover(self, states: Sequence[TrackState], images: Images) -> list[TrackState]:
        """As :meth:`advance`, but targets that are gone move nothing and are looked for: :mod:`trackers.recovery`."""
        memories: list[TargetMemory] = [state.template for state in states]
        # What a search may cost is shared, so that many lost targets slow nothing down.
        searches = max(1, self.config.recovery_crops // max(1, sum(map(is_lost, memories))))
        places = [[memory, *self._elsewhere(memory, images, searches)] for memory in memories]
        entries = [entry for each in places for entry in each]
        # A lost target may be anywhere: no preference for its old place.
        influence = np.asarray([0.0 if is_lost(entry) else self.config.window_influence for entry in entries])
        search = Search(memories=entries, images=images, window_influence=influence, with_looks=True)
        self.finder.begin(search, memories[0].usable)
        seen, usable = self._watch(memories, images)
        finding = self.finder.find(search, usable)
        looks = finding.looks
        assert looks is not None
        evidence = [
            evidence_for(score, own, entry.usual_similarity, usable)
            for score, own, entry in zip(finding.proposals.scores.tolist(), looks.similarities, entries, strict=True)
        ]
        moved = [self._moved(entry, finding, index, images) for index, entry in enumerate(entries)]
        ends = list(accumulate(len(each) for each in places))
        spans = [range(end - len(each), end) for each, end in zip(places, ends, strict=True)]
        if len(states) > 1:
            evidence = self._contested(spans, memories, moved, evidence)
        updated = []
        for memory, span in zip(memories, spans, strict=True):
            verdict = judge(memory, evidence[span.start : span.stop], self.config)
            best = span.start + verdict.place
            memory = after_verdict(memory if verdict.status is TrackStatus.LOST else moved[best], verdict)
            if verdict.may_learn:
                seen_as = (looks.similarities[best], looks.kept_similarities[best], looks.features[best])
                memory = learned(memory, evidence[best].score, *seen_as)
                if all(usable) and evidence[best].resembles(self.config.found_looks):
                    memory = self._refreshed(memory, images)
            memory = replace(memory, last_seen=seen, usable=usable)
            updated.append(self._state(memory, evidence[best].confidence, verdict.status))
        return with_near(updated)

    def _refreshed(self, memory: TargetMemory, images: Images) -> TargetMemory:
        """The memory after a pair in which every eye surely sees the target; now and then with a newer template."""
        memory = replace(memory, sure_pairs=memory.sure_pairs + 1)
        share = self.config.template_refresh
        if not share or memory.sure_pairs % self.config.refresh_every:
            return memory
        now, _ = self._observer.templates(images, memory)
        # Always mixed with the first, never with the last: errors cannot add up.
        mixed = tuple(torch.lerp(first, new, share) for first, new in zip(memory.first_features, now, strict=True))
        return replace(memory, features=mixed)

    def _contested(
        self,
        spans: Sequence[range],
        memories: Sequence[TargetMemory],
        moved: Sequence[TargetMemory],
        evidence: Sequence[Evidence],
    ) -> list[Evidence]:
        """The evidence, with what speaks against a place because another target is there."""
        boxes = [box_from_center(memory.center_xy, memory.size_wh) for memory in moved]
        marked = list(evidence)
        for own, span in enumerate(spans):
            others = [
                (boxes[place], evidence[place].looks)
                for other, place in enumerate(each.start for each in spans)
                if other != own and not is_lost(memories[other])
            ]
            for place in span:
                marked[place] = replace(
                    evidence[place],
                    is_near=any(iou(boxes[place], box) >= NEAR_IOU for box, _ in others),
                    is_taken=gives_way(boxes[place], evidence[place].looks, others),
                )
        return marked

    def _watch(
        self, memories: Sequence[TargetMemory], images: Images
    ) -> tuple[tuple[tuple[int, int], ...], tuple[bool, ...]]:
        seen = watch(images, [memory.last_seen for memory in memories])
        return seen, usable_modalities(images, seen, self.config.frozen_after)

    def _elsewhere(self, memory: TargetMemory, images: Images, count: int) -> list[TargetMemory]:
        """At most ``count`` further places to look for a lost target in this pair, as memories that are there."""
        if not is_lost(memory):
            return []
        height, width = images[0].shape[:2]
        side = context_side(memory.size_wh, self.config.context_amount)
        side *= self.config.instance_size / self.config.exemplar_size
        places = search_places(memory.center_xy, side, (width, height))
        chosen = places_of_this_pair(places, memory.lost_pairs, count)
        return [replace(memory, center_xy=place) for place in chosen]

    def _moved(self, memory: TargetMemory, finding: Finding, index: int, images: Images) -> TargetMemory:
        height, width = images[0].shape[:2]
        proposals = finding.proposals
        center_xy, size_wh = move_target(
            memory.center_xy,
            memory.size_wh,
            proposal_in_crop=proposals.boxes[index],
            crop_scale=crop_scale(memory, self.config),
            size_rate=float(proposals.penalties[index] * proposals.scores[index]) * self.config.learning_rate,
            picture_wh=(width, height),
        )
        trust = memory.trust
        if finding.margins is not None:
            trust = later_trust(known_trust(trust), finding.margins[:, index], usable_views(finding.usable))
        return replace(memory, center_xy=center_xy, size_wh=size_wh, trust=trust)

    def _state(self, memory: TargetMemory, score: float, status: TrackStatus) -> TrackState:
        seen_in = self.modality
        # Other fusions mix the modalities in the template already and cannot do without one.
        if self.modality is Modality.FUSED and self.fusion in ("adaptive", "gate") and not all(memory.usable):
            seen_in = Modality.RGB if memory.usable[0] else Modality.IR
        return TrackState(
            box=box_from_center(memory.center_xy, memory.size_wh),
            score=min(max(score, 0.0), 1.0),
            status=status,
            template=memory,
            seen_in=seen_in,
        )
