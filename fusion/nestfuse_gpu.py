"""NestFuse on a GPU: half precision, and one CUDA graph for pictures of a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import AttentionStrategy
from fusion.cuda_graphs import CapturedPictureFunction
from fusion.nestfuse import MINIMUM_SIZE_PX, NestFuse
from fusion.nestfuse_inference import NestFuseMethod


class NestFuseGpuMethod:
    """A :class:`fusion.nestfuse_strips.ScaleMethod` in float16 on a CUDA device."""

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy, device: torch.device) -> None:
        self._method = NestFuseMethod(network, strategy, device, torch.float16, torch.float16)
        self._captured = CapturedPictureFunction(self._method.fuse, device)

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._method.strategy

    @property
    def captured(self) -> int:
        """For how many sizes of pictures there is a graph now."""
        return self._captured.captured

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        return self._captured(thermal, visible)

    def encode(self, images: Tensor, scales: int = 4) -> list[Tensor]:
        """As :meth:`fusion.nestfuse_inference.NestFuseMethod.encode`."""
        return self._method.encode(images, scales)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """As :meth:`fusion.nestfuse_inference.NestFuseMethod.decode`."""
        return self._method.decode(features)
