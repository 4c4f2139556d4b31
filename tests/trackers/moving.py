"""A short synthetic sequence: a textured scene that drifts, visible and thermal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trackers.box import Box
from trackers.state import ImagePair, Tracker, TrackState


@dataclass(frozen=True)
class Pair:
    """The smallest thing that is an image pair."""

    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]


def moving_pairs(count: int, size_wh: tuple[int, int], step_xy: tuple[float, float] = (2.5, 1.5)) -> list[Pair]:
    """``count`` pairs of ``size_wh``; all that is in them moves by ``step_xy`` pixels from one to the next."""
    width, height = size_wh
    generator = np.random.default_rng(11)
    cells = (height // 8, width // 8)
    scene = cv2.resize(generator.integers(0, 256, (*cells, 3), np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)
    warmth = cv2.resize(generator.integers(0, 256, cells, np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)
    return [
        Pair(_moved(np.asarray(scene, np.uint8), index, step_xy), _moved(np.asarray(warmth, np.uint8), index, step_xy))
        for index in range(count)
    ]


def follow(tracker: Tracker, pairs: Sequence[ImagePair], boxes: Sequence[Box]) -> list[list[TrackState]]:
    """States of the targets in each pair after the first, in which they are at ``boxes``."""
    states = [tracker.init(pairs[0], box) for box in boxes]
    history = []
    for pair in pairs[1:]:
        states = tracker.update_all(states, pair)
        history.append(states)
    return history


def _moved(picture: NDArray[np.uint8], index: int, step_xy: tuple[float, float]) -> NDArray[np.uint8]:
    shift = np.asarray([[1, 0, index * step_xy[0]], [0, 1, index * step_xy[1]]], np.float32)
    size = picture.shape[1], picture.shape[0]
    return np.asarray(cv2.warpAffine(picture, shift, size, borderMode=cv2.BORDER_REFLECT), np.uint8)
