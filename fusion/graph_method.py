"""A fusion method whose networks run outside of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import AttentionStrategy, fuse_rectified
from fusion.graph_engines import GraphEngine, RunningGraph
from fusion.graphs import FusionGraphs, decoder_graph, encoder_graph, nestfuse_graphs, write_graph
from fusion.nestfuse import MINIMUM_SIZE_PX, NestFuse


class GraphMethod:
    """Fuses grey pictures with one graph, or with two and the attention between them.

    Args:
        first: takes thermal and visible pictures (1, 1, H, W); gives the fused one, or features of several scales.
        strategy: fuses these features, (2, C, H, W), unless they are fused already (None).
        last: the picture of the fused features; None where ``first`` gives it.
        minimum_size_px: smallest height and width.
    """

    def __init__(
        self,
        first: RunningGraph,
        strategy: AttentionStrategy | None = None,
        last: RunningGraph | None = None,
        *,
        minimum_size_px: int,
    ) -> None:
        self.first = first
        self.strategy = strategy
        self.last = last
        self.minimum_size_px = minimum_size_px

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W), grey levels about 0..255."""
        outputs = self.first(*(np.asarray(picture, np.float32)[None, None] for picture in (thermal, visible)))
        if self.strategy is not None:
            with torch.inference_mode():
                outputs = [fuse_rectified(torch.from_numpy(scale), self.strategy).numpy() for scale in outputs]
        if self.last is not None:
            outputs = self.last(*outputs)
        # A copy, for the engine may use its memory again.
        return np.array(outputs[0][0, 0])


class NestFuseGraphMethod:
    """NestFuse in an engine; what large pictures need besides is made ready when one asks for it."""

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy, engine: GraphEngine) -> None:
        self._strategy = strategy
        halved = engine.last_precision != "float32"
        self._whole = start_method(nestfuse_graphs(network, strategy, split=halved), engine)
        self._engine = engine
        self._network = network

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._strategy

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        return self._whole.fuse_luma(visible, thermal)

    def encode(self, images: Tensor, scales: int) -> list[Tensor]:
        """Features (2, C, h, w) of the finest ``scales`` of pictures (2, 1, H, W) in 0..255."""
        pictures = images.float().numpy()
        # Copies, for the engine may use its memory again.
        return [torch.from_numpy(scale.copy()) for scale in self._encoder(pictures[:1], pictures[1:])[:scales]]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Picture (1, 1, H, W) float32 of the fused features (1, C, h, w) of four scales."""
        return torch.from_numpy(self._decoder(*(scale.numpy() for scale in features))[0].copy())

    @cached_property
    def _encoder(self) -> RunningGraph:
        if self._whole.strategy is not None:
            return self._whole.first
        return self._engine.start(write_graph(encoder_graph(self._network)))

    @cached_property
    def _decoder(self) -> RunningGraph:
        return self._whole.last or self._engine.start(write_graph(decoder_graph(self._network)), last=True)


def start_method(graphs: FusionGraphs, engine: GraphEngine) -> GraphMethod:
    """A method ready to run in an engine.

    Raises:
        InputError: the engine is not installed, or cannot use the device.
    """
    last = graphs.last
    return GraphMethod(
        engine.start(write_graph(graphs.first)),
        graphs.strategy,
        None if last is None else engine.start(write_graph(last), last=True),
        minimum_size_px=graphs.minimum_size_px,
    )
