"""Laplacian pyramid fusion: at every scale the stronger detail, at the coarsest the mean.

Source: Burt, Adelson, "The Laplacian Pyramid as a Compact Image Code", IEEE Trans. Communications 1983; the choice by
local activity follows Burt, Kolczynski, "Enhanced image capture through fusion", ICCV 1993.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_LARGEST_DEPTH = 5
_COARSEST_PX = 8
_ACTIVITY_SIGMA_PX = 1.5


class LaplacianMethod:
    """Fuses grey pictures without any training."""

    minimum_size_px = 1

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> Plane:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W), grey levels about 0..255."""
        planes = [np.asarray(picture, np.float32) for picture in (visible, thermal)]
        depth = 0
        while depth < _LARGEST_DEPTH and min(visible.shape) >> (depth + 1) >= _COARSEST_PX:
            depth += 1
        first, second = (_pyramid(plane, depth) for plane in planes)
        fused = (first[-1] + second[-1]) / np.float32(2)
        for one, other in zip(first[-2::-1], second[-2::-1], strict=True):
            fused = _doubled(fused, one) + np.where(_activity(one) >= _activity(other), one, other)
        return np.asarray(fused, np.float32)


def _pyramid(plane: Plane, depth: int) -> list[Plane]:
    """Details of ``depth`` scales, finest first, and what is left."""
    levels = []
    for _ in range(depth):
        coarse = np.asarray(cv2.pyrDown(plane), np.float32)
        levels.append(plane - _doubled(coarse, plane))
        plane = coarse
    return [*levels, plane]


def _doubled(coarse: Plane, fine: Plane) -> Plane:
    return np.asarray(cv2.pyrUp(coarse, dstsize=(fine.shape[1], fine.shape[0])), np.float32)


def _activity(detail: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(np.abs(detail), (0, 0), _ACTIVITY_SIGMA_PX), np.float32)
