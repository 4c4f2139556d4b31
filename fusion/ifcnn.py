"""IFCNN: a general fusion network; features of the pictures are combined elementwise.

Source: Zhang, Liu, Sun, Yan, Zhao, Zhang, "IFCNN: A general image fusion framework based on convolutional neural
network", Information Fusion 2020, and its published code, whose checkpoints load strictly. There is one checkpoint for
each way to combine. Pictures are RGB 0..1; for thermal and visible pictures without normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.checkpoints import load_strictly

FEATURES = 64
MINIMUM_SIZE_PX = 1
REACH_PX = 5
"""How far a pixel of the result sees: a 7x7 and two 3x3 convolutions."""

IfcnnRule = Literal["max", "sum", "mean"]

_LUMA_OF_RGB = (0.299, 0.587, 0.114)


class ConvNorm(nn.Module):
    """Repeated border, 3x3 convolution, batch norm, ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(FEATURES, FEATURES, 3, bias=False)
        self.bn = nn.BatchNorm2d(FEATURES)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 64, H, W) to (B, 64, H, W)."""
        return functional.relu(self.bn(self.conv(functional.pad(features, (1, 1, 1, 1), mode="replicate"))))


class Ifcnn(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, FEATURES, 7, bias=False)
        self.conv2 = ConvNorm()
        self.conv3 = ConvNorm()
        self.conv4 = nn.Conv2d(FEATURES, 3, 1)

    def fuse_colour(self, first: Tensor, second: Tensor, rule: IfcnnRule = "max") -> Tensor:
        """Fuse two RGB pictures (B, 3, H, W) in 0..1; the result is not clipped."""
        features = [
            self.conv2(self.conv1(functional.pad(image, (3, 3, 3, 3), mode="replicate"))) for image in (first, second)
        ]
        match rule:
            case "max":
                combined = torch.maximum(*features)
            case "sum":
                combined = features[0] + features[1]
            case "mean":
                combined = (features[0] + features[1]) / 2
        output: Tensor = self.conv4(self.conv3(combined))
        return output

    def fuse(self, infrared: Tensor, visible: Tensor, rule: IfcnnRule = "max") -> Tensor:
        """Fuse two grey pictures (B, 1, H, W) in 0..1 into one.

        As the published code saves: each colour is clipped to 0..1 before the luma is taken.
        """
        colour = self.fuse_colour(visible.expand(-1, 3, -1, -1), infrared.expand(-1, 3, -1, -1), rule)
        weights = torch.tensor(_LUMA_OF_RGB, dtype=colour.dtype, device=colour.device)
        return (colour.clamp(0, 1) * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def load_ifcnn(state: Mapping[str, Tensor], source: str) -> Ifcnn:
    """The network with the weights ``state``; strict (InputError when they do not fit)."""
    network = Ifcnn()
    load_strictly(network, state, source)
    return network.eval()
