"""MobileNetV3-small backbone in NanoTrack's form, with NanoTrack's checkpoint keys.

Architecture: Howard et al., "Searching for MobileNetV3", ICCV 2019; channel counts and key names as in the
Apache-2.0 checkpoints of HonglinChu/SiamTrackers (NanoTrack v2 and v3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockShape:
    """One inverted residual: kernel size, expanded and output channels, squeeze-excite, activation, stride."""

    kernel: int
    expanded: int
    out: int
    excite: bool
    hard_swish: bool
    stride: int


def _block(kernel: int, expanded: int, out: int, excite: bool, hard_swish: bool, stride: int) -> BlockShape:
    return BlockShape(kernel=kernel, expanded=expanded, out=out, excite=excite, hard_swish=hard_swish, stride=stride)


def block_shapes(version: Literal[2, 3]) -> tuple[BlockShape, ...]:
    """Blocks 1..8 of NanoTrack v2, and block 9 as well for v3."""
    shapes = (
        _block(3, 16, 16, True, False, 2),
        _block(3, 72, 24, False, False, 2),
        _block(3, 88, 24, False, False, 1),
        _block(5, 96, 40, True, True, 2),
        _block(5, 240, 40, True, True, 1),
        _block(5, 240, 40, True, True, 1),
        _block(5, 120, 48, True, True, 1),
        _block(5, 144, 48, True, True, 1),
    )
    return (*shapes, _block(5, 288, 96, True, True, 1)) if version == 3 else shapes


class SqueezeExcite(nn.Module):
    """Channel gate: global mean, two linear layers, hard sigmoid; (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _nearest_multiple_of_8(channels // 4)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Gate the channels of ``x`` (B, C, H, W)."""
        gate: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * gate[:, :, None, None]


class InvertedResidual(nn.Module):
    """Expand, depth-wise convolution, squeeze-excite, project; with a shortcut where the shapes allow it."""

    def __init__(self, channels_in: int, shape: BlockShape) -> None:
        super().__init__()
        self.shortcut = shape.stride == 1 and channels_in == shape.out
        depthwise: list[nn.Module] = [
            nn.Conv2d(
                shape.expanded,
                shape.expanded,
                shape.kernel,
                shape.stride,
                shape.kernel // 2,
                groups=shape.expanded,
                bias=False,
            ),
            nn.BatchNorm2d(shape.expanded),
        ]
        excite = SqueezeExcite(shape.expanded) if shape.excite else nn.Identity()
        project: list[nn.Module] = [
            nn.Conv2d(shape.expanded, shape.out, 1, bias=False),
            nn.BatchNorm2d(shape.out),
        ]
        if channels_in == shape.expanded:
            layers = [*depthwise, _activation(shape), excite, *project]
        else:
            expand: list[nn.Module] = [
                nn.Conv2d(channels_in, shape.expanded, 1, bias=False),
                nn.BatchNorm2d(shape.expanded),
                _activation(shape),
            ]
            layers = [*expand, *depthwise, excite, _activation(shape), *project]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class NanoBackbone(nn.Module):
    """Backbone of NanoTrack: BGR crops 0..255, (B, 3, H, W), to the outputs of chosen blocks.

    Strides: block 0 is 2, 1 is 4, 2 and 3 are 8, 4 and later are 16. Block 0 is the stem.
    """

    def __init__(self, version: Literal[2, 3]) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish(inplace=True))
        layers: list[nn.Module] = [stem]
        channels = 16
        for shape in block_shapes(version):
            layers.append(InvertedResidual(channels, shape))
            channels = shape.out
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of the blocks numbered in ``blocks`` (ascending), each (B, C, H / stride, W / stride)."""
        outputs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in blocks:
                outputs.append(x)
            if index == blocks[-1]:
                break
        return outputs


def _activation(shape: BlockShape) -> nn.Module:
    return nn.Hardswish(inplace=True) if shape.hard_swish else nn.ReLU(inplace=True)


def _nearest_multiple_of_8(value: int) -> int:
    # MobileNet's rule: round to the nearest multiple of 8, at least 8, and never lose more than a tenth.
    rounded = max(8, (value + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * value else rounded + 8
