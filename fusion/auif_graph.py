"""AUIF-Net as a graph of plain operations, each layer as one 5x5 kernel with the borders of its own.

See :mod:`fusion.auif_inference`, whose kernels these are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.auif import BLUR_SIDE_PX, LAPLACE_FACTOR, LAPLACE_SIDE_PX, combine, mirrored
from fusion.auif_inference import AuifMethod, CollapsedLayer, Plane


class LayerGraph(nn.Module):
    """One layer on estimates (B, 1, H, W), as :class:`fusion.auif_inference.CollapsedLayer`."""

    def __init__(self, layer: CollapsedLayer) -> None:
        super().__init__()
        self.inside, self.top, self.bottom, self.left, self.right = (
            _kernel(plane) for plane in (layer.inside, layer.top, layer.bottom, layer.left, layer.right)
        )
        self.corners = nn.ParameterList(_kernel(plane) for plane in layer.corners)
        self._layer = layer

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Next estimate of the estimate ``x`` and the picture."""
        layer = self._layer
        score = self._convolved(x) + layer.offset
        return layer.keep * x + layer.pull * image + layer.linear * score + layer.positive * functional.relu(score)

    def _convolved(self, x: Tensor) -> Tensor:
        wide = mirrored(x, 2)
        inside = functional.conv2d(wide, self.inside)
        top = functional.conv2d(wide[:, :, 2:5], self.top)
        bottom = functional.conv2d(wide[:, :, -5:-2], self.bottom)
        left = functional.conv2d(wide[:, :, :, 2:5], self.left)
        right = functional.conv2d(wide[:, :, :, -5:-2], self.right)
        near, far = slice(None, 3), slice(-3, None)
        corners = [
            functional.conv2d(x[:, :, rows, columns], kernel)
            for (rows, columns), kernel in zip(
                ((near, near), (near, far), (far, near), (far, far)), self.corners, strict=True
            )
        ]
        middle = torch.cat([left[:, :, 1:-1], inside[:, :, 1:-1, 1:-1], right[:, :, 1:-1]], 3)
        first = torch.cat([corners[0], top[:, :, :, 1:-1], corners[1]], 3)
        last = torch.cat([corners[2], bottom[:, :, :, 1:-1], corners[3]], 3)
        return torch.cat([first, middle, last], 2)


class AuifGraph(nn.Module):
    """Both pictures 0..255 to the fused one."""

    def __init__(self, method: AuifMethod) -> None:
        super().__init__()
        self.base = nn.ModuleList(LayerGraph(layer) for layer in method.base)
        self.detail = nn.ModuleList(LayerGraph(layer) for layer in method.detail)
        self.decoder = _kernel(method.decoder_kernel)
        self._offset = method.decoder_offset
        self._combination = method.combination

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Picture (1, 1, H, W) of two pictures of its size."""
        images = torch.cat([infrared, visible]) / 255
        base = _box_mean(images, BLUR_SIDE_PX)
        detail = (_box_mean(images, LAPLACE_SIDE_PX) - images) * LAPLACE_FACTOR
        for layer in self.base:
            base = layer(base, images)
        for layer in self.detail:
            detail = layer(detail, images)
        total = combine(base[:1], base[1:], self._combination) + combine(detail[:1], detail[1:], self._combination)
        return torch.sigmoid(functional.conv2d(mirrored(total, 1), self.decoder) + self._offset) * 255


def _box_mean(images: Tensor, side_px: int) -> Tensor:
    """Mean over a square window with mirrored border, along the rows and then along the columns."""
    rows = functional.avg_pool2d(mirrored(images, side_px // 2), (1, side_px), stride=1)
    return functional.avg_pool2d(rows, (side_px, 1), stride=1)


def _kernel(plane: Plane) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(plane)[None, None].clone(), requires_grad=False)
