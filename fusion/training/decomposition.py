"""Training of AUIF-Net and DIDFuse on registered pairs: each picture is split into two parts and put together again.

Sources: Zhao, Xu, Zhang, Liu, Zhang, Li, "DIDFuse: Deep Image Decomposition for Infrared and Visible Image Fusion",
IJCAI 2020; Zhao, Xu, Zhang, Liang, Zhang, Liu, "Efficient and Model-Based Infrared and Visible Image Fusion via
Algorithm Unrolling", IEEE TCSVT 2021. Fusion has no part in the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.auif import Auif, Layer, blur, laplace
from fusion.auif_inference import collapsed_kernels
from fusion.didfuse import DidFuse
from fusion.training.config import FuserTrainingConfig
from fusion.training.held_out import reconstruction_measures, split_held_out
from fusion.training.images import PairCrops, centre_crop, list_pairs, read_pair
from fusion.training.losses import decomposition_losses, pair_difference
from fusion.training.task import TaskReport

_HELD_OUT_EVERY = 10
_BATCH_STATISTICS_SHARE = 0.7
_STATISTICS_PAIRS = 40
_AUIF_REMARK = (
    "\n{:g} * (mean / spread)^2 of base + detail was added to the loss. When written, the decoder's batch norm took\n"
    "the statistics of fused parts (mode sum) of {} training pairs."
)


class AuifReconstruction(nn.Module):
    """AUIF-Net as it is trained: the plain network's values at a fraction of its arithmetic."""

    def __init__(self, network: Auif) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, base and detail (B, 1, H, W) of pictures (B, 1, H, W) in 0..1."""
        base, detail = blur(pictures), laplace(pictures)
        for layer in self.network.conv1:
            base = _collapsed(layer, base, pictures)
        for layer in self.network.conv2:
            detail = _collapsed(layer, detail, pictures)
        return self.network.decoder(base + detail), base, detail


class DidFuseReconstruction(nn.Module):
    """DIDFuse as it is trained."""

    def __init__(self, network: DidFuse) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (B, 1, H, W), background and detail (B, 64, H, W) of pictures (B, 1, H, W) in 0..1."""
        first, second, background, detail = self.network.encode(pictures)
        return self.network.decode(first, second, background, detail), background, detail


