"""A plain network on two tensors as a fusion method on pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFusion:
    """A network that fuses two tensors.

    Attributes:
        network: holds the weights.
        fuse: fused picture (1, 1, H, W) of thermal and visible pictures (1, 1, H, W).
        scale: what the network calls white, of 255: 255 for a network on 0..1, 1 for one on 0..255.
        minimum_size_px: smallest height and width.
    """

    network: nn.Module
    fuse: Callable[[Tensor, Tensor], Tensor]
    scale: float
    minimum_size_px: int


class TensorMethod:
    """Fuses grey pictures with a function of two tensors, on ``device``, to which the network is moved."""

    def __init__(self, fusion: TensorFusion, device: torch.device) -> None:
        fusion.network.eval().to(device)
        self._fusion = fusion
        self._device = device
        self.minimum_size_px = fusion.minimum_size_px

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W), grey levels about 0..255."""
        scale = self._fusion.scale
        with torch.inference_mode():
            inputs = [
                torch.from_numpy(picture).to(self._device, torch.float32)[None, None] / scale
                for picture in (thermal, visible)
            ]
            output: NDArray[np.float32] = (self._fusion.fuse(*inputs)[0, 0] * scale).cpu().numpy()
        return output
