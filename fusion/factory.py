"""Fusion methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import torch
from torch import Tensor

from fusion import auif, auif_inference, densefuse, didfuse, ifcnn
from fusion.attention import NESTFUSE, AttentionStrategy, PoolingKind, SpatialKind
from fusion.auif import CombinationName, load_auif
from fusion.auif_graph import AuifGraph
from fusion.auif_inference import collapse
from fusion.checkpoints import load_strictly, read_merged_state_dict
from fusion.densefuse import DenseFuseRule, load_densefuse
from fusion.devices import resolve_device
from fusion.didfuse import load_didfuse
from fusion.errors import InputError
from fusion.fuser import EngineName, Fuser, NightName, PoolingName, RangeName, SpatialName, method_in_mode
from fusion.graph_engines import GraphEngine
from fusion.graph_method import start_method
from fusion.graphs import FusionGraphs, nestfuse_graphs, picture_graphs, tensor_graphs
from fusion.ifcnn import IfcnnRule, load_ifcnn
from fusion.laplacian import LaplacianMethod
from fusion.nestfuse import NestFuse, config_of_weights
from fusion.nestfuse_gpu import NestFuseGpuMethod
from fusion.nestfuse_hybrid import nestfuse_in_engine, nestfuse_in_torch
from fusion.nestfuse_strips import NestFuseStrips, ScaleMethod
from fusion.night import build_night
from fusion.picture_fuser import AverageMethod, LumaMethod, PictureFuser
from fusion.ranges import build_range
from fusion.strips import LocalStrips
from fusion.tensor_method import TensorFusion, TensorMethod
from fusion.weight_store import WeightRecipe, require_weights

_REPOSITORY = "Official models: github.com/"
_AUIF = (
    _REPOSITORY + "Zhaozixiang1228/IVIF-AUIF-Net, folder Models (three files; give the folder); 'weights fetch auif'."
)
_DIDFUSE = _REPOSITORY + "Zhaozixiang1228/DIDFuse, folder Models (two files; give the folder); 'weights fetch didfuse'."
_DENSEFUSE = _REPOSITORY + "hli1221/densefuse-pytorch, models/densefuse_gray.model; 'weights fetch densefuse'."
_IFCNN = _REPOSITORY + "uzeful/IFCNN, Code/snapshots/IFCNN-{}.pth; 'weights fetch {}'."

# Values of one feature map of a strip; a network holds some ten to twenty of them at a time, of 4 bytes each.
_STRIP_VALUES = 2**25


State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a method is built with, besides its weights, where it matters to it.

    Attributes:
        strategy: of the attention.
        device: where the network runs.
        engine: what runs the network; None is PyTorch.
        strip_px: larger pictures are fused in strips of so many pixels; None is what fits the method into 2 to 3 GB.
    """

    strategy: AttentionStrategy
    device: torch.device
    engine: GraphEngine | None = None
    strip_px: int | None = None

    def strip_px_for(self, channels: int) -> int:
        """Pixels in a strip for a network with so many channels at full resolution."""
        return _STRIP_VALUES // channels if self.strip_px is None else self.strip_px


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRecipe:
    """How a fusion method comes about.

    Attributes:
        build: makes it of a state_dict (empty for a method without weights) and the name of its file.
        graphs: makes the graphs of it, for files. None: it has no network.
        weights: name under which its weights are stored; several modes of a network share them. None: it has none.
        origin: where a user gets weights.
        attends: whether it fuses by the attention strategy, with its pooling and spatial form.
    """

    build: Callable[[State, str, Circumstances], LumaMethod]
    graphs: Callable[[State, str, AttentionStrategy], FusionGraphs] | None = None
    weights: str | None = None
    origin: str = ""
    attends: bool = False


