"""MobileNetV2 of width 1.4 with total stride 8 instead of 32: later stages are dilated.

Architecture: Sandler et al., CVPR 2018; strides, dilations, padding and key names of PySOT (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_WIDTH = 1.4
# expansion, channels before the width factor, blocks, stride, dilation of the stage
_STAGES = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 1),
    (6, 64, 4, 1, 2),
    (6, 96, 3, 1, 2),
    (6, 160, 3, 1, 4),
    (6, 320, 1, 1, 4),
)


class InvertedResidual(nn.Module):
    """Expand 1 x 1, depth-wise 3 x 3, project 1 x 1; added to the input where the shapes allow it."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels_in == channels_out
        hidden = channels_in * expansion
        padding = dilation if dilation > 1 else 2 - stride
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, padding, dilation, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W'), H' = H for stride 1 and (H - 3) // 2 + 1 for stride 2."""
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Backbone of ``siamrpn-mobilev2``; ``used_layers`` (1..7) are returned, by default 44, 134 and 448 channels."""

    def __init__(self, used_layers: Sequence[int] = (3, 5, 7)) -> None:
        super().__init__()
        self.used_layers = tuple(used_layers)
        channels = int(32 * _WIDTH)
        self.layer0 = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, bias=False), nn.BatchNorm2d(channels), nn.ReLU6(inplace=True)
        )
        previous_dilation = 1
        for number, (expansion, base_channels, blocks, stride, dilation) in enumerate(_STAGES, start=1):
            out = int(base_channels * _WIDTH)
            # A stage that raises the dilation does so from its second block on.
            first_dilation = dilation if dilation == previous_dilation else dilation // 2
            stage = [InvertedResidual(channels, out, expansion, stride, first_dilation)]
            stage += [InvertedResidual(out, out, expansion, 1, dilation) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            channels, previous_dilation = out, dilation

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Features of crops (B, 3, S, S) for each used layer; maps are 15 x 15 for S = 127, 31 x 31 for 255."""
        x: Tensor = self.layer0(crops)
        outputs = []
        for number in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            if number in self.used_layers:
                outputs.append(x)
        return tuple(outputs)
