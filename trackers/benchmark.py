"""How long trackers take for a pair, beside a plain path in the same run.

The plain path is what the authors' code does: a pass for each modality and target, layers as they were trained,
template kernels computed again in every picture. Speed does not depend on the weights, so random ones do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from fusion.graph_engines import PrecisionName, missing_package
from trackers.box import Box
from trackers.factory import (
    STRATEGIES,
    default_strategy,
    tracker_around,
    tracker_config,
    untrained_network,
)
from trackers.networks.interface import Features, Response, SiameseNetwork
from trackers.precision import EngineName
from trackers.siamese_tracker import SiameseTracker
from trackers.state import ImagePair, Modality, TrackState

PATHS: dict[str, tuple[EngineName | Literal["plain"], PrecisionName]] = {
    "plain": ("plain", "float32"),
    "float32": ("torch", "float32"),
    "bfloat16": ("torch", "bfloat16"),
    "onnx": ("onnx", "float32"),
    "openvino": ("openvino", "float32"),
    "openvino-bfloat16": ("openvino", "bfloat16"),
}
"""Ways to run a tracker: the plain one, then engines of the product in a precision."""


Rival = Callable[[ImagePair, Box], Callable[[], object]]
"""Starts another program's tracker on a target; what it returns follows that target in the same pair again."""

_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class PlainPair:
    """Pictures to measure with: (H, W, 3) and (H, W) uint8."""

    visible_bgr: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    thermal: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time of one way to run one tracker.

    Attributes:
        tracker: its name.
        path: one of :data:`PATHS`.
        targets: how many targets were followed at once.
        median_ms: per pair, all targets.
        low_ms: 10th percentile.
        high_ms: 90th percentile.
        busy_ms: processor time of all threads, median; on a machine with other work it says more than the clock.
    """

    tracker: str
    path: str
    targets: int
    median_ms: float
    low_ms: float
    high_ms: float
    busy_ms: float


class PlainNetwork:
    """A network as the authors run it: one crop at a time, template kernels from features in every picture."""

    def __init__(self, network: SiameseNetwork) -> None:
        self.network = network

    def extract(self, crops: Tensor) -> Features:
        """Backbone features, one pass for each crop."""
        passes = [self.network.extract(crop.contiguous()) for crop in torch.split(crops, 1)]
        return tuple(torch.cat(levels) for levels in zip(*passes, strict=True))

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """The features themselves."""
        return tuple(features)

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """One pass for each target, kernels included."""
        answers = []
        for index in range(features[0].shape[0]):
            kernels = self.network.encode_template([level[index : index + 1] for level in template])
            answers.append(self.network.respond(kernels, [level[index : index + 1] for level in features]))
        return Response(
            torch.cat([answer.score for answer in answers]), torch.cat([answer.boxes for answer in answers])
        )


def benchmark_trackers(
    names: Sequence[str],
    *,
    targets: Sequence[int] = (1, 8),
    repeats: int = 10,
    size_wh: tuple[int, int] = (640, 480),
    paths: Sequence[str] | None = None,
    strategy: str | None = None,
    device: str = "cpu",
    rivals: Mapping[str, Rival] | None = None,
) -> list[Timing]:
    """Time trackers on both modalities; the paths take turns, so that other load falls on all of them alike.

    Args:
        names: trackers of the factory.
        targets: numbers of targets to follow at once.
        repeats: measured pairs for each path, after one that is not counted.
        size_wh: size of the pictures.
        paths: which of :data:`PATHS` to run; None runs all whose engine is installed.
        strategy: how the modalities are fused, see :data:`trackers.factory.STRATEGIES`; None takes what suits each
            tracker best.
        device: ``cpu`` or ``cuda``.
        rivals: other programs' trackers of one target, which take their turns beside one target of each tracker; by
            names that are no path's.
    """
    pair = _pictures(size_wh)
    where = torch.device(device)
    paths = available_paths() if paths is None else paths
    timings = []
    for name in names:
        trackers = {path: _tracker(name, path, strategy, where) for path in paths}
        for count in targets:
            boxes = _boxes(count, size_wh)
            steps = {
                path: _step(tracker, [tracker.init(pair, box) for box in boxes], pair)
                for path, tracker in trackers.items()
            }
            if count == 1:
                steps |= {rival: start(pair, boxes[0]) for rival, start in (rivals or {}).items()}
            spans = time_in_turns(steps, repeats)
            timings += [timing_of(name, path, count, span) for path, span in spans.items()]
    return timings


def timing_of(tracker: str, path: str, targets: int, spans: Sequence[tuple[float, float]]) -> Timing:
    """Summary of clock and processor times in milliseconds, one pair of numbers for each repeat."""
    clock, busy = np.asarray(spans).T
    low, median, high = (float(value) for value in np.percentile(clock, (10, 50, 90)))
    return Timing(
        tracker=tracker,
        path=path,
        targets=targets,
        median_ms=median,
        low_ms=low,
        high_ms=high,
        busy_ms=float(np.median(busy)),
    )


def time_in_turns(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Clock and processor time in milliseconds of each step, after one round that is not counted.

    Between two steps on a CPU there is a pause in which threads of the first go to sleep: no step pays for those of
    another.
    """
    pause_s = 0 if torch.cuda.is_available() else _PAUSE_S
    spans: dict[str, list[tuple[float, float]]] = {path: [] for path in steps}
    for turn in range(repeats + 1):
        for path, step in steps.items():
            time.sleep(pause_s)
            begin_s, begin_busy_s = time.perf_counter(), time.process_time()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                spans[path].append(((time.perf_counter() - begin_s) * 1e3, (time.process_time() - begin_busy_s) * 1e3))
    return spans


