"""Losses on pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW_PX = 11
_SIGMA_PX = 1.5


def structural_similarity(first: Tensor, second: Tensor, value_range: float) -> Tensor:
    """Mean SSIM of two batches (B, 1, H, W) over the positions where the 11x11 Gaussian window fits.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004; K1 = 0.01, K2 = 0.03.
    """
    offsets = torch.arange(_WINDOW_PX, dtype=first.dtype, device=first.device) - _WINDOW_PX // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    window = window / window.sum()

    def smooth(image: Tensor) -> Tensor:
        return functional.conv2d(functional.conv2d(image, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    moments = smooth(torch.cat([first, second, first * first, second * second, first * second]))
    mean1, mean2, square1, square2, product = moments.chunk(5)
    variance1, variance2 = square1 - mean1**2, square2 - mean2**2
    covariance = product - mean1 * mean2
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2)
    )
    return similarity.mean()


def reconstruction_loss(output: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """NestFuse's loss on grey levels 0..255 (its equations 1 to 3): total, mean squared error, 1 - SSIM."""
    pixel = functional.mse_loss(output, target)
    dissimilarity = 1 - structural_similarity(output, target, 255.0)
    return pixel + ssim_weight * dissimilarity, pixel, dissimilarity
