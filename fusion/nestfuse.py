"""NestFuse: multi-scale encoder, attention fusion at every scale, nest-connected decoder.

Source: Li, Wu, Durrani, "NestFuse: An Infrared and Visible Image Fusion Architecture Based on Nest Connection and
Spatial/Channel Attention Models", IEEE TIM 2020; layer names follow the published checkpoints, which load strictly.
Pictures go in as grey levels 0..255 and come out on the same scale, in one piece whatever their size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.attention import NESTFUSE, AttentionStrategy, fuse_features

SCALES = 4
MINIMUM_SIZE_PX = 16
"""Below this the coarsest of the four scales has a single row or column and cannot be mirrored at its border."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestFuseConfig:
    """Size of the network.

    Attributes:
        channels: feature channels of the four scales, finest first.
        stem_channels: channels of the first convolution.
        decoder_channels: of the four scales of the decoder; 1x1 units bring the fused features to them. None is the
            published form: as many as the features have, and no such units.
        deep_supervision: an output at each of the three nest levels instead of one at the last.
    """

    channels: tuple[int, int, int, int] = (64, 112, 160, 208)
    stem_channels: int = 16
    decoder_channels: tuple[int, int, int, int] | None = None
    deep_supervision: bool = False

    @property
    def decoded_channels(self) -> tuple[int, int, int, int]:
        """Channels of what the decoder's blocks read of the four scales."""
        return self.decoder_channels or self.channels


