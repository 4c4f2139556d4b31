"""DIDFuse: an autoencoder that splits a picture into background and detail features, which are fused and decoded.

Source: Zhao, Xu, Zhang, Liu, Zhang, Li, "DIDFuse: Deep Image Decomposition for Infrared and Visible Image Fusion",
IJCAI 2020, and its published code, whose checkpoints load strictly. Pictures are grey levels 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusion.auif import CombinationName, combine
from fusion.checkpoints import load_strictly
from fusion.errors import InputError

FEATURES = 64
MINIMUM_SIZE_PX = 2
REACH_PX = 7
"""How far a pixel of the result sees: six 3x3 convolutions and the 3x3 window of the l1 mode."""


class DidFuse(nn.Module):
    """Encoder and decoder; the names of the two published files do not collide, so one state_dict holds both."""

    def __init__(self) -> None:
        super().__init__()
        self.cov1 = nn.ModuleDict({"cov1": nn.Sequential(nn.ReflectionPad2d(1), *_stage(1, FEATURES, 0), nn.PReLU())})
        self.cov2 = nn.ModuleDict({"cov2": nn.Sequential(*_stage(FEATURES, FEATURES, 1), nn.PReLU())})
        self.cov3 = nn.ModuleDict({"cov3": nn.Sequential(*_stage(FEATURES, FEATURES, 1), nn.Tanh())})
        self.cov4 = nn.ModuleDict({"cov4": nn.Sequential(*_stage(FEATURES, FEATURES, 1), nn.Tanh())})
        self.cov5 = nn.ModuleDict({"cov5": nn.Sequential(*_stage(2 * FEATURES, FEATURES, 1), nn.PReLU())})
        self.cov6 = nn.ModuleDict({"cov6": nn.Sequential(*_stage(2 * FEATURES, FEATURES, 1), nn.PReLU())})
        last = nn.Sequential(nn.ReflectionPad2d(1), *_stage(2 * FEATURES, 1, 0), nn.Sigmoid())
        self.cov7 = nn.ModuleDict({"cov7": last})

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """First and second features, background and detail (B, 64, H, W) of a picture (B, 1, H, W) in 0..1."""
        first = self.cov1["cov1"](image)
        second = self.cov2["cov2"](first)
        return first, second, self.cov3["cov3"](second), self.cov4["cov4"](second)

    def decode(self, first: Tensor, second: Tensor, background: Tensor, detail: Tensor) -> Tensor:
        """Picture (B, 1, H, W) in 0..1 of features as :meth:`encode` returns them."""
        inner = self.cov5["cov5"](torch.cat([background, detail], 1))
        middle = self.cov6["cov6"](torch.cat([inner, second], 1))
        output: Tensor = self.cov7["cov7"](torch.cat([middle, first], 1))
        return output

    def fuse(self, infrared: Tensor, visible: Tensor, combination: CombinationName = "sum") -> Tensor:
        """Fuse two pictures (B, 1, H, W) in 0..1 of one size into one in 0..1."""
        pairs = zip(self.encode(infrared), self.encode(visible), strict=True)
        return self.decode(*(combine(one, other, combination) for one, other in pairs))


def load_didfuse(state: Mapping[str, Tensor], source: str) -> DidFuse:
    """The network with the weights ``state``; strict.

    Raises:
        InputError: they do not fit; a single one of the two published files is recognised.
    """
    stages = {name.split(".")[0] for name in state}
    if stages in ({"cov1", "cov2", "cov3", "cov4"}, {"cov5", "cov6", "cov7"}):
        raise InputError(f"{source} is one of DIDFuse's two files; give the folder that holds both")
    network = DidFuse()
    load_strictly(network, state, source)
    return network.eval()


def _stage(channels_in: int, channels_out: int, padding: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels_in, channels_out, 3, padding=padding), nn.BatchNorm2d(channels_out)
