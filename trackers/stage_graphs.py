"""The stages of a tracker's network as ONNX graphs, written once and kept in the user's cache folder.

Each graph has constant weights, fixed sides and any number of targets; what a template has to do with a search crop
(:meth:`trackers.networks.interface.StagedNetwork.match`) has no weights and stays outside. Inputs are named
``input_0``, ``input_1``, ..., outputs ``output_0``, ...
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

import trackers.networks
from fusion import onnx_writing
from fusion.whole_files import written_whole
from trackers import anchors
from trackers.networks.interface import Features, StagedNetwork, modality_batch

CACHE_VARIABLE = "RGBT_STREAM_CACHE"

StageName = Literal["extract", "encode", "adjust", "answer"]

_TRACED_TARGETS = 2


class StageGraph(nn.Module):
    """One stage of a network as a function of tensors alone."""

    def __init__(self, network: nn.Module, stage: StageName, modalities: int = 1) -> None:
        super().__init__()
        self.network = network
        self._stage = stage
        self._modalities = modalities
        # The exporter puts a module back into the mode it had, and all its children with it.
        self.eval()

    def forward(self, *tensors: Tensor) -> Features:
        """What the stage gives, scores and boxes for ``answer``."""
        network = cast(StagedNetwork, self.network)
        match self._stage:
            case "extract":
                return network.extract(*tensors)
            case "encode":
                return network.encode_template(tensors)
            case "adjust":
                return network.adjust_search(tensors)
            case "answer":
                response = network.answer(tensors, self._modalities)
                return response.score, response.boxes


class StageGraphs:
    """Graphs of a network's stages, each read from the cache or written when it is first asked for.

    Args:
        network: a ``StagedNetwork`` in evaluation mode, on the CPU, its batch norms folded.
        name: first part of file names.
        crop_sides: sides of template and search crops in pixels.
        keep: write graphs into the cache and read them from there.
    """

    def __init__(self, network: nn.Module, name: str, crop_sides: tuple[int, int], *, keep: bool = True) -> None:
        self._network = network
        self._name = name
        self._crop_sides = crop_sides
        self._digest = _digest(network) if keep else None

    def extract(self, side: int) -> bytes:
        """Crops (B, 3, side, side) to features of every scale."""
        return self._graph("extract", f"extract-{side}", lambda: (_crops(side),))

    def encode(self) -> bytes:
        """Template features to what is remembered of targets."""
        return self._graph("encode", "encode", lambda: self._features(self._crop_sides[0]))

    def adjust(self) -> bytes:
        """Search features to the maps that are matched."""
        return self._graph("adjust", "adjust", lambda: self._features(self._crop_sides[1]))

    def answer(self, modalities: int) -> bytes:
        """Matches of so many modalities, one after the other, to scores and boxes."""
        return self._graph("answer", f"answer-{modalities}", lambda: self._matches(modalities), modalities)

    def _graph(self, stage: StageName, label: str, examples: Callable[[], Features], modalities: int = 1) -> bytes:
        def write() -> bytes:
            with torch.no_grad():
                return _written(StageGraph(self._network, stage, modalities), examples())

        if self._digest is None:
            return write()
        path = cache_directory() / "graphs" / f"{self._name}-{label}-{self._digest}.onnx"
        try:
            return path.read_bytes()
        except OSError:
            content = write()
        _keep(content, path)
        return content

    def _features(self, side: int) -> Features:
        return StageGraph(self._network, "extract")(_crops(side))  # type: ignore[no-any-return]

    def _matches(self, modalities: int) -> Features:
        network = cast(StagedNetwork, self._network)
        template = network.encode_template(self._features(self._crop_sides[0]))
        maps = network.adjust_search(self._features(self._crop_sides[1]))
        return modality_batch(network.match(template, maps) * modalities, modalities)


def cache_directory() -> Path:
    """Folder of what can be made again: $RGBT_STREAM_CACHE, else rgbt-stream in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rgbt-stream"


def _crops(side: int) -> Tensor:
    return torch.full((_TRACED_TARGETS, 3, side, side), 128.0)


def _written(graph: StageGraph, examples: Sequence[Tensor]) -> bytes:
    # Results of networks are laid out channels-last; a graph knows no such thing.
    examples = tuple(each.contiguous() for each in examples)
    inputs = [f"input_{index}" for index in range(len(examples))]
    outputs = [f"output_{index}" for index in range(len(graph(*examples)))]
    free = {name: {0: "targets"} for name in (*inputs, *outputs)}
    return onnx_writing.write_onnx(graph, examples, inputs, outputs, free)


def _keep(content: bytes, path: Path) -> None:
    """Write a file in one step; a folder that cannot be written only means writing the graph again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            partial.write_bytes(content)
    except OSError:
        return


def _digest(network: nn.Module) -> str:
    """Of all that decides what the graphs compute: weights, the code of the networks and of anchors, the exporter."""
    digest = hashlib.sha256(torch.__version__.encode())
    networks = sorted(Path(trackers.networks.__file__).parent.glob("*.py"))
    for path in (Path(__file__), Path(onnx_writing.__file__), Path(anchors.__file__), *networks):
        digest.update(path.read_bytes())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
