"""The choice of proposals on the device: :mod:`trackers.siamese_core` and :mod:`trackers.reliability` as tensors.

One pair then sends a handful of numbers to the host instead of every proposal. Ranks are computed in float64 as there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trackers.reliability import ELSEWHERE_IOU

CHOICE_NUMBERS = 7
"""Numbers of one choice: ``cx, cy, w, h``, score, penalty, index."""


def choose_on_device(
    score: Tensor, boxes: Tensor, sizes_wh: Tensor, influence: Tensor, window: Tensor, penalty_k: float
) -> Tensor:
    """The best-ranked proposal of each target, see :func:`trackers.siamese_core.choose_proposals`.

    Args:
        score: (B, N) probability of all proposals.
        boxes: (B, 4, N) ``cx, cy, w, h`` in search-crop pixels.
        sizes_wh: (B, 2) float64 current size of each target in search-crop pixels.
        influence: (B,) float64 share of the window.
        window: (N,) float64.
        penalty_k: how strongly a change of size or shape lowers the rank.

    Returns:
        (B, 7) float64: box, score, penalty, index, as the fields of ``Proposals``.
    """
    score, boxes = score.double(), boxes.double()
    width, height = boxes[:, 2], boxes[:, 3]
    target_width, target_height = sizes_wh[:, :1], sizes_wh[:, 1:]
    size_change = _change(_equivalent_side(width, height) / _equivalent_side(target_width, target_height))
    shape_change = _change((target_width / target_height) / (width / height))
    penalty = torch.exp((1 - shape_change * size_change) * penalty_k)
    share = influence[:, None]
    rank = penalty * score * (1 - share) + window * share
    # Of a sum with anything that is not finite nothing is left but what is not; in float64 it does not overflow.
    total = rank + boxes.sum(1)
    usable = total - total == 0
    best = torch.where(usable, rank, -torch.inf).argmax(1, keepdim=True)
    every = torch.cat((boxes, score[:, None], penalty[:, None]), dim=1)
    found = every.gather(2, best[:, None].expand(-1, every.shape[1], -1))[:, :, 0]
    zeros = torch.zeros_like(sizes_wh)
    # With no finite proposal the target stays where it is, with score 0.
    kept = torch.cat((zeros, sizes_wh, zeros), dim=1)
    some = usable.gather(1, best)
    return torch.cat((torch.where(some, found, kept), torch.where(some, best, -1)), dim=1)


def blend_on_device(score: Tensor, boxes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """One response from those of V views, see :func:`trackers.reliability.blend_views`.

    Args:
        score: (V, B, N) float32.
        boxes: (V, B, 4, N) float32.
        weights: (V, B), sum 1 over the views.
    """
    shares = weights.float()[:, :, None] * score
    blended = shares.sum(0)
    shares = (shares + 1e-9)[:, :, None]
    return blended, (shares * boxes).sum(0) / shares.sum(0)


def margins_on_device(score: Tensor, boxes: Tensor, chosen: Tensor) -> Tensor:
    """Lead of each view's answer at the chosen place, see :func:`trackers.reliability.answer_margins`.

    Args:
        score: (V, B, N) float32.
        boxes: (V, B, 4, N) float32.
        chosen: (B, 4) float64.

    Returns:
        (V, B) float64.
    """
    boxes, one = boxes.double(), chosen[None, :, :, None]
    low = torch.maximum(boxes[:, :, :2] - boxes[:, :, 2:] / 2, one[:, :, :2] - one[:, :, 2:] / 2)
    high = torch.minimum(boxes[:, :, :2] + boxes[:, :, 2:] / 2, one[:, :, :2] + one[:, :, 2:] / 2)
    common = (high - low).clamp(min=0).prod(2)
    union = boxes[:, :, 2:].prod(2) + one[:, :, 2:].prod(2) - common
    is_here = common / union.clamp(min=1e-9) >= ELSEWHERE_IOU
    return (torch.where(is_here, score, 0.0).amax(2) - torch.where(is_here, 0.0, score).amax(2)).double()


def _change(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1.0 / ratio)


def _equivalent_side(width: Tensor, height: Tensor) -> Tensor:
    padding = (width + height) * 0.5
    return torch.sqrt((width + padding) * (height + padding))
