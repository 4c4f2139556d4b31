"""The network of ``siamrpn-lite``: SiamRPN++ in a size that two CPU cores train and run at video speed.

Form of SiamRPN++ (Li et al., CVPR 2019): a shared backbone read at several scales, a depth-wise cross-correlation of
template and search features at each of them, learned softmax weights that merge the scales, and a region proposal
head on a 25 x 25 map with stride 8 over a 255 x 255 search crop. What differs, for the sake of two cores: the
backbone is MobileNetV3-small (strides 8, 16, 16 instead of 8, 8, 8), convolutions are depth-wise separable, the
scales are merged before one shared tower instead of after three, and there is one square anchor a place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.batch_norm import norm_line
from fusion.cuda_graphs import side_by_side
from trackers.anchors import AnchorLayout, decode_anchors
from trackers.networks.correlation import depthwise_correlation
from trackers.networks.interface import Features, Response, respond_in_stages
from trackers.networks.mobilenetv3 import NanoBackbone
from trackers.networks.neck import center_crop

MAP_SIZE = 25
ANCHORS = AnchorLayout(ratios=(1.0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelShape:
    """How one backbone scale is correlated.

    Attributes:
        block: backbone block whose output is read.
        channels: channels of that output.
        template_crop: side of the central part of the template features that becomes the kernel.
        padding: zero padding of the 3 x 3 convolutions on this scale (0 or 1).
        stride: pixels of the crop per feature cell.
    """

    block: int
    channels: int
    template_crop: int
    padding: int
    stride: int


# The crop sides make the correlation maps share one centre: 16 cells -> 8, minus 2 by the unpadded convolution, is a
# 6 x 6 kernel over 30 x 30 (25 x 25 at stride 8); 8 cells -> 4 x 4 over 16 x 16 is 13 x 13 at stride 16, whose
# places are every other place of the finer map.
LEVELS = (
    LevelShape(block=3, channels=24, template_crop=8, padding=0, stride=8),
    LevelShape(block=6, channels=40, template_crop=4, padding=1, stride=16),
    LevelShape(block=9, channels=96, template_crop=4, padding=1, stride=16),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteConfig:
    """Size of the head: ``channels`` of the correlation features and separable layers in each tower."""

    channels: int = 96
    tower_depth: int = 3


class SeparableUnit(nn.Module):
    """Depth-wise 3 x 3 and point-wise 1 x 1 convolution, each with batch norm; ReLU after the second."""

    def __init__(self, channels_in: int, channels_out: int, padding: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_in, 3, 1, padding, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H - 2 + 2 padding, W - 2 + 2 padding)."""
        y: Tensor = self.layers(x)
        return y