class DecompositionTask:
    """``auif`` or ``didfuse`` from pairs.

    Raises:
        InputError: no pairs.
    """

    def __init__(self, config: FuserTrainingConfig) -> None:
        pairs = list_pairs(config.images, config.method)
        self._config = config
        self._training, self._held_out = split_held_out(pairs, _HELD_OUT_EVERY)
        self._crops = PairCrops(self._training, crop_px=config.crop_px, batch_size=config.batch_size, seed=config.seed)
        self._module = initial_module(config)

    @property
    def module(self) -> nn.Module:
        """The network in its training form."""
        return self._module

    @property
    def network(self) -> nn.Module:
        """The network in its published layout."""
        return self._module.network

    def losses(self, module: nn.Module, step: int, rank: int, device: torch.device) -> dict[str, Tensor]:
        """Decomposition loss of one step and its terms."""
        config = self._config
        # Batch statistics of few crops say little of brightness: at the end the running ones are learned with, which
        # are those of inference.
        module.train(step < _BATCH_STATISTICS_SHARE * config.steps)
        thermal, visible = self._crops.batch(step, rank).to(device).chunk(2, 1)
        pictures = torch.cat([thermal, visible])
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            parts = module(pictures)
        output, background, detail = (part.float() for part in parts)
        losses = decomposition_losses(
            pictures, output, background, detail, config.decomposition, config.structure_weight
        )
        if config.method == "auif":
            variance, mean = torch.var_mean(background + detail)
            losses["balance"] = mean.square() / variance
            losses["loss"] = losses["loss"] + config.decomposition.balance * losses["balance"]
        return losses

    def finish(self, device: torch.device) -> TaskReport:
        """Reconstruct pairs that were left out."""
        config, weights = self._config, self._config.decomposition
        self._module.eval()
        quality = self._quality(device)
        if isinstance(self._module, AuifReconstruction):
            every = max(1, len(self._training) // _STATISTICS_PAIRS)
            adopt_fused_statistics(self._module.network, self._training[::every][:_STATISTICS_PAIRS])
        return TaskReport(
            data=f"{len(self._training)} registered pairs",
            goal=f"""Decomposition without fusion; loss = {weights.background:g} * tanh(difference of backgrounds)
- {weights.detail:g} * tanh(difference of details) + {weights.reconstruction:g} * reconstruction of both pictures
(mean squared error + {config.structure_weight:g} * (1 - SSIM)) + {weights.gradient:g} * gradient error of the visible
picture, all on 0..1.""",
            remarks=f"The batch norms keep their statistics after {_BATCH_STATISTICS_SHARE:.0%} of the steps."
            + (_AUIF_REMARK.format(weights.balance, _STATISTICS_PAIRS) if config.method == "auif" else ""),
            held_out=f"Held-out pairs (every {_HELD_OUT_EVERY}th, left out of training; centre crops), reconstructed",
            quality=quality,
        )

    @torch.no_grad()
    def _quality(self, device: torch.device, size_px: int = 160) -> dict[str, float]:
        reconstructed, near, apart = [], [], []
        for pair in self._held_out or self._training:
            crop = centre_crop(read_pair(pair), size_px)
            pictures = torch.from_numpy(crop)[:, None].to(device, torch.float32) / 255
            output, background, detail = self._module(pictures)
            reconstructed.append((output, pictures))
            near.append(float(pair_difference(background)))
            apart.append(float(pair_difference(detail)))
        return {
            **reconstruction_measures(reconstructed, 1.0),
            "mean squared difference of backgrounds": float(np.mean(near)),
            "mean squared difference of details": float(np.mean(apart)),
        }


def initial_module(config: FuserTrainingConfig) -> AuifReconstruction | DidFuseReconstruction:
    """The network before its first step, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.method == "didfuse":
            module = DidFuseReconstruction(DidFuse())
            return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
        network = Auif()
    # The decoder begins as the picture itself: of nine random weights it would have to unlearn eight.
    convolution = network.decoder[1]
    assert isinstance(convolution, nn.Conv2d)
    with torch.no_grad():
        convolution.weight.zero_()[0, 0, 1, 1] = 1
    return AuifReconstruction(network)


@torch.no_grad()
def adopt_fused_statistics(network: Auif, pairs: Sequence[tuple[Path, Path]]) -> None:
    """Normalise in the decoder what it decodes when it fuses: the sums of two pictures' parts.

    It learned on the parts of one picture. The sum of two spreads wider, which would drive the sigmoid into black and
    white; mean and variance over these pairs replace those of the training. Reconstruction loses contrast by it.
    """
    norm, moments = network.decoder[2], []
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolved = network.decoder[:2]
    device = norm.running_mean.device
    for pair in pairs:
        pictures = torch.from_numpy(read_pair(pair))[:, None].to(device, torch.float32) / 255
        _, base, detail = AuifReconstruction(network)(pictures)
        levels = convolved((base + detail).sum(0, keepdim=True))
        moments.append(torch.stack([levels.mean(), levels.square().mean()]))
    mean, square = torch.stack(moments).mean(0)
    norm.running_mean.fill_(mean)
    norm.running_var.fill_(square - mean**2)


def _collapsed(layer: nn.Module, x: Tensor, image: Tensor) -> Tensor:
    """:class:`fusion.auif.Layer` with its convolution pair as one 5x5 kernel, differentiable."""
    assert isinstance(layer, Layer)
    update: Tensor = layer.rest(collapsed_convolution(x, layer.kernel))
    return x - layer.eta * (update - layer.theta * (image - x))


def collapsed_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """A layer's two convolutions of (B, 1, H, W), H and W >= 5, with the kernel (64, 1, 3, 3) as one.

    Exact to the last pixel, at a twentieth of the arithmetic: see :mod:`fusion.auif_inference`.
    """
    inside, top, bottom, left, right, *corners = (each[None, None] for each in collapsed_kernels(kernel))
    first, last = slice(3), slice(-3, None)

    def along(strip: Tensor, edge: Tensor, border: tuple[int, int, int, int]) -> Tensor:
        # The pictures of the batch as channels of one: several times faster on a CPU, backwards too.
        wide, count = functional.pad(strip, border, mode="reflect").transpose(0, 1), len(strip)
        return functional.conv2d(wide, edge.expand(count, -1, -1, -1), groups=count).transpose(0, 1)

    def corner(rows: slice, columns: slice, kernel: Tensor) -> Tensor:
        return (x[:, :, rows, columns] * kernel).sum((2, 3), keepdim=True)

    upper = [
        corner(first, first, corners[0]),
        along(x[:, :, first], top, (1, 1, 0, 0)),
        corner(first, last, corners[1]),
    ]
    middle = [
        along(x[..., first], left, (0, 0, 1, 1)),
        along(x, inside, (1, 1, 1, 1)),
        along(x[..., last], right, (0, 0, 1, 1)),
    ]
    lower = [
        corner(last, first, corners[2]),
        along(x[:, :, last], bottom, (1, 1, 0, 0)),
        corner(last, last, corners[3]),
    ]
    return torch.cat([torch.cat(row, 3) for row in (upper, middle, lower)], 2)
