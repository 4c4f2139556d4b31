"""Batch norms in evaluation are lines, which what is before or after them can take over."""

from __future__ import annotations

from torch import Tensor, nn


def norm_line(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and offset (C,) of what a batch norm makes of each channel, ``scale * x + offset``.

    In float64, so that folding adds one rounding and no more.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = norm.weight.detach().double(), norm.bias.detach().double()
    scale = weight / (norm.running_var.double() + norm.eps).sqrt()
    return scale, bias - norm.running_mean.double() * scale
