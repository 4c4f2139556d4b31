"""Trackers by name: which exist, what weights they take, and how one is put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion.attention import FSRPN, NESTFUSE, PAPER
from fusion.checkpoints import load_strictly, read_state_dict
from fusion.devices import resolve_device
from fusion.errors import InputError
from fusion.weight_store import WeightRecipe, require_weights
from trackers.box import Box
from trackers.graph_network import GraphNetwork
from trackers.lanes import LaneFinder
from trackers.networks.folding import folded
from trackers.networks.interface import SiameseNetwork
from trackers.networks.lite import LiteNetwork
from trackers.networks.nanotrack import NanoTrack, nanotrack_state
from trackers.networks.siamrpn import siamrpn_for_state
from trackers.precision import (
    EngineChoice,
    EngineName,
    ExecutionChoice,
    PrecisionChoice,
    PrecisionName,
    chosen_engine,
    chosen_execution,
    chosen_precision,
)
from trackers.siamese_core import SiameseTrackerConfig
from trackers.siamese_tracker import SiameseTracker
from trackers.state import Modality
from trackers.views import FeatureFusion

Value = TypeVar("Value")
State = Mapping[str, Tensor]

STRATEGIES: dict[str, FeatureFusion] = {
    "paper": PAPER,
    "authors": FSRPN,
    "nestfuse": NESTFUSE,
    "mean": "mean",
    "gate": "gate",
    "adaptive": "adaptive",
}
"""How two modalities are fused: Eq. 5 of the paper, the code of the authors' tracker, the code of their NestFuse, the
plain mean, the network's own learned gate where it has one, or each modality and both side by side, weighed by how
well each has told the target from its surroundings."""

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PYSOT_ORIGIN = "PySOT's model zoo (github.com/STVIR/pysot) has it as model.pth."
_NANO_ORIGIN = (
    "It is in github.com/HonglinChu/SiamTrackers, NanoTrack/models/pretrained (Apache-2.0); 'weights fetch {}'."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    build: Callable[[State], nn.Module]
    load: Callable[[nn.Module, State, str], None]
    origin: str
    gated: bool = False
    strategy: str = "paper"
    # The small networks spend their time on a GPU between operations, so half the bits would save little; and as
    # rounding decides between equally good proposals, boxes would part by some pixels from those of a CPU.
    gpu_precision: PrecisionName = "float16"
    # What takes the least time for one target on a CPU and does not make several dearer than one by one.
    cpu_engine: EngineName = "torch"


def _load_plain(network: nn.Module, state: State, source: str) -> None:
    load_strictly(network, state, source)


def _load_nano(network: nn.Module, state: State, source: str) -> None:
    load_strictly(network, nanotrack_state(state), source)


_ENTRIES: dict[str, _Entry] = {
    "siamrpn-lite": _Entry(
        build=lambda state: LiteNetwork(),
        load=_load_plain,
        gated=True,
        strategy="gate",
        gpu_precision="float32",
        origin="It ships with the program; 'train-tracker --tracker siamrpn-lite' makes others.",
    ),
    "siamrpn-alex": _Entry(
        build=lambda state: siamrpn_for_state("alex", state), load=_load_plain, origin=_PYSOT_ORIGIN
    ),
    "siamrpn-mobilev2": _Entry(
        build=lambda state: siamrpn_for_state("mobilev2", state), load=_load_plain, origin=_PYSOT_ORIGIN
    ),
    "siamrpn-r50": _Entry(
        build=lambda state: siamrpn_for_state("r50", state),
        load=_load_plain,
        cpu_engine="onnx",
        origin=f"{_PYSOT_ORIGIN} FSRPN's RGB-T checkpoint fits as well.",
    ),
    "nanotrack": _Entry(
        build=lambda state: NanoTrack(2),
        load=_load_nano,
        gpu_precision="float32",
        cpu_engine="onnx",
        origin=f"nanotrackv2.pth: {_NANO_ORIGIN.format('nanotrack')}",
        strategy="adaptive",
    ),
    "nanotrack-v3": _Entry(
        build=lambda state: NanoTrack(3),
        load=_load_nano,
        gpu_precision="float32",
        cpu_engine="onnx",
        origin=f"nanotrackv3.pth: {_NANO_ORIGIN.format('nanotrack-v3')}",
        strategy="adaptive",
    ),
}

TRACKERS: tuple[str, ...] = tuple(_ENTRIES)
"""Names of all trackers, the default first."""


def build_tracker(
    name: str,
    *,
    weights: Path | None = None,
    modality: Modality = Modality.FUSED,
    strategy: str | None = None,
    overrides: Mapping[str, object] | None = None,
    engine: EngineChoice = "auto",
    device: str = "cpu",
    precision: PrecisionChoice = "auto",
    execution: ExecutionChoice = "auto",
) -> SiameseTracker:
    """A tracker ready to use.

    Args:
        name: one of :data:`TRACKERS`.
        weights: checkpoint file in place of the imported or shipped one.
        modality: which pictures it looks at.
        strategy: one of :data:`STRATEGIES`; None takes what suits the tracker best.
        overrides: fields of :class:`SiameseTrackerConfig` that differ from ``configs/tracker_<name>.yaml``.
        engine: what computes the network; the loop around it stays the same. ``auto`` takes what :func:`tracker_engine`
            tells.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` is ``float32``, but ``float16`` for the large networks on a GPU. ``bfloat16`` runs the
            network in half the bits: two to three times faster on processors that have instructions for it, with boxes
            off by half a pixel in the median.
        execution: ``auto`` is ``graphs`` on a GPU (crops, network and choice on the device as one CUDA graph) and
            ``eager`` on a CPU.

    Raises:
        InputError: an unknown name, setting, device, engine, precision or execution, or weights that are missing or do
            not fit.
    """
    where = resolve_device(device)
    # Before weights are read, so that a mistake is answered at once.
    chosen = tracker_engine(name, engine, precision=precision, device=where)
    tracker_precision(name, precision, engine=chosen, device=where)
    chosen_execution(execution, engine=chosen, device=where)
    entry = _chosen("tracker", name, _ENTRIES)
    fusion = _chosen("strategy", strategy or entry.strategy, STRATEGIES)
    if fusion == "gate" and not entry.gated:
        gated = ", ".join(other for other, entry in _ENTRIES.items() if entry.gated)
        raise InputError(f"strategy gate: {name} has no learned gate; {gated} has")
    config = tracker_config(name, overrides)
    tracker = tracker_around(
        load_network(name, weights),
        name,
        config,
        modality,
        fusion,
        engine=chosen,
        device=where,
        precision=precision,
        execution=execution,
    )
    if chosen != "torch":
        _make_ready(tracker)
    return tracker


def tracker_around(
    network: nn.Module,
    name: str,
    config: SiameseTrackerConfig,
    modality: Modality,
    fusion: FeatureFusion,
    *,
    engine: EngineName = "torch",
    device: torch.device,
    precision: PrecisionChoice = "auto",
    execution: ExecutionChoice = "auto",
    keep_graphs: bool = True,
) -> SiameseTracker:
    """As :func:`build_tracker`, for a network at hand, not folded; its graphs are kept in the user's cache or not.

    Raises:
        InputError: the engine is not installed, or cannot use the device or the precision.
    """
    arithmetic = tracker_precision(name, precision, engine=engine, device=device)
    way = chosen_execution(execution, engine=engine, device=device)
    ready = folded(network)
    match engine:
        case "torch":
            dtype = _TYPES[arithmetic]
            if device.type == "cuda" and dtype is torch.float32:
                # Kernels for channels-last crops are made for tensor cores, which IEEE float32 does without.
                ready = ready.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            on_device: SiameseNetwork = ready.to(device, dtype)  # type: ignore[assignment]
            return SiameseTracker(on_device, config, modality, fusion, device, dtype, way)
        case "onnx" | "openvino":
            if engine == "onnx" and arithmetic != "float32":
                raise InputError(f"precision {precision}: --engine onnx computes in float32; choose --engine torch")
            assert arithmetic != "float16"
            sides = (config.exemplar_size, config.instance_size)
            graphs = GraphNetwork(ready, name, sides, engine, device, arithmetic, keep_graphs=keep_graphs)
            tracker = SiameseTracker(graphs, config, modality, fusion)
            if graphs.lanes is not None:
                tracker.finder = LaneFinder(tracker.finder, graphs.lanes)
            return tracker


@dataclass(frozen=True, slots=True)
class _TestCard:
    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]


def _make_ready(tracker: SiameseTracker) -> None:
    """Let the engine start its graphs: that takes seconds with large networks, which a live run must not lose later."""
    levels = np.add.outer(np.arange(240), np.arange(320)).astype(np.uint8)
    card = _TestCard(np.stack((levels,) * 3, axis=2), levels)
    tracker.update(tracker.init(card, Box(120, 90, 80, 60)), card)


def load_network(name: str, weights: Path | None = None) -> nn.Module:
    """The network of a tracker with its weights, as a module that is a ``SiameseNetwork``; not folded.

    Raises:
        InputError: an unknown name, or weights that are missing or do not fit.
    """
    entry = _chosen("tracker", name, _ENTRIES)
    path = require_weights(name, weights, entry.origin)
    state = read_state_dict(path)
    network = entry.build(state)
    entry.load(network, state, str(path))
    return network.eval()


def tracker_precision(name: str, choice: PrecisionChoice, *, engine: str, device: torch.device) -> PrecisionName:
    """The arithmetic that a tracker's network runs in, see :func:`trackers.precision.chosen_precision`.

    Raises:
        InputError: an unknown tracker or precision, or one that this engine or device lacks.
    """
    entry = _chosen("tracker", name, _ENTRIES)
    return chosen_precision(choice, engine=engine, device=device, on_gpu=entry.gpu_precision)


def tracker_engine(
    name: str, choice: EngineChoice, *, precision: PrecisionChoice = "auto", device: torch.device
) -> EngineName:
    """What computes a tracker's network, see :func:`trackers.precision.chosen_engine`.

    Raises:
        InputError: an unknown tracker or engine.
    """
    entry = _chosen("tracker", name, _ENTRIES)
    return chosen_engine(choice, precision=precision, device=device, on_cpu=entry.cpu_engine)


def default_strategy(name: str) -> str:
    """Key of :data:`STRATEGIES` that suits a tracker best.

    Raises:
        InputError: an unknown name.
    """
    return _chosen("tracker", name, _ENTRIES).strategy


def untrained_network(name: str) -> nn.Module:
    """The network of a tracker with random weights: for measuring speed and for training.

    Raises:
        InputError: an unknown name.
    """
    return _chosen("tracker", name, _ENTRIES).build({})


def tracker_config(name: str, overrides: Mapping[str, object] | None = None) -> SiameseTrackerConfig:
    """Constants of the loop for a tracker, from its preset in ``configs`` and then ``overrides``.

    Raises:
        InputError: an unknown tracker or setting, or a value of the wrong type or range.
    """
    _chosen("tracker", name, _ENTRIES)
    file = f"tracker_{name.replace('-', '_')}.yaml"
    preset = yaml.safe_load(resources.files("configs").joinpath(file).read_text(encoding="utf-8"))
    config = _with_settings(SiameseTrackerConfig(), preset, f"configs/{file}")
    return _with_settings(config, overrides or {}, f"tracker {name}")


def weight_recipes() -> Sequence[WeightRecipe]:
    """What weights the trackers take and where they come from, for the ``weights`` command."""

    def recipe(name: str, entry: _Entry) -> WeightRecipe:
        def check(state: State, source: str) -> None:
            entry.load(entry.build(state), state, source)

        return WeightRecipe(name=name, origin=entry.origin, check=check)

    return tuple(recipe(name, entry) for name, entry in _ENTRIES.items())


def _with_settings(config: SiameseTrackerConfig, settings: Mapping[str, object], source: str) -> SiameseTrackerConfig:
    known = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    changes: dict[str, object] = {}
    for key, value in settings.items():
        if key not in known:
            raise InputError(f"{source}: unknown setting {key}{_near(key, known)}")
        kind = known[key]
        # A whole number is a fine float; True is not a number here.
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise InputError(f"{source}: {key} must be {kind.__name__}, not {value!r}")
        changes[key] = kind(value)
    return replace(config, **changes)  # type: ignore[arg-type]


def _chosen(kind: str, name: str, choices: Mapping[str, Value]) -> Value:
    if name not in choices:
        raise InputError(f"unknown {kind} {name!r}{_near(name, choices)}; there are {', '.join(choices)}")
    return choices[name]


def _near(name: str, choices: Mapping[str, object]) -> str:
    near = get_close_matches(name, choices, n=1)
    return f"; did you mean {near[0]}?" if near else ""
