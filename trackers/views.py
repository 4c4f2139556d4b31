"""What a tracker looks at: one modality, both fused at feature level, or several views side by side."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import PAPER, AttentionStrategy, fuse_features
from trackers.networks.interface import Features

FeatureFusion = AttentionStrategy | Literal["mean", "gate", "adaptive"]
"""How features of several modalities become one answer; see :func:`views_of`."""

Images = tuple[NDArray[np.uint8], ...]
"""The pictures of the modalities in use, (H, W, 3) or (H, W) uint8, visible first."""

_SAMPLE_STEP = 8
_FLAT_LEVELS = 2.0
_CLIPPED_SHARE = 0.98


def views_of(modalities: Sequence[Features], fusion: FeatureFusion) -> list[Features]:
    """What the head compares, from the features of each modality.

    Args:
        modalities: for each modality the features (B, C, H, W) of every scale, visible first.
        fusion: a strategy of :mod:`fusion.attention` or the plain ``mean`` give one fused view; ``gate`` one view
            with the modalities one after the other, for a network that weighs them itself; ``adaptive`` a view of
            each modality and one of both, fused by the paper's strategy.
    """
    if len(modalities) == 1:
        return [modalities[0]]
    match fusion:
        case "adaptive":
            return [*modalities, _fused(modalities, PAPER)]
        case "gate":
            return [tuple(level for features in modalities for level in features)]
        case "mean":
            return [tuple(torch.stack(levels).mean(0) for levels in zip(*modalities, strict=True))]
        case AttentionStrategy():
            return [_fused(modalities, fusion)]


def usable_views(usable: Sequence[bool]) -> NDArray[np.bool_]:
    """Which of the ``adaptive`` views can be used when these modalities can: each alone, then both."""
    return np.asarray([*usable, all(usable)])


def shows_something(image: NDArray[np.uint8]) -> bool:
    """Whether a picture is neither flat (a covered or dead camera, a missing stream) nor clipped nearly everywhere."""
    sample = image[::_SAMPLE_STEP, ::_SAMPLE_STEP]
    clipped = np.count_nonzero((sample == 0) | (sample == 255)) / sample.size
    return bool(sample.std() >= _FLAT_LEVELS and clipped < _CLIPPED_SHARE)


def fingerprint(image: NDArray[np.uint8]) -> int:
    """A number that changes when the picture does: every live camera's noise changes it."""
    return zlib.crc32(image[::_SAMPLE_STEP, ::_SAMPLE_STEP].tobytes())


def watch(images: Images, last_seen: Sequence[Sequence[tuple[int, int]]] = ()) -> tuple[tuple[int, int], ...]:
    """Fingerprint of each picture and how often it has come again without change.

    Args:
        images: the pictures of one moment.
        last_seen: what this function said before, once for each target; the longest history counts.
    """
    watched = []
    for modality, image in enumerate(images):
        value = fingerprint(image)
        repeats = [seen[modality][1] + 1 for seen in last_seen if seen[modality][0] == value]
        watched.append((value, max(repeats, default=0)))
    return tuple(watched)


def usable_modalities(images: Images, last_seen: Sequence[tuple[int, int]], frozen_after: int) -> tuple[bool, ...]:
    """Which pictures show something and are not frozen, or all where none does: then there is nothing better."""
    usable = tuple(
        repeats < frozen_after and shows_something(image) for image, (_, repeats) in zip(images, last_seen, strict=True)
    )
    return usable if any(usable) else (True,) * len(images)


def only_modality(tensors: Features, index: int, count: int) -> Features:
    """The tensors of modality ``index`` from those of ``count`` modalities, one after the other."""
    size = len(tensors) // count
    return tensors[index * size : (index + 1) * size]


def stacked_templates(templates: Sequence[Features]) -> Features:
    """Templates of B targets as one batch, view by view.

    Args:
        templates: of each target tensors (V, ...) whose dimension 0 counts the views.

    Returns:
        Tensors (V * B, ...), all targets of the first view first.
    """
    if len(templates) == 1:
        return templates[0]
    tensors: list[Tensor] = [torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*templates, strict=True)]
    return tuple(tensors)


def stacked_views(views: Sequence[Features]) -> Features:
    """Features of V views (B, ...) as one batch (V * B, ...), view by view."""
    if len(views) == 1:
        return views[0]
    tensors: list[Tensor] = [torch.cat(levels) for levels in zip(*views, strict=True)]
    return tuple(tensors)


def _fused(modalities: Sequence[Features], strategy: AttentionStrategy) -> Features:
    return tuple(fuse_features(levels, strategy) for levels in zip(*modalities, strict=True))
