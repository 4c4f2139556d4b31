"""Structural similarity of the fused picture with its two sources (SSIMa), after Wang et al. (2004)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.metrics.pictures import GreyPicture

_RADIUS = 5
_SIGMA = 1.5
_LUMINANCE_FLOOR = (0.01 * 255) ** 2
_CONTRAST_FLOOR = (0.03 * 255) ** 2


def ssima_paper(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """Mean SSIM with both sources over all pixels, borders replicated, -1 to 1."""
    return _mean_with_sources(ir, visible, fused, border=0)


def ssima_standard(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """Mean SSIM with both sources over the pixels whose 11 x 11 window lies inside, -1 to 1."""
    return _mean_with_sources(ir, visible, fused, border=_RADIUS)


def _mean_with_sources(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture, border: int) -> float:
    fused_levels = fused.astype(np.float64)
    fused_mean = _smooth(fused_levels)
    fused_variance = _smooth(fused_levels**2) - fused_mean**2
    inside = np.s_[border : fused.shape[0] - border, border : fused.shape[1] - border]
    scores = []
    for source in (ir, visible):
        levels = source.astype(np.float64)
        mean = _smooth(levels)
        variance = _smooth(levels**2) - mean**2
        product = mean * fused_mean
        covariance = _smooth(levels * fused_levels) - product
        similarity = (2 * product + _LUMINANCE_FLOOR) * (2 * covariance + _CONTRAST_FLOOR)
        similarity /= (mean**2 + fused_mean**2 + _LUMINANCE_FLOOR) * (variance + fused_variance + _CONTRAST_FLOOR)
        scores.append(float(similarity[inside].mean()))
    return sum(scores) / 2


def _smooth(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted local mean, 11 x 11, sigma 1.5."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    return np.asarray(
        cv2.sepFilter2D(levels, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REPLICATE), dtype=np.float64
    )
