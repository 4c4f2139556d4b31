"""One step of a SiamRPN tracker as pure functions: crop sizes, choice of the proposal, motion and size update.

Source: the tracker of PySOT (Apache-2.0), reproduced in float64 like it. Its centre is a point of the picture's
continuous coordinates and its box spreads symmetrically around it, so a box that is converted by its centre comes
back unchanged. (PySOT's demo starts half a pixel off; its benchmark, like this project, does not.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from trackers.anchors import hanning_window
from trackers.networks.interface import Features
from trackers.reliability import Trust
from trackers.state import TrackStatus
from trackers.subwindow import Fill

_SMALLEST_SIDE_PX = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiameseTrackerConfig:
    """Constants of the tracking loop.

    Attributes:
        exemplar_size: side of the template crop in network pixels.
        instance_size: side of the search crop in network pixels.
        context_amount: how much surroundings the template shows: this share of (w + h) is added to both sides.
        penalty_k: how strongly a change of size or shape lowers a proposal's rank.
        window_influence: share of the window (preference for small motion) in the rank, 0..1.
        learning_rate: share of a sure proposal's size taken over in one step, 0..1.
        tracking_above: score from which a target counts as tracked.
        lost_below: score under which it counts as lost; between the two it is uncertain, or stays lost.
        frozen_after: a picture repeated so often without the slightest change comes from a frozen stream.
        recovery: hold a lost target's place and size and look for it in the whole picture, and lower the score of
            findings that do not look like it, see :mod:`trackers.recovery`. False is the loop of the paper, which
            always moves on.
        recovery_crops: further places searched in a pair, shared by the lost targets; each gets one at least.
        lost_looks: share of its usual similarity under which something else is in the target's place, 0..1.
        found_looks: share that it takes to believe in a finding, 0..1.
        lost_after: pairs in a row that have to speak for a loss.
        found_after: pairs in a row that have to confirm a finding before the target counts as tracked.
        template_refresh: share of how the target looks now in its template, the rest is the first picture's for ever;
            0 keeps the first alone, as the paper does, and so does a loop without ``recovery``, which tells when the
            target is surely seen.
        refresh_every: sure pairs from one refresh to the next.

    Raises:
        InputError: a value is out of its range.
    """

    exemplar_size: int = 127
    instance_size: int = 255
    context_amount: float = 0.5
    penalty_k: float = 0.05
    window_influence: float = 0.42
    learning_rate: float = 0.38
    tracking_above: float = 0.6
    lost_below: float = 0.25
    frozen_after: int = 12
    recovery: bool = False
    recovery_crops: int = 4
    lost_looks: float = 0.72
    found_looks: float = 0.8
    lost_after: int = 3
    found_after: int = 2
    template_refresh: float = 0.0
    refresh_every: int = 10

    def __post_init__(self) -> None:
        for name in (
            "window_influence",
            "learning_rate",
            "tracking_above",
            "lost_below",
            "lost_looks",
            "found_looks",
            "template_refresh",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"tracker setting {name} must lie in 0..1, not {getattr(self, name)}")
        if self.refresh_every < 1:
            raise InputError(f"tracker setting refresh_every must be at least 1, not {self.refresh_every}")
        if self.lost_below > self.tracking_above:
            raise InputError(
                f"tracker setting lost_below ({self.lost_below}) must not exceed tracking_above ({self.tracking_above})"
            )
        if not 0 < self.exemplar_size <= self.instance_size:
            raise InputError(
                f"tracker setting exemplar_size ({self.exemplar_size}) must lie in 1..instance_size "
                f"({self.instance_size})"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMemory:
    """What the loop remembers of one target.

    Attributes:
        features: the network's template tensors; dimension 0 counts the views.
        first_features: those of the first picture.
        center_xy: centre in picture pixels.
        size_wh: smoothed width and height in picture pixels.
        fills: for each modality the colour of pixels outside its picture, fixed at the first picture.
        trust: how far each view is trusted; None where there is one view only.
        last_seen: for each modality the fingerprint of its last picture and how often it came without change.
        usable: which modalities showed something in the last pictures.
        looks: for each modality what the target has looked like, (1, K, C, n, n), see :mod:`trackers.appearance`; empty
            without recovery.
        looks_kept: how many looks have been added to the first.
        usual_similarity: for each modality how similar to those it is while tracked; None before the first time.
        usual_score: the network's score while tracked; None before the first time.
        sure_place: centre and size where it surely was last, which it goes back to when lost; None without recovery.
        doubtful_pairs: for how many pairs what is there has not seemed to be the target.
        lost_pairs: for how many pairs it has been looked for; 0 while it is not.
        proofs_due: in how many more pairs what was found elsewhere has to be confirmed.
        sure_pairs: in how many pairs its looks could be learned.
    """

    features: Features
    center_xy: tuple[float, float]
    size_wh: tuple[float, float]
    fills: tuple[Fill, ...]
    trust: Trust | None = None
    last_seen: tuple[tuple[int, int], ...] = ()
    usable: tuple[bool, ...] = ()
    looks: Features = ()
    looks_kept: int = 0
    usual_similarity: tuple[float, ...] | None = None
    usual_score: float | None = None
    sure_place: tuple[tuple[float, float], tuple[float, float]] | None = None
    doubtful_pairs: int = 0
    lost_pairs: int = 0
    proofs_due: int = 0
    first_features: Features = ()
    sure_pairs: int = 0


@dataclass(frozen=True, slots=True)
class Proposals:
    """The chosen proposal of each of B targets.

    Attributes:
        boxes: (B, 4) float64 ``cx, cy, w, h`` in search-crop pixels relative to the crop centre.
        scores: (B,) probability before penalty and window.
        penalties: (B,) factor for the change of size and shape, 0..1.
        indices: (B,) flat index ``(a * H + y) * W + x``, -1 where no proposal was finite.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    penalties: NDArray[np.float64]
    indices: NDArray[np.int64]


