"""AUIF-Net on pictures: each layer's two convolutions as one 5x5 kernel.

Between a layer's convolutions (1 to 64 to 1 channels) there is no nonlinearity, so together they are one 5x5 kernel on
the mirrored picture - except in the outermost ring of pixels. There the second convolution reads the *mirrored
features*, which are not the features of the mirrored picture: each edge has a 3x5 kernel and each corner a 3x3 kernel
of its own. All nine kernels are read off the impulse responses of the plain layer, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fusion.auif import (
    BLUR_SIDE_PX,
    LAPLACE_FACTOR,
    LAPLACE_SIDE_PX,
    LAYERS,
    MINIMUM_SIZE_PX,
    Auif,
    CombinationName,
    Layer,
    mirrored,
)
from fusion.batch_norm import norm_line

Plane = NDArray[np.float32]

REACH_PX = LAPLACE_SIDE_PX // 2 + 2 * LAYERS + 2
"""How far a pixel of the result sees: the Laplacian, a 5x5 kernel in each layer, the l1 mode's window, the decoder."""

_PROBE_PX = 9
_SHAPES = ((5, 5), (3, 5), (3, 5), (5, 3), (5, 3), (3, 3), (3, 3), (3, 3), (3, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapsedLayer:
    """One layer as ``s = kernel * x + offset``, ``x <- keep x + pull image + linear s + positive max(s, 0)``.

    Attributes:
        inside: 5x5 kernel of all pixels but the outermost ring.
        top, bottom: 3x5 kernels of the first and last row, on the three rows nearest to it.
        left, right: 5x3 kernels of the first and last column.
        corners: 3x3 kernels of the corners (top left, top right, bottom left, bottom right).
    """

    inside: Plane
    top: Plane
    bottom: Plane
    left: Plane
    right: Plane
    corners: tuple[Plane, Plane, Plane, Plane]
    offset: float
    keep: float
    pull: float
    linear: float
    positive: float

    def __call__(self, x: Plane, image: Plane) -> Plane:
        """Next estimate (H, W) from the estimate ``x`` and the picture, as :class:`fusion.auif.Layer`."""
        score = self._convolved(x)
        positive = cv2.threshold(score, 0, 0, cv2.THRESH_TOZERO)[1]
        following = cv2.addWeighted(x, self.keep, image, self.pull, 0)
        following = cv2.scaleAdd(score, self.linear, following, dst=following)
        return np.asarray(cv2.scaleAdd(positive, self.positive, following, dst=following), np.float32)

    def _convolved(self, x: Plane) -> Plane:
        score = _filtered(x, self.inside, self.offset, (2, 2))
        score[0] = _filtered(x[:3], self.top, self.offset, (2, 0))[0]
        score[-1] = _filtered(x[-3:], self.bottom, self.offset, (2, 2))[2]
        score[:, 0] = _filtered(x[:, :3], self.left, self.offset, (0, 2))[:, 0]
        score[:, -1] = _filtered(x[:, -3:], self.right, self.offset, (2, 2))[:, 2]
        for (row, column), kernel in zip(((0, 0), (0, -1), (-1, 0), (-1, -1)), self.corners, strict=True):
            rows, columns = (slice(3) if end == 0 else slice(-3, None) for end in (row, column))
            score[row, column] = np.vdot(x[rows, columns], kernel) + self.offset
        return score


@dataclass(frozen=True, slots=True, kw_only=True)
class AuifMethod:
    """Fuses grey pictures with AUIF-Net on the CPU.

    Attributes:
        base, detail: layers of the two encoders.
        decoder_kernel: 3x3 kernel of the decoder, its batch norm folded in, and ``decoder_offset``.
        combination: how the layers of the two pictures become one.
    """

    base: tuple[CollapsedLayer, ...]
    detail: tuple[CollapsedLayer, ...]
    decoder_kernel: Plane
    decoder_offset: float
    combination: CombinationName

    @property
    def minimum_size_px(self) -> int:
        """Smallest height and width."""
        return MINIMUM_SIZE_PX

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> Plane:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W), grey levels 0..255."""
        first, second = (np.asarray(picture / np.float32(255), np.float32) for picture in (thermal, visible))
        return self.fuse_planes(first, second) * np.float32(255)

    def fuse_planes(self, first: Plane, second: Plane) -> Plane:
        """Fuse two pictures (H, W) in 0..1 into one in 0..1."""
        parts = zip(self.encode(first), self.encode(second), strict=True)
        base, detail = (combine_planes(one, other, self.combination) for one, other in parts)
        score = _filtered(base + detail, self.decoder_kernel, self.decoder_offset, (1, 1))
        return np.asarray(1 / (1 + np.exp(-score)), np.float32)

    def encode(self, image: Plane) -> tuple[Plane, Plane]:
        """Base and detail of a picture (H, W) in 0..1."""
        base = _box_mean(image, BLUR_SIDE_PX)
        detail = (_box_mean(image, LAPLACE_SIDE_PX) - image) * np.float32(LAPLACE_FACTOR)
        for layer in self.base:
            base = layer(base, image)
        for layer in self.detail:
            detail = layer(detail, image)
        return base, detail


def collapse(network: Auif, combination: CombinationName = "sum") -> AuifMethod:
    """The fast form of a trained network."""
    convolution, norm = network.decoder[1], network.decoder[2]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    scale, offset = map(float, norm_line(norm))
    return AuifMethod(
        base=tuple(collapse_layer(layer) for layer in network.conv1 if isinstance(layer, Layer)),
        detail=tuple(collapse_layer(layer) for layer in network.conv2 if isinstance(layer, Layer)),
        decoder_kernel=(convolution.weight[0, 0].double() * scale).float().detach().numpy(),
        decoder_offset=offset,
        combination=combination,
    )


def collapse_layer(layer: Layer) -> CollapsedLayer:
    """The single-kernel form of a layer."""
    norm, activation = layer.rest[0], layer.rest[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(activation, nn.PReLU)
    scale, offset = map(float, norm_line(norm))
    kernels = collapsed_kernels(layer.kernel.detach().double())
    inside, top, bottom, left, right, *corners = (
        np.ascontiguousarray((kernel * scale).float().numpy()) for kernel in kernels
    )
    eta, theta, slope = (float(value.detach()) for value in (layer.eta, layer.theta, activation.weight))
    return CollapsedLayer(
        inside=inside,
        top=top,
        bottom=bottom,
        left=left,
        right=right,
        corners=(corners[0], corners[1], corners[2], corners[3]),
        offset=offset,
        keep=1 - eta * theta,
        pull=eta * theta,
        linear=-eta * slope,
        positive=-eta * (1 - slope),
    )


def combine_planes(first: Plane, second: Plane, combination: CombinationName) -> Plane:
    """Combine one layer (H, W) of two pictures, as :func:`fusion.auif.combine`."""
    match combination:
        case "sum":
            return first + second
        case "average":
            return (first + second) / np.float32(2)
        case "l1":
            activities = [
                cv2.boxFilter(np.abs(plane), -1, (3, 3), borderType=cv2.BORDER_CONSTANT) for plane in (first, second)
            ]
            share = np.asarray(activities[0] / (activities[0] + activities[1]), np.float32)
            return share * first + (1 - share) * second


def collapsed_kernels(kernel: Tensor) -> tuple[Tensor, ...]:
    """A layer's convolution pair with the kernel (64, 1, 3, 3) as one convolution; differentiable.

    Returns:
        Nine kernels: inside (5, 5); top and bottom row (3, 5); left and right column (5, 3); corners (3, 3) top left,
        top right, bottom left, bottom right.
    """
    taps = kernel.flatten(1)
    products = (taps.T @ taps).flatten()
    responses = _responses_of_products().to(kernel) @ products
    parts = torch.split(responses, [height * width for height, width in _SHAPES])
    return tuple(part.view(shape) for part, shape in zip(parts, _SHAPES, strict=True))


@cache
def _responses_of_products() -> Tensor:
    """Linear map from the products of two taps (9 * 9) to the nine kernels, one after the other (121), float64.

    Read off the plain pair of convolutions: for a 1 at each place (v, u) of a 9x9 probe, the output at (y, x) when the
    first kernel is 1 at one tap and the second at another.
    """
    side, middle, last = _PROBE_PX, _PROBE_PX // 2, _PROBE_PX - 1
    probe = torch.eye(side**2, dtype=torch.float64).view(-1, 1, side, side)
    tap = torch.eye(9, dtype=torch.float64).view(9, 1, 3, 3)
    features = functional.conv2d(mirrored(probe, 1), tap)
    back = functional.conv2d(mirrored(features, 1).flatten(0, 1)[:, None], tap.flip(2, 3))
    responses = back.view(side, side, 81, side, side)
    near, far, around = slice(3), slice(-3, None), slice(middle - 2, middle + 3)
    places = (
        (middle, middle, around, around),
        (0, middle, near, around),
        (last, middle, far, around),
        (middle, 0, around, near),
        (middle, last, around, far),
        (0, 0, near, near),
        (0, last, near, far),
        (last, 0, far, near),
        (last, last, far, far),
    )
    return torch.cat([responses[rows, columns, :, row, column].flatten(0, 1) for row, column, rows, columns in places])


def _filtered(plane: Plane, kernel: Plane, offset: float, anchor_xy: tuple[int, int]) -> Plane:
    border = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.filter2D(plane, -1, kernel, anchor=anchor_xy, delta=offset, borderType=border), np.float32)


def _box_mean(plane: Plane, side_px: int) -> Plane:
    # Summed in float64: a running sum of float32 drifts along a row.
    mean = cv2.boxFilter(plane, cv2.CV_64F, (side_px, side_px), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(mean, np.float32)
