"""NestFuse on large pictures: two passes over overlapping strips, with the attention of the whole picture.

The first pass pools the channels of each scale over all strips, the second fuses and decodes strip by strip with the
weights of the whole. Strips begin at whole cells of the coarsest scale, so the pooling of the encoder and its odd last
rows fall where they fall in the whole picture. The result is that of the whole picture but for rounding.

The nuclear norm of a channel (H, W) needs its smaller Gram matrix, which is the sum of those of the strips that span
the shorter side. All of them together would be far too large, so they are made for as many channels at a time as fit
into memory, and the encoder runs again for the next ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import AttentionStrategy, fuse_features, pools_magnitudes
from fusion.nestfuse import SCALES
from fusion.nuclear import nuclear_norm_of_gram
from fusion.nuclear_estimate import PASSES, RANGE_PASSES, NuclearEstimate, estimate_pays, factors
from fusion.picture_fuser import LumaMethod
from fusion.strips import Strip, StripLayout, cut_strips

GRID_PX = 2 ** (SCALES - 1)
"""One cell of the coarsest scale."""

REACH_PX = 24
"""How far the result sees across a border between cells of 8: one cell of the scales 1, 2, 4 and 8 in the encoder and
of 1, 2 and 4 in the decoder, which is 22 pixels or 23 from within a pair, in whole cells."""

GRAM_BYTES = 2**29
"""Memory for Gram matrices at a time."""


class ScaleMethod(LumaMethod, Protocol):
    """NestFuse in an engine: fuses pictures that fit into memory, and shows its parts for those that do not."""

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        ...

    def encode(self, images: Tensor, scales: int) -> list[Tensor]:
        """Features (2, C, h, w) of the finest ``scales`` of pictures (2, 1, H, W) in 0..255."""
        ...

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Picture (1, 1, H, W) float32 of the fused features (1, C, h, w) of four scales."""
        ...


