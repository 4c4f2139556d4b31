"""How far to trust each view of a target, from what the network answers for it.

A view is one modality alone, or their fusion. Two measures, both from the responses themselves and without any
threshold fitted to data:

- discrimination: in the very picture a target is picked in, does its template also answer elsewhere? A template
  of smoke or of a cold, flat scene does.
- clarity: in the pictures since, how much better was the answer at the place chosen than the best answer elsewhere,
  as a moving average?

The weight of a view is their product. The views' responses are averaged with these weights, place by place, and so
are their boxes, each with its own score as further weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ELSEWHERE_IOU = 0.2
"""Proposals that overlap the chosen box by less are another place."""

_FLOOR = 1e-3
_MEMORY = 0.9


@dataclass(frozen=True, slots=True)
class Trust:
    """Trust in each of V views of one target.

    Attributes:
        discrimination: measured in the first picture, 0..1 for each view.
        clarity: moving average over the pictures since, 0..1 for each view.
    """

    discrimination: tuple[float, ...]
    clarity: tuple[float, ...]

    def weights(self, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Share of each view in the blended response, (V,), sum 1; 0 for views that are not ``usable`` (V,)."""
        product = (np.asarray(self.discrimination) + _FLOOR) * (np.asarray(self.clarity) + _FLOOR)
        if usable.any():
            product = product * usable
        weights: NDArray[np.float64] = product / product.sum()
        return weights


def first_trust(margins: NDArray[np.float64]) -> Trust:
    """Trust after the first picture from each view's margin there (V,), see :func:`answer_margins`."""
    values = tuple(float(value) for value in np.clip(margins, 0, 1))
    return Trust(values, values)


def later_trust(trust: Trust, margins: NDArray[np.float64], usable: NDArray[np.bool_]) -> Trust:
    """Trust after one more picture with these margins (V,); views that are not ``usable`` (V,) keep theirs."""
    before = np.asarray(trust.clarity)
    clarity = np.where(usable, _MEMORY * before + (1 - _MEMORY) * np.clip(margins, 0, 1), before)
    return Trust(trust.discrimination, tuple(float(value) for value in clarity))


def answer_margins(
    score: NDArray[np.float32], boxes: NDArray[np.float32], chosen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lead of the answer at the chosen place over the best answer elsewhere, (B,), -1..1.

    Args:
        score: (B, A, H, W) probability.
        boxes: (B, 4, A, H, W) ``cx, cy, w, h``.
        chosen: (B, 4) the chosen boxes in the same coordinates.
    """
    batch = score.shape[0]
    flat = score.reshape(batch, -1)
    overlap = overlap_with(boxes.reshape(batch, 4, -1), chosen)
    elsewhere = np.where(overlap < ELSEWHERE_IOU, flat, 0.0).max(1)
    here = np.where(overlap >= ELSEWHERE_IOU, flat, 0.0).max(1)
    margins: NDArray[np.float64] = (here - elsewhere).astype(np.float64)
    return margins


def overlap_with(boxes: NDArray[np.float32], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of (B, 4, N) boxes with one box each (B, 4), all ``cx, cy, w, h``; (B, N)."""
    one = chosen[:, :, None]
    sides = [
        np.minimum(boxes[:, axis] + boxes[:, axis + 2] / 2, one[:, axis] + one[:, axis + 2] / 2)
        - np.maximum(boxes[:, axis] - boxes[:, axis + 2] / 2, one[:, axis] - one[:, axis + 2] / 2)
        for axis in (0, 1)
    ]
    common = np.clip(sides[0], 0, None) * np.clip(sides[1], 0, None)
    union = boxes[:, 2] * boxes[:, 3] + one[:, 2] * one[:, 3] - common
    overlap: NDArray[np.float64] = common / np.maximum(union, 1e-9)
    return overlap


def blend_views(
    score: NDArray[np.float32], boxes: NDArray[np.float32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One response from those of V views.

    Args:
        score: (V, B, A, H, W) probability.
        boxes: (V, B, 4, A, H, W) ``cx, cy, w, h``.
        weights: (V, B), sum 1 over the views.

    Returns:
        Score (B, A, H, W) and boxes (B, 4, A, H, W).
    """
    shares = weights.astype(np.float32)[:, :, None, None, None] * score
    blended = shares.sum(0)
    # A place where no view sees anything has boxes of equal shares; its score keeps it from being chosen.
    shares = (shares + np.float32(1e-9))[:, :, None]
    return blended, (shares * boxes).sum(0) / shares.sum(0)
