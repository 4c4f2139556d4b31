"""Telling that a target is lost, and finding it again: where to look, and when to believe it.

A target counts as lost when for some pairs what is in its place does not look like it (:mod:`trackers.appearance`) and
the network is not sure of it. Then it is put back to where it surely was last and keeps that size; in every pair that
place and a few more are searched, nearest first, until the whole picture has been seen, again and again. What scores
well and resembles the target is looked at more closely in the next pairs, from a crop centred on it, and has to prove
itself in each of them; else the search goes on. As long as nothing is lost the loop is that of the paper, box for box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from trackers.appearance import later_album
from trackers.networks.interface import Features
from trackers.siamese_core import SiameseTrackerConfig, TargetMemory
from trackers.state import TrackStatus

_USUAL_MEMORY = 0.95
# Looks that resemble all kept ones by less than this share of the usual similarity are kept too.
_NEW_LOOKS = 0.9
# A score of this share of the usual one is as sure as ever.
_AS_SURE = 0.9
# A network answers for the middle three quarters of its crop.
_STEP = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a place being the target's.

    Attributes:
        score: the network's, 0..1.
        likeness: for each usable modality, how much it looks like the target: 1 is as much as usual; 0..1.
            Empty while it is not known what is usual.
        is_near: another target is near, so that looks found here may be the other's.
        is_taken: the place belongs to another target, which it resembles more.
    """

    score: float
    likeness: tuple[float, ...]
    is_near: bool = False
    is_taken: bool = False

    @property
    def looks(self) -> float:
        """Mean likeness, 0..1; 1 while nothing is known about it."""
        return sum(self.likeness) / len(self.likeness) if self.likeness else 1.0

    def resembles(self, share: float) -> bool:
        """Whether in every modality it looks like the target by this share of what is usual."""
        return min(self.likeness, default=1.0) >= share

    @property
    def confidence(self) -> float:
        """Trust in the place, 0..1: the score, less where it looks less like the target than it usually does."""
        return self.score * self.looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to believe of one target after a picture.

    Attributes:
        status: tracking, uncertain or lost.
        place: which of the places looked at it moves to; the first where it is lost.
        doubtful_pairs, lost_pairs, proofs_due: as of :class:`trackers.siamese_core.TargetMemory`.
        is_sure: nothing speaks against the place.
        may_learn: the target is seen so surely that its looks may be learned.
    """

    status: TrackStatus
    place: int = 0
    doubtful_pairs: int = 0
    lost_pairs: int = 0
    proofs_due: int = 0
    is_sure: bool = False
    may_learn: bool = False


def is_lost(memory: TargetMemory) -> bool:
    """Whether the target has to be looked for."""
    return memory.lost_pairs > 0 and memory.proofs_due == 0


def evidence_for(
    score: float, similarities: Sequence[float], usual: Sequence[float] | None, usable: Sequence[bool]
) -> Evidence:
    """Evidence from the similarity in each modality, with what is usual there and which modalities see anything."""
    if usual is None:
        return Evidence(score=score, likeness=())
    shares = [min(1.0, max(0.0, now) / max(normal, 1e-6)) for now, normal in zip(similarities, usual, strict=True)]
    chosen = [share for share, use in zip(shares, usable, strict=True) if use]
    return Evidence(score=score, likeness=tuple(chosen or shares))


def judge(memory: TargetMemory, evidence: Sequence[Evidence], config: SiameseTrackerConfig) -> Verdict:
    """Decide about a target from the evidence at its own place and, when it is lost, at further ones."""
    if is_lost(memory):
        return _judge_lost(memory, evidence, config)
    here = evidence[0]
    is_seen = here.confidence >= config.tracking_above
    if memory.proofs_due:
        return _judge_found(memory, is_proof=is_seen and not here.is_taken and _proves_itself(memory, here, config))
    if memory.usual_similarity is None:
        is_doubtful = here.score < config.lost_below
    else:
        # A low score alone is no loss: smoke over one eye or a crouching person have it too. But their looks change
        # little from one picture to the next, while an occluder or a neighbour looks different at once.
        is_doubtful = here.looks < config.lost_looks and here.score < config.tracking_above
    is_doubtful = is_doubtful or here.is_taken
    doubts = memory.doubtful_pairs + 1 if is_doubtful else 0
    if doubts >= config.lost_after:
        return Verdict(status=TrackStatus.LOST, lost_pairs=1)
    return Verdict(
        status=TrackStatus.TRACKING if is_seen and not here.is_taken else TrackStatus.UNCERTAIN,
        doubtful_pairs=doubts,
        is_sure=not is_doubtful,
        may_learn=is_seen and here.looks >= config.found_looks and not here.is_near,
    )


def after_verdict(memory: TargetMemory, verdict: Verdict) -> TargetMemory:
    """The memory after a verdict; a lost target is back where it surely was last."""
    memory = replace(
        memory,
        doubtful_pairs=verdict.doubtful_pairs,
        lost_pairs=verdict.lost_pairs,
        proofs_due=verdict.proofs_due,
    )
    if verdict.is_sure:
        return replace(memory, sure_place=(memory.center_xy, memory.size_wh))
    if verdict.status is TrackStatus.LOST and memory.sure_place is not None:
        center_xy, size_wh = memory.sure_place
        return replace(memory, center_xy=center_xy, size_wh=size_wh)
    return memory


def _proves_itself(memory: TargetMemory, here: Evidence, config: SiameseTrackerConfig) -> bool:
    # It looks like the target in every eye; or, as a pose never seen before would, less so, but then the network has
    # to be as sure as ever.
    if here.resembles(config.found_looks):
        return True
    usual = memory.usual_score
    as_sure = usual is not None and here.score >= _AS_SURE * usual
    return as_sure and here.looks >= (config.lost_looks + config.found_looks) / 2


def _judge_found(memory: TargetMemory, *, is_proof: bool) -> Verdict:
    # Now that the crop is centred on the finding, its looks can be compared closely.
    if not is_proof:
        return Verdict(status=TrackStatus.LOST, lost_pairs=memory.lost_pairs + 1)
    if memory.proofs_due == 1:
        return Verdict(status=TrackStatus.TRACKING, is_sure=True, may_learn=True)
    return Verdict(status=TrackStatus.UNCERTAIN, lost_pairs=memory.lost_pairs, proofs_due=memory.proofs_due - 1)


def _judge_lost(memory: TargetMemory, evidence: Sequence[Evidence], config: SiameseTrackerConfig) -> Verdict:
    # Where it was last seen, looks alone will do: a target that never left must not stay lost for a low score.
    here = evidence[0]
    if here.likeness and here.resembles(config.found_looks) and not here.is_taken:
        return Verdict(status=TrackStatus.UNCERTAIN)
    place = max(range(len(evidence)), key=lambda index: (not evidence[index].is_taken, evidence[index].confidence))
    found = evidence[place]
    if found.is_taken or found.score < config.tracking_above or found.looks < config.lost_looks:
        return Verdict(status=TrackStatus.LOST, lost_pairs=memory.lost_pairs + 1)
    return Verdict(
        status=TrackStatus.UNCERTAIN, place=place, lost_pairs=memory.lost_pairs, proofs_due=config.found_after
    )


def search_places(
    center_xy: tuple[float, float], search_side_px: float, picture_wh: tuple[int, int]
) -> tuple[tuple[float, float], ...]:
    """Crop centres that cover the picture, nearest to the last known centre first.

    Crops of ``search_side_px`` on these centres overlap, so that a target of the remembered size is well inside one.
    """
    return _places(
        round(center_xy[0]), round(center_xy[1]), max(8, round(_STEP * search_side_px)), picture_wh[0], picture_wh[1]
    )


def places_of_this_pair(
    places: tuple[tuple[float, float], ...], lost_pairs: int, count: int
) -> list[tuple[float, float]]:
    """The next ``count`` places of an endless round, for a target lost since ``lost_pairs`` pairs."""
    if not places:
        return []
    first = max(0, lost_pairs - 1) * count
    return [places[(first + index) % len(places)] for index in range(min(count, len(places)))]


def later_usual(usual: Sequence[float] | None, now: Sequence[float]) -> tuple[float, ...]:
    """What is usual, of each of several numbers, after a picture in which the target was surely there."""
    if usual is None:
        return tuple(now)
    return tuple(_USUAL_MEMORY * before + (1 - _USUAL_MEMORY) * value for before, value in zip(usual, now, strict=True))


def learned(
    memory: TargetMemory,
    score: float,
    similarities: Sequence[float],
    kept_similarities: Sequence[float],
    looks: Features,
) -> TargetMemory:
    """Memory after a picture in which the target was surely there, with this score, and looked so in each modality.

    Similarities and looks as of one finding in :class:`trackers.appearance.Looks`.
    """
    usual = later_usual(memory.usual_similarity, similarities)
    (usual_score,) = later_usual(None if memory.usual_score is None else (memory.usual_score,), (score,))
    new_below = _NEW_LOOKS * min(usual)
    is_new = any(value < new_below for value in kept_similarities)
    album, kept = later_album(memory.looks, looks, memory.looks_kept, is_new=is_new)
    return replace(memory, usual_score=usual_score, usual_similarity=usual, looks=album, looks_kept=kept)


@lru_cache(maxsize=64)
def _places(x: int, y: int, step: int, width: int, height: int) -> tuple[tuple[float, float], ...]:
    columns = [x + step * index for index in range(-(x // step) - 1, (width - x) // step + 2)]
    rows = [y + step * index for index in range(-(y // step) - 1, (height - y) // step + 2)]
    # The last known place itself is searched in every pair anyway.
    inside = [
        (float(column), float(row))
        for column in columns
        for row in rows
        if -step / 2 <= column <= width + step / 2 and -step / 2 <= row <= height + step / 2 and (column, row) != (x, y)
    ]
    return tuple(sorted(inside, key=lambda place: (math.hypot(place[0] - x, place[1] - y), place)))