def context_side(size_wh: tuple[float, float], context_amount: float) -> float:
    """Side in picture pixels of the square that a template crop shows of a target of ``size_wh``."""
    width, height = size_wh
    padding = context_amount * (width + height)
    return math.sqrt((width + padding) * (height + padding))


def search_side_px(size_wh: tuple[float, float], config: SiameseTrackerConfig) -> int:
    """Side in picture pixels of the square that is searched for a target of ``size_wh``."""
    zoom = config.instance_size / config.exemplar_size
    return max(1, round(context_side(size_wh, config.context_amount) * zoom))


def crop_scale(memory: TargetMemory, config: SiameseTrackerConfig) -> float:
    """Search-crop pixels per picture pixel."""
    return config.exemplar_size / context_side(memory.size_wh, config.context_amount)


def places_in_crop(memories: Sequence[TargetMemory], config: SiameseTrackerConfig) -> NDArray[np.float64]:
    """Where each target was last, ``cx, cy, w, h`` in search-crop pixels relative to the crop centre, (B, 4)."""
    scales = [crop_scale(memory, config) for memory in memories]
    return np.asarray(
        [(0.0, 0.0, *(scale * side for side in memory.size_wh)) for memory, scale in zip(memories, scales, strict=True)]
    )


def rank_proposals(
    score: NDArray[np.float32],
    boxes: NDArray[np.float32],
    sizes_wh: NDArray[np.float64],
    config: SiameseTrackerConfig,
    window_influence: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Rank of every proposal: score times penalty, blended with the window; and the penalties.

    Args:
        score: (B, A, H, W) probability.
        boxes: (B, 4, A, H, W) ``cx, cy, w, h`` in search-crop pixels.
        sizes_wh: (B, 2) current size of each target in search-crop pixels.
        config: ``penalty_k`` and ``window_influence``.
        window_influence: (B,) in place of the configured one.

    Returns:
        (2, B, A, H, W): ranks, penalties. Not finite where the proposal is not.
    """
    width, height = boxes[:, 2], boxes[:, 3]
    target_width, target_height = (sizes_wh[:, axis, None, None, None] for axis in (0, 1))
    # An untrained network may propose sizes of 0 or infinity; such proposals drop out later.
    with np.errstate(all="ignore"):
        size_change = _change(_equivalent_side(width, height) / _equivalent_side(target_width, target_height))
        shape_change = _change((target_width / target_height) / (width / height))
        penalty = np.exp(-(shape_change * size_change - 1) * config.penalty_k)
        window = hanning_window(*score.shape[2:])
        influence = (
            np.float64(config.window_influence) if window_influence is None else window_influence[:, None, None, None]
        )
        return np.stack((penalty * score * (1 - influence) + window * influence, penalty))


def choose_proposals(
    score: NDArray[np.float32],
    boxes: NDArray[np.float32],
    sizes_wh: NDArray[np.float64],
    config: SiameseTrackerConfig,
    window_influence: NDArray[np.float64] | None = None,
) -> Proposals:
    """The best-ranked proposal of each target; arguments as in :func:`rank_proposals`."""
    batch = score.shape[0]
    ranks, penalties = rank_proposals(score, boxes, sizes_wh, config, window_influence).reshape(2, batch, -1)
    flat_boxes = boxes.reshape(batch, 4, -1)
    usable = np.isfinite(ranks) & np.isfinite(flat_boxes).all(1)
    ranks = np.where(usable, ranks, -np.inf)
    rows, best = np.arange(batch), ranks.argmax(1)
    some = usable[rows, best]
    # With no finite proposal the target stays where it is, with score 0.
    kept = np.concatenate((np.zeros((batch, 2)), sizes_wh), axis=1)
    return Proposals(
        boxes=np.where(some[:, None], flat_boxes[rows, :, best].astype(np.float64), kept),
        scores=np.where(some, score.reshape(batch, -1)[rows, best].astype(np.float64), 0.0),
        penalties=np.where(some, penalties[rows, best], 0.0),
        indices=np.where(some, best, -1),
    )


def move_target(
    center_xy: tuple[float, float],
    size_wh: tuple[float, float],
    *,
    proposal_in_crop: NDArray[np.float64],
    crop_scale: float,
    size_rate: float,
    picture_wh: tuple[int, int],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """New centre and size: the centre takes the whole step, the size a share of it; both are clipped.

    Args:
        center_xy: centre before, picture pixels.
        size_wh: size before, picture pixels.
        proposal_in_crop: ``cx, cy, w, h`` in search-crop pixels relative to the crop centre.
        crop_scale: search-crop pixels per picture pixel.
        size_rate: share of the proposed size, 0..1.
        picture_wh: the centre stays inside the picture, the size within 10 px and the picture's size.
    """
    step_x, step_y, width, height = (float(value) / crop_scale for value in proposal_in_crop)
    center = (_clip(center_xy[0] + step_x, 0, picture_wh[0]), _clip(center_xy[1] + step_y, 0, picture_wh[1]))
    size = (
        _clip(size_wh[0] * (1 - size_rate) + width * size_rate, _SMALLEST_SIDE_PX, picture_wh[0]),
        _clip(size_wh[1] * (1 - size_rate) + height * size_rate, _SMALLEST_SIDE_PX, picture_wh[1]),
    )
    return center, size


def next_status(previous: TrackStatus, score: float, config: SiameseTrackerConfig) -> TrackStatus:
    """Status after a picture; a lost target must be seen well to count as tracked again."""
    if score >= config.tracking_above:
        return TrackStatus.TRACKING
    if score < config.lost_below or previous is TrackStatus.LOST:
        return TrackStatus.LOST
    return TrackStatus.UNCERTAIN


def _clip(value: float, low: float, high: float) -> float:
    return max(low, min(value, high))


def _change(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(ratio, 1.0 / ratio)


def _equivalent_side(width: NDArray[Any], height: NDArray[Any]) -> NDArray[Any]:
    padding = (width + height) * 0.5
    result: NDArray[Any] = np.sqrt((width + padding) * (height + padding))
    return result
