"""NestFuse on CPUs, strip by strip and tile by tile in the caches of the cores; equal to the network but for rounding.

The features of the finest scale are a hundred times the pictures: written to memory and read again between layers,
they cost more than their arithmetic. So the encoder goes over strips of rows through all layers of a scale. What it
keeps are the few channels in the middle of each block, the maxima for the next scale, and what the attention pools;
once the whole picture is pooled, the features are made again of the middle, strip by strip, and fused at once.

The decoder's 3x3 convolutions are those of :mod:`fusion.tile_convolution`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fusion.attention import AttentionStrategy, fuse_features, pool_channels
from fusion.nestfuse import MINIMUM_SIZE_PX, SCALES, Block, NestFuse, Unit
from fusion.nestfuse_inference import NestFuseMethod
from fusion.tile_convolution import (
    TILE,
    Convolution,
    TileConvolution,
    TileMemory,
    has_laid_out_convolutions,
)
from fusion.workers import Workers

# Values of a strip of features, of all channels: about what the caches hold.
_STRIP_VALUES = 600_000
# With fewer channels at the first scale the transforms of the tiles cost more than they save.
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
class DecoderBlock:
    """A block of the decoder: tiles to the middle, 1x1 to the features; ``last`` from those to the picture."""

    first: TileConvolution
    second: Convolution
    last: Convolution | None

    def __call__(self, memory: TileMemory, fine: Tensor, coarse: Tensor, row: int, column: int) -> Tensor:
        """As the tile convolution, (4, 4 * tiles, out)."""
        middle = self.first(memory, fine, coarse, row, column)
        cells = self.second(middle.view(1, -1, middle.shape[2]))
        if self.last:
            cells = self.last(cells)
        return cells.view(*middle.shape[:2], -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderMemory:
    """Of pictures on their way through a scale of the encoder.

    Attributes:
        bordered: (K, h + 2, w + 2, in), what the scale is made of, with a mirrored border.
        middle: (K, h, w, half).
    """

    bordered: Tensor
    middle: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderMemory:
    """Of the decoder of one picture, (h, w, channels).

    Attributes:
        fine_1, fine_2: fused features of the first two scales, and after them what the decoder makes at each level.
        fine_3, fine_4: fused features.
        last_2, last_3: last maps of their scales.
        tiles: of each block, for each worker.
    """

    fine_1: Tensor
    fine_2: Tensor
    fine_3: Tensor
    fine_4: Tensor
    last_2: Tensor
    last_3: Tensor
    tiles: dict[str, list[TileMemory]]


class NestFuseTiles:
    """Fuses grey pictures with a trained network, in float32. Memory of the last size is kept for the next picture."""

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy) -> None:
        network.eval()
        self._strategy = strategy
        self._channels = network.config.channels
        self._encoder = [
            _encoder_block(None if scale else network.conv0, block)
            for scale, block in enumerate(network.encoder_blocks)
        ]
        self._decoder = {
            name: _decoder_block(block, fine_channels, network.last_output if name == "DB1_3" else None)
            for name, (block, fine_channels) in network.decoder_blocks().items()
        }
        self._workers = Workers()
        self._encoder_memory: list[EncoderMemory] = []
        self._decoder_memory: DecoderMemory | None = None
        self._turn = threading.Lock()

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._strategy

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        return self.fuse(torch.from_numpy(np.stack([thermal, visible])[:, None]))[0, 0].numpy()

    @torch.inference_mode()
    def fuse(self, images: Tensor) -> Tensor:
        """Fuse the K pictures (K, 1, H, W) in 0..255 into one (1, 1, H, W) float32."""
        with self._turn:
            pooled = self._pool(images)
            memory = self._memory_to_decode(images.shape[2], images.shape[3])
            targets = (memory.fine_1, memory.fine_2, memory.fine_3, memory.fine_4)
            for scale, (target, values) in enumerate(zip(targets, pooled, strict=True)):
                self._fuse_scale(scale, target[:, :, : self._channels[scale]], values)
            return self._decode(memory)

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
            self._encode(images, scales, features)
        return [each.permute(0, 3, 1, 2) for each in features]

    @torch.inference_mode()
    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Last picture (1, 1, H, W) float32 of four scales, as :meth:`fusion.nestfuse.NestFuse.decode`."""
        with self._turn:
            memory = self._memory_to_decode(features[0].shape[2], features[0].shape[3])
            targets = (memory.fine_1, memory.fine_2, memory.fine_3, memory.fine_4)
            for target, each in zip(targets, features, strict=True):
                target[:, :, : each.shape[1]] = each[0].permute(1, 2, 0)
            return self._decode(memory)

    def _pool(self, images: Tensor) -> list[Tensor | None]:
        """Go through the encoder; give what the attention pools of each scale, (K, 1, C, 1, 1)."""
        strategy = self._strategy
        if strategy.channel == "none" or strategy.pooling in ("avg", "max"):
            return self._encode(images, SCALES, None)
        # These look at whole channels, not at strips.
        planes = [
            torch.empty(len(images), channels, images.shape[2] >> scale, images.shape[3] >> scale)
            for scale, channels in enumerate(self._channels)
        ]
        self._encode(images, SCALES, [each.permute(0, 2, 3, 1) for each in planes])
        return [pool_channels(each, strategy.pooling, strategy.epsilon)[:, None] for each in planes]

    def _encode(self, images: Tensor, scales: int, features: list[Tensor] | None) -> list[Tensor | None]:
        """Go through the encoder; give what the attention pools, (K, 1, C, 1, 1), or fill ``features`` (K, h, w, C)."""
        count, _, height, width = images.shape
        memory = self._memory_to_encode(count, height, width)
        memory[0].bordered.copy_(functional.pad(images.float(), (1, 1, 1, 1), mode="reflect").permute(0, 2, 3, 1))
        pooled: list[Tensor | None] = []
        for scale in range(scales):
            if scale:
                _mirror_border(memory[scale].bordered)
            following = memory[scale + 1].bordered if scale + 1 < scales else None
            pooled.append(self._encode_scale(scale, following, features[scale] if features else None))
        return pooled

    def _encode_scale(self, scale: int, following: Tensor | None, features: Tensor | None) -> Tensor | None:
        block, memory = self._encoder[scale], self._encoder_memory[scale]
        count, height, width, _ = memory.middle.shape
        strips = list(_strips(height, width, self._channels[scale]))
        wants_pooled = features is None and self._strategy.channel != "none"
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
                pooled[number, picture] = part.amax(0) if self._strategy.pooling == "max" else part.sum(0)
            if following is not None:
                rows, columns = (bottom - top) // 2, width // 2
                upper = torch.maximum(found[: 2 * rows : 2], found[1::2])
                torch.maximum(
                    upper[:, : 2 * columns : 2],
                    upper[:, 1::2],
                    out=following[picture, 1 + top // 2 : 1 + top // 2 + rows, 1:-1],
                )

        pieces = [(picture, number) for picture in range(count) for number in range(len(strips))]
        self._workers.run(encode_strip, pieces)
        if not wants_pooled:
            return None
        values = pooled.amax(0) if self._strategy.pooling == "max" else pooled.sum(0) / (height * width)
        return values.float()[:, None, :, None, None]

    def _fuse_scale(self, scale: int, target: Tensor, pooled: Tensor | None) -> None:
        """Fuse the features of a scale into ``target`` (h, w, C)."""
        middle, second = self._encoder_memory[scale].middle, self._encoder[scale].second

        def fuse_strip(worker: int, strip: tuple[int, int]) -> None:
            rows = slice(*strip)
            features = [second(each[rows]).permute(2, 0, 1)[None] for each in middle]
            target[rows] = fuse_features(features, self._strategy, pooled)[0].permute(1, 2, 0)

        self._workers.run(fuse_strip, _strips(*target.shape))

    def _decode(self, memory: DecoderMemory) -> Tensor:
        c1, c2 = self._channels[:2]
        fine_1, fine_2 = memory.fine_1, memory.fine_2
        picture = torch.empty(*fine_1.shape[:2], 1)
        self._run_block("DB3_1", memory, memory.fine_3, memory.fine_4, memory.last_3)
        self._run_block("DB2_1", memory, fine_2[..., :c2], memory.fine_3, fine_2[..., c2:])
        self._run_block("DB2_2", memory, fine_2, memory.last_3, memory.last_2)
        self._run_block("DB1_1", memory, fine_1[..., :c1], fine_2[..., :c2], fine_1[..., c1 : 2 * c1])
        self._run_block("DB1_2", memory, fine_1[..., : 2 * c1], fine_2[..., c2:], fine_1[..., 2 * c1 :])
        self._run_block("DB1_3", memory, fine_1, memory.last_2, picture)
        return picture[None, None, ..., 0]

    def _run_block(self, name: str, memory: DecoderMemory, fine: Tensor, coarse: Tensor, target: Tensor) -> None:
        block, tiles = self._decoder[name], memory.tiles[name]
        height, width = fine.shape[:2]
        step = tiles[0].tiles

        def run_tiles(worker: int, place: tuple[int, int]) -> None:
            row, column = place
            cells = block(tiles[worker], fine, coarse, row, column)
            part = target[TILE * row : TILE * row + TILE, TILE * column : TILE * (column + step)]
            part.copy_(cells[: part.shape[0], : part.shape[1]])

        rows, columns = -(-height // TILE), -(-width // TILE)
        self._workers.run(run_tiles, [(row, column) for row in range(rows) for column in range(0, columns, step)])

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

    def _memory_to_decode(self, height: int, width: int) -> DecoderMemory:
        known, workers = self._decoder_memory, self._workers.count
        if (
            known is None
            or known.fine_1.shape[:2] != (height, width)
            or any(len(each) != workers for each in known.tiles.values())
        ):
            c1, c2, c3, c4 = self._channels
            sizes = [(height >> scale, width >> scale) for scale in range(SCALES)]
            known = DecoderMemory(
                fine_1=torch.empty(*sizes[0], 3 * c1),
                fine_2=torch.empty(*sizes[1], 2 * c2),
                fine_3=torch.empty(*sizes[2], c3),
                fine_4=torch.empty(*sizes[3], c4),
                last_2=torch.empty(*sizes[1], c2),
                last_3=torch.empty(*sizes[2], c3),
                tiles={
                    name: [block.first.memory(sizes[int(name[2]) - 1][1]) for _ in range(workers)]
                    for name, block in self._decoder.items()
                },
            )
            self._decoder_memory = known
        return known


def _encoder_block(stem: Unit | None, block: Block) -> EncoderBlock:
    first, second = block.units
    return EncoderBlock(
        stem=_convolution(stem) if stem else None, first=_convolution(first), second=_convolution(second)
    )


def _decoder_block(block: Block, fine: int, output: Unit | None) -> DecoderBlock:
    first, second = block.units
    weight, bias = first.weights()
    return DecoderBlock(
        first=TileConvolution(weight[:, :fine], weight[:, fine:], bias),
        second=_convolution(second),
        last=_convolution(output) if output else None,
    )


def _convolution(unit: Unit) -> Convolution:
    return Convolution(*unit.weights())


def _strips(height: int, width: int, channels: int) -> Iterator[tuple[int, int]]:
    """First row and end of strips of an even number of rows; the last takes what there is."""
    rows = max(_STRIP_VALUES // (2 * width * channels), 1) * 2
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _mirror_border(cells: Tensor) -> None:
    """Set the border of (K, h + 2, w + 2, C) to the mirrored inside."""
    cells[:, 0] = cells[:, 2]
    cells[:, -1] = cells[:, -3]
    cells[:, :, 0] = cells[:, :, 2]
    cells[:, :, -1] = cells[:, :, -3]


def fastest_nestfuse(
    network: NestFuse, strategy: AttentionStrategy, device: torch.device
) -> NestFuseMethod | NestFuseTiles:
    """NestFuse in PyTorch and float32, in tiles where a network is large enough for them and runs on the CPU."""
    large = network.config.channels[0] >= _FEWEST_CHANNELS
    if large and device.type == "cpu" and has_laid_out_convolutions():
        return NestFuseTiles(network, strategy)
    return NestFuseMethod(network, strategy, device)
