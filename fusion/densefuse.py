"""DenseFuse: a densely connected encoder, fusion of its features, a plain decoder.

Source: Li, Wu, "DenseFuse: A Fusion Approach to Infrared and Visible Images", IEEE TIP 2019, and its published PyTorch
code, whose grey checkpoint loads strictly. Pictures are grey levels 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from fusion.attention import AttentionStrategy, fuse_features
from fusion.checkpoints import load_strictly
from fusion.nestfuse import Unit

FEATURES = 64
MINIMUM_SIZE_PX = 2
REACH_PX = 8
"""How far a pixel of the result sees: eight 3x3 convolutions, one after the other."""

DenseFuseRule = Literal["addition", "l1"]

L1_RULE = AttentionStrategy(spatial="softmax_sum", channel="none", epsilon=0.0)
"""The published softmax of channel sums. The published code overflows on every picture; this one does not."""


class DenseUnit(nn.Module):
    """A unit whose 16 outputs are appended to its inputs."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.dense_conv = Unit(channels_in, 16, 3)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + 16, H, W)."""
        return torch.cat([features, self.dense_conv(features)], 1)


class DenseFuse(nn.Module):
    """The grey network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Unit(1, 16, 3)
        self.DB1 = nn.ModuleDict({"denseblock": nn.Sequential(DenseUnit(16), DenseUnit(32), DenseUnit(48))})
        self.conv2 = Unit(64, 64, 3)
        self.conv3 = Unit(64, 32, 3)
        self.conv4 = Unit(32, 16, 3)
        self.conv5 = Unit(16, 1, 3)

    def encode(self, image: Tensor) -> Tensor:
        """Features (B, 64, H, W) of a picture (B, 1, H, W) in 0..255."""
        features: Tensor = self.DB1["denseblock"](self.conv1(image))
        return features

    def decode(self, features: Tensor) -> Tensor:
        """Picture (B, 1, H, W) of features."""
        output: Tensor = self.conv5(self.conv4(self.conv3(self.conv2(features))))
        return output

    def fuse(self, infrared: Tensor, visible: Tensor, rule: DenseFuseRule = "addition") -> Tensor:
        """Fuse two pictures (B, 1, H, W) in 0..255; "addition" is the mean of the features, as published."""
        first, second = self.encode(infrared), self.encode(visible)
        match rule:
            case "addition":
                return self.decode((first + second) / 2)
            case "l1":
                return self.decode(fuse_features([first, second], L1_RULE))


def load_densefuse(state: Mapping[str, Tensor], source: str) -> DenseFuse:
    """The network with the weights ``state``; strict (InputError when they do not fit)."""
    network = DenseFuse()
    load_strictly(network, state, source)
    return network.eval()
