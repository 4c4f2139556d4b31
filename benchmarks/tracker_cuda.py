"""Pairs a second of trackers on a GPU, one pair at a time: pictures from the CPU's memory in, boxes on the CPU out.

python benchmarks/tracker_cuda.py [--trackers siamrpn-lite siamrpn-r50 nanotrack] [--targets 1] [--rounds 8]
    [--json FILE]

Paths, which take turns in rounds:
  plain            a pass for each modality in PyTorch's own float32 (convolutions in TF32), layers as trained, crops
                   and choice on the CPU
  eager-float32    the product's network in float32 to the letter, one operation after the other
  eager-float16    the same in half precision
  graphs-float32   crops, network and choice on the device as one CUDA graph
  graphs-float16   the same in half precision
  graphs-...-other graphs with kernels and crops in the other memory layout (channels first or last)
  resident-...     graphs in the given precision with the pictures on the device already, for comparison

The default tracker has its weights and follows its target through a moving scene; its boxes are compared with those of
the CPU in float32. The others have random weights, which do for speed, and search around the same place in each pair.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fusion.devices import gpu_convolutions
from trackers.benchmark import PlainNetwork
from trackers.box import Box, iou
from trackers.captured_steps import FrameBuffer, GraphFinder
from trackers.device_crop import PicturePlace
from trackers.evaluation.frames import PicturePair
from trackers.factory import (
    STRATEGIES,
    build_tracker,
    default_strategy,
    load_network,
    tracker_around,
    tracker_config,
    untrained_network,
)
from trackers.finding import Finder, Finding, Search
from trackers.networks.interface import Features, Response, SiameseNetwork
from trackers.siamese_tracker import SiameseTracker
from trackers.state import Modality, TrackState
from trackers.views import Images

WEIGHTED = "siamrpn-lite"
PATHS = (
    "plain",
    "eager-float32",
    "eager-float16",
    "graphs-float32",
    "graphs-float16",
    "graphs-float32-other",
    "graphs-float16-other",
    "resident-float32",
    "resident-float16",
)
SIZE_WH = (640, 480)
PAIRS = 48
PER_TURN = 25
WARM_UP = 12
CELL_PX = 8


@dataclass
class Run:
    """One path at work: its tracker and states, how far it is, and the times it took in milliseconds."""

    tracker: SiameseTracker
    states: list[TrackState]
    carries_on: bool
    at: int
    spans_ms: list[float]


class AsPublished(PlainNetwork):
    """Convolutions as PyTorch has them when nothing is said, which is faster than float32 to the letter."""

    def extract(self, crops: Tensor) -> Features:
        with gpu_convolutions("tf32"):
            return super().extract(crops)

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        with gpu_convolutions("tf32"):
            return super().respond(template, features)


class HeldFrames(FrameBuffer):
    """Keeps the first pictures, as if others came from a decoder on the device."""

    places: list[PicturePlace] | None = None

    def load(self, images: Images) -> list[PicturePlace]:
        self.places = self.places or super().load(images)
        return self.places


class TimedFinder:
    """Another finder, with the host's time in each of its halves."""

    def __init__(self, inner: Finder) -> None:
        self.inner = inner
        self.begin_ms: list[float] = []
        self.find_ms: list[float] = []

    def begin(self, search: Search, usable: tuple[bool, ...]) -> None:
        begin_s = time.perf_counter()
        self.inner.begin(search, usable)
        self.begin_ms.append((time.perf_counter() - begin_s) * 1e3)

    def find(self, search: Search, usable: tuple[bool, ...]) -> Finding:
        begin_s = time.perf_counter()
        finding = self.inner.find(search, usable)
        self.find_ms.append((time.perf_counter() - begin_s) * 1e3)
        return finding