def _nestfuse(name: str, origin: str) -> MethodRecipe:
    def build(state: State, source: str, given: Circumstances) -> LumaMethod:
        network = load_nestfuse(state, source)
        method: ScaleMethod
        if given.engine is None and given.device.type == "cuda":
            method = NestFuseGpuMethod(network, given.strategy, given.device)
        elif given.engine is None:
            method = nestfuse_in_torch(network, given.strategy, given.device)
        else:
            method = nestfuse_in_engine(network, given.strategy, given.engine)
        return NestFuseStrips(method, strip_px=given.strip_px_for(network.config.channels[0]))

    return MethodRecipe(
        build=build,
        graphs=lambda state, source, strategy: nestfuse_graphs(load_nestfuse(state, source), strategy),
        weights=name,
        origin=origin,
        attends=True,
    )


def _auif(combination: CombinationName) -> MethodRecipe:
    def graphs(state: State, source: str) -> FusionGraphs:
        return picture_graphs(AuifGraph(collapse(load_auif(state, source), combination)), auif.MINIMUM_SIZE_PX)

    def build(state: State, source: str, given: Circumstances) -> LumaMethod:
        method: LumaMethod
        if given.engine is None:
            method = collapse(load_auif(state, source), combination)
        else:
            method = start_method(graphs(state, source), given.engine)
        return LocalStrips(method, reach_px=auif_inference.REACH_PX, strip_px=given.strip_px_for(1))

    return MethodRecipe(
        build=build, graphs=lambda state, source, strategy: graphs(state, source), weights="auif", origin=_AUIF
    )


def _local(
    load: Callable[[State, str], TensorFusion], weights: str, origin: str, *, reach_px: int, channels: int
) -> MethodRecipe:
    """A plain network without attention over the whole picture; ``channels`` are those it holds at a time."""

    def build(state: State, source: str, given: Circumstances) -> LumaMethod:
        fusion = load(state, source)
        method: LumaMethod
        if given.engine is None:
            method = TensorMethod(fusion, given.device)
        else:
            method = start_method(tensor_graphs(fusion), given.engine)
        return LocalStrips(method, reach_px=reach_px, strip_px=given.strip_px_for(channels))

    return MethodRecipe(
        build=build,
        graphs=lambda state, source, strategy: tensor_graphs(load(state, source)),
        weights=weights,
        origin=origin,
    )


def _didfuse(combination: CombinationName) -> MethodRecipe:
    def load(state: State, source: str) -> TensorFusion:
        network = load_didfuse(state, source)
        return TensorFusion(
            network=network,
            fuse=lambda thermal, visible: network.fuse(thermal, visible, combination),
            scale=255,
            minimum_size_px=didfuse.MINIMUM_SIZE_PX,
        )

    return _local(load, "didfuse", _DIDFUSE, reach_px=didfuse.REACH_PX, channels=2 * didfuse.FEATURES)


def _densefuse(rule: DenseFuseRule) -> MethodRecipe:
    def load(state: State, source: str) -> TensorFusion:
        network = load_densefuse(state, source)
        return TensorFusion(
            network=network,
            fuse=lambda thermal, visible: network.fuse(thermal, visible, rule),
            scale=1,
            minimum_size_px=densefuse.MINIMUM_SIZE_PX,
        )

    return _local(load, "densefuse", _DENSEFUSE, reach_px=densefuse.REACH_PX, channels=densefuse.FEATURES)


def _ifcnn(name: str, rule: IfcnnRule) -> MethodRecipe:
    def load(state: State, source: str) -> TensorFusion:
        network = load_ifcnn(state, source)
        return TensorFusion(
            network=network,
            fuse=lambda thermal, visible: network.fuse(thermal, visible, rule),
            scale=255,
            minimum_size_px=ifcnn.MINIMUM_SIZE_PX,
        )

    origin = _IFCNN.format(rule.upper(), name)
    return _local(load, name, origin, reach_px=ifcnn.REACH_PX, channels=ifcnn.FEATURES)


