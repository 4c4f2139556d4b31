"""Fusion networks as ONNX files with free height and width, checked against torch.

A network is one file, which takes ``infrared`` and ``visible``, (1, 1, H, W) float32 grey levels 0..255, and gives
``fused`` of the same size, on the same scale and not clipped. The range mapping is not part of it. Where the attention
has no form in ONNX (nuclear norms), there are two: ``<name>.encoder.onnx`` gives the features ``f1`` to ``f4`` of both
pictures, (2, C, h, w), infrared first; ``<name>.decoder.onnx`` takes the fused ones, (1, C, h, w).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.errors import InputError, RunError
from fusion.factory import attention_strategy, fusion_graphs
from fusion.fuser import PoolingName, SpatialName, method_in_mode
from fusion.graph_engines import GraphEngine
from fusion.graph_method import GraphMethod
from fusion.graphs import write_graph
from fusion.picture_fuser import LumaMethod
from fusion.whole_files import written_whole

_CHECKED_SIZES = ((64, 96), (61, 83), (120, 75))
_TOLERANCE = 1e-4 * 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was exported and how well it agrees.

    Attributes:
        name: the method.
        paths: the ONNX file, or two.
        checked_sizes: heights and widths of the pictures it was checked on.
        largest_difference: between onnxruntime and torch, in grey levels.
        size_bytes: of all files.
    """

    name: str
    paths: tuple[Path, ...]
    checked_sizes: tuple[tuple[int, int], ...]
    largest_difference: float
    size_bytes: int


def export_fuser(
    name: str,
    out: Path,
    weights: Path | None = None,
    *,
    mode: str | None = None,
    pooling: PoolingName = "avg",
    spatial: SpatialName = "softmax",
) -> ExportReport:
    """Write a network to the folder ``out`` and compare it with torch on three sizes, odd ones included.

    The files are named after the method and what differs from its defaults: ``didfuse-l1.onnx``,
    ``nestfuse-max.onnx``.

    Args:
        name: one of :data:`fusion.factory.FUSION_METHODS` that is a network.
        out: folder for the files.
        weights: in place of the imported or shipped ones.
        mode: one of its :data:`fusion.fuser.FUSION_MODES`; None is the published one.
        pooling: channel pooling of the attention methods.
        spatial: spatial attention of the attention methods.

    Raises:
        InputError: a method that cannot be exported or has no weights, an unknown choice, or a missing package.
        RunError: the exported network computes something else.
    """
    method = method_in_mode(name, mode)
    strategy = attention_strategy(pooling, spatial)
    graphs, reference = fusion_graphs(method, weights, strategy)
    stem = "-".join([method, *(choice for choice in (pooling, spatial) if choice not in ("avg", "softmax"))])
    names = [f"{stem}.onnx"] if graphs.last is None else [f"{stem}.encoder.onnx", f"{stem}.decoder.onnx"]
    contents = [write_graph(graph) for graph in (graphs.first, graphs.last) if graph is not None]
    try:
        running = [GraphEngine("onnx", torch.device("cpu")).start(content) for content in contents]
    except InputError as error:
        raise InputError("export needs the package onnxruntime: pip install 'rgbt-stream[cpu,export]'") from error
    exported = GraphMethod(
        running[0],
        graphs.strategy,
        running[1] if len(running) > 1 else None,
        minimum_size_px=graphs.minimum_size_px,
    )
    worst = max(_difference(reference, exported, size) for size in _CHECKED_SIZES)
    # Written so that a NaN fails too.
    if not worst <= _TOLERANCE:
        raise RunError(f"{stem} as ONNX differs from torch by {worst:.3g} grey levels; nothing was written")
    out.mkdir(parents=True, exist_ok=True)
    paths = tuple(out / file for file in names)
    for path, content in zip(paths, contents, strict=True):
        with written_whole(path) as partial:
            partial.write_bytes(content)
    return ExportReport(
        name=stem,
        paths=paths,
        checked_sizes=_CHECKED_SIZES,
        largest_difference=worst,
        size_bytes=sum(len(content) for content in contents),
    )


def _difference(reference: LumaMethod, exported: LumaMethod, size: tuple[int, int]) -> float:
    generator = np.random.default_rng(0)
    visible, thermal = (_picture(generator, size) for _ in range(2))
    expected, got = (method.fuse_luma(visible, thermal) for method in (reference, exported))
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got - expected).max())


def _picture(generator: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    return generator.integers(0, 256, size, dtype=np.uint8)
