"""Losses on pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fusion.training.config import DecompositionWeights

_WINDOW_PX = 11
_SIGMA_PX = 1.5


def structural_similarity(first: Tensor, second: Tensor, value_range: float) -> Tensor:
    """Mean SSIM of two batches (B, 1, H, W) over the positions where the 11x11 Gaussian window fits.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004; K1 = 0.01, K2 = 0.03.
    """
    offsets = torch.arange(_WINDOW_PX, dtype=first.dtype, device=first.device) - _WINDOW_PX // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    window = window / window.sum()

    moments = torch.cat([first, second, first * first, second * second, first * second]).transpose(0, 1)
    # The pictures of the batch as channels of one: several times faster on a CPU, backwards too.
    count = moments.shape[1]
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        moments = functional.conv2d(moments, window.view(shape).expand(count, -1, -1, -1), groups=count)
    moments = moments.transpose(0, 1)
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


def decomposition_losses(
    pictures: Tensor,
    outputs: Tensor,
    background: Tensor,
    detail: Tensor,
    weights: DecompositionWeights,
    ssim_weight: float,
) -> dict[str, Tensor]:
    """The loss of DIDFuse (its equations 1 to 4) on pictures 0..1, by terms; ``loss`` is their weighted sum.

    Backgrounds of a thermal and a visible picture are pulled together and their details pushed apart, both through the
    tanh of the mean squared difference; each picture is reconstructed, and of the visible one the gradients too.

    Args:
        pictures: (2B, 1, H, W), all thermal pictures, then the visible ones; likewise the other tensors.
        outputs: the reconstructed pictures.
        background: background features (2B, C, H, W).
        detail: detail features (2B, C, H, W).
        weights: of the terms.
        ssim_weight: lambda of the reconstruction, mean squared error + lambda * (1 - SSIM), summed over both pictures.

    Source: Zhao, Xu, Zhang, Liu, Zhang, Li, "DIDFuse", IJCAI 2020, section 3.2.
    """
    pixel = functional.mse_loss(outputs, pictures)
    dissimilarity = 1 - structural_similarity(outputs, pictures, 1.0)
    near, apart = (torch.tanh(pair_difference(features)) for features in (background, detail))
    steepness = functional.l1_loss(_gradients(outputs.chunk(2)[1]), _gradients(pictures.chunk(2)[1]))
    total = (
        weights.background * near
        - weights.detail * apart
        + weights.reconstruction * 2 * (pixel + ssim_weight * dissimilarity)
        + weights.gradient * steepness
    )
    return {
        "loss": total,
        "pixel_mse": pixel,
        "one_minus_ssim": dissimilarity,
        "background": near,
        "detail": apart,
        "gradient": steepness,
    }


def pair_difference(features: Tensor) -> Tensor:
    """Mean squared difference of the first and the second half of a batch (2B, C, H, W)."""
    thermal, visible = features.chunk(2)
    return functional.mse_loss(thermal, visible)


def _gradients(pictures: Tensor) -> Tensor:
    """Sobel gradients (B, 2, H - 2, W - 2) along x and y per pixel."""
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    kernel = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    return functional.conv2d(pictures, kernel.to(pictures))
