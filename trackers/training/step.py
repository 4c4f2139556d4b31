"""One training step of ``siamrpn-lite``: which modalities each sample uses, features, responses, loss.

Every way the network is used is trained at once, on one set of weights: visible alone, thermal alone, both fused per
backbone scale by the paper's strategy, and both weighed by the gate after correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fusion.attention import PAPER, fuse_features
from trackers.networks.lite import LiteNetwork
from trackers.training.labels import HeadLoss, head_loss

VISIBLE, THERMAL, FUSED, GATED = range(4)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as tensors: crops (B, 3, S, S) float 0..255, boxes (B, 4), ``sees`` (B, 2), modes (B,)."""

    template_visible: Tensor
    template_thermal: Tensor
    search_visible: Tensor
    search_thermal: Tensor
    boxes: Tensor
    modes: Tensor


def choose_modes(sees: Tensor, generator: np.random.Generator) -> Tensor:
    """A way of use for each sample: a blinded eye is never asked alone, fusion more often where one is blind."""
    modes = []
    for visible_sees, thermal_sees in sees.tolist():
        if visible_sees and thermal_sees:
            shares = (0.24, 0.24, 0.20, 0.32)
        else:
            shares = (0.15 * visible_sees, 0.15 * thermal_sees, 0.25, 0.60)
        modes.append(int(generator.choice(4, p=np.array(shares) / sum(shares))))
    return torch.tensor(modes)


def as_batch(samples: dict[str, Tensor], modes: Tensor, device: torch.device) -> Batch:
    """Move collated samples to the device; crops arrive as (B, S, S, 3) uint8."""

    def crops(name: str) -> Tensor:
        return samples[name].to(device, non_blocking=True).permute(0, 3, 1, 2).float()

    return Batch(
        crops("template_visible"),
        crops("template_thermal"),
        crops("search_visible"),
        crops("search_thermal"),
        samples["box"].to(device),
        modes.to(device),
    )


class TrainingStep(nn.Module):
    """The network together with its loss, as one module so that data-parallel training can wrap it."""

    def __init__(self, network: LiteNetwork) -> None:
        super().__init__()
        self.network = network
        self.train_backbone = False

    def forward(self, batch: Batch) -> HeadLoss:
        """Loss of one batch over all ways of use."""
        network = self.network
        with torch.set_grad_enabled(self.train_backbone and torch.is_grad_enabled()):
            count = len(batch.boxes)
            template_levels = network.extract(torch.cat([batch.template_visible, batch.template_thermal]))
            search_levels = network.extract(torch.cat([batch.search_visible, batch.search_thermal]))
        single = (batch.modes < GATED).nonzero()[:, 0]
        gated = (batch.modes == GATED).nonzero()[:, 0]
        template = _streams(template_levels, count, batch.modes, single, gated)
        search = _streams(search_levels, count, batch.modes, single, gated)
        class_map, box_map = network.correlate(network.encode_template(template), search)
        class_map, box_map = _weigh(network, class_map, box_map, len(single), len(gated))
        logits, deltas = network.decide(class_map, box_map)
        return head_loss(logits, deltas, batch.boxes[torch.cat([single, gated])])


def _streams(levels: tuple[Tensor, ...], count: int, modes: Tensor, single: Tensor, gated: Tensor) -> list[Tensor]:
    """Per scale: one stream for each sample without a gate, then the visible and thermal ones of gated samples."""
    result = []
    for level in levels:
        visible, thermal = level[:count], level[count:]
        fused = fuse_features([visible[single], thermal[single]], PAPER)
        mode = modes[single][:, None, None, None]
        chosen = torch.where(mode == VISIBLE, visible[single], torch.where(mode == THERMAL, thermal[single], fused))
        result.append(torch.cat([chosen, visible[gated], thermal[gated]]))
    return result


def _weigh(network: LiteNetwork, class_map: Tensor, box_map: Tensor, single: int, gated: int) -> tuple[Tensor, Tensor]:
    if not gated:
        return class_map, box_map
    class_pair = torch.stack([class_map[single : single + gated], class_map[single + gated :]])
    box_pair = torch.stack([box_map[single : single + gated], box_map[single + gated :]])
    _, classes, boxes = network.weigh(class_pair, box_pair)
    return torch.cat([class_map[:single], classes]), torch.cat([box_map[:single], boxes])
