"""Several targets in one place: which ones are near each other, and whose the place is.

A tracker of single targets lets two of them end on the same thing when they cross, without a word. Here targets that
overlap are named to each other, and of two that are on one thing the one that looks less like it gives way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trackers.box import Box, iou
from trackers.state import TrackState

NEAR_IOU = 0.3
"""Boxes that overlap by this much are near each other."""

SAME_IOU = 0.6
"""Boxes that overlap by this much are on the same thing."""

_CLEARLY_LESS = 0.1


def near_each(boxes: Sequence[Box]) -> list[tuple[int, ...]]:
    """For each box the positions of the other ones near it."""
    return [
        tuple(other for other, box in enumerate(boxes) if other != own and iou(box, boxes[own]) >= NEAR_IOU)
        for own in range(len(boxes))
    ]


def with_near(states: Sequence[TrackState]) -> list[TrackState]:
    """States of targets followed together, each with the positions of those near it."""
    near = near_each([state.box for state in states])
    return [replace(state, near=others) for state, others in zip(states, near, strict=True)]


def gives_way(box: Box, looks: float, others: Sequence[tuple[Box, float]]) -> bool:
    """Whether a target that looks this much (0..1) like what is in its box has to leave it to one of the others.

    Args:
        box: where the target would be.
        looks: how much that place looks like the target, 1 is as much as usual.
        others: box and looks of the other targets that are where they were.
    """
    return any(iou(box, other) >= SAME_IOU and looks < theirs - _CLEARLY_LESS for other, theirs in others)