class LiteBranch(nn.Module):
    """One of the two branches (classes, boxes): kernels from the template, a merged map, a tower, an output."""

    def __init__(self, config: LiteConfig, outputs: int) -> None:
        super().__init__()
        channels = config.channels
        self.kernel = nn.ModuleList(SeparableUnit(channels, channels, level.padding) for level in LEVELS)
        self.search = nn.ModuleList(SeparableUnit(channels, channels, level.padding) for level in LEVELS)
        self.normalize = nn.ModuleList(nn.BatchNorm2d(channels) for _ in LEVELS)
        self.level_weight = nn.Parameter(torch.zeros(len(LEVELS)))
        self.tower = nn.Sequential(*(SeparableUnit(channels, channels, 1) for _ in range(config.tower_depth)))
        self.output = nn.Conv2d(channels, outputs, 1)
        self.kernel_scale: Tensor | None = None
        self.merge_bias: Tensor | None = None

    def fold(self) -> None:
        """Move the scales' weights and norms into the kernels, for inference: correlation is linear in them.

        What is left to :meth:`merge` is a sum and a bias. Kernels made before fit no more.
        """
        weights = self.level_weight.softmax(dim=0).double()
        scales, biases = [], []
        for weight, norm in zip(weights, self.normalize, strict=True):
            assert isinstance(norm, nn.BatchNorm2d)
            scale, offset = norm_line(norm)
            scales.append(weight * scale)
            biases.append(weight * offset)
        dtype = self.level_weight.dtype
        # Buffers, not attributes: they have to follow the network to its device and count towards its digest.
        del self.kernel_scale, self.merge_bias
        self.normalize = nn.ModuleList()
        self.register_buffer("kernel_scale", torch.stack(scales).to(dtype)[..., None, None])
        self.register_buffer("merge_bias", torch.stack(biases).sum(0).to(dtype)[:, None, None])

    def kernels(self, template: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Kernels (B, C, k, k) from the central template features of each scale."""
        kernels = tuple(
            center_crop(unit(features), level.template_crop - 2 + 2 * level.padding)
            for unit, features, level in zip(self.kernel, template, LEVELS, strict=True)
        )
        if self.kernel_scale is None:
            return kernels
        return tuple(kernel * scale for kernel, scale in zip(kernels, self.kernel_scale, strict=True))

    def merge(self, correlations: Sequence[Tensor]) -> Tensor:
        """Correlation features (B, C, 25, 25), the scales' correlations merged by their learned weights."""
        if self.merge_bias is not None:
            return self._merged(correlations, self.merge_bias)
        weights = self.level_weight.softmax(dim=0)
        merged: Tensor | None = None
        for index, correlation in enumerate(correlations):
            response = self.normalize[index](correlation)
            if response.shape[-1] != MAP_SIZE:
                response = doubled(response)
            merged = weights[index] * response if merged is None else merged + weights[index] * response
        if merged is None:
            raise ValueError("a branch needs at least one scale")
        return functional.relu(merged)

    def _merged(self, correlations: Sequence[Tensor], bias: Tensor) -> Tensor:
        fine, *coarse = correlations
        # The coarse scales share their places, so that one map between them has to be doubled.
        total = coarse[0] + bias
        for correlation in coarse[1:]:
            total = total + correlation
        # In place: these maps are the largest of the head, and new memory costs more than the sum.
        return doubled(total).add_(fine).relu_()

    def decide(self, correlation: Tensor) -> Tensor:
        """Raw output (B, outputs, 25, 25) from correlation features."""
        output: Tensor = self.output(self.tower(correlation))
        return output


class ReliabilityGate(nn.Module):
    """How far to trust each modality, place by place, read off its own correlation with the template.

    The same small network looks at each modality's correlation features, so it knows no modality by name: what it
    learns is what a trustworthy response looks like. Its score at a place is a local part plus one part for the
    whole map (from the strongest hidden responses); a softmax over the modalities makes weights of the scores.
    """

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, hidden, 3, 1, 1), nn.ReLU()
        )
        self.local = nn.Conv2d(hidden, 1, 1)
        self.overall = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1))

    def forward(self, correlations: Tensor) -> Tensor:
        """Weights (K, B, 1, H, W), summing to 1 over K, from correlation features (K, B, C, H, W)."""
        modalities, batch = correlations.shape[:2]
        hidden = self.hidden(correlations.flatten(0, 1))
        pooled = torch.cat([hidden.amax(dim=(2, 3)), hidden.mean(dim=(2, 3))], dim=1)
        scores: Tensor = self.local(hidden) + self.overall(pooled)[:, :, None, None]
        return scores.reshape(modalities, batch, *scores.shape[1:]).softmax(dim=0)


