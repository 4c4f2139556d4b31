"""Fusion networks as graphs of plain operations, for engines other than torch and for files.

A graph takes ``infrared`` and ``visible``, (1, 1, H, W) float32 grey levels 0..255, and gives ``fused`` of the same
size, on the same scale and not clipped. Height and width are free. What is written here is meant to be traced: it
computes what the networks compute, in a form that is fast without PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion.attention import AttentionStrategy, fuse_rectified
from fusion.nestfuse import MINIMUM_SIZE_PX, Block, NestFuse
from fusion.nestfuse_inference import phase_kernels
from fusion.onnx_writing import write_onnx
from fusion.tensor_method import TensorFusion

_PICTURES = ("infrared", "visible")
_SCALES = ("f1", "f2", "f3", "f4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network, or a part of one, that can be traced.

    Attributes:
        module: takes and returns tensors (B, C, H, W).
        inputs, outputs: their names.
        examples: tensors to trace it with.
        input_sides: dimensions of the inputs that are height and width; of the outputs they are the last two.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: tuple[Tensor, ...]
    input_sides: tuple[int, int] = (2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionGraphs:
    """How a fusion method is made of graphs.

    Attributes:
        minimum_size_px: smallest height and width.
        first: takes both pictures. Alone, it gives the fused one.
        strategy: how what ``first`` gives, features (2, C, H, W) of several scales, is fused outside of the graphs.
            None: it needs no more fusing.
        last: the fused picture of fused features.
    """

    minimum_size_px: int
    first: Graph
    strategy: AttentionStrategy | None = None
    last: Graph | None = None


def picture_graphs(module: nn.Module, minimum_size_px: int) -> FusionGraphs:
    """One graph from both pictures to the fused one, of a module that takes and gives grey levels 0..255."""
    first = Graph(module=module.eval(), inputs=_PICTURES, outputs=("fused",), examples=_blank_pictures())
    return FusionGraphs(minimum_size_px=minimum_size_px, first=first)


def nestfuse_graphs(network: NestFuse, strategy: AttentionStrategy, *, split: bool = False) -> FusionGraphs:
    """NestFuse as one graph; as two where an engine has no operation for the pooling, or when ``split`` is asked for.

    Split, the first graph still holds the attention if it can.
    """
    outside = strategy.pooling not in ("avg", "max")
    if not outside and not split:
        return picture_graphs(NestFuseGraph(network, strategy), MINIMUM_SIZE_PX)
    return FusionGraphs(
        minimum_size_px=MINIMUM_SIZE_PX,
        first=encoder_graph(network) if outside else _first_graph(FrontGraph(network, strategy)),
        strategy=strategy if outside else None,
        last=decoder_graph(network),
    )


def encoder_graph(network: NestFuse) -> Graph:
    """From both pictures to their features (2, C, h, w) of four scales."""
    return _first_graph(EncoderGraph(network))


def decoder_graph(network: NestFuse) -> Graph:
    """From the fused features (1, C, h, w) of four scales to the picture."""
    sizes = [(64 >> scale, 96 >> scale) for scale in range(len(_SCALES))]
    features = (torch.zeros(1, count, *size) for count, size in zip(network.config.channels, sizes, strict=True))
    module = DecoderGraph(network).eval()
    return Graph(module=module, inputs=_SCALES, outputs=("fused",), examples=tuple(features))


def channels_last(graph: Graph) -> Graph:
    """The graph with inputs (B, H, W, C)."""
    examples = tuple(example.permute(0, 2, 3, 1).contiguous() for example in graph.examples)
    return replace(graph, module=ChannelsLastGraph(graph.module).eval(), examples=examples, input_sides=(1, 2))


def _first_graph(module: nn.Module) -> Graph:
    return Graph(module=module.eval(), inputs=_PICTURES, outputs=_SCALES, examples=_blank_pictures())


def tensor_graphs(fusion: TensorFusion) -> FusionGraphs:
    """A plain network on two tensors as one graph."""
    return picture_graphs(GreyFusion(fusion), fusion.minimum_size_px)


def write_graph(graph: Graph) -> bytes:
    """The graph in the ONNX format, height and width free.

    Raises:
        InputError: the package onnx is missing.
    """
    sides = {**dict.fromkeys(graph.inputs, graph.input_sides), **dict.fromkeys(graph.outputs, (2, 3))}
    free = {name: {rows: f"{name}_height", columns: f"{name}_width"} for name, (rows, columns) in sides.items()}
    return write_onnx(graph.module, graph.examples, graph.inputs, graph.outputs, free)


class GreyFusion(nn.Module):
    """A network as a function of two grey pictures 0..255."""

    def __init__(self, fusion: TensorFusion) -> None:
        super().__init__()
        self.network = fusion.network
        self._fusion = fusion

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fused picture (1, 1, H, W) of two pictures of its size."""
        scale = self._fusion.scale
        return self._fusion.fuse(infrared / scale, visible / scale) * scale


