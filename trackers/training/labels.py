"""Targets and losses of the region proposal head.

Labels by ellipses as in SiamBAN (Chen et al., CVPR 2020): a place inside the half-size ellipse of the target is
positive, one outside the full ellipse negative, those between are ignored. Boxes are learned by GIoU (Rezatofighi et
al., CVPR 2019), and positive places aim at their own IoU as score, so that the score tells how good the box is
(after VarifocalNet, Zhang et al., CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trackers.networks.lite import ANCHORS, decode_deltas


@dataclass(frozen=True, slots=True)
class HeadLoss:
    """Losses of one batch: scalars, and the mean IoU of positive places for the log."""

    total: Tensor
    classes: Tensor
    boxes: Tensor
    mean_iou: Tensor


def map_points(size: int) -> Tensor:
    """Places of a ``size`` x ``size`` map in crop pixels from the centre: (2, size, size), x then y."""
    axis = (torch.arange(size, dtype=torch.float32) - size // 2) * ANCHORS.stride_px
    return torch.stack([axis[None, :].expand(size, size), axis[:, None].expand(size, size)])


def ellipse_labels(boxes: Tensor, size: int) -> Tensor:
    """Labels (B, size, size) for target boxes (B, 4) cx, cy, w, h: 1 positive, 0 negative, -1 ignored.

    A box of width 0 has no target in the crop: all places are negative. The place nearest to a target's centre is
    always positive, however small the target.
    """
    points = map_points(size).to(boxes)[None]
    offset = points - boxes[:, :2, None, None]
    half = boxes[:, 2:, None, None].clamp(min=1e-3) / 2
    radius = ((offset / half) ** 2).sum(dim=1)
    inner = ((offset / (half / 2).clamp(min=ANCHORS.stride_px * 0.75)) ** 2).sum(dim=1)
    labels = torch.where(inner <= 1, 1, torch.where(radius > 1, 0, -1))
    absent = (boxes[:, 2] <= 0)[:, None, None]
    return torch.where(absent, torch.zeros_like(labels), labels)


def generalized_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of boxes (N, 4) cx, cy, w, h, pair by pair: two (N,) tensors."""
    low_1, high_1 = first[:, :2] - first[:, 2:] / 2, first[:, :2] + first[:, 2:] / 2
    low_2, high_2 = second[:, :2] - second[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2
    overlap = (torch.minimum(high_1, high_2) - torch.maximum(low_1, low_2)).clamp(min=0).prod(dim=1)
    union = first[:, 2:].prod(dim=1) + second[:, 2:].prod(dim=1) - overlap
    hull = (torch.maximum(high_1, high_2) - torch.minimum(low_1, low_2)).prod(dim=1)
    iou = overlap / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def head_loss(logits: Tensor, deltas: Tensor, targets: Tensor, box_weight: float = 2.0) -> HeadLoss:
    """Class and box loss for logits (B, 2, H, W), deltas (B, 4, H, W) and target boxes (B, 4) cx, cy, w, h.

    Positive and negative places weigh the same in sum, as in PySOT; hard negatives count more (focal factor).
    """
    labels = ellipse_labels(targets, logits.shape[-1])
    logits, deltas = logits.float(), deltas.float()
    score_logit = logits[:, 1] - logits[:, 0]
    positive, negative = labels == 1, labels == 0
    chosen = decode_deltas(deltas).permute(0, 2, 3, 1)[positive]
    aims = targets[:, None, None, :].expand(-1, *labels.shape[1:], -1)[positive]
    iou, giou = generalized_iou(chosen, aims)
    count = max(int(positive.sum()), 1)
    boxes = (1 - giou).sum() / count
    quality = 0.5 + 0.5 * iou.detach().clamp(0, 1)
    attract = functional.binary_cross_entropy_with_logits(score_logit[positive], quality, reduction="sum") / count
    away = score_logit[negative]
    focus = away.detach().sigmoid()
    repel_each = functional.softplus(away)
    repel = (repel_each * focus).sum() / focus.sum().clamp(min=1.0) + repel_each.mean()
    classes = attract + repel
    total = classes + box_weight * boxes
    return HeadLoss(total, classes.detach(), boxes.detach(), iou.detach().mean() if len(iou) else iou.sum())