_RECIPES: Mapping[str, MethodRecipe] = MappingProxyType(
    {
        "average": MethodRecipe(build=lambda state, source, given: AverageMethod()),
        "laplacian": MethodRecipe(build=lambda state, source, given: LaplacianMethod()),
        "nestfuse": _nestfuse("nestfuse", _REPOSITORY + "hli1221/imagefusion-nestfuse, models/nestfuse_1e2.model."),
        "nestfuse-lite": _nestfuse("nestfuse-lite", "It is trained here: 'train-fuser --method nestfuse-lite'."),
        "nestfuse-narrow": _nestfuse("nestfuse-narrow", "It is trained here: 'train-fuser --method nestfuse-narrow'."),
        "auif": _auif("sum"),
        "auif-average": _auif("average"),
        "auif-l1": _auif("l1"),
        "didfuse": _didfuse("sum"),
        "didfuse-average": _didfuse("average"),
        "didfuse-l1": _didfuse("l1"),
        "densefuse": _densefuse("addition"),
        "densefuse-l1": _densefuse("l1"),
        "ifcnn": _ifcnn("ifcnn", "max"),
        "ifcnn-mean": _ifcnn("ifcnn-mean", "mean"),
        "ifcnn-sum": _ifcnn("ifcnn-sum", "sum"),
    }
)

FUSION_METHODS: tuple[str, ...] = tuple(_RECIPES)
"""Names that :func:`build_fuser` knows."""

ATTENTION_METHODS: tuple[str, ...] = tuple(name for name, recipe in _RECIPES.items() if recipe.attends)
"""Those of them that ``pooling`` and ``spatial`` mean something to."""


def build_fuser(
    name: str,
    *,
    mode: str | None = None,
    weights: Path | None = None,
    pooling: PoolingName = "avg",
    spatial: SpatialName = "softmax",
    range_name: RangeName = "stretch",
    night: NightName = "off",
    engine: str = "torch",
    device: str = "cpu",
    gray: bool = False,
    strip_px: int | None = None,
) -> Fuser:
    """Build the fusion method ``name``.

    Args:
        name: one of :data:`FUSION_METHODS`.
        mode: one of its :data:`fusion.fuser.FUSION_MODES`; None is the published one. ``didfuse`` with mode l1 is
            the same as ``didfuse-l1``.
        weights: a file, or a folder where a network is published in several files, instead of the imported or
            shipped weights.
        pooling: channel pooling of the attention methods.
        spatial: spatial attention of the attention methods.
        night: whether what is dark is lifted: ``auto`` for display, see :func:`fusion.night.build_night`.
        range_name: how the output becomes 8 bit; ``smooth`` for video, ``stretch`` or ``fixed`` for stills.
        engine: what runs a network: ``torch``, ``onnx`` (onnxruntime), ``openvino``, or ``openvino-bf16``, where the
            decoder of NestFuse computes in half the bits and the rest as in ``openvino``. Methods without a network
            take any.
        device: ``auto``, ``cpu`` or ``cuda``. With torch, AUIF runs on the CPU in any case, where it is fast.
        gray: grey output even where the visible picture has colour.
        strip_px: networks fuse larger pictures in strips of so many pixels, with the same result; None is what fits
            into 2 to 3 GB of memory.

    Raises:
        InputError: an unknown name or choice, a method without weights, or an engine that is not installed.
    """
    name = known_method(name, mode)
    range_mapping = build_range(range_name)
    where = resolve_device(device)
    given = Circumstances(
        strategy=attention_strategy(pooling, spatial),
        device=where,
        engine=graph_engine(engine, where),
        strip_px=strip_px,
    )
    return PictureFuser(
        _build_method(name, weights, given), range_mapping, gray=gray, night=build_night(night, range_name)
    )


def known_method(name: str, mode: str | None = None) -> str:
    """Name of the method in its mode, once it is sure that there is one.

    Raises:
        InputError: an unknown name, or a mode that the method does not have.
    """
    if name not in FUSION_METHODS:
        near = get_close_matches(name, FUSION_METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"fusion method {name!r} is unknown: choose {', '.join(FUSION_METHODS)}{hint}")
    return method_in_mode(name, mode)


