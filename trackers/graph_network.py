"""A tracker's network outside of PyTorch: its stages as graphs in onnxruntime or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fusion.graph_engines import GraphEngineName, PrecisionName, RunningGraph, start_graph
from trackers.networks.interface import Features, Response, StagedNetwork, modality_batch
from trackers.networks.winograd import with_winograd
from trackers.stage_graphs import StageGraphs


class GraphNetwork:
    """A :class:`trackers.networks.interface.SiameseNetwork` that another engine computes.

    What it remembers of templates is the same as with PyTorch, and any number of targets and modalities go through
    each graph as one batch. A graph is made ready when it is first needed.

    Args:
        network: the network, as for :class:`trackers.stage_graphs.StageGraphs`.
        name: first part of file names in the cache.
        crop_sides: sides of template and search crops in pixels.
        engine: what computes.
        device: where.
        precision: of the arithmetic; tensors stay float32.
        keep_graphs: keep them in the user's cache folder for the next time.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        crop_sides: tuple[int, int],
        engine: GraphEngineName,
        device: torch.device,
        precision: PrecisionName = "float32",
        *,
        keep_graphs: bool = True,
    ) -> None:
        self._network: StagedNetwork = network  # type: ignore[assignment]
        # Its transforms lose too much in half the bits, and a GPU has its own ways.
        saving = engine == "onnx" and device.type == "cpu"
        self._graphs = StageGraphs(with_winograd(network) if saving else network, name, crop_sides, keep=keep_graphs)
        self._engine = engine
        self._device = device
        self._precision = precision
        self._levels = 0
        self._running: dict[str, RunningGraph] = {}
        # The engine must be there when the tracker is built, not when it meets its first picture.
        self._start("adjust", self._graphs.adjust)

    def extract(self, crops: Tensor) -> Features:
        """Backbone features of crops (B, 3, S, S) for each scale."""
        side = crops.shape[-1]
        features = self._run(f"extract {side}", lambda: self._graphs.extract(side), (crops,))
        self._levels = len(features)
        return features

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """What to remember of targets; features of K modalities give K sets one after the other."""
        sets = [features[start : start + self._levels] for start in range(0, len(features), self._levels)]
        return tuple(tensor for each in sets for tensor in self._run("encode", self._graphs.encode, each))

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """Compare remembered targets with the features of their search crops."""
        modalities = len(features) // self._levels
        maps = self._run("adjust", self._graphs.adjust, modality_batch(features, modalities))
        matches = self._network.match(modality_batch(template, modalities), maps)
        score, boxes = self._run(f"answer {modalities}", lambda: self._graphs.answer(modalities), matches)
        return Response(score, boxes)

    def _run(self, name: str, write: Callable[[], bytes], inputs: Sequence[Tensor]) -> Features:
        graph = self._start(name, write)
        outputs = graph(*(np.ascontiguousarray(tensor.cpu().numpy()) for tensor in inputs))
        # Copied, for the engine may use its memory again, and tensors of a template are remembered.
        return tuple(torch.from_numpy(np.array(output)) for output in outputs)

    def _start(self, name: str, write: Callable[[], bytes]) -> RunningGraph:
        if name not in self._running:
            self._running[name] = start_graph(write(), self._engine, self._device, self._precision)
        return self._running[name]
