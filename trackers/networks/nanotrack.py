"""NanoTrack v2 and v3: a small backbone, pixel-wise correlation and light towers; box sides instead of anchors.

Architecture and key names: HonglinChu/SiamTrackers, NanoTrack (Apache-2.0). Its checkpoints hold a neck that the
network never runs; :func:`nanotrack_state` leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from trackers.anchors import decode_points
from trackers.networks.correlation import depthwise_correlation, pixelwise_correlation
from trackers.networks.interface import Features, Response, respond_in_stages
from trackers.networks.mobilenetv3 import NanoBackbone
from trackers.networks.neck import center_crop
from trackers.networks.siamrpn import foreground_probability

NanoVersion = Literal[2, 3]

STRIDE_PX = 16
_TEMPLATE_CELLS = 8 * 8
_TOWER_LAYERS = 6
_UNUSED_PREFIX = "neck."


class ChannelAttention(nn.Module):
    """Gate of every channel from the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels, 1)
        self.fc2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        means = x.mean((2, 3), keepdim=True)
        gated: Tensor = x * self.fc2(self.fc1(means).relu()).sigmoid()
        return gated


class PixelwiseUnit(nn.Module):
    """Every template position against every search position, then channel attention.

    Args:
        channels: of template and search features.
        shrink: v3's unpadded 2 x 2 convolution, which turns the 16 x 16 map into 15 x 15.
    """

    def __init__(self, channels: int, *, shrink: bool) -> None:
        super().__init__()
        self.conv_kernel = _adjust(channels)
        self.conv_search = _adjust(channels)
        self.CA_layer = ChannelAttention(_TEMPLATE_CELLS)
        self.conv: nn.Module = nn.Identity()
        if shrink:
            cells = _TEMPLATE_CELLS
            self.conv = nn.Sequential(
                nn.Conv2d(cells, cells, 2, groups=cells, bias=False),
                nn.BatchNorm2d(cells),
                nn.ReLU6(inplace=True),
                nn.Conv2d(cells, cells, 1),
                nn.BatchNorm2d(cells),
            )

    def read(self, correlation: Tensor) -> Tensor:
        """(B, 64, H, W) from the correlation of adjusted search features with adjusted template features."""
        response: Tensor = self.conv(self.CA_layer(correlation))
        return response


class DepthwiseUnit(nn.Module):
    """v3's depth-wise correlation with the central 4 x 4 template cells, zero padding 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_kernel = _adjust(channels)
        self.conv_search = _adjust(channels)

    def kernel(self, template: Tensor) -> Tensor:
        """(B, C, 4, 4) from template features (B, C, 8, 8)."""
        kernel: Tensor = self.conv_kernel(center_crop(template, 4))
        return kernel


class NanoHeadV2(nn.Module):
    """Logits and side distances on a 16 x 16 map."""

    def __init__(self, channels: int = 48, width: int = 96) -> None:
        super().__init__()
        self.corr_pw_reg = PixelwiseUnit(channels, shrink=False)
        self.corr_pw_cls = PixelwiseUnit(channels, shrink=False)
        self.cls_pw_tower = _tower_v2(_TEMPLATE_CELLS, width)
        self.bbox_pw_tower = _tower_v2(_TEMPLATE_CELLS, width)
        self.cls_pred = nn.Sequential(nn.Conv2d(width, 2, 1))
        self.bbox_pred = nn.Sequential(nn.Conv2d(width, 4, 1))

    def kernels(self, template: Tensor) -> Features:
        """Adjusted template features for classes and boxes, each (B, C, 8, 8)."""
        return self.corr_pw_cls.conv_kernel(template), self.corr_pw_reg.conv_kernel(template)

    def adjust(self, search: Tensor) -> Features:
        """Adjusted search features for classes and boxes, each (B, C, 16, 16)."""
        return self.corr_pw_cls.conv_search(search), self.corr_pw_reg.conv_search(search)

    def match(self, kernels: Sequence[Tensor], maps: Sequence[Tensor]) -> Features:
        """Correlations (B, 64, 16, 16) for classes and boxes."""
        return tuple(pixelwise_correlation(each, kernel) for kernel, each in zip(kernels, maps, strict=True))

    def read(self, matches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, 2, 16, 16) and distances (B, 4, 16, 16) in crop pixels."""
        classes, boxes = matches
        logits = self.cls_pred(self.cls_pw_tower(self.corr_pw_cls.read(classes)))
        distances = self.bbox_pred(self.bbox_pw_tower(self.corr_pw_reg.read(boxes))).exp()
        return logits, distances