def format_timings(timings: Sequence[Timing]) -> str:
    """A table with a line for each timing and its speed-up over the plain path."""
    plain = {(row.tracker, row.targets): row for row in timings if row.path == "plain"}
    head = f"{'tracker':<18} {'path':<17} {'targets':>7} {'ms':>8} {'p10..p90':>17} {'busy ms':>8}"
    lines = [f"{head} {'speed-up':>9} {'busy':>7}"]
    for row in timings:
        base = plain.get((row.tracker, row.targets))
        gain = f"{base.median_ms / row.median_ms:8.2f}x {base.busy_ms / row.busy_ms:6.2f}x" if base else ""
        span = f"{row.low_ms:.1f}..{row.high_ms:.1f}"
        lines.append(
            f"{row.tracker:<18} {row.path:<17} {row.targets:>7} {row.median_ms:>8.1f} {span:>17} "
            f"{row.busy_ms:>8.1f} {gain}"
        )
    return "\n".join([*lines, *_beside_rivals(timings)])


def _beside_rivals(timings: Sequence[Timing]) -> list[str]:
    return [
        f"{row.tracker} {row.path}: {row.median_ms / rival.median_ms:.2f} times {rival.path} on the clock, "
        f"{row.busy_ms / rival.busy_ms:.2f} times in processor time"
        for rival in timings
        if rival.path not in PATHS
        for row in timings
        if row.path in PATHS and (row.tracker, row.targets) == (rival.tracker, rival.targets)
    ]


def available_paths() -> tuple[str, ...]:
    """The paths whose engine is installed here."""
    return tuple(
        path
        for path, (engine, _) in PATHS.items()
        if engine == "plain" or engine == "torch" or missing_package(engine) is None
    )


def _tracker(name: str, path: str, strategy: str | None, device: torch.device) -> SiameseTracker:
    torch.manual_seed(0)
    network = untrained_network(name).eval()
    config, fusion = tracker_config(name), STRATEGIES[strategy or default_strategy(name)]
    engine, precision = PATHS[path]
    if engine == "plain":
        plain = PlainNetwork(cast("SiameseNetwork", network.to(device)))
        return SiameseTracker(plain, config, Modality.FUSED, fusion, device)
    return tracker_around(
        network,
        name,
        config,
        Modality.FUSED,
        fusion,
        engine=engine,
        device=device,
        precision=precision,
        keep_graphs=False,
    )


def _step(tracker: SiameseTracker, states: list[TrackState], pair: ImagePair) -> Callable[[], object]:
    # The states are not carried on: an untrained network would wander off and change the crops' size.
    return lambda: tracker.update_all(states, pair)


def _pictures(size_wh: tuple[int, int]) -> PlainPair:
    generator = np.random.default_rng(0)
    visible = generator.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    return PlainPair(visible, np.ascontiguousarray(visible[:, :, 1]))


def _boxes(count: int, size_wh: tuple[int, int]) -> list[Box]:
    columns = max(1, int(np.ceil(np.sqrt(count))))
    step_x, step_y = size_wh[0] / (columns + 1), size_wh[1] / (columns + 1)
    return [
        Box(step_x * (index % columns + 0.75), step_y * (index // columns + 0.75), step_x / 2, step_y / 2)
        for index in range(count)
    ]
