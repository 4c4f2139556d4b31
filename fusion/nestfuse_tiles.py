"""NestFuse on CPUs, strip by strip and tile by tile in the caches of the cores; equal to the network but for rounding.

The encoder and the attention are those of :mod:`fusion.nestfuse_front`, the decoder's 3x3 convolutions those of
:mod:`fusion.tile_convolution`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import AttentionStrategy
from fusion.nestfuse import MINIMUM_SIZE_PX, SCALES, Block, NestFuse, Unit
from fusion.nestfuse_front import NestFuseFront
from fusion.tile_convolution import (
    TILE,
    Convolution,
    TileConvolution,
    TileMemory,
)


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

    @property
    def fused(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where the fused features of the scales come first."""
        return self.fine_1, self.fine_2, self.fine_3, self.fine_4


class NestFuseTiles:
    """Fuses grey pictures with a trained network, in float32. Memory of the last size is kept for the next picture."""

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy) -> None:
        network.eval()
        self._channels = network.config.channels
        self._front = NestFuseFront(network, strategy)
        self._decoder = {
            name: _decoder_block(block, fine_channels, network.last_output if name == "DB1_3" else None)
            for name, (block, fine_channels) in network.decoder_blocks().items()
        }
        self._workers = self._front.workers
        self._decoder_memory: DecoderMemory | None = None
        self._turn = threading.Lock()

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._front.strategy

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        return self.fuse(torch.from_numpy(np.stack([thermal, visible])[:, None]))[0, 0].numpy()

    @torch.inference_mode()
    def fuse(self, images: Tensor) -> Tensor:
        """Fuse the K pictures (K, 1, H, W) in 0..255 into one (1, 1, H, W) float32."""
        with self._turn:
            memory = self._memory_to_decode(images.shape[2], images.shape[3])
            self._front.fuse(
                images, [target[..., :count] for target, count in zip(memory.fused, self._channels, strict=True)]
            )
            return self._decode(memory)

    def encode(self, images: Tensor, scales: int = SCALES) -> list[Tensor]:
        """As :meth:`fusion.nestfuse_front.NestFuseFront.encode`."""
        return self._front.encode(images, scales)

    @torch.inference_mode()
    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Last picture (1, 1, H, W) float32 of four scales, as :meth:`fusion.nestfuse.NestFuse.decode`."""
        with self._turn:
            memory = self._memory_to_decode(features[0].shape[2], features[0].shape[3])
            for target, each in zip(memory.fused, features, strict=True):
                target[:, :, : each.shape[1]] = each[0].permute(1, 2, 0)
            return self._decode(memory)

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


def _decoder_block(block: Block, fine: int, output: Unit | None) -> DecoderBlock:
    first, second = block.units
    weight, bias = first.weights()
    return DecoderBlock(
        first=TileConvolution(weight[:, :fine], weight[:, fine:], bias),
        second=Convolution(*second.weights()),
        last=Convolution(*output.weights()) if output else None,
    )
