"""ResNet-50 with total stride 8: stages 3 and 4 are dilated instead of strided, the stem has no padding.

Architecture: He et al., CVPR 2016, modified as in SiamRPN++; details and key names of PySOT (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

_EXPANSION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShape:
    """One stage of bottlenecks.

    Attributes:
        width: channels inside a bottleneck; the stage puts out four times as many.
        blocks: number of bottlenecks.
        stride: stride of the first one.
        first_dilation: dilation of the first 3 x 3 convolution and of the shortcut's.
        dilation: dilation of the others.
        shortcut_kernel: size of the projection on the first shortcut.
    """

    width: int
    blocks: int
    stride: int
    first_dilation: int
    dilation: int
    shortcut_kernel: int


_STAGES = (
    StageShape(width=64, blocks=3, stride=1, first_dilation=1, dilation=1, shortcut_kernel=1),
    StageShape(width=128, blocks=4, stride=2, first_dilation=1, dilation=1, shortcut_kernel=3),
    StageShape(width=256, blocks=6, stride=1, first_dilation=1, dilation=2, shortcut_kernel=3),
    StageShape(width=512, blocks=3, stride=1, first_dilation=2, dilation=4, shortcut_kernel=3),
)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions around a shortcut, which ``downsample`` projects when it is given."""

    def __init__(self, channels_in: int, width: int, stride: int, dilation: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, _padding(3, stride, dilation), dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * _EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * _EXPANSION)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, 4 width, H', W')."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu(y)
        return activated


class ResNet50(nn.Module):
    """Backbone of ``siamrpn-r50``; ``used_layers`` (1..4) are returned, by default 512, 1024 and 2048 channels."""

    def __init__(self, used_layers: Sequence[int] = (2, 3, 4)) -> None:
        super().__init__()
        self.used_layers = tuple(used_layers)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, shape in enumerate(_STAGES[: max(self.used_layers)], start=1):
            self.add_module(f"layer{number}", _stage(channels, shape))
            channels = shape.width * _EXPANSION

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Features of crops (B, 3, S, S) for each used layer; layers 2..4: 15 x 15 for S = 127, 31 x 31 for 255."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(crops))))
        outputs = []
        for number in range(1, max(self.used_layers) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            if number in self.used_layers:
                outputs.append(x)
        return tuple(outputs)


def _stage(channels_in: int, shape: StageShape) -> nn.Sequential:
    out = shape.width * _EXPANSION
    shortcut = nn.Sequential(
        nn.Conv2d(
            channels_in,
            out,
            shape.shortcut_kernel,
            shape.stride,
            _padding(shape.shortcut_kernel, shape.stride, shape.first_dilation),
            shape.first_dilation,
            bias=False,
        ),
        nn.BatchNorm2d(out),
    )
    blocks = [Bottleneck(channels_in, shape.width, shape.stride, shape.first_dilation, shortcut)]
    blocks += [Bottleneck(out, shape.width, 1, shape.dilation, None) for _ in range(shape.blocks - 1)]
    return nn.Sequential(*blocks)


def _padding(kernel: int, stride: int, dilation: int) -> int:
    # The strided convolutions are unpadded, so that cells stay centred on the crop.
    return dilation if kernel == 3 and stride == 1 else 0
