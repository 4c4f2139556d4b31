"""NestFuse's encoder and attention on CPUs, strip by strip in the caches of the cores; equal to the network but for
rounding.

The features of the finest scale are a hundred times the pictures: written to memory and read again between layers,
they cost more than their arithmetic. So the encoder goes over strips of rows through all layers of a scale. What it
keeps are the few channels in the middle of each block, the maxima for the next scale, and what the attention pools;
once the whole picture is pooled, the features are made again of the middle, strip by strip, and fused at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fusion.attention import AttentionStrategy, fuse_features, pool_channels
from fusion.nestfuse import SCALES, Block, NestFuse, Unit
from fusion.nestfuse_inference import mirror_border
from fusion.tile_convolution import Convolution, has_laid_out_convolutions
from fusion.workers import Workers

# Values of a strip of features, of all channels: about what the caches hold.
_STRIP_VALUES = 600_000
# With fewer channels at the first scale there is too little arithmetic for it to pay.
_FEWEST_CHANNELS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderBlock:
    """A block of the encoder: 3x3 to the middle, 1x1 to the features; the first has the stem before it."""

    stem: Convolution | None
    first: Convolution
    second: Convolution

    def middle(self, cells: Tensor) -> Tensor:
        """(h, w, half) of cells (h + 2, w + 2, in)."""
        return self.first(self.stem(cells) if self.stem else cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderMemory:
    """Of pictures on their way through a scale of the encoder.

    Attributes:
        bordered: (K, h + 2, w + 2, in), what the scale is made of, with a mirrored border.
        middle: (K, h, w, half).
    """

    bordered: Tensor
    middle: Tensor


class NestFuseFront:
    """Fuses the features of grey pictures, in float32. Memory of the last size is kept for the next pictures.

    Attributes:
        strategy: how they are fused.
        workers: what computes them; free between calls.
    """

    def __init__(self, network: NestFuse, strategy: AttentionStrategy) -> None:
        self.strategy = strategy
        self._channels = network.config.channels
        self._encoder = [
            _encoder_block(None if scale else network.conv0, block)
            for scale, block in enumerate(network.encoder_blocks)
        ]
        self.workers = Workers()
        self._encoder_memory: list[EncoderMemory] = []
        self._planes = torch.empty(0)
        self._turn = threading.Lock()

    @torch.inference_mode()
    def fuse(self, images: Tensor, targets: Sequence[Tensor]) -> None:
        """Fuse the features of K pictures (K, 1, H, W) in 0..255 into ``targets``, (h, w, C) of the four scales."""
        with self._turn:
            for scale, (target, values) in enumerate(zip(targets, self._pool(images), strict=True)):
                self._fuse_scale(scale, target, values)

    @torch.inference_mode()
    def encode(self, images: Tensor, scales: int = SCALES) -> list[Tensor]:
        """Features (K, C, h, w) of the finest ``scales`` of pictures (K, 1, H, W) in 0..255.

        As :meth:`fusion.nestfuse.NestFuse.encode`, which gives all four.
        """
        count, _, height, width = images.shape
        features = [
            torch.empty(count, height >> scale, width >> scale, self._channels[scale]) for scale in range(scales)
        ]
        with self._turn:
            list(self._encode(images, scales, features))
        return [each.permute(0, 3, 1, 2) for each in features]

    def _pool(self, images: Tensor) -> list[Tensor | None]:
        """Go through the encoder; give what the attention pools of each scale, (K, 1, C, 1, 1)."""
        strategy = self.strategy
        if strategy.channel == "none" or strategy.pooling in ("avg", "max"):
            return list(self._encode(images, SCALES, None))
        # Nuclear norms look at whole channels, not at strips; one scale after the other has the same memory.
        count, _, height, width = images.shape
        sizes = [(count, each, height >> scale, width >> scale) for scale, each in enumerate(self._channels)]
        values = max(math.prod(size) for size in sizes)
        if self._planes.numel() < values:
            self._planes = torch.empty(values)
        planes = [self._planes[: math.prod(size)].view(size) for size in sizes]
        scales = self._encode(images, SCALES, [each.permute(0, 2, 3, 1) for each in planes])
        return [
            pool_channels(each, strategy.pooling, strategy.epsilon)[:, None]
            for each, _ in zip(planes, scales, strict=True)
        ]

    def _encode(self, images: Tensor, scales: int, features: list[Tensor] | None) -> Iterator[Tensor | None]:
        """Go through the scales; give what the attention pools, (K, 1, C, 1, 1), or fill ``features`` (K, h, w, C)."""
        count, _, height, width = images.shape
        memory = self._memory_to_encode(count, height, width)
        memory[0].bordered.copy_(functional.pad(images.float(), (1, 1, 1, 1), mode="reflect").permute(0, 2, 3, 1))
        for scale in range(scales):
            if scale:
                mirror_border(memory[scale].bordered)
            following = memory[scale + 1].bordered if scale + 1 < scales else None
            yield self._encode_scale(scale, following, features[scale] if features else None)

    def _encode_scale(self, scale: int, following: Tensor | None, features: Tensor | None) -> Tensor | None:
        block, memory = self._encoder[scale], self._encoder_memory[scale]
        count, height, width, _ = memory.middle.shape
        strips = list(_strips(height, width, self._channels[scale]))
        wants_pooled = features is None and self.strategy.channel != "none"
        pooled = torch.empty(len(strips), count, self._channels[scale], dtype=torch.float64)

        def encode_strip(worker: int, piece: tuple[int, int]) -> None:
            picture, number = piece
            top, bottom = strips[number]
            middle = block.middle(memory.bordered[picture, top : bottom + 2])
            memory.middle[picture, top:bottom] = middle
            found = block.second(middle)
            if features is not None:
                features[picture, top:bottom] = found
            if wants_pooled:
                part = found.flatten(0, 1)
                pooled[number, picture] = part.amax(0) if self.strategy.pooling == "max" else part.sum(0)
            if following is not None:
                rows, columns = (bottom - top) // 2, width // 2
                upper = torch.maximum(found[: 2 * rows : 2], found[1::2])
                torch.maximum(
                    upper[:, : 2 * columns : 2],
                    upper[:, 1::2],
                    out=following[picture, 1 + top // 2 : 1 + top // 2 + rows, 1:-1],
                )

        pieces = [(picture, number) for picture in range(count) for number in range(len(strips))]
        self.workers.run(encode_strip, pieces)
        if not wants_pooled:
            return None
        values = pooled.amax(0) if self.strategy.pooling == "max" else pooled.sum(0) / (height * width)
        return values.float()[:, None, :, None, None]

    def _fuse_scale(self, scale: int, target: Tensor, pooled: Tensor | None) -> None:
        """Fuse the features of a scale into ``target`` (h, w, C)."""
        middle, second = self._encoder_memory[scale].middle, self._encoder[scale].second

        def fuse_strip(worker: int, strip: tuple[int, int]) -> None:
            rows = slice(*strip)
            features = [second(each[rows]).permute(2, 0, 1)[None] for each in middle]
            target[rows] = fuse_features(features, self.strategy, pooled)[0].permute(1, 2, 0)

        self.workers.run(fuse_strip, _strips(*target.shape))

    def _memory_to_encode(self, count: int, height: int, width: int) -> list[EncoderMemory]:
        known = self._encoder_memory
        if not known or known[0].middle.shape[:3] != (count, height, width):
            inputs = (1, *self._channels[:-1])
            self._encoder_memory = []
            for scale, (channels, block) in enumerate(zip(inputs, self._encoder, strict=True)):
                size = (count, height >> scale, width >> scale)
                bordered = torch.empty(count, size[1] + 2, size[2] + 2, channels)
                middle = torch.empty(*size, block.second.channels_in)
                self._encoder_memory.append(EncoderMemory(bordered=bordered, middle=middle))
        return self._encoder_memory


def front_pays(network: NestFuse, device: torch.device) -> bool:
    """Whether a network runs fastest on a device with :class:`NestFuseFront`."""
    return device.type == "cpu" and network.config.channels[0] >= _FEWEST_CHANNELS and has_laid_out_convolutions()


def _encoder_block(stem: Unit | None, block: Block) -> EncoderBlock:
    first, second = block.units
    return EncoderBlock(
        stem=Convolution(*stem.weights()) if stem else None,
        first=Convolution(*first.weights()),
        second=Convolution(*second.weights()),
    )


def _strips(height: int, width: int, channels: int) -> Iterator[tuple[int, int]]:
    """First row and end of strips of an even number of rows; the last takes what there is."""
    rows = max(_STRIP_VALUES // (2 * width * channels), 1) * 2
    return ((top, min(top + rows, height)) for top in range(0, height, rows))
