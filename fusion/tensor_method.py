"""A plain network on two tensors as a fusion method on pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class TensorMethod:
    """Fuses grey pictures with a function of two tensors.

    Args:
        network: holds the weights; moved to ``device``.
        fuse: fused picture (1, 1, H, W) of thermal and visible pictures (1, 1, H, W).
        scale: what the network calls white, of 255: 255 for a network on 0..1, 1 for one on 0..255.
        minimum_size_px: smallest height and width.
        device: where it runs.
    """

    def __init__(
        self,
        network: nn.Module,
        fuse: Callable[[Tensor, Tensor], Tensor],
        *,
        scale: float,
        minimum_size_px: int,
        device: torch.device,
    ) -> None:
        network.eval().to(device)
        self._fuse = fuse
        self._scale = scale
        self._device = device
        self.minimum_size_px = minimum_size_px

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W), grey levels about 0..255."""
        with torch.inference_mode():
            inputs = [
                torch.from_numpy(picture).to(self._device, torch.float32)[None, None] / self._scale
                for picture in (thermal, visible)
            ]
            output: NDArray[np.float32] = (self._fuse(*inputs)[0, 0] * self._scale).cpu().numpy()
        return output
