"""What a network must offer so that one tracking loop serves it.

The work is cut where the modalities meet: ``extract`` runs the shared backbone on the crops of every target and
modality in one batch, the loop fuses the modalities per scale, and the rest sees fused features only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Features = tuple[Tensor, ...]
"""Feature maps, one for each scale, all (B, C_scale, H_scale, W_scale)."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a network sees in B search crops, for each of A proposals in each of H x W cells.

    Attributes:
        score: (B, A, H, W) probability that the proposal is the target, 0..1.
        boxes: (B, 4, A, H, W) ``cx, cy, w, h`` in search-crop pixels, relative to the crop centre.
    """

    score: Tensor
    boxes: Tensor


class SiameseNetwork(Protocol):
    """A network that finds what a template shows in a search crop."""

    def extract(self, crops: Tensor) -> Features:
        """Backbone features of template or search crops, (B, 3, S, S) float32 0..255 BGR, for each scale."""
        ...

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """What to remember of B targets (any number of tensors, dimension 0 is B) from template features."""
        ...

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """Compare B remembered targets with the features of their B search crops."""
        ...


class StagedNetwork(SiameseNetwork, Protocol):
    """A network whose comparison is cut where template and search meet.

    What is before and after has constant weights, so that any engine can run it as a graph; ``match`` has no weights.
    ``respond`` equals :func:`respond_in_stages`.
    """

    def adjust_search(self, features: Sequence[Tensor]) -> Features:
        """Maps to match, from search features of every scale."""
        ...

    def match(self, template: Sequence[Tensor], maps: Sequence[Tensor]) -> Features:
        """Correlations of the maps with what is remembered of the targets."""
        ...

    def answer(self, matches: Sequence[Tensor], modalities: int = 1) -> Response:
        """Scores and boxes from correlations; those of several modalities follow each other and meet in a gate."""
        ...


def respond_in_stages(
    network: StagedNetwork, template: Sequence[Tensor], features: Sequence[Tensor], modalities: int = 1
) -> Response:
    """``respond`` by the three stages; with several modalities their tensors come one modality after the other."""
    maps = network.adjust_search(modality_batch(features, modalities))
    return network.answer(network.match(modality_batch(template, modalities), maps), modalities)


def modality_batch(tensors: Sequence[Tensor], modalities: int) -> Features:
    """Tensors (B, ...) of K modalities, one modality after the other, as one batch (K B, ...)."""
    if modalities == 1:
        return tuple(tensors)
    size = len(tensors) // modalities
    return tuple(torch.cat(list(tensors[index::size])) for index in range(size))