class NestFuseStrips:
    """A :class:`fusion.picture_fuser.LumaMethod`: NestFuse in one piece up to ``strip_px`` pixels, else in strips."""

    def __init__(self, method: ScaleMethod, *, strip_px: int, gram_bytes: int = GRAM_BYTES) -> None:
        self._method = method
        self._strip_px = strip_px
        self._gram_bytes = gram_bytes

    @property
    def minimum_size_px(self) -> int:
        """Smallest height and width."""
        return self._method.minimum_size_px

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        layout = cut_strips(*visible.shape, strip_px=self._strip_px, reach_px=REACH_PX, grid_px=GRID_PX)
        if len(layout.strips) == 1:
            return self._method.fuse_luma(visible, thermal)
        images = torch.from_numpy(np.stack([thermal, visible])[:, None])
        return self._fuse_strips(images, layout)

    @torch.inference_mode()
    def _fuse_strips(self, images: Tensor, layout: StripLayout) -> NDArray[np.float32]:
        strategy = self._method.strategy
        pooled = self._pooled(images, layout, strategy)
        fused = np.empty(tuple(images.shape[2:]), np.float32)
        for strip in layout.strips:
            features = [
                fuse_features(scale.chunk(len(scale)), strategy, values)
                for scale, values in zip(self._encode(images, layout, strip, SCALES), pooled, strict=True)
            ]
            part = self._method.decode(features)[0, 0].cpu().numpy()
            fused[layout.index(strip.inner)] = part[layout.index(strip.kept)]
        return fused

    def _pooled(self, images: Tensor, layout: StripLayout, strategy: AttentionStrategy) -> list[Tensor | None]:
        if strategy.channel == "none":
            return [None] * SCALES
        match strategy.pooling:
            case "avg":
                cells = [(images.shape[2] >> scale) * (images.shape[3] >> scale) for scale in range(SCALES)]
                return [total / count for total, count in zip(self._totals(images, layout), cells, strict=True)]
            case "max":
                return list(self._totals(images, layout))
            case "nuclear":
                return [self._nuclear(images, layout, scale) for scale in range(SCALES)]
            case "nuclear-fast":
                finest = [scale for scale in range(SCALES) if estimate_pays(min(images.shape[2:]) >> scale)]
                return [
                    *self._estimated(images, layout, finest),
                    *(self._nuclear(images, layout, scale) for scale in range(len(finest), SCALES)),
                ]

    def _totals(self, images: Tensor, layout: StripLayout) -> list[Tensor]:
        """Sum or maximum of the channels of each scale over all strips, (K, 1, C, 1, 1) float64."""
        strategy = self._method.strategy
        largest = strategy.pooling == "max"
        totals: list[Tensor] = []
        for strip in layout.strips:
            features = self._encode(images, layout, strip, SCALES)
            for scale in range(SCALES):
                part = _own_part(features[scale], layout, strip, scale)
                if pools_magnitudes(strategy):
                    part = part.abs()
                value = part.amax((2, 3)).double() if largest else part.sum((2, 3), dtype=torch.float64)
                value = value[:, None, :, None, None]
                if len(totals) == scale:
                    totals.append(value)
                else:
                    totals[scale] = torch.maximum(totals[scale], value) if largest else totals[scale] + value
        return totals

    def _nuclear(self, images: Tensor, layout: StripLayout, scale: int) -> Tensor:
        """Nuclear norms of the channels of one scale, (K, 1, C, 1, 1) float64."""
        side = images.shape[3 if layout.axis == 0 else 2] >> scale
        at_once = max(self._gram_bytes // (8 * side * side), 1)
        norms: list[Tensor] = []
        count = 1
        while len(norms) < count:
            grams: Tensor | None = None
            for strip in layout.strips:
                features = self._encode(images, layout, strip, scale + 1)[scale]
                part = _own_part(features, layout, strip, scale).flatten(0, 1)
                count = len(part)
                chosen = part[len(norms) : len(norms) + at_once].double() + self._method.strategy.epsilon
                if grams is None:
                    grams = torch.zeros(len(chosen), side, side, dtype=torch.float64, device=part.device)
                # One by one: a product of all of them would need as much memory again.
                for gram, matrix in zip(grams, chosen, strict=True):
                    across = matrix.mT if layout.axis == 0 else matrix
                    gram.addmm_(across, across.mT)
            assert grams is not None
            norms.extend(nuclear_norm_of_gram(grams))
        return torch.stack(norms).reshape(len(images), 1, -1, 1, 1)

    def _estimated(self, images: Tensor, layout: StripLayout, scales: list[int]) -> list[Tensor]:
        """Estimated nuclear norms of the channels of the finest scales, (K, 1, C, 1, 1) float64 each."""
        estimates: list[NuclearEstimate] = []
        for number in range(PASSES if scales else 0):
            for strip in layout.strips:
                features = self._encode(images, layout, strip, len(scales))
                for scale in scales:
                    part = factors(
                        _own_part(features[scale], layout, strip, scale).flatten(0, 1), self._method.strategy.epsilon
                    )
                    rows = part if layout.axis == 0 else part.mT
                    if len(estimates) == scale:
                        estimates.append(NuclearEstimate(len(rows), rows.shape[2], rows.device))
                    estimate = estimates[scale]
                    estimate.add(rows if number < RANGE_PASSES else estimate.rest(rows))
            for estimate in estimates:
                estimate.finish_pass()
        return [estimate.norms().to(images.device).reshape(len(images), 1, -1, 1, 1) for estimate in estimates]

    def _encode(self, images: Tensor, layout: StripLayout, strip: Strip, scales: int) -> list[Tensor]:
        rows, columns = layout.index(strip.outer)
        return self._method.encode(images[:, :, rows, columns], scales)


def _own_part(features: Tensor, layout: StripLayout, strip: Strip, scale: int) -> Tensor:
    """The part (K, C, h, w) of a strip's features that no other strip counts."""
    rows, columns = layout.index(strip.kept_at_scale(2**scale))
    return features[:, :, rows, columns]