class LiteNetwork(nn.Module):
    """Backbone, neck and the two branches of ``siamrpn-lite``.

    Crops are BGR, float 0..255, (B, 3, 127, 127) for templates and (B, 3, 255, 255) for searches. One square anchor
    of 64 px a place, PySOT's box parameterisation.
    """

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        config = config or LiteConfig()
        self.backbone = NanoBackbone(3)
        self.neck = nn.ModuleList(
            nn.Sequential(nn.Conv2d(level.channels, config.channels, 1, bias=False), nn.BatchNorm2d(config.channels))
            for level in LEVELS
        )
        self.classes = LiteBranch(config, 2)
        self.boxes = LiteBranch(config, 4)
        self.gate = ReliabilityGate(config.channels)
        # Start sure of "background" (1 %), as RetinaNet does, so that the first steps are not spent on unlearning.
        nn.init.constant_(self.classes.output.bias[0:1], 2.3)  # type: ignore[index]
        nn.init.constant_(self.classes.output.bias[1:2], -2.3)  # type: ignore[index]

    def extract(self, crops: Tensor) -> Features:
        """Features (B, C_i, H_i, W_i) of each scale, the place where modalities are fused."""
        return tuple(self.backbone(crops, [level.block for level in LEVELS]))

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """Correlation kernels (B, C, k, k) of the target: of each scale for classes, then for boxes.

        Features of K modalities one after the other (3 K tensors) give K such sets one after the other, for the gate.
        """
        count = len(LEVELS)
        if len(features) > count:
            return (*self.encode_template(features[:count]), *self.encode_template(features[count:]))
        cropped = [
            center_crop(neck(level_features), level.template_crop)
            for neck, level_features, level in zip(self.neck, features, LEVELS, strict=True)
        ]
        return (*self.classes.kernels(cropped), *self.boxes.kernels(cropped))

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """Compare remembered targets with the features of their search crops.

        Three tensors are features of one modality, or of several fused at each scale; 3 K tensors are those of K
        modalities, which are correlated apart and weighed by the gate.
        """
        return respond_in_stages(self, template, features, len(features) // len(LEVELS))

    def adjust_search(self, features: Sequence[Tensor]) -> Features:
        """Maps to correlate with the kernels: of each scale for classes, then for boxes."""
        necks = zip(self.neck, features, strict=True)
        search = _each(features[0], [partial(neck, level_features) for neck, level_features in necks])
        units = (*zip(self.classes.search, search, strict=True), *zip(self.boxes.search, search, strict=True))
        return tuple(_each(features[0], [partial(unit, level_features) for unit, level_features in units]))

    def match(self, template: Sequence[Tensor], maps: Sequence[Tensor]) -> Features:
        """Depth-wise correlation of each map with its kernel."""
        pairs = zip(maps, template, strict=True)
        return tuple(_each(maps[0], [partial(depthwise_correlation, each, kernel) for each, kernel in pairs]))

    def answer(self, matches: Sequence[Tensor], modalities: int = 1) -> Response:
        """Scores and boxes from correlations (K B, C, H, W) of K modalities, which the gate weighs place by place."""
        class_map, box_map = self.merge(matches)
        if modalities > 1:
            _, class_map, box_map = self.weigh(
                *(each.reshape(modalities, -1, *each.shape[1:]) for each in (class_map, box_map))
            )
        logits, deltas = self.decide(class_map, box_map)
        if logits.dtype is torch.float16:
            # Half the bits of a position in the crop are a sixteenth of a pixel.
            logits, deltas = logits.float(), deltas.float()
        return as_response(logits, deltas)

    def weigh(self, class_map: Tensor, box_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate weights (K, B, 1, 25, 25) and the correlation features (K, B, C, 25, 25), summed with them over K."""
        weights = self.gate(class_map)
        # Term by term: a sum along the first dimension of the products would write and read them all once more.
        classes, boxes = weights[0] * class_map[0], weights[0] * box_map[0]
        for weight, class_part, box_part in zip(weights[1:], class_map[1:], box_map[1:], strict=True):
            classes, boxes = torch.addcmul(classes, weight, class_part), torch.addcmul(boxes, weight, box_part)
        return weights, classes, boxes

    def decide(self, class_map: Tensor, box_map: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (B, 2, 25, 25) and box deltas (B, 4, 25, 25) from correlation features."""
        decisions = (partial(self.classes.decide, class_map), partial(self.boxes.decide, box_map))
        logits, deltas = _each(class_map, decisions)
        return logits, deltas

    def correlate(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Correlation features (B, C, 25, 25) for classes and for boxes."""
        return self.merge(self.match(template, self.adjust_search(features)))

    def merge(self, matches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Correlation features (B, C, 25, 25) for classes and for boxes from the correlations of every scale."""
        count = len(LEVELS)
        parts = (partial(self.classes.merge, matches[:count]), partial(self.boxes.merge, matches[count:]))
        classes, boxes = _each(matches[0], parts)
        return classes, boxes


def _each(example: Tensor, works: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
    """What all functions make, side by side where ``example`` and all else is on a GPU."""
    return side_by_side(works) if example.is_cuda else [work() for work in works]


def doubled(coarse: Tensor) -> Tensor:
    """Put the mean of neighbours between the places of a map: (..., n, n) to (..., 2 n - 1, 2 n - 1).

    This is bilinear interpolation with aligned corners, as two matrix products: several times faster on a CPU.
    """
    # A plain number also while a graph is traced for export, where sides are tensors.
    rows = _doubling(int(coarse.shape[-1]), coarse.device).to(coarse.dtype)
    if coarse.ndim == 4 and not coarse.is_contiguous():
        # Channels-last, and so is the result: what it is added to has that layout.
        batch, channels, height, _ = coarse.shape
        wide = rows @ coarse.permute(0, 2, 3, 1)
        high = rows @ wide.reshape(batch, height, -1)
        return high.reshape(batch, rows.shape[0], rows.shape[0], channels).permute(0, 3, 1, 2)
    return rows @ (coarse @ rows.T)


def as_response(logits: Tensor, deltas: Tensor) -> Response:
    """Probabilities and boxes in crop pixels from raw outputs (B, 2, H, W) and (B, 4, H, W).

    PySOT's parameterisation with one square anchor of 64 px at every place, 8 px apart.
    """
    score = (logits[:, 1:] - logits[:, :1]).sigmoid()
    return Response(score, decode_deltas(deltas)[:, :, None])


def decode_deltas(deltas: Tensor) -> Tensor:
    """Boxes cx, cy, w, h in crop pixels from the crop's centre, (B, 4, H, W), from deltas of the same shape."""
    # The clamp keeps a wild regression of an untrained or half-precision network finite: 1.2 to 780 px.
    bounded = torch.cat([deltas[:, :2], deltas[:, 2:].clamp(-4.0, 2.5)], dim=1)
    return decode_anchors(bounded, ANCHORS)[:, :, 0]


# Without a limit, for captured CUDA graphs go on reading these; there are as many as sizes of maps.
@cache
def _doubling(size: int, device: torch.device) -> Tensor:
    """Matrix (2 size - 1, size) that puts the mean of neighbours between the values of a column."""
    # Kept for later calls, of which some train: a tensor made in inference mode could not be part of a gradient.
    with torch.inference_mode(False):
        rows = torch.zeros(2 * size - 1, size)
        places = torch.arange(size)
        rows[2 * places, places] = 1.0
        rows[2 * places[:-1] + 1, places[:-1]] = 0.5
        rows[2 * places[:-1] + 1, places[1:]] = 0.5
        return rows.to(device)