class EncoderGraph(nn.Module):
    """Both pictures to the features of four scales, (2, C, H, W), infrared first."""

    def __init__(self, network: NestFuse) -> None:
        super().__init__()
        self.network = network

    def forward(self, infrared: Tensor, visible: Tensor) -> list[Tensor]:
        """Features of the four scales, finest first."""
        return self.network.encode(torch.cat([infrared, visible]))


class SplitBlock(nn.Module):
    """A decoder block whose doubled inputs are convolved before they are doubled.

    As :class:`fusion.nestfuse_inference.NestBlock`, with the 2x2 cells put together by a pixel shuffle: with the
    positions of a cell in reverse order, the picture it gives is the wanted one, one pixel further down and right.
    """

    def __init__(self, block: Block, channels: int) -> None:
        super().__init__()
        first, second = block.units
        weight, bias = first.weights()
        self.fine = nn.Parameter(weight[:, :channels].contiguous())
        self.bias = nn.Parameter(bias)
        phases = phase_kernels(weight[:, channels:]).view(4, len(weight), -1, 2, 2)
        self.coarse = nn.Parameter(phases.flip(0).transpose(0, 1).flatten(0, 1).contiguous())
        self.mix = second

    def forward(self, fine: Sequence[Tensor], coarse: Tensor) -> Tensor:
        """(B, out, H, W) of bordered skip features (B, c, H + 2, W + 2) and features (B, c, H // 2, W // 2)."""
        inner = functional.conv2d(torch.cat(list(fine), 1), self.fine, self.bias)
        edged = functional.pad(coarse, (1, 1, 1, 1), mode="replicate")
        cells = functional.pixel_shuffle(functional.conv2d(edged, self.coarse), 2)
        height, width = inner.shape[2:]
        output: Tensor = self.mix(functional.relu(inner + cells[:, :, 1 : height + 1, 1 : width + 1]))
        return output


class DecoderGraph(nn.Module):
    """Fused features of four scales to the last picture, as :meth:`fusion.nestfuse.NestFuse.decode`."""

    def __init__(self, network: NestFuse) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {
                name: SplitBlock(block, fine_channels)
                for name, (block, fine_channels) in network.decoder_blocks().items()
            }
        )
        self.adapters = nn.ModuleList(network.adapters)
        self.output = network.last_output

    def forward(self, f1: Tensor, f2: Tensor, f3: Tensor, f4: Tensor) -> Tensor:
        """Picture (1, 1, H, W) in 0..255."""
        block = self.blocks
        if self.adapters:
            f1, f2, f3, f4 = (adapter(scale) for adapter, scale in zip(self.adapters, (f1, f2, f3, f4), strict=True))
        b1, b2 = bordered(f1), bordered(f2)
        x31 = block["DB3_1"]([bordered(f3)], f4)
        x21 = block["DB2_1"]([b2], f3)
        x22 = block["DB2_2"]([b2, bordered(x21)], x31)
        x11 = bordered(block["DB1_1"]([b1], f2))
        x12 = bordered(block["DB1_2"]([b1, x11], x21))
        output: Tensor = self.output(block["DB1_3"]([b1, x11, x12], x22))
        return output


class ChannelsLastGraph(nn.Module):
    """A graph whose inputs (B, C, H, W) come as (B, H, W, C)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *maps: Tensor) -> Tensor:
        """What the graph gives."""
        output: Tensor = self.module(*(each.permute(0, 3, 1, 2) for each in maps))
        return output


class FrontGraph(nn.Module):
    """Both pictures to the fused features of four scales."""

    def __init__(self, network: NestFuse, strategy: AttentionStrategy) -> None:
        super().__init__()
        self.encoder = EncoderGraph(network)
        self._strategy = strategy

    def forward(self, infrared: Tensor, visible: Tensor) -> list[Tensor]:
        """Fused features (1, C, H, W), finest first."""
        return [fuse_rectified(scale, self._strategy) for scale in self.encoder(infrared, visible)]


class NestFuseGraph(nn.Module):
    """Both pictures to the fused one, attention included."""

    def __init__(self, network: NestFuse, strategy: AttentionStrategy) -> None:
        super().__init__()
        self.front = FrontGraph(network, strategy)
        self.decoder = DecoderGraph(network)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Picture (1, 1, H, W) in 0..255."""
        output: Tensor = self.decoder(*self.front(infrared, visible))
        return output


def bordered(features: Tensor) -> Tensor:
    """Features (B, C, H, W) with one mirrored pixel around."""
    return functional.pad(features, (1, 1, 1, 1), mode="reflect")


def _blank_pictures() -> tuple[Tensor, Tensor]:
    return torch.zeros(1, 1, 64, 96), torch.zeros(1, 1, 64, 96)
