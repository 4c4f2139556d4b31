"""The neck of SiamRPN++: brings every backbone scale to a common number of channels.

Source: SiamRPN++; key names of PySOT (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

TEMPLATE_SIDE = 7
"""Side of the central part of the template features that is used: the border has seen the crop's padding."""

FIRST_LEVEL = 2
"""Number of the first scale in key names: the first one used of ResNet-50 is its stage 2."""


class AdjustLevel(nn.Module):
    """A 1 x 1 convolution and batch norm for one scale; no activation."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.downsample = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        adjusted: Tensor = self.downsample(features)
        return adjusted


class Neck(nn.Module):
    """One :class:`AdjustLevel` for each scale."""

    def __init__(self, channels_in: Sequence[int], channels_out: Sequence[int]) -> None:
        super().__init__()
        self.levels = len(channels_in)
        for index, (source, target) in enumerate(zip(channels_in, channels_out, strict=True)):
            self.add_module(f"downsample{FIRST_LEVEL + index}", AdjustLevel(source, target))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Adjust the features (B, C_i, H, W) of every scale."""
        return tuple(
            self.get_submodule(f"downsample{FIRST_LEVEL + index}")(level) for index, level in enumerate(features)
        )

    def template(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Adjust template features and keep the central 7 x 7 of each scale, (B, C_out, 7, 7)."""
        # A 1 x 1 convolution commutes with cropping, so only the used part is computed.
        return self(tuple(center_crop(level, TEMPLATE_SIDE) for level in features))  # type: ignore[no-any-return]


def center_crop(features: Tensor, side: int) -> Tensor:
    """The central ``side`` x ``side`` cells of (B, C, H, W), starting at ``(W - side) // 2`` on both axes."""
    start = (features.shape[-1] - side) // 2
    return features[:, :, start : start + side, start : start + side]
