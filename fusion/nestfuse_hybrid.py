"""NestFuse with its decoder in an engine that computes it in bfloat16, and what comes before in PyTorch.

The attention turns small differences into choices, so the encoder keeps its precision. On the CPU it is fastest strip
by strip, and hands its features over as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import AttentionStrategy
from fusion.graph_engines import GraphEngine
from fusion.graph_method import NestFuseGraphMethod
from fusion.graphs import channels_last, decoder_graph, write_graph
from fusion.nestfuse import MINIMUM_SIZE_PX, SCALES, NestFuse
from fusion.nestfuse_front import NestFuseFront, front_pays


class NestFuseHybrid:
    """Fuses grey pictures, one call at a time. Memory of the last size is kept for the next picture.

    Raises:
        InputError: the engine is not installed, or cannot use the device.
    """

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy, engine: GraphEngine) -> None:
        self._channels = network.config.channels
        self._front = NestFuseFront(network.eval(), strategy)
        self._decoder = engine.start(write_graph(channels_last(decoder_graph(network))), last=True)
        self._fused: list[Tensor] = []

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._front.strategy

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        height, width = visible.shape
        if not self._fused or self._fused[0].shape[:2] != (height, width):
            self._fused = [
                torch.empty(height >> scale, width >> scale, channels)
                for scale, channels in zip(range(SCALES), self._channels, strict=True)
            ]
        self._front.fuse(torch.from_numpy(np.stack([thermal, visible])[:, None]), self._fused)
        # A copy, for the engine may use its memory again.
        return np.array(self._decoder(*(each[None].numpy() for each in self._fused))[0][0, 0])

    def encode(self, images: Tensor, scales: int = SCALES) -> list[Tensor]:
        """As :meth:`fusion.nestfuse_front.NestFuseFront.encode`."""
        return self._front.encode(images, scales)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Picture (1, 1, H, W) float32 of the fused features (1, C, h, w) of four scales."""
        rows = (each.permute(0, 2, 3, 1).contiguous().numpy() for each in features)
        return torch.from_numpy(self._decoder(*rows)[0].copy())


def nestfuse_in_engine(
    network: NestFuse, strategy: AttentionStrategy, engine: GraphEngine
) -> NestFuseGraphMethod | NestFuseHybrid:
    """NestFuse in an engine: all of it, or the decoder where it differs in precision from the rest.

    Raises:
        InputError: the engine is not installed, or cannot use the device.
    """
    if engine.last_precision != "float32" and front_pays(network, engine.device):
        return NestFuseHybrid(network, strategy, engine)
    return NestFuseGraphMethod(network, strategy, engine)
