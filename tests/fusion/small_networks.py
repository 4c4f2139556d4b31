"""Networks of the real form, but small, for tests that need no trained weights."""

from __future__ import annotations

import torch
from torch import nn

from fusion.nestfuse import NestFuse, NestFuseConfig


def small_nestfuse(
    seed: int = 0,
    *,
    channels: tuple[int, int, int, int] = (6, 8, 10, 12),
    decoder_channels: tuple[int, int, int, int] | None = None,
    deep_supervision: bool = False,
) -> NestFuse:
    """A NestFuse whose answer depends on what it sees: behind a default initialisation it may be a black picture."""
    torch.manual_seed(seed)
    config = NestFuseConfig(
        channels=channels, stem_channels=4, decoder_channels=decoder_channels, deep_supervision=deep_supervision
    )
    network = NestFuse(config).eval()
    for unit in network.modules():
        if isinstance(unit, nn.Conv2d):
            # Of about gain 1, so that the picture stays on its scale and no ReLU hides a mistake.
            nn.init.uniform_(unit.weight, -0.2, 1.0)
            unit.weight.data *= 2.5 / unit.weight[0].numel()
            if unit.out_channels == 1:
                # Of few channels, all could count as negative.
                unit.weight.data.abs_()
    return network


def noise_pictures(height: int, width: int, seed: int = 0) -> list[torch.Tensor]:
    """Two pictures (1, 1, H, W) of whole grey levels 0..255."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (1, 1, height, width), generator=generator).float() for _ in range(2)]
