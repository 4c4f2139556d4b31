"""Region proposal head with depth-wise cross-correlation, for one scale or several.

Source: SiamRPN++ (Li et al., CVPR 2019); key names of PySOT (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trackers.networks.interface import Features
from trackers.networks.neck import FIRST_LEVEL


class CorrelationBranch(nn.Module):
    """Classes or boxes of one scale: adjust both sides, correlate channel by channel, read the map."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv_kernel = _unit(channels, 3)
        self.conv_search = _unit(channels, 3)
        self.head = nn.Sequential(*_unit(channels, 1), nn.Conv2d(channels, outputs, 1))

    def kernel(self, template: Tensor) -> Tensor:
        """Correlation kernel (B, C, k - 2, k - 2) from template features (B, C, k, k)."""
        kernel: Tensor = self.conv_kernel(template)
        return kernel

    def adjust(self, search: Tensor) -> Tensor:
        """What is correlated with the kernel, (B, C, S - 2, S - 2), from search features (B, C, S, S)."""
        adjusted: Tensor = self.conv_search(search)
        return adjusted

    def read(self, correlation: Tensor) -> Tensor:
        """(B, outputs, H, W) from a correlation (B, C, H, W)."""
        response: Tensor = self.head(correlation)
        return response


class DepthwiseRPN(nn.Module):
    """Class logits and box deltas of one scale: 2A and 4A channels for A anchors a cell."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.cls = CorrelationBranch(channels, 2 * anchors)
        self.loc = CorrelationBranch(channels, 4 * anchors)

    def kernels(self, template: Sequence[Tensor]) -> Features:
        """Kernels from the template features of one scale."""
        (features,) = template
        return self.cls.kernel(features), self.loc.kernel(features)

    def adjust(self, search: Sequence[Tensor]) -> Features:
        """Maps to correlate with the kernels, from search features of one scale."""
        (features,) = search
        return self.cls.adjust(features), self.loc.adjust(features)

    def read(self, correlations: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, 2A, H, W) and deltas (B, 4A, H, W) from the correlations of one scale."""
        classes, boxes = correlations
        return self.cls.read(classes), self.loc.read(boxes)


class MultiRPN(nn.Module):
    """A :class:`DepthwiseRPN` for each scale, merged by learned softmax weights or by the plain mean."""

    def __init__(self, channels: Sequence[int], anchors: int, *, weighted: bool) -> None:
        super().__init__()
        self.weighted = weighted
        self._names = tuple(f"rpn{FIRST_LEVEL + index}" for index in range(len(channels)))
        for name, level_channels in zip(self._names, channels, strict=True):
            self.add_module(name, DepthwiseRPN(level_channels, anchors))
        if weighted:
            self.cls_weight = nn.Parameter(torch.ones(len(channels)))
            self.loc_weight = nn.Parameter(torch.ones(len(channels)))

    def kernels(self, template: Sequence[Tensor]) -> Features:
        """Kernels of all scales, class and box kernel of the first scale first."""
        levels = zip(self._names, template, strict=True)
        return tuple(kernel for name, level in levels for kernel in self._level(name).kernels((level,)))

    def adjust(self, search: Sequence[Tensor]) -> Features:
        """Maps to correlate with the kernels, in the kernels' order, from search features of all scales."""
        levels = zip(self._names, search, strict=True)
        return tuple(adjusted for name, level in levels for adjusted in self._level(name).adjust((level,)))

    def responses(self, correlations: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Logits and deltas of every scale before merging."""
        pairs = zip(correlations[::2], correlations[1::2], strict=True)
        return [self._level(name).read(pair) for name, pair in zip(self._names, pairs, strict=True)]

    def read(self, correlations: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Merged logits (B, 2A, H, W) and deltas (B, 4A, H, W) from the correlations of all scales."""
        logits, deltas = zip(*self.responses(correlations), strict=True)
        if self.weighted:
            return _merge(logits, self.cls_weight.softmax(0)), _merge(deltas, self.loc_weight.softmax(0))
        return torch.stack(logits).mean(0), torch.stack(deltas).mean(0)

    def _level(self, name: str) -> DepthwiseRPN:
        level = self.get_submodule(name)
        assert isinstance(level, DepthwiseRPN)
        return level


def _unit(channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    )


def _merge(levels: Sequence[Tensor], weights: Tensor) -> Tensor:
    merged = levels[0] * weights[0]
    for index, level in enumerate(levels[1:], start=1):
        merged = merged + level * weights[index]
    return merged