class NanoHeadV3(nn.Module):
    """Logits and side distances on a 15 x 15 map, from pixel-wise and depth-wise correlation."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        self.corr_dw_reg = DepthwiseUnit(channels)
        self.corr_pw_reg = PixelwiseUnit(channels, shrink=True)
        self.corr_dw_cls = DepthwiseUnit(channels)
        self.corr_pw_cls = PixelwiseUnit(channels, shrink=True)
        self.cls_tower = _tower_v3(channels)
        self.bbox_tower = _tower_v3(channels)
        self.cls_logits = nn.Sequential(nn.Conv2d(channels, 2, 1))
        self.bbox_pred = nn.Sequential(nn.Conv2d(channels, 4, 1))
        self.down_reg = nn.Sequential(nn.Conv2d(_TEMPLATE_CELLS + channels, channels, 1))
        self.down_cls = nn.Sequential(nn.Conv2d(_TEMPLATE_CELLS + channels, channels, 1))

    def kernels(self, template: Tensor) -> Features:
        """Pixel-wise and depth-wise kernels for classes, then for boxes: (B, C, 8, 8), (B, C, 4, 4), twice."""
        return (
            self.corr_pw_cls.conv_kernel(template),
            self.corr_dw_cls.kernel(template),
            self.corr_pw_reg.conv_kernel(template),
            self.corr_dw_reg.kernel(template),
        )

    def adjust(self, search: Tensor) -> Features:
        """Adjusted search features (B, C, 16, 16), one for each kernel."""
        units = (self.corr_pw_cls, self.corr_dw_cls, self.corr_pw_reg, self.corr_dw_reg)
        return tuple(unit.conv_search(search) for unit in units)

    def match(self, kernels: Sequence[Tensor], maps: Sequence[Tensor]) -> Features:
        """Pixel-wise (B, 64, 16, 16) and depth-wise (B, C, 15, 15) correlation for classes, then for boxes."""
        return tuple(
            # The depth-wise one sees the central 4 x 4 template cells and a border of zeros.
            depthwise_correlation(each, kernel, padding=1) if index % 2 else pixelwise_correlation(each, kernel)
            for index, (kernel, each) in enumerate(zip(kernels, maps, strict=True))
        )

    def read(self, matches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, 2, 15, 15) and distances (B, 4, 15, 15) in crop pixels."""
        pw_cls, dw_cls, pw_reg, dw_reg = matches
        classes = torch.cat((self.corr_pw_cls.read(pw_cls), dw_cls), dim=1)
        boxes = torch.cat((self.corr_pw_reg.read(pw_reg), dw_reg), dim=1)
        logits = self.cls_logits(self.cls_tower(self.down_cls(classes)))
        distances = self.bbox_pred(self.bbox_tower(self.down_reg(boxes))).exp()
        return logits, distances


class NanoTrack(nn.Module):
    """A :class:`trackers.networks.interface.SiameseNetwork` with one point in each cell, stride 16."""

    def __init__(self, version: NanoVersion) -> None:
        super().__init__()
        self.backbone = NanoBackbone(version)
        self.last_block = len(self.backbone.features) - 1
        self.ban_head = NanoHeadV2() if version == 2 else NanoHeadV3()

    def extract(self, crops: Tensor) -> Features:
        """Features of crops (B, 3, S, S), one scale: 8 x 8 for S = 127, 16 x 16 for 255; 48 or 96 channels."""
        return tuple(self.backbone(crops, (self.last_block,)))

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """The head's kernels from template features of the one scale."""
        (template,) = features
        kernels: Features = self.ban_head.kernels(template)
        return kernels

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """Scores and boxes for remembered kernels and search features."""
        return respond_in_stages(self, template, features)

    def adjust_search(self, features: Sequence[Tensor]) -> Features:
        """Adjusted search features, one for each kernel."""
        (search,) = features
        maps: Features = self.ban_head.adjust(search)
        return maps

    def match(self, template: Sequence[Tensor], maps: Sequence[Tensor]) -> Features:
        """The head's correlations."""
        matches: Features = self.ban_head.match(template, maps)
        return matches

    def answer(self, matches: Sequence[Tensor], modalities: int = 1) -> Response:
        """Scores and boxes from the head's correlations."""
        if modalities != 1:
            raise ValueError("this network has no gate: it answers for one modality, or for several fused before")
        logits, distances = self.ban_head.read(matches)
        return Response(foreground_probability(logits.float()), decode_points(distances.float(), STRIDE_PX))


def nanotrack_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an official checkpoint that the network runs: all but the neck."""
    return {name: value for name, value in state.items() if not name.startswith(_UNUSED_PREFIX)}


def _adjust(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))


def _tower_v2(channels_in: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, *(width for _ in range(_TOWER_LAYERS - 1))):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
        ]
    return nn.Sequential(*layers)


def _tower_v3(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(_TOWER_LAYERS):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        ]
    return nn.Sequential(*layers)
