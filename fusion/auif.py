"""AUIF-Net: base and detail layers by unrolled optimisation, summed, and decoded.

Source: Zhao, Xu, Zhang, Liang, Zhang, Liu, "Efficient and Model-Based Infrared and Visible Image Fusion via Algorithm
Unrolling", IEEE TCSVT 2022, and its published code, whose checkpoints load strictly. Pictures are grey levels 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.checkpoints import load_strictly
from fusion.errors import InputError

LAYERS = 10
FEATURES = 64
BLUR_SIDE_PX = 11
LAPLACE_SIDE_PX = 19
LAPLACE_FACTOR = LAPLACE_SIDE_PX**2 / (2 * (LAPLACE_SIDE_PX**2 - 1))
"""Times the mean less the centre, the sum less 361 times the centre, divided by 720."""
MINIMUM_SIZE_PX = LAPLACE_SIDE_PX // 2 + 1
"""The Laplacian mirrors nine pixels at the border, so a picture needs one more."""

CombinationName = Literal["sum", "average", "l1"]


class Layer(nn.Module):
    """One step of the unrolled optimisation: ``x - eta * (q(K^T K x) - theta * (image - x))``."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(FEATURES, 1, 3, 3) * 0.05)
        self.eta = nn.Parameter(torch.tensor([0.1]))
        self.theta = nn.Parameter(torch.tensor([1e-3]))
        self.rest = nn.Sequential(nn.BatchNorm2d(1), nn.PReLU())

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Next estimate (B, 1, H, W) from the estimate ``x`` and the picture."""
        features = functional.conv2d(mirrored(x, 1), self.kernel)
        # The second kernel is the first one turned by 180 degrees with its channel axes swapped.
        back = functional.conv2d(mirrored(features, 1), self.kernel.flip(2, 3).transpose(0, 1))
        update: Tensor = self.rest(back)
        return x - self.eta * (update - self.theta * (image - x))


class Auif(nn.Module):
    """Both encoders (``conv1`` base, ``conv2`` detail) and the decoder; the plain two-convolution form.

    The names of the three published files do not collide, so one state_dict holds all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.conv2 = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.decoder = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(1, 1, 3, bias=False), nn.BatchNorm2d(1), nn.Sigmoid()
        )

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Base and detail (B, 1, H, W) of ``image`` (B, 1, H, W) in 0..1, H and W >= 10."""
        base, detail = blur(image), laplace(image)
        for layer in self.conv1:
            base = layer(base, image)
        for layer in self.conv2:
            detail = layer(detail, image)
        return base, detail

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruct ``image`` (B, 1, H, W) in 0..1."""
        base, detail = self.encode(image)
        output: Tensor = self.decoder(base + detail)
        return output

    def fuse(self, infrared: Tensor, visible: Tensor, combination: CombinationName = "sum") -> Tensor:
        """Fuse two pictures (B, 1, H, W) in 0..1 of one size into one in 0..1."""
        parts = zip(self.encode(infrared), self.encode(visible), strict=True)
        base, detail = (combine(first, second, combination) for first, second in parts)
        output: Tensor = self.decoder(base + detail)
        return output


def combine(first: Tensor, second: Tensor, combination: CombinationName) -> Tensor:
    """Combine features (B, C, H, W) of two pictures: sum, mean, or weighted by their local l1 activity.

    The activity is the 3x3 mean of absolute values, zero beyond the border, summed over the channels.
    """
    match combination:
        case "sum":
            return first + second
        case "average":
            return (first + second) / 2
        case "l1":
            activities = [local_activity(features) for features in (first, second)]
            share = activities[0] / (activities[0] + activities[1])
            return share * first + (1 - share) * second


def local_activity(features: Tensor) -> Tensor:
    """3x3 mean, zero beyond the border, of the channel sum of absolute values: (B, 1, H, W)."""
    return functional.avg_pool2d(features.abs().sum(1, keepdim=True), 3, stride=1, padding=1)


def blur(image: Tensor) -> Tensor:
    """Mean over 11 x 11 pixels with mirrored border."""
    return box_mean(image, BLUR_SIDE_PX)


def laplace(image: Tensor) -> Tensor:
    """Sum over 19 x 19 pixels minus 361 times the centre, divided by 720, with mirrored border."""
    return (box_mean(image, LAPLACE_SIDE_PX) - image) * LAPLACE_FACTOR


def box_mean(image: Tensor, side_px: int) -> Tensor:
    """Mean over a square window with mirrored border; summed in float64, since the layers amplify rounding."""
    wide = mirrored(image.double(), side_px // 2)
    return functional.avg_pool2d(wide, side_px, stride=1).to(image.dtype)


def mirrored(image: Tensor, border_px: int) -> Tensor:
    """The picture with a mirrored border; the edge row itself is not repeated."""
    return functional.pad(image, (border_px,) * 4, mode="reflect")


def load_auif(state: Mapping[str, Tensor], source: str) -> Auif:
    """The network with the weights ``state``; strict.

    Raises:
        InputError: they do not fit; a single one of the three published files is recognised.
    """
    network = Auif()
    kinds = {name.split(".")[0] for name in state}
    if kinds in ({"conv1"}, {"conv2"}, {"decoder"}):
        raise InputError(f"{source} is one of AUIF's three files; give the folder that holds all of them")
    load_strictly(network, state, source)
    return network.eval()
