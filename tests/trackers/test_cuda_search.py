"""The GPU's own path against the CPU's: crops, network and choice on the device, one CUDA graph a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trackers.moving import Pair, follow, moving_pairs
from trackers.box import Box, iou
from trackers.captured_steps import GraphFinder
from trackers.factory import STRATEGIES, build_tracker, tracker_around, tracker_config
from trackers.networks.interface import Features, Response, SiameseNetwork
from trackers.siamese_tracker import SiameseTracker
from trackers.state import Modality, TrackState, TrackStatus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device can be used here"),
]

SIZE = (640, 480)
BOXES = (Box(200, 150, 60, 50), Box(100, 100, 40, 40), Box(450, 300, 80, 80))


def graphs_of(tracker: SiameseTracker) -> GraphFinder:
    assert isinstance(tracker.finder, GraphFinder)
    return tracker.finder


def agree(one: Box, other: Box) -> bool:
    return iou(one, other) >= 0.95 or bool(np.abs(np.subtract(one.as_tuple(), other.as_tuple())).max() <= 1)


def assert_agree(found: Sequence[Sequence[TrackState]], expected: Sequence[Sequence[TrackState]]) -> None:
    apart = [
        (index, number, one.box, other.box)
        for index, (these, those) in enumerate(zip(found, expected, strict=True))
        for number, (one, other) in enumerate(zip(these, those, strict=True))
        if not agree(one.box, other.box)
    ]
    assert not apart, f"{len(apart)} boxes apart, the first in pair, target {apart[0]}"


@pytest.mark.parametrize("modality", list(Modality))
def test_boxes_are_those_of_the_cpu_in_float32(modality: Modality) -> None:
    pairs = moving_pairs(30, SIZE)
    on_gpu = build_tracker("siamrpn-lite", modality=modality, device="cuda")
    assert (on_gpu.dtype, on_gpu.execution) == (torch.float32, "graphs")
    found = follow(on_gpu, pairs, BOXES[:1])
    assert graphs_of(on_gpu).captured == 1
    assert_agree(found, follow(build_tracker("siamrpn-lite", modality=modality), pairs, BOXES[:1]))


def test_half_the_bits_follow_the_same_target() -> None:
    pairs = moving_pairs(30, SIZE)
    on_gpu = build_tracker("siamrpn-lite", device="cuda", precision="float16")
    assert on_gpu.dtype is torch.float16
    found = follow(on_gpu, pairs, BOXES)
    assert graphs_of(on_gpu).captured == 1
    expected = follow(build_tracker("siamrpn-lite"), pairs, BOXES)
    overlaps = [
        iou(one.box, other.box)
        for these, those in zip(found, expected, strict=True)
        for one, other in zip(these, those, strict=True)
    ]
    # Rounding decides between equally good proposals, so single boxes part by some pixels.
    assert float(np.median(overlaps)) >= 0.93
    assert min(overlaps) >= 0.6


def test_targets_come_and_go() -> None:
    pairs = moving_pairs(16, SIZE)

    def run(tracker: SiameseTracker) -> list[list[TrackState]]:
        first = follow(tracker, pairs[:8], BOXES[:1])
        states = [*first[-1], *(tracker.init(pairs[7], box) for box in BOXES[1:])]
        later = []
        for pair in pairs[8:]:
            states = tracker.update_all(states, pair)
            later.append(states)
        return [*first, *later, tracker.update_all(states[1:2], pairs[-1])]

    on_gpu = build_tracker("siamrpn-lite", device="cuda")
    found = run(on_gpu)
    assert graphs_of(on_gpu).captured == 2
    assert_agree(found, run(build_tracker("siamrpn-lite")))


def test_pictures_change_their_size_and_an_eye_goes_blind() -> None:
    pairs = [*moving_pairs(8, SIZE), *moving_pairs(8, (800, 600)), *moving_pairs(8, (512, 400))]
    pairs[4:8] = [replace(pair, thermal=np.zeros_like(pair.thermal)) for pair in pairs[4:8]]
    found = follow(build_tracker("siamrpn-lite", device="cuda"), pairs, BOXES[:1])
    expected = follow(build_tracker("siamrpn-lite"), pairs, BOXES[:1])
    assert_agree(found, expected)
    assert [states[0].seen_in for states in found] == [states[0].seen_in for states in expected]


def test_a_lost_target_is_found_again() -> None:
    pairs = moving_pairs(20, SIZE, step_xy=(0.5, 0.5))
    empty = np.random.default_rng(1).integers(90, 110, (SIZE[1], SIZE[0], 3), np.uint8)
    pairs[6:12] = [replace(pair, visible_bgr=empty, thermal=empty[:, :, 0].copy()) for pair in pairs[6:12]]
    statuses = [states[0].status for states in follow(build_tracker("siamrpn-lite", device="cuda"), pairs, BOXES[:1])]
    assert TrackStatus.LOST in statuses
    assert statuses[-1] is TrackStatus.TRACKING


@pytest.mark.parametrize(
    ("name", "strategy"), [("siamrpn-r50", "paper"), ("nanotrack", "paper"), ("nanotrack-v3", "adaptive")]
)
def test_graphs_and_single_steps_find_the_same(lively: Callable[[str], nn.Module], name: str, strategy: str) -> None:
    device, network, config = torch.device("cuda"), lively(name), tracker_config(name, {"recovery": False})
    pairs = moving_pairs(8, SIZE)
    found = []
    for execution in ("graphs", "eager"):
        tracker = tracker_around(
            network,
            name,
            config,
            Modality.FUSED,
            STRATEGIES[strategy],
            device=device,
            precision="float32",
            execution=execution,  # type: ignore[arg-type]
        )
        found.append(follow(tracker, pairs, BOXES[:2]))
    assert_agree(*found)


def test_a_real_sequence(shared: Path) -> None:
    folder = shared / "data" / "rgbt_tracking" / "M3SVD_bridge_red"
    colour, thermal = (sorted((folder / name).iterdir())[:40] for name in ("color", "ir"))
    pairs = [
        Pair(np.asarray(cv2.imread(str(one)), np.uint8), np.asarray(cv2.imread(str(other), 0), np.uint8))
        for one, other in zip(colour, thermal, strict=True)
    ]
    box = Box(*(float(value) for value in (folder / "groundtruth.txt").read_text().split()[0].split(",")))
    found: Any = follow(build_tracker("siamrpn-lite", device="cuda"), pairs, [box])
    assert_agree(found, cast("Any", follow(build_tracker("siamrpn-lite"), pairs, [box])))


# The last test here, for after a capture that failed PyTorch may refuse others in the same process.
class Impatient:
    """A network that waits for the device, which no CUDA graph can hold."""

    def __init__(self, network: SiameseNetwork) -> None:
        self.network = network

    def extract(self, crops: Tensor) -> Features:
        assert float(crops.amax()) >= 0
        return self.network.extract(crops)

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        return self.network.encode_template(features)

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        return self.network.respond(template, features)


def test_what_cannot_be_captured_runs_step_by_step() -> None:
    usual = build_tracker("siamrpn-lite", device="cuda")
    impatient = SiameseTracker(
        Impatient(usual.network), usual.config, usual.modality, usual.fusion, usual.device, usual.dtype, "graphs"
    )
    pairs = moving_pairs(8, SIZE)
    expected = follow(usual, pairs, BOXES[:1])
    before = torch.cuda.current_stream()
    with pytest.warns(RuntimeWarning, match="could not be captured"):
        found = follow(impatient, pairs, BOXES[:1])
    assert torch.cuda.current_stream() == before
    assert graphs_of(impatient).captured == 0
    assert_agree(found, expected)
    # What was captured before goes on.
    assert graphs_of(usual).captured == 1
    assert_agree(follow(usual, pairs, BOXES[:1]), expected)
