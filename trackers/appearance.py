"""Does what was found look like the target? Similarity of backbone features, read where the search found something.

The classification score says "this looks like an object of the kind the template shows"; neighbours of the same kind
score high too. The features themselves are more particular. They are those of the search crop, so this costs no
further pass through the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trackers.networks.interface import Features
from trackers.networks.neck import center_crop

_KEPT = 10
_RECENT_MEMORY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What B findings look like.

    Attributes:
        similarities: of each finding with its target, for each modality, -1..1.
        kept_similarities: the same without the recent looks of the target.
        features: of each finding, for each modality (1, C, n, n); only until the next search.
    """

    similarities: Sequence[tuple[float, ...]]
    kept_similarities: Sequence[tuple[float, ...]]
    features: Sequence[Features]


def appearance_of(template: Features) -> Tensor:
    """What to remember of a template's looks: the central half of its coarsest features, (B, C, n, n)."""
    features = template[-1]
    return center_crop(features, max(1, features.shape[-1] // 2)).float()


def look_at(search: Features, centers_px: Tensor, *, cells: int, search_size_px: int) -> Tensor:
    """Features (B, C, cells, cells) around one place in each of B search crops.

    Args:
        search: search features of every scale; the coarsest (B, C, H, W) are read.
        centers_px: (B, 2) x, y in search-crop pixels relative to the crop centre.
        cells: side of what is read, as of :func:`appearance_of`.
        search_size_px: side of the search crops, whose pixels are as large as the template crops'.
    """
    features = search[-1].float()
    batch, _, rows, columns = features.shape
    step_px = _cell_px(search_size_px, columns)
    offsets = (torch.arange(cells, device=features.device, dtype=torch.float32) - (cells - 1) / 2) * step_px
    x = centers_px[:, 0, None, None] + offsets[None, None, :].expand(batch, cells, cells)
    y = centers_px[:, 1, None, None] + offsets[None, :, None].expand(batch, cells, cells)
    # Pixels to the -1..1 between the outermost cell centres.
    grid = torch.stack((x / (step_px * (columns - 1) / 2), y / (step_px * (rows - 1) / 2)), dim=-1)
    return functional.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)


def album_of(appearance: Features) -> Features:
    """What a new target has looked like, for each modality (1, K, C, n, n): K times its first looks (1, C, n, n).

    Place 0 keeps the first looks for ever, place 1 follows the recent ones, the others keep looks that were new when
    they were seen: the poses of a walker, the sides of a car.
    """
    return tuple(looks[:, None].repeat(1, _KEPT, 1, 1, 1) for looks in appearance)


def similarity(found: Tensor, album: Tensor) -> Tensor:
    """Cosine similarity, -1..1, of looks (B, C, n, n) with the most similar of an album (B, K, C, n, n).

    Returns:
        (B, 2): with all of the album, and with what it keeps, which the recent looks are not.
    """
    each = functional.cosine_similarity(found.flatten(1)[:, None], album.flatten(2), dim=2)
    return torch.stack((each.amax(1), torch.maximum(each[:, 0], each[:, 2:].amax(1))), dim=1)


def described(features: Features, similarities: NDArray[np.float64]) -> Looks:
    """Looks (B, C, n, n) of findings, for each of M modalities, with their :func:`similarity` (B, M, 2)."""
    return Looks(
        similarities=[tuple(row) for row in similarities[:, :, 0].tolist()],
        kept_similarities=[tuple(row) for row in similarities[:, :, 1].tolist()],
        features=[tuple(looks[row : row + 1] for looks in features) for row in range(len(similarities))],
    )


def later_album(album: Features, found: Features, kept: int, *, is_new: bool) -> tuple[Features, int]:
    """Album and number of kept looks after a picture in which the target surely looked as ``found`` (1, C, n, n).

    The recent looks follow. New ones are kept besides; the oldest kept ones, but never the first, make room.
    """
    with torch.inference_mode():
        place = 2 + kept % (_KEPT - 2)
        later = []
        for looks, now in zip(album, found, strict=True):
            changed = looks.clone()
            changed[:, 1] = _RECENT_MEMORY * looks[:, 1] + (1 - _RECENT_MEMORY) * now
            if is_new:
                changed[:, place] = now
            later.append(changed)
        return tuple(later), kept + is_new


def _cell_px(size_px: int, cells: int) -> float:
    # Strides of the networks here are powers of two: 255 px make 16 cells of 16 px or 31 of 8 px.
    return float(2 ** round(math.log2(size_px / cells)))