def attention_strategy(pooling: str, spatial: str) -> AttentionStrategy:
    """The NestFuse strategy with a pooling and a spatial form by name.

    Raises:
        InputError: an unknown name.
    """
    poolings: dict[str, PoolingKind] = {kind: kind for kind in get_args(PoolingName)}
    spatials: dict[str, SpatialKind] = {kind: kind for kind in get_args(SpatialName)}
    for option, value, choices in (("--pooling", pooling, poolings), ("--spatial", spatial, spatials)):
        if value not in choices:
            raise InputError(f"{option} {value}: choose {', '.join(choices)}")
    return AttentionStrategy(
        spatial=spatials[spatial],
        channel=NESTFUSE.channel,
        pooling=poolings[pooling],
        epsilon=NESTFUSE.epsilon,
    )


def fusion_weight_recipes() -> tuple[WeightRecipe, ...]:
    """What ``weights import`` can bring in for fusion."""
    return tuple(
        WeightRecipe(
            name=name,
            origin=recipe.origin,
            check=partial(_check, recipe),
            read=read_merged_state_dict,
        )
        for name, recipe in _RECIPES.items()
        if recipe.weights == name
    )


def weights_name(method: str) -> str | None:
    """Name under which the weights of a method are stored; None for one without, or an unknown one."""
    recipe = _RECIPES.get(method)
    return None if recipe is None else recipe.weights


def load_nestfuse(state: Mapping[str, Tensor], source: str) -> NestFuse:
    """The network of the size that the weights have, in evaluation mode; strict.

    Raises:
        InputError: the weights do not fit.
    """
    network = NestFuse(config_of_weights(state))
    load_strictly(network, state, source)
    return network.eval()


def fusion_graphs(
    name: str, weights: Path | None = None, strategy: AttentionStrategy = NESTFUSE
) -> tuple[FusionGraphs, LumaMethod]:
    """A method as graphs, and the same method on PyTorch to compare them with.

    Args:
        name: a method with a network, in its mode.
        weights: as for :func:`build_fuser`.
        strategy: of the attention methods.

    Raises:
        InputError: a method without a network or without weights.
    """
    recipe = _RECIPES.get(name)
    if recipe is None or recipe.graphs is None or recipe.weights is None:
        networks = [known for known, other in _RECIPES.items() if other.graphs is not None]
        raise InputError(f"{name} is no network that can be made a graph; these can: {', '.join(networks)}")
    path = require_weights(recipe.weights, weights, recipe.origin)
    state = read_merged_state_dict(path)
    given = Circumstances(strategy=strategy, device=torch.device("cpu"))
    return recipe.graphs(state, str(path), strategy), recipe.build(state, str(path), given)


def graph_engine(name: str, device: torch.device) -> GraphEngine | None:
    """An engine of :func:`build_fuser` by name; None is PyTorch.

    Raises:
        InputError: an unknown name.
    """
    engines: dict[str, EngineName] = {known: known for known in get_args(EngineName)}
    match engines.get(name):
        case "torch":
            return None
        case "onnx":
            return GraphEngine("onnx", device)
        case "openvino":
            return GraphEngine("openvino", device)
        case "openvino-bf16":
            return GraphEngine("openvino", device, last_precision="bfloat16")
        case None:
            raise InputError(f"--engine {name}: choose {', '.join(engines)}")


def _build_method(name: str, weights: Path | None, given: Circumstances) -> LumaMethod:
    recipe = _RECIPES[name]
    if recipe.weights is None:
        if weights is not None:
            raise InputError(f"--weights {weights}: the method {name} has none")
        return recipe.build({}, "", given)
    path = require_weights(recipe.weights, weights, recipe.origin)
    return recipe.build(read_merged_state_dict(path), str(path), given)


def _check(recipe: MethodRecipe, state: Mapping[str, Tensor], source: str) -> None:
    recipe.build(state, source, Circumstances(strategy=NESTFUSE, device=torch.device("cpu")))
