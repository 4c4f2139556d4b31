"""Finding a lost target again: where to look, and when to believe it."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from trackers.networks.interface import Features

_USUAL_MEMORY = 0.95
_LOOKS_MEMORY = 0.8


def search_places(
    center_xy: tuple[float, float], search_side_px: float, picture_wh: tuple[int, int]
) -> tuple[tuple[float, float], ...]:
    """Crop centres that cover the picture, nearest to the last known centre first.

    Crops of ``search_side_px`` on these centres overlap by half, so a target of the remembered size is whole in one.
    """
    return _places(
        round(center_xy[0]), round(center_xy[1]), max(8, round(search_side_px / 2)), picture_wh[0], picture_wh[1]
    )


def places_of_this_pair(
    places: tuple[tuple[float, float], ...], lost_pairs: int, count: int
) -> list[tuple[float, float]]:
    """The next ``count`` places of an endless round, for a target lost since ``lost_pairs`` pairs."""
    if not places:
        return []
    first = max(0, lost_pairs - 1) * count
    return [places[(first + index) % len(places)] for index in range(min(count, len(places)))]


def confidence_of(score: float, similarity: float, usual_similarity: float | None) -> float:
    """Trust in a finding, 0..1: the score, less where it looks less like the target than it usually does."""
    if usual_similarity is None or usual_similarity <= 0:
        return score
    return score * min(1.0, max(0.0, similarity / usual_similarity))


def later_usual(usual: float | None, similarity: float) -> float:
    """Usual similarity after a picture in which the target was surely there."""
    return similarity if usual is None else _USUAL_MEMORY * usual + (1 - _USUAL_MEMORY) * similarity


def later_looks(recent: Features, found: Features) -> Features:
    """Recent looks after a picture in which the target was surely there, for each modality."""
    with torch.inference_mode():
        return tuple(
            _LOOKS_MEMORY * before + (1 - _LOOKS_MEMORY) * now for before, now in zip(recent, found, strict=True)
        )


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
