"""Where the cells of a response map lie in the search crop, and what box each of them proposes.

Boxes are ``cx, cy, w, h`` in search-crop pixels relative to the crop centre. Sources: SiamRPN++ (Li et al., 2019)
with the constants of its authors' PySOT for anchors; SiamBAN and NanoTrack for points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorLayout:
    """The anchors of every cell: one for each scale and ratio (height over width), ``stride_px`` apart."""

    stride_px: int = 8
    ratios: tuple[float, ...] = (0.33, 0.5, 1.0, 2.0, 3.0)
    scales: tuple[int, ...] = (8,)

    @property
    def count(self) -> int:
        """Number of anchors in a cell."""
        return len(self.ratios) * len(self.scales)

    @property
    def sizes_wh(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each anchor in pixels, in the order of the head's channels."""
        area = self.stride_px * self.stride_px
        sizes = []
        for ratio in self.ratios:
            width = int(math.sqrt(area / ratio))
            height = int(width * ratio)
            sizes += [(width * scale, height * scale) for scale in self.scales]
        return tuple(sizes)


def cell_offsets(count: int, stride_px: int) -> NDArray[np.float32]:
    """Position of ``count`` cells along one axis, in pixels from the crop centre: ``(i - count // 2) * stride``."""
    return ((np.arange(count) - count // 2) * stride_px).astype(np.float32)


@lru_cache(maxsize=16)
def hanning_window(rows: int, columns: int) -> NDArray[np.float64]:
    """Outer product of two Hann windows, (rows, columns), zero at the border: prefers small displacements."""
    window = np.outer(np.hanning(rows), np.hanning(columns))
    window.setflags(write=False)
    return window


def anchor_grid(layout: AnchorLayout, rows: int, columns: int) -> NDArray[np.float32]:
    """All anchors as (4, A, rows, columns) ``cx, cy, w, h``."""
    grid = np.empty((4, layout.count, rows, columns), np.float32)
    grid[0] = cell_offsets(columns, layout.stride_px)
    grid[1] = cell_offsets(rows, layout.stride_px)[:, None]
    sizes = np.asarray(layout.sizes_wh, np.float32)
    grid[2:] = sizes.T[:, :, None, None]
    return grid


def decode_anchors(deltas: Tensor, layout: AnchorLayout) -> Tensor:
    """Boxes from regressed deltas.

    Args:
        deltas: (B, 4A, H, W): all anchors' dx first, then dy, dw, dh.
        layout: the anchors the deltas refer to.

    Returns:
        (B, 4, A, H, W) ``cx, cy, w, h`` with ``cx = dx * w_a + cx_a`` and ``w = exp(dw) * w_a``.
    """
    batch, _, *sides = deltas.shape
    # Plain numbers also while a graph is traced for export, where sides are tensors.
    rows, columns = (int(side) for side in sides)
    grid = _grid_tensor(layout, rows, columns, deltas.device).to(deltas.dtype)
    shaped = deltas.view(batch, 4, layout.count, rows, columns)
    centers = shaped[:, :2] * grid[2:] + grid[:2]
    return torch.cat((centers, shaped[:, 2:].exp() * grid[2:]), dim=1)


def decode_points(distances: Tensor, stride_px: int) -> Tensor:
    """Boxes from distances to the four sides.

    Args:
        distances: (B, 4, H, W) left, top, right, bottom in pixels, measured from each cell's point.
        stride_px: distance of neighbouring points.

    Returns:
        (B, 4, 1, H, W) ``cx, cy, w, h``.
    """
    left, top, right, bottom = distances.unbind(1)
    rows, columns = (int(side) for side in distances.shape[2:])
    x = _offsets_tensor(columns, stride_px, distances.device).to(distances.dtype)
    y = _offsets_tensor(rows, stride_px, distances.device).to(distances.dtype)[:, None]
    edges = (x - left, y - top, x + right, y + bottom)
    boxes = (
        (edges[0] + edges[2]) * 0.5,
        (edges[1] + edges[3]) * 0.5,
        edges[2] - edges[0],
        edges[3] - edges[1],
    )
    return torch.stack(boxes, dim=1).unsqueeze(2)


# Without a limit, for captured CUDA graphs go on reading these; there are as many as sizes of response maps.
@cache
def _offsets_tensor(count: int, stride_px: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(cell_offsets(count, stride_px)).to(device)


@cache
def _grid_tensor(layout: AnchorLayout, rows: int, columns: int, device: torch.device) -> Tensor:
    # Kept for later calls, of which some train: a tensor made in inference mode could not be part of a gradient.
    with torch.inference_mode(False):
        return torch.from_numpy(anchor_grid(layout, rows, columns)).to(device)