class Unit(nn.Module):
    """Mirrored border, convolution with bias, ReLU (also where it makes an output)."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int) -> None:
        super().__init__()
        self.border_px = kernel_size // 2
        self.conv2d = nn.Conv2d(channels_in, channels_out, kernel_size)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        if self.border_px:
            features = functional.pad(features, (self.border_px,) * 4, mode="reflect")
        return functional.relu(self.conv2d(features))

    def weights(self) -> tuple[Tensor, Tensor]:
        """Kernel (out, in, k, k) and bias (out,), without gradients."""
        assert self.conv2d.bias is not None
        return self.conv2d.weight.detach(), self.conv2d.bias.detach()


class Block(nn.Module):
    """A 3x3 unit to half of its input channels, then a 1x1 unit."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_in // 2
        self.denseblock = nn.Sequential(Unit(channels_in, half, 3), Unit(half, channels_out, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        output: Tensor = self.denseblock(features)
        return output

    @property
    def units(self) -> tuple[Unit, Unit]:
        """The 3x3 and the 1x1 unit."""
        first, second = self.denseblock
        assert isinstance(first, Unit)
        assert isinstance(second, Unit)
        return first, second


class NestFuse(nn.Module):
    """The plain network: as published, for training and as the reference of faster inference paths."""

    def __init__(self, config: NestFuseConfig | None = None) -> None:
        super().__init__()
        self.config = config or NestFuseConfig()
        c1, c2, c3, c4 = self.config.channels
        stem = self.config.stem_channels
        self.conv0 = Unit(1, stem, 1)
        self.DB1_0 = Block(stem, c1)
        self.DB2_0 = Block(c1, c2)
        self.DB3_0 = Block(c2, c3)
        self.DB4_0 = Block(c3, c4)
        if self.config.decoder_channels:
            for scale, sizes in enumerate(
                zip(self.config.channels, self.config.decoder_channels, strict=True), start=1
            ):
                self.add_module(f"adapter{scale}", Unit(*sizes, 1))
        c1, c2, c3, c4 = self.config.decoded_channels
        self.DB1_1 = Block(c1 + c2, c1)
        self.DB2_1 = Block(c2 + c3, c2)
        self.DB3_1 = Block(c3 + c4, c3)
        self.DB1_2 = Block(2 * c1 + c2, c1)
        self.DB2_2 = Block(2 * c2 + c3, c2)
        self.DB1_3 = Block(3 * c1 + c2, c1)
        if self.config.deep_supervision:
            self.conv1 = Unit(c1, 1, 1)
            self.conv2 = Unit(c1, 1, 1)
            self.conv3 = Unit(c1, 1, 1)
        else:
            self.conv_out = Unit(c1, 1, 1)

    @property
    def last_output(self) -> Unit:
        """The output that counts: the only one, or that of the last nest level."""
        return self.conv3 if self.config.deep_supervision else self.conv_out

    @property
    def encoder_blocks(self) -> tuple[Block, Block, Block, Block]:
        """Blocks of the encoder, finest scale first."""
        return self.DB1_0, self.DB2_0, self.DB3_0, self.DB4_0

    @property
    def adapters(self) -> list[Unit]:
        """What brings the fused features of the four scales to the decoder's channels; none in the published form."""
        if not self.config.decoder_channels:
            return []
        units = [self.get_submodule(f"adapter{scale}") for scale in range(1, SCALES + 1)]
        return [unit for unit in units if isinstance(unit, Unit)]

    def decoder_blocks(self) -> dict[str, tuple[Block, int]]:
        """Blocks of the decoder by name, "DB<scale>_<level>", each with how many channels come at its own resolution.

        Level n of a scale reads n feature maps of that scale, the encoder's first, and after them one of the next
        coarser.
        """
        blocks = {}
        for scale, channels in enumerate(self.config.decoded_channels, start=1):
            for level in range(1, SCALES - scale + 1):
                block = self.get_submodule(f"DB{scale}_{level}")
                assert isinstance(block, Block)
                blocks[f"DB{scale}_{level}"] = (block, level * channels)
        return blocks

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of four scales, finest first, of ``image`` (B, 1, H, W) in 0..255, H and W >= 16."""
        x1 = self.DB1_0(self.conv0(image))
        x2 = self.DB2_0(functional.max_pool2d(x1, 2))
        x3 = self.DB3_0(functional.max_pool2d(x2, 2))
        x4 = self.DB4_0(functional.max_pool2d(x3, 2))
        return [x1, x2, x3, x4]

    def decode(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Pictures (B, 1, H, W) of the features of four scales: one, or three with deep supervision."""
        if self.config.decoder_channels:
            features = [adapter(scale) for adapter, scale in zip(self.adapters, features, strict=True)]
        f1, f2, f3, f4 = features
        x11 = self.DB1_1(torch.cat([f1, upsample_to(f2, f1)], 1))
        x21 = self.DB2_1(torch.cat([f2, upsample_to(f3, f2)], 1))
        x31 = self.DB3_1(torch.cat([f3, upsample_to(f4, f3)], 1))
        x12 = self.DB1_2(torch.cat([f1, x11, upsample_to(x21, f1)], 1))
        x22 = self.DB2_2(torch.cat([f2, x21, upsample_to(x31, f2)], 1))
        x13 = self.DB1_3(torch.cat([f1, x11, x12, upsample_to(x22, f1)], 1))
        if self.config.deep_supervision:
            return [self.conv1(x11), self.conv2(x12), self.conv3(x13)]
        return [self.conv_out(x13)]

    def forward(self, *images: Tensor, feature_scale: float = 1.0) -> list[Tensor]:
        """Reconstruct a picture (B, 1, H, W) in 0..255 as in training, or :meth:`fuse` several."""
        return self.fuse(images, feature_scale=feature_scale)

    def fuse(
        self, images: Sequence[Tensor], strategy: AttentionStrategy = NESTFUSE, feature_scale: float = 1.0
    ) -> list[Tensor]:
        """Fuse K pictures (B, 1, H, W) in 0..255 of one size: one picture, or three with deep supervision.

        With a ``feature_scale`` other than 1 the result is that of the network after :func:`rescale_features`.
        """
        encoded = [self.encode(image) for image in images]
        if feature_scale == 1:
            return self.decode([fuse_features(scale, strategy) for scale in zip(*encoded, strict=True)])
        scales = ([feature * feature_scale for feature in scale] for scale in zip(*encoded, strict=True))
        return self.decode([fuse_features(scale, strategy) / feature_scale for scale in scales])


def upsample_to(coarse: Tensor, fine: Tensor) -> Tensor:
    """Double ``coarse`` (nearest); where the size of ``fine`` is odd, mirror the missing last row or column.

    The mirrored row of a doubled map is its last coarse row again. Said so, and not by the difference of the sizes, the
    sizes stay free when the network is exported.
    """
    edged = functional.pad(coarse, (0, 1, 0, 1), mode="replicate")
    doubled = functional.interpolate(edged, scale_factor=2.0, mode="nearest")
    return doubled[:, :, : fine.shape[2], : fine.shape[3]]


@torch.no_grad()
def rescale_features(network: NestFuse, factor: float) -> None:
    """Multiply the encoder's features of all scales by ``factor`` and divide where the decoder reads them.

    Reconstruction stays what it was, since ReLU networks are homogeneous; the spatial softmax does not. Features on
    the scale of grey levels differ by tens between the modalities, so that it chooses one of them at every pixel. On a
    smaller scale it weighs both.
    """
    if not factor > 0:
        raise ValueError(f"features can be scaled by a positive factor only, not {factor}")
    for scale, encoder in enumerate(network.encoder_blocks):
        first, last = encoder.units
        for values in last.weights():
            values *= factor
        if scale:
            first.conv2d.weight /= factor
    for adapter in network.adapters:
        adapter.conv2d.weight /= factor
    if network.adapters:
        return
    # Those of the next scale are the encoder's only at the first nest level, where one map of the own scale is read.
    for name, (block, fine_channels) in network.decoder_blocks().items():
        own_channels = network.config.channels[int(name[2]) - 1]
        weight = block.units[0].conv2d.weight
        weight[:, :own_channels] /= factor
        if fine_channels == own_channels:
            weight[:, own_channels:] /= factor


LITE = NestFuseConfig(channels=(4, 8, 16, 16), stem_channels=8)
"""Size of nestfuse-lite: the same nest with less than a hundredth of the arithmetic."""

NARROW = NestFuseConfig(decoder_channels=(12, 16, 24, 32))
"""Size of nestfuse-narrow: the published encoder, so the same attention, and a decoder with a thirtieth of the
arithmetic."""


def config_of_weights(state: Mapping[str, Tensor]) -> NestFuseConfig:
    """Size of the network that ``state`` belongs to, as far as its names and shapes tell; else the published."""
    default = NestFuseConfig()
    stem = state.get("conv0.conv2d.bias")
    return NestFuseConfig(
        channels=_sizes(state, "DB{}_0.denseblock.1.conv2d.bias") or default.channels,
        stem_channels=len(stem) if stem is not None and stem.ndim == 1 else default.stem_channels,
        decoder_channels=_sizes(state, "adapter{}.conv2d.bias"),
        deep_supervision="conv3.conv2d.weight" in state,
    )


def _sizes(state: Mapping[str, Tensor], name: str) -> tuple[int, int, int, int] | None:
    """Lengths of four vectors, where they are all there."""
    vectors = [state.get(name.format(scale)) for scale in range(1, SCALES + 1)]
    sizes = [len(vector) for vector in vectors if vector is not None and vector.ndim == 1]
    return (sizes[0], sizes[1], sizes[2], sizes[3]) if len(sizes) == SCALES else None
