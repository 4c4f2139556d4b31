"""Large 3 x 3 convolutions with a quarter of the multiplications.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: F(4 x 4, 3 x 3). A tile of
6 x 6 inputs becomes 4 x 4 outputs through 36 products instead of 144; over all tiles and channels the products are 36
matrix products. A dilated convolution is the same on every dilation-th row and column.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Module = TypeVar("Module", bound=nn.Module)

_TILE = 4
_PATCH = 6
# Smaller layers and maps lose more by the way into tiles and back than they gain.
_LEAST_CHANNEL_PRODUCT = 256 * 256
_LEAST_SIDE = 24

_INPUT = np.asarray(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_KERNEL = np.asarray(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float64,
)
_OUTPUT = np.asarray(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)


class WinogradConvolution(nn.Module):
    """A convolution 3 x 3 with stride 1 on maps of at least 24 cells; smaller maps take the direct way.

    Differs from the direct way by about 1e-5 of the output's spread.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W') as the convolution does."""
        direct = self.convolution
        height, width = (int(side) for side in x.shape[2:])
        if min(height, width) < _LEAST_SIDE:
            result: Tensor = direct(x)
            return result
        patches, order, rows, columns = _places(height, width, int(direct.padding[0]), int(direct.dilation[0]))
        # Cells first, so that a cell of all crops and channels is copied as one piece; the last row is the padding.
        cells = functional.pad(x.permute(2, 3, 0, 1).reshape(height * width, -1), (0, 0, 0, 1))
        patch_values = cells.index_select(0, torch.from_numpy(patches)).reshape(_PATCH**2, -1)
        spectrum = (_matrix("input") @ patch_values).reshape(_PATCH**2, -1, direct.in_channels)
        kernel = (_matrix("kernel") @ direct.weight.flatten(2).permute(2, 1, 0).reshape(9, -1)).reshape(
            _PATCH**2, direct.in_channels, direct.out_channels
        )
        products = _products(spectrum, kernel).reshape(_PATCH**2, -1)
        tiles = (_matrix("output") @ products).reshape(patches.size // _PATCH**2 * _TILE**2, -1)
        values = tiles.index_select(0, torch.from_numpy(order)).reshape(rows, columns, -1, direct.out_channels)
        if direct.bias is not None:
            values = values + direct.bias
        return values.permute(2, 3, 0, 1)


def _products(spectrum: Tensor, kernel: Tensor) -> Tensor:
    """(36, P, C_in) times (36, C_in, C_out)."""
    if not torch.onnx.is_in_onnx_export():
        return spectrum @ kernel
    # One by one: onnxruntime brings constant matrices into the order of its arithmetic once, stacks of them in every
    # run, which takes a fifth of all its time.
    return torch.cat([one @ own for one, own in zip(spectrum.unbind(), kernel.unbind(), strict=True)])


def with_winograd(network: Module) -> Module:
    """A copy of a folded ``network`` whose large 3 x 3 convolutions take Winograd's way; the weights are shared."""
    network = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and not isinstance(parent, WinogradConvolution) and _is_worth_it(child):
                parent.add_module(name, WinogradConvolution(child))
    return network


def _is_worth_it(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.groups == 1
        and convolution.padding in ((0, 0), convolution.dilation)
        and convolution.in_channels * convolution.out_channels >= _LEAST_CHANNEL_PRODUCT
    )


@lru_cache(maxsize=32)
def _places(
    height: int, width: int, padding: int, dilation: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    """Where each value of each patch comes from and each output goes to.

    Returns:
        Cells (36 * patches,) of the map, ``height * width`` for the padding; places (H' * W',) of each output in
        (16, patches); H'; W'.
    """
    rows, columns = (side + 2 * padding - 2 * dilation for side in (height, width))
    step = _TILE * dilation
    # First row of each patch: every phase of the dilation in every tile.
    firsts = [
        (np.arange(-(-side // step))[:, None] * step + np.arange(dilation)).reshape(-1) for side in (rows, columns)
    ]
    inside = [
        first + dilation * np.arange(_PATCH)[:, None] - padding for first in firsts
    ]  # (6, patches along the axis), map coordinates
    y, x = inside[0][:, None, :, None], inside[1][None, :, None, :]
    outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    patches = np.where(outside, height * width, y * width + x).reshape(-1)

    ends = [first + dilation * np.arange(_TILE)[:, None] for first in firsts]
    y, x = ends[0][:, None, :, None], ends[1][None, :, None, :]
    shape = (_TILE, _TILE, len(firsts[0]), len(firsts[1]))
    wanted = np.broadcast_to((y < rows) & (x < columns), shape).reshape(-1)
    target = np.broadcast_to(y * columns + x, shape).reshape(-1)
    order = np.empty(rows * columns, np.int64)
    order[target[wanted]] = np.flatnonzero(wanted)
    return patches.astype(np.int64), order, rows, columns


@lru_cache(maxsize=8)
def _matrix(side: str) -> Tensor:
    """A transform of both axes at once, as one matrix: (36, 36), (36, 9) or (16, 36)."""
    one = {"input": _INPUT, "kernel": _KERNEL, "output": _OUTPUT}[side]
    with torch.inference_mode(False):
        return torch.from_numpy(np.kron(one, one).astype(np.float32))
