"""NestFuse on a GPU: half precision, few passes over memory, and one CUDA graph for pictures of a size.

A GPU multiplies faster than it reads and writes features. So a convolution is one operation together with its bias and
its ReLU, and coarse features are doubled on the way into the mirrored cells that a convolution reads, where a CPU is
better off convolving them at their own size (:mod:`fusion.nestfuse_inference`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fusion.attention import AttentionStrategy, fuse_rectified
from fusion.cuda_graphs import CapturedPictureFunction
from fusion.nestfuse import MINIMUM_SIZE_PX, NestFuse, Unit
from fusion.nestfuse_inference import last_map, mirrored_cat


@dataclass(frozen=True, slots=True)
class _Convolution:
    """Convolution with bias and ReLU; of cells with their border where the kernel has one."""

    kernel: Tensor
    bias: Tensor

    def __call__(self, cells: Tensor) -> Tensor:
        if cells.is_cuda:
            convolved: Tensor = torch.cudnn_convolution_relu(cells, self.kernel, self.bias, (1, 1), (0, 0), (1, 1), 1)
            return convolved
        return functional.conv2d(cells, self.kernel, self.bias).relu_()


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of the decoder."""

    first: _Convolution
    second: _Convolution

    def __call__(self, fine: Sequence[Tensor], coarse: Tensor) -> Tensor:
        return self.second(self.first(mirrored_cat(fine, doubled=coarse)))


class NestFuseGpuMethod:
    """A :class:`fusion.nestfuse_strips.ScaleMethod` for a CUDA device.

    Args:
        network: as trained.
        strategy: how the features are fused.
        device: where it runs; on a CPU, for tests, without graphs.
        dtype: of the convolutions; the attention is computed in float32 always.
    """

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(
        self,
        network: NestFuse,
        strategy: AttentionStrategy,
        device: torch.device,
        dtype: torch.dtype = torch.float16,
    ) -> None:
        def prepared(unit: Unit) -> _Convolution:
            kernel, bias = (each.to(device, dtype) for each in unit.weights())
            return _Convolution(kernel.contiguous(memory_format=torch.channels_last), bias)

        network = network.eval()
        self._strategy = strategy
        self._device = device
        self._dtype = dtype
        self._stem = prepared(network.conv0)
        self._encoder = [tuple(map(prepared, block.units)) for block in network.encoder_blocks]
        self._adapters = [prepared(unit) for unit in network.adapters]
        self._decoder = {
            name: _Block(*map(prepared, block.units)) for name, (block, _) in network.decoder_blocks().items()
        }
        # In float32, for half precision has steps of an eighth of a grey level in the bright half.
        self._output = [each.to(device) for each in network.last_output.weights()]
        self._captured = CapturedPictureFunction(self.fuse, device)

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._strategy

    @property
    def captured(self) -> int:
        """For how many sizes of pictures there is a graph now."""
        return self._captured.captured

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        return self._captured(thermal, visible)

    @torch.inference_mode()
    def fuse(self, images: Tensor) -> Tensor:
        """Fuse the K pictures (K, 1, H, W) in 0..255 into one (1, 1, H, W) float32."""
        return self.decode([fuse_rectified(scale, self._strategy) for scale in self.encode(images)])

    def encode(self, images: Tensor, scales: int = 4) -> list[Tensor]:
        """Features of the finest ``scales`` of pictures (K, 1, H, W) in 0..255."""
        pictures = images.to(self._device).to(self._dtype, memory_format=torch.channels_last)
        encoded: list[Tensor] = []
        for first, second in self._encoder[:scales]:
            below = functional.max_pool2d(encoded[-1], 2) if encoded else self._stem(pictures)
            encoded.append(second(first(mirrored_cat([below]))))
        return encoded

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Picture (1, 1, H, W) float32 of the fused features of four scales."""
        maps = [scale.to(self._dtype) for scale in features]
        if self._adapters:
            maps = [adapter(scale) for adapter, scale in zip(self._adapters, maps, strict=True)]
        last = last_map(self._decoder, maps)
        kernel, bias = self._output
        return functional.conv2d(last.float(), kernel, bias).relu_()
