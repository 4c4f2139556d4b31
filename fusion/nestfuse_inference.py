"""NestFuse on pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.attention import AttentionStrategy, fuse_features
from fusion.nestfuse import MINIMUM_SIZE_PX, NestFuse


class NestFuseMethod:
    """Fuses grey pictures with a trained network; both modalities pass the encoder as one batch."""

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy, device: torch.device) -> None:
        self._network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._strategy = strategy
        self._device = device

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        with torch.inference_mode():
            images = torch.from_numpy(np.stack([thermal, visible])[:, None]).to(self._device)
            images = images.to(torch.float32, memory_format=torch.channels_last)
            scales = self._network.encode(images)
            fused = [fuse_features(scale.split(1), self._strategy) for scale in scales]
            output: NDArray[np.float32] = self._network.decode(fused)[-1][0, 0].cpu().numpy()
        return output
