"""What a training leaves out to measure itself on, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from fusion.training.losses import structural_similarity

Item = TypeVar("Item")


def split_held_out(items: Sequence[Item], every: int) -> tuple[list[Item], list[Item]]:
    """What to train on and what to leave out: each ``every``-th, or nothing where there are few items."""
    if len(items) < 2 * every:
        return list(items), []
    return [item for index, item in enumerate(items) if index % every], list(items[::every])


def reconstruction_measures(pairs: Iterable[tuple[Tensor, Tensor]], white: float) -> dict[str, float]:
    """Mean squared error in grey levels, PSNR in dB and SSIM of outputs and pictures (B, 1, H, W) in 0..white."""
    errors, similarities = [], []
    for output, picture in pairs:
        errors.append(float((output - picture).square().mean()))
        similarities.append(float(structural_similarity(output, picture, white)))
    mean_error = float(np.mean(errors)) / white**2
    return {
        "mean squared error (grey levels)": mean_error * 255**2,
        "PSNR (dB)": -10 * math.log10(max(mean_error, 1e-14)),
        "SSIM": float(np.mean(similarities)),
    }