def moving_pairs() -> list[PicturePair]:
    """A textured scene that moves by (2.5, 1.5) pixels a pair and back again, so that it can go on for ever."""
    width, height = SIZE_WH
    generator = np.random.default_rng(11)
    cells = (height // CELL_PX, width // CELL_PX)
    scene = cv2.resize(generator.integers(0, 256, (*cells, 3), np.uint8), SIZE_WH, interpolation=cv2.INTER_CUBIC)
    warmth = cv2.resize(generator.integers(0, 256, cells, np.uint8), SIZE_WH, interpolation=cv2.INTER_CUBIC)
    pairs = []
    for index in range(PAIRS):
        shift = np.asarray([[1, 0, index * 2.5], [0, 1, index * 1.5]], np.float32)
        moved = [cv2.warpAffine(each, shift, SIZE_WH, borderMode=cv2.BORDER_REFLECT) for each in (scene, warmth)]
        pairs.append(PicturePair(*(np.asarray(each, np.uint8) for each in moved)))
    return [*pairs, *pairs[-2:0:-1]]


def network_of(name: str) -> nn.Module:
    """The default tracker's own weights; of others random ones whose batch norms know their features."""
    if name == WEIGHTED:
        return load_network(name)
    torch.manual_seed(4)
    network = untrained_network(name).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    siamese = cast("SiameseNetwork", network)
    with torch.no_grad():
        template = siamese.encode_template(siamese.extract(torch.rand(2, 3, 127, 127) * 255))
        siamese.respond(template, siamese.extract(torch.rand(2, 3, 255, 255) * 255))
    return network.eval()


def tracker_of(path: str, name: str, network: nn.Module, device: torch.device) -> SiameseTracker:
    config, fusion = tracker_config(name), STRATEGIES[default_strategy(name)]
    if name != WEIGHTED:
        # What random weights find is soon lost, and a search for it would be measured instead.
        config = replace(config, recovery=False)
    if path == "plain":
        plain = AsPublished(cast("SiameseNetwork", network.to(device)))
        return SiameseTracker(plain, config, Modality.FUSED, fusion, device)
    way, precision, *other = path.split("-")
    tracker = tracker_around(
        network,
        name,
        config,
        Modality.FUSED,
        fusion,
        device=device,
        precision=cast("Any", precision),
        execution="eager" if way == "eager" else "graphs",
    )
    if other:
        layout = torch.contiguous_format if precision == "float16" else torch.channels_last
        cast("nn.Module", tracker.network).to(memory_format=layout)  # type: ignore[call-overload]
    if way == "resident" and isinstance(tracker.finder, GraphFinder):
        tracker.finder.buffer = HeldFrames(device)
    return tracker


def boxes_of(count: int) -> list[Box]:
    return [Box(120 + 130 * (index % 3), 90 + 110 * (index // 3 % 3), 60, 50) for index in range(count)]


def step(run: Run, pairs: Sequence[PicturePair]) -> None:
    run.at = run.at % (len(pairs) - 1) + 1
    found = run.tracker.update_all(run.states, pairs[run.at])
    if run.carries_on:
        run.states = found


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    name: str, targets: int, rounds: int, paths: Sequence[str], pairs: Sequence[PicturePair], device: torch.device
) -> list[dict[str, Any]]:
    """Time of every path: they take turns of so many pairs each."""
    runs: dict[str, Run] = {}
    for path in paths:
        # A network each: the plain one is not folded, the others are folded copies.
        tracker = tracker_of(path, name, network_of(name), device)
        states = [tracker.init(pairs[0], box) for box in boxes_of(targets)]
        runs[path] = Run(tracker, states, carries_on=name == WEIGHTED and targets == 1, at=0, spans_ms=[])
        for _ in range(WARM_UP):
            step(runs[path], pairs)
    for _ in range(rounds):
        for run in runs.values():
            synchronize(device)
            for _ in range(PER_TURN):
                begin_s = time.perf_counter()
                step(run, pairs)
                synchronize(device)
                run.spans_ms.append((time.perf_counter() - begin_s) * 1e3)
    rows = [row_of(name, path, targets, run) for path, run in runs.items()]
    for row, run in zip(rows, runs.values(), strict=True):
        timed = TimedFinder(run.tracker.finder)
        run.tracker.finder = timed
        for _ in range(PER_TURN):
            step(run, pairs)
        row["begin_ms"], row["find_ms"] = (float(np.median(part)) for part in (timed.begin_ms, timed.find_ms))
    return rows


def row_of(name: str, path: str, targets: int, run: Run) -> dict[str, Any]:
    low, median, high = (float(value) for value in np.percentile(run.spans_ms, (10, 50, 90)))
    finder = run.tracker.finder
    return {
        "tracker": name,
        "path": path,
        "targets": targets,
        "median_ms": median,
        "p10_ms": low,
        "p90_ms": high,
        "pairs_per_s": 1000 / median,
        "mean_pairs_per_s": 1000 / float(np.mean(run.spans_ms)),
        "captured": finder.captured if isinstance(finder, GraphFinder) else None,
        "status": [str(state.status) for state in run.states],
    }


def agreement(pairs: Sequence[PicturePair], device: torch.device) -> list[dict[str, Any]]:
    """Boxes of the default tracker on the device beside those of the CPU in float32, in every pair of the sequence."""
    expected = boxes_along(build_tracker(WEIGHTED), pairs)
    rows = []
    for path in ("eager-float32", "graphs-float32", "graphs-float16"):
        found = boxes_along(tracker_of(path, WEIGHTED, network_of(WEIGHTED), device), pairs)
        overlaps = [iou(one, other) for one, other in zip(expected, found, strict=True)]
        apart_px = [
            float(np.abs(np.subtract(one.as_tuple(), other.as_tuple())).max())
            for one, other in zip(expected, found, strict=True)
        ]
        far = sum(overlap < 0.95 and apart > 1 for overlap, apart in zip(overlaps, apart_px, strict=True))
        rows.append(
            {
                "path": path,
                "pairs": len(found),
                "least_iou": min(overlaps),
                "median_iou": float(np.median(overlaps)),
                "most_px": max(apart_px),
                "apart": far,
            }
        )
    return rows


def boxes_along(tracker: SiameseTracker, pairs: Sequence[PicturePair]) -> list[Box]:
    state = tracker.init(pairs[0], boxes_of(1)[0])
    boxes = []
    for pair in pairs[1:PAIRS]:
        state = tracker.update(state, pair)
        boxes.append(state.box)
    return boxes


def upload_ms(pairs: Sequence[PicturePair], device: torch.device) -> float:
    """Time of the pictures' way to the device alone."""
    buffer = FrameBuffer(device)

    def once(pair: PicturePair) -> float:
        begin_s = time.perf_counter()
        buffer.load((pair.visible_bgr, pair.thermal))
        synchronize(device)
        return (time.perf_counter() - begin_s) * 1e3

    return float(np.median([once(pair) for pair in pairs][5:]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    base = {(row["tracker"], row["targets"]): row["median_ms"] for row in rows if row["path"] == "plain"}
    lines = [
        f"{'tracker':<14} {'path':<17} {'targets':>7} {'ms':>8} {'p10..p90':>15} {'pairs/s':>8} "
        f"{'begin':>6} {'find':>6} speed-up"
    ]
    for row in rows:
        plain = base.get((row["tracker"], row["targets"]))
        gain = f"{plain / row['median_ms']:8.1f}x" if plain else ""
        span = f"{row['p10_ms']:.2f}..{row['p90_ms']:.2f}"
        lines.append(
            f"{row['tracker']:<14} {row['path']:<17} {row['targets']:>7} {row['median_ms']:>8.2f} {span:>15} "
            f"{row['pairs_per_s']:>8.0f} {row['begin_ms']:>6.2f} {row['find_ms']:>6.2f} {gain}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trackers", nargs="+", default=[WEIGHTED, "siamrpn-r50", "nanotrack"])
    parser.add_argument("--targets", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=4, help="of the CPU, for crops of the plain paths")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    pairs = moving_pairs()
    is_gpu = device.type == "cuda"
    machine = {
        "device": torch.cuda.get_device_name(device) if is_gpu else "cpu",
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "threads": options.threads,
        "upload_ms": upload_ms(pairs, device),
    }
    print(machine, flush=True)
    report: dict[str, Any] = {"machine": machine, "agreement": [], "timings": []}

    def keep(key: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        rows = make()
        report[key] += rows
        if options.json:
            # After each part, so that a run that is stopped leaves what it has.
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        return rows

    if is_gpu and WEIGHTED in options.trackers:
        for row in keep("agreement", lambda: agreement(pairs, device)):
            print(row, flush=True)
    for name in options.trackers:
        for targets in options.targets:
            rows = keep(
                "timings",
                lambda name=name, targets=targets: measure(  # type: ignore[misc]
                    name, targets, options.rounds, options.paths, pairs, device
                ),
            )
            print(table(rows), flush=True)


if __name__ == "__main__":
    main()
