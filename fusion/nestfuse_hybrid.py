"""NestFuse in two parts on the CPU: up to the fused features strip by strip, and another decoder than that in tiles.

The attention turns small differences into choices, so what comes before the decoder keeps its precision where an engine
computes the decoder in bfloat16. A narrow decoder has too few channels for tiles to pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from fusion.nestfuse_inference import NestFuseMethod, PhaseDecoder
from fusion.nestfuse_tiles import NestFuseTiles

Decoder = Callable[[Sequence[Tensor]], Tensor]
"""Picture (1, 1, H, W) float32 of the fused features (1, C, h, w) of four scales."""


class NestFuseHybrid:
    """Fuses grey pictures, one call at a time. Memory of the last size is kept for the next picture.

    Args:
        network: as trained.
        strategy: how the features are fused.
        decode: of the same network.
    """

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy, decode: Decoder) -> None:
        self._channels = network.config.channels
        self._front = NestFuseFront(network.eval(), strategy)
        self._decode = decode
        self._fused: list[Tensor] = []

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._front.strategy

    @torch.inference_mode()
    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        height, width = visible.shape
        if not self._fused or self._fused[0].shape[:2] != (height, width):
            self._fused = [
                torch.empty(height >> scale, width >> scale, channels)
                for scale, channels in zip(range(SCALES), self._channels, strict=True)
            ]
        self._front.fuse(torch.from_numpy(np.stack([thermal, visible])[:, None]), self._fused)
        return self.decode([each.permute(2, 0, 1)[None] for each in self._fused])[0, 0].numpy()

    def encode(self, images: Tensor, scales: int = SCALES) -> list[Tensor]:
        """As :meth:`fusion.nestfuse_front.NestFuseFront.encode`."""
        return self._front.encode(images, scales)

    @torch.inference_mode()
    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Picture (1, 1, H, W) float32 of the fused features (1, C, h, w) of four scales."""
        return self._decode(features)


def nestfuse_in_torch(
    network: NestFuse, strategy: AttentionStrategy, device: torch.device
) -> NestFuseMethod | NestFuseTiles | NestFuseHybrid:
    """NestFuse in PyTorch and float32, in the form that is fastest for its size on a device other than a GPU."""
    if not front_pays(network, device):
        return NestFuseMethod(network, strategy, device)
    if network.adapters:
        return NestFuseHybrid(network, strategy, PhaseDecoder(network.eval(), device))
    return NestFuseTiles(network, strategy)


def nestfuse_in_engine(
    network: NestFuse, strategy: AttentionStrategy, engine: GraphEngine
) -> NestFuseGraphMethod | NestFuseHybrid:
    """NestFuse in an engine: all of it, or the decoder where it differs in precision from the rest.

    Raises:
        InputError: the engine is not installed, or cannot use the device.
    """
    if engine.last_precision != "float32" and front_pays(network, engine.device):
        return NestFuseHybrid(network, strategy, decoder_in_engine(network, engine))
    return NestFuseGraphMethod(network, strategy, engine)


def decoder_in_engine(network: NestFuse, engine: GraphEngine) -> Decoder:
    """The decoder of a network, ready to run in an engine, one call at a time.

    Raises:
        InputError: the engine is not installed, or cannot use the device.
    """
    running = engine.start(write_graph(channels_last(decoder_graph(network))), last=True)

    def decode(features: Sequence[Tensor]) -> Tensor:
        rows = (each.permute(0, 2, 3, 1).contiguous().numpy() for each in features)
        # A copy, for the engine may use its memory again.
        return torch.from_numpy(running(*rows)[0].copy())

    return decode
