"""A tracker's network outside of PyTorch: its stages as graphs in onnxruntime or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fusion.graph_engines import GraphEngineName, Planes, PrecisionName, RunningGraph, start_graph
from trackers.lanes import Lanes
from trackers.networks.interface import Features, Response, StagedNetwork, modality_batch
from trackers.networks.winograd import with_winograd
from trackers.stage_graphs import StageGraphs


class GraphNetwork:
    """A :class:`trackers.networks.interface.SiameseNetwork` that another engine computes.

    What it remembers of templates is the same as with PyTorch, and any number of targets and modalities go through
    each graph as one batch. A graph is made ready when it is first needed. With onnxruntime on several threads of a CPU
    a batch is divided among them, each of which runs the graphs of its part alone; one that cannot be divided is run by
    all of them together.

    Attributes:
        lanes: the threads that do so; None with other engines.

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
        threads = torch.get_num_threads()
        self.lanes = Lanes(threads) if saving and threads > 1 else None
        self._levels = 0
        self._feature_shapes: dict[int, list[torch.Size]] = {}
        self._running: dict[tuple[str, bool], RunningGraph] = {}
        # The engine must be there when the tracker is built, not when it meets its first picture.
        self._start("adjust", self._graphs.adjust)

    def extract(self, crops: Tensor) -> Features:
        """Backbone features of crops (B, 3, S, S) for each scale."""
        side, is_divided = crops.shape[-1], self._is_divided(len(crops))
        graph = self._start(f"extract {side}", lambda: self._graphs.extract(side), is_divided)
        if side not in self._feature_shapes:
            features = self._run(graph, (crops,))
            self._feature_shapes[side] = [feature.shape[1:] for feature in features]
            self._levels = len(features)
            return features
        # These are by far the largest tensors, so that they should not have to be put together afterwards.
        features = tuple(torch.empty(len(crops), *shape) for shape in self._feature_shapes[side])
        self._for_parts(lambda part: self._fill(graph, part[1:], part[:1]), (crops, *features), is_divided)
        return features

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """What to remember of targets; features of K modalities give K sets one after the other."""
        graph = self._start("encode", self._graphs.encode)
        sets = [features[start : start + self._levels] for start in range(0, len(features), self._levels)]
        return tuple(tensor for each in sets for tensor in self._run(graph, each))

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """Compare remembered targets with the features of their search crops."""
        count, modalities = len(features), len(features) // self._levels
        is_divided = self._is_divided(len(features[0]))
        adjust = self._start("adjust", self._graphs.adjust, is_divided)
        answer = self._start(f"answer {modalities}", lambda: self._graphs.answer(modalities), is_divided)

        def response(part: Features) -> Features:
            maps = self._run(adjust, modality_batch(part[:count], modalities))
            matches = self._network.match(modality_batch(part[count:], modalities), maps)
            return self._run(answer, matches)

        return Response(*self._for_parts(response, (*features, *template), is_divided))

    def _is_divided(self, count: int) -> bool:
        return self.lanes is not None and count > 1

    def _for_parts(self, function: Callable[[Features], Features], tensors: Features, is_divided: bool) -> Features:
        """What ``function`` gives for tensors (B, ...)."""
        if self.lanes is None or not is_divided:
            return function(tensors)

        def for_share(share: slice) -> Features:
            with torch.inference_mode():
                return function(tuple(tensor[share] for tensor in tensors))

        parts = self.lanes.run(for_share, self.lanes.shares(len(tensors[0])))
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def _fill(self, graph: RunningGraph, outputs: Features, inputs: Features) -> Features:
        graph.fill([output.numpy() for output in outputs], *map(_as_planes, inputs))
        return ()

    def _run(self, graph: RunningGraph, inputs: Sequence[Tensor]) -> Features:
        outputs = graph(*map(_as_planes, inputs))
        if self._engine == "openvino":
            # It uses its memory again, and tensors of a template are remembered.
            outputs = [np.array(output) for output in outputs]
        return tuple(torch.from_numpy(output) for output in outputs)

    def _start(self, name: str, write: Callable[[], bytes], is_divided: bool = False) -> RunningGraph:
        key = (name, is_divided)
        if key not in self._running:
            threads = 1 if is_divided else None
            self._running[key] = start_graph(write(), self._engine, self._device, self._precision, threads=threads)
        return self._running[key]


def _as_planes(tensor: Tensor) -> Planes:
    planes: Planes = tensor.cpu().contiguous().numpy()
    return planes
