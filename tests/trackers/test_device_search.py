"""What a GPU does in one step, run here on a CPU: the same crops, choices and boxes as the plain path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.trackers.moving import follow, moving_pairs
from trackers.box import Box
from trackers.captured_steps import FrameBuffer
from trackers.device_choice import blend_on_device, choose_on_device, margins_on_device
from trackers.device_crop import crop_squares, place_numbers
from trackers.factory import STRATEGIES, build_tracker, tracker_config, untrained_network
from trackers.networks.folding import folded
from trackers.networks.interface import SiameseNetwork
from trackers.reliability import answer_margins, blend_views
from trackers.search_step import SearchStep, StepShape
from trackers.siamese_core import SiameseTrackerConfig, choose_proposals
from trackers.siamese_tracker import SiameseTracker
from trackers.state import ImagePair, Modality, TrackState, TrackStatus
from trackers.subwindow import crop_square

CPU = torch.device("cpu")
BOXES = (Box(40, 50, 36, 30), Box(120, 30, 30, 40))


@settings(deadline=None, max_examples=60)
@given(
    center=st.tuples(st.floats(-40, 90), st.floats(-40, 70)),
    side=st.integers(1, 120),
    output=st.sampled_from([15, 32]),
)
def test_a_crop_on_the_device_is_the_one_of_the_cpu(center: tuple[float, float], side: int, output: int) -> None:
    generator = np.random.default_rng(3)
    colour = generator.integers(0, 256, (37, 53, 3), np.uint8)
    grey = generator.integers(0, 256, (29, 41), np.uint8)
    buffer = FrameBuffer(CPU)
    pictures = buffer.load((colour, grey))
    numbers = torch.tensor([place_numbers(picture, center, side, output) for picture in pictures], dtype=torch.float64)
    fills = torch.tensor([(10, 20, 254), (77, 77, 77)], dtype=torch.uint8)
    cut = crop_squares(buffer.frames, numbers, fills, output, torch.float32).numpy()
    for crop, picture, fill in zip(cut, (colour, grey), ((10.9, 20.2, 254.99), (77.0,)), strict=True):
        expected = crop_square(picture, center, source_size_px=side, output_size_px=output, fill=fill)
        planes = expected.transpose(2, 0, 1) if expected.ndim == 3 else np.stack([expected] * 3)
        difference = np.abs(crop - planes.astype(np.float32))
        # Builds of OpenCV may round on their own ways; the one tested with gives the same bits.
        assert difference.max() <= 1
        assert difference.mean() <= 0.05


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), broken=st.sampled_from(["nothing", "some", "all"]))
def test_the_choice_on_the_device_is_the_one_of_the_cpu(seed: int, broken: str) -> None:
    generator = np.random.default_rng(seed)
    views, targets, shape = 3, 2, (5, 9, 9)
    score = generator.random((views, targets, *shape), np.float32)
    boxes = generator.uniform(-60, 60, (views, targets, 4, *shape)).astype(np.float32)
    boxes[:, :, 2:] = np.abs(boxes[:, :, 2:]) + 1
    if broken != "nothing":
        hit = slice(None) if broken == "all" else slice(0, 4)
        boxes[:, 0, 2, hit], score[:, 1, :, hit] = np.inf, np.nan
    sizes = generator.uniform(20, 90, (targets, 2))
    influence = generator.random(targets)
    weights = generator.random((views, targets))
    weights /= weights.sum(0)
    config = SiameseTrackerConfig(penalty_k=0.2)
    with np.errstate(invalid="ignore"):
        blended = blend_views(score, boxes, weights)
        expected = choose_proposals(*blended, sizes, config, influence)
        margins = np.stack([answer_margins(*view, expected.boxes) for view in zip(score, boxes, strict=True)])
    flat = torch.from_numpy(score).flatten(2), torch.from_numpy(boxes).flatten(3)
    window = torch.from_numpy(np.tile(np.outer(np.hanning(9), np.hanning(9)).ravel(), 5))
    on_device = blend_on_device(*flat, torch.from_numpy(weights))
    found = choose_on_device(*on_device, torch.from_numpy(sizes), torch.from_numpy(influence), window, 0.2)
    np.testing.assert_array_equal(found[:, 6].numpy(), expected.indices)
    np.testing.assert_allclose(found[:, :4].numpy(), expected.boxes, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found[:, 4].numpy(), expected.scores, atol=1e-6)
    np.testing.assert_allclose(found[:, 5].numpy(), expected.penalties, atol=1e-6)
    if broken == "nothing":
        np.testing.assert_allclose(margins_on_device(*flat, found[:, :4]).numpy(), margins, atol=1e-5)


def twin(tracker: SiameseTracker) -> SiameseTracker:
    """The same tracker, searching as on a GPU."""
    return SiameseTracker(
        tracker.network, tracker.config, tracker.modality, tracker.fusion, tracker.device, tracker.dtype, "graphs"
    )


def assert_same(tracker: SiameseTracker, pairs: Sequence[ImagePair], boxes: Sequence[Box]) -> list[list[TrackState]]:
    expected, found = follow(tracker, pairs, boxes), follow(twin(tracker), pairs, boxes)
    for these, those in zip(expected, found, strict=True):
        for one, other in zip(these, those, strict=True):
            assert np.abs(np.subtract(one.box.as_tuple(), other.box.as_tuple())).max() < 0.01
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert (one.status, one.seen_in, one.near) == (other.status, other.seen_in, other.near)
            assert one.template.looks_kept == other.template.looks_kept
    return expected


@pytest.mark.parametrize("modality", list(Modality))
def test_boxes_of_the_default_tracker_are_those_of_the_plain_path(modality: Modality) -> None:
    tracker = build_tracker("siamrpn-lite", modality=modality)
    assert_same(tracker, moving_pairs(6, (200, 160)), BOXES)


def test_a_blind_eye_and_pictures_of_another_size_change_nothing() -> None:
    pairs = [*moving_pairs(3, (200, 160)), *moving_pairs(3, (260, 220)), *moving_pairs(2, (180, 140))]
    pairs[3:5] = [replace(pair, thermal=np.zeros_like(pair.thermal)) for pair in pairs[3:5]]
    history = assert_same(build_tracker("siamrpn-lite"), pairs, BOXES[:1])
    assert {states[0].seen_in for states in history} == {Modality.FUSED, Modality.RGB}


def test_a_lost_target_is_looked_for_in_the_same_places_and_found() -> None:
    pairs = moving_pairs(14, (200, 160))
    empty = np.random.default_rng(1).integers(90, 110, (160, 200, 3), np.uint8)
    pairs[4:9] = [replace(pair, visible_bgr=empty, thermal=empty[:, :, 0].copy()) for pair in pairs[4:9]]
    tracker = build_tracker("siamrpn-lite", overrides={"lost_after": 1})
    history = assert_same(tracker, pairs, BOXES)
    statuses = [states[0].status for states in history]
    assert TrackStatus.LOST in statuses
    assert statuses[-1] is TrackStatus.TRACKING


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("nanotrack", "paper"), ("nanotrack-v3", "adaptive"), ("siamrpn-lite", "mean"), ("siamrpn-alex", "adaptive")],
)
def test_every_kind_of_network_and_fusion_finds_the_same(
    lively: Callable[[str], nn.Module], name: str, strategy: str
) -> None:
    network = cast("SiameseNetwork", folded(lively(name)))
    tracker = SiameseTracker(network, tracker_config(name), Modality.FUSED, STRATEGIES[strategy])
    pairs = moving_pairs(5, (200, 160))
    pairs[3] = replace(pairs[3], visible_bgr=np.zeros_like(pairs[3].visible_bgr))
    assert_same(tracker, pairs, BOXES)


@pytest.mark.parametrize(
    ("name", "strategy", "dtype"),
    [
        ("siamrpn-lite", "gate", torch.float32),
        ("siamrpn-r50", "paper", torch.float16),
        ("nanotrack-v3", "adaptive", torch.float16),
    ],
)
def test_a_step_never_asks_the_device_for_a_value(name: str, strategy: str, dtype: torch.dtype) -> None:
    # The meta device has no values to give, and does not mix with the CPU: a CUDA graph wants both as well.
    device, targets, modalities = torch.device("meta"), 2, 2
    network = untrained_network(name).eval().to(device, dtype)
    siamese = cast("SiameseNetwork", network)
    shape = StepShape(targets=targets, modalities=modalities, only=None, with_looks=True)
    step = SearchStep(siamese, tracker_config(name), STRATEGIES[strategy], shape, dtype)
    views = 3 if strategy == "adaptive" else 1
    with torch.inference_mode():
        features = siamese.extract(torch.empty(views * targets, 3, 127, 127, device=device, dtype=dtype))
        template = siamese.encode_template([*features, *features] if strategy == "gate" else features)
        frames = torch.empty(640 * 480 * 4, dtype=torch.uint8, device=device)
        numbers = torch.empty(
            targets, 3 + (views if views > 1 else 0) + 13 * modalities, dtype=torch.float64, device=device
        )
        albums = tuple(torch.empty(targets, 10, features[-1].shape[1], 4, 4, device=device) for _ in range(2))
        output = step(frames, numbers, template, albums)
    assert output.rows.shape == (targets, 7 + (views if views > 1 else 0) + 2 * modalities)
    assert [looks.shape for looks in output.looks] == [(targets, *album.shape[2:]) for album in albums]


def test_states_are_values_also_for_a_step_that_keeps_its_memory(scene: Any) -> None:
    tracker = twin(build_tracker("siamrpn-lite"))
    first = tracker.init(scene, BOXES[0])
    once = tracker.update(first, scene)
    tracker.update_all([tracker.init(scene, BOXES[1]), first], scene)
    again = tracker.update(first, scene)
    assert again.box == once.box
    assert again.score == once.score
