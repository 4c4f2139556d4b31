"""Folding of batch norm into the convolution before it: the same function with fewer passes over memory."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from fusion.batch_norm import norm_line

Module = TypeVar("Module", bound=nn.Module)


@runtime_checkable
class SelfFolding(Protocol):
    """A module that knows more of itself to fold than the batch norms behind its convolutions."""

    def fold(self) -> None:
        """Change the module, which is in evaluation mode, to the same function with less work."""
        ...


def folded(network: Module) -> Module:
    """A copy of ``network`` for inference: evaluation mode, batch norms folded, weights channels-last.

    Folds every batch norm that is registered right after the convolution it follows, as all networks of this
    package do, and what modules fold themselves. Results agree within float32 rounding; what is remembered of
    templates may not fit the network that was not folded.
    """
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parent in network.modules():
            _fold_children(parent)
            if isinstance(parent, SelfFolding):
                parent.fold()
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _fold_children(parent: nn.Module) -> None:
    children = list(parent.named_children())
    for (_, first), (name, second) in pairwise(children):
        if (
            isinstance(first, nn.Conv2d)
            and isinstance(second, nn.BatchNorm2d)
            and first.out_channels == second.num_features
        ):
            _fold(first, second)
            parent.add_module(name, nn.Identity())


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    scale, offset = norm_line(norm)
    shifted = offset if convolution.bias is None else convolution.bias.double() * scale + offset
    weight = convolution.weight.double() * scale[:, None, None, None]
    convolution.weight = nn.Parameter(weight.to(convolution.weight.dtype), requires_grad=False)
    convolution.bias = nn.Parameter(shifted.to(convolution.weight.dtype), requires_grad=False)
