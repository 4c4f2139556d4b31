"""The tracking loop: boxes do not leak, batches change nothing, and sequences equal the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fusion.attention import FSRPN, PAPER, AttentionStrategy
from fusion.errors import InputError
from trackers.box import Box
from trackers.networks.interface import Features, Response
from trackers.networks.siamrpn import siamrpn_alex, siamrpn_mobilev2, siamrpn_r50
from trackers.siamese_core import SiameseTrackerConfig, choose_proposals, context_side, next_status
from trackers.siamese_tracker import SiameseTracker
from trackers.state import Modality, TrackStatus

ALEX = SiameseTrackerConfig(instance_size=287, penalty_k=0.16, window_influence=0.4, learning_rate=0.3)
MOBILE = SiameseTrackerConfig(penalty_k=0.04, window_influence=0.4, learning_rate=0.5)
R50 = SiameseTrackerConfig()


class Oracle:
    """A network that is sure of one displacement and size, given in search-crop pixels."""

    def __init__(self, box_in_crop: tuple[float, float, float, float], score: float = 1.0) -> None:
        self.box_in_crop = box_in_crop
        self.score = score

    def extract(self, crops: Tensor) -> Features:
        return (crops[:, :, ::32, ::32],)

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        return tuple(features)

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        batch = features[0].shape[0]
        assert template[0].shape[0] == batch
        score = torch.full((batch, 1, 3, 3), self.score / 2)
        score[:, :, 1, 1] = self.score
        boxes = torch.zeros(batch, 4, 1, 3, 3)
        boxes[:, :, 0] = torch.tensor(self.box_in_crop)[None, :, None, None]
        return Response(score, boxes)


def crop_scale(box: Box) -> float:
    return 127 / context_side((box.w, box.h), 0.5)


@settings(deadline=None, max_examples=60)
@given(
    x=st.floats(0, 150), y=st.floats(0, 110), w=st.floats(10, 50), h=st.floats(10, 50),
    modality=st.sampled_from(list(Modality)), fusion=st.sampled_from([PAPER, "mean", "gate", "adaptive"]),
)  # fmt: skip
def test_a_box_comes_back_unchanged_when_the_target_has_not_moved(
    scene: Any, x: float, y: float, w: float, h: float, modality: Modality, fusion: Any
) -> None:
    box = Box(x, y, w, h)
    scale = crop_scale(box)
    tracker = SiameseTracker(Oracle((0, 0, w * scale, h * scale)), R50, modality, fusion)
    after = tracker.update(tracker.init(scene, box), scene)
    assert np.abs(np.subtract(after.box.as_tuple(), box.as_tuple())).max() < 1e-3
    assert after.score == pytest.approx(1.0)
    assert after.status is TrackStatus.TRACKING


def test_a_displacement_is_taken_whole_and_a_size_in_part(scene: Any) -> None:
    box = Box(60, 50, 30, 20)
    scale = crop_scale(box)
    tracker = SiameseTracker(Oracle((6 * scale, -4 * scale, 60 * scale, 40 * scale)), replace(R50, penalty_k=0.0))
    after = tracker.update(tracker.init(scene, box), scene).box
    assert np.subtract(after.center_xy, box.center_xy) == pytest.approx((6, -4), abs=1e-4)
    assert (after.w, after.h) == pytest.approx((30 + 0.38 * 30, 20 + 0.38 * 20), abs=1e-3)


def test_centre_and_size_stay_within_the_picture(scene: Any) -> None:
    tracker = SiameseTracker(Oracle((9e4, -9e4, 9e4, 0.1)), replace(R50, penalty_k=0.0, learning_rate=1.0))
    after = tracker.update(tracker.init(scene, Box(60, 50, 30, 20)), scene).box
    assert after.center_xy == (200, 0)
    assert (after.w, after.h) == (200, 10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_network_without_a_finite_answer_leaves_the_target_in_place(scene: Any, bad: float) -> None:
    tracker = SiameseTracker(Oracle((bad, 0, 10, 10)), R50)
    state = tracker.init(scene, Box(60, 50, 30, 20))
    after = tracker.update(state, scene)
    assert after.box == state.box
    assert after.score == 0.0
    assert after.status is TrackStatus.LOST


@pytest.mark.parametrize("box", [Box(300, 20, 10, 10), Box(-40, 20, 40, 10), Box(20, 20, 0, 10)])
def test_a_box_without_area_in_the_picture_is_refused(scene: Any, box: Box) -> None:
    with pytest.raises(InputError, match="no area inside the 200 x 160 picture"):
        SiameseTracker(Oracle((0, 0, 1, 1)), R50).init(scene, box)


@pytest.mark.parametrize("box", [Box(20, 20, 0.01, 0.01), Box(-500, -500, 2000, 2000), Box(199.5, 0, 90, 1)])
def test_extreme_boxes_give_finite_states(scene: Any, box: Box) -> None:
    tracker = SiameseTracker(Oracle((0, 0, 60, 60)), R50)
    after = tracker.update(tracker.init(scene, box), scene)
    assert np.isfinite(after.box.as_tuple()).all()


def test_equal_ranks_choose_the_first_and_unusable_proposals_drop_out() -> None:
    score = np.full((1, 1, 3, 3), 0.5, np.float32)
    boxes = np.full((1, 4, 1, 3, 3), 20, np.float32)
    config = replace(R50, window_influence=0.0)
    sizes = np.full((1, 2), 20.0)
    assert choose_proposals(score, boxes, sizes, config).indices.tolist() == [0]
    boxes[0, 2, 0, 0, :2] = (np.nan, np.inf)
    assert choose_proposals(score, boxes, sizes, config).indices.tolist() == [2]


def test_a_lost_target_needs_a_good_look_to_be_tracked_again() -> None:
    scores, seen = (0.9, 0.4, 0.1, 0.4, 0.59, 0.6), []
    status = TrackStatus.TRACKING
    for score in scores:
        status = next_status(status, score, R50)
        seen.append(status.value)
    assert seen == ["tracking", "uncertain", "lost", "lost", "lost", "tracking"]


@pytest.mark.parametrize("setting", [{"window_influence": 1.5}, {"lost_below": 0.9}, {"instance_size": 100}], ids=str)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        replace(R50, **setting)


@pytest.mark.parametrize("fusion", [PAPER, "adaptive"])
def test_targets_in_one_batch_do_not_influence_each_other(scene: Any, fusion: Any) -> None:
    torch.manual_seed(3)
    network = siamrpn_alex().eval()
    boxes = [Box(60, 50, 30, 20), Box(10, 10, 40, 40), Box(150, 100, 20, 50)]
    tracker = SiameseTracker(network, ALEX, Modality.FUSED, fusion)
    states = [tracker.init(scene, box) for box in boxes]
    together = tracker.update_all(states, scene)
    for state, one in zip(states, together, strict=True):
        alone = tracker.update(state, scene)
        assert one.box.as_tuple() == pytest.approx(alone.box.as_tuple(), abs=1e-2)
        assert one.score == pytest.approx(alone.score, abs=1e-4)
    assert tracker.update_all([], scene) == []


def track(
    tracker: SiameseTracker, pictures: Sequence[tuple[Any, ...]], box: Sequence[float]
) -> dict[str, np.ndarray[Any, Any]]:
    """Run the loop from PySOT's raw starting point, whose centre is half a pixel off."""
    x, y, w, h = box
    memory = tracker.remember(pictures[0], (x + (w - 1) / 2, y + (h - 1) / 2), (w, h))
    rows = []
    for images in pictures[1:]:
        (memory,), chosen = tracker.advance([memory], images)
        (cx, cy), (w, h) = memory.center_xy, memory.size_wh
        rows.append((cx - w / 2, cy - h / 2, w, h, chosen.scores[0], chosen.indices[0]))
    table = np.asarray(rows)
    return {"bbox": table[:, :4], "best_score": table[:, 4], "best_idx": table[:, 5]}


def assert_same_track(golden: Any, tag: str, found: dict[str, Any]) -> None:
    frames = len(found["bbox"])
    np.testing.assert_array_equal(found["best_idx"], golden[f"{tag}.best_idx"][:frames])
    np.testing.assert_allclose(found["bbox"], golden[f"{tag}.bbox"][:frames], rtol=0, atol=0.01)
    np.testing.assert_allclose(found["best_score"], golden[f"{tag}.best_score"][:frames], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "builder", "config", "frames"),
    [
        ("siamrpn_alex_dwxcorr", siamrpn_alex, ALEX, 15),
        ("siamrpn_mobilev2_l234_dwxcorr", siamrpn_mobilev2, MOBILE, 15),
        ("siamrpn_r50_l234_dwxcorr", siamrpn_r50, R50, 4),
    ],
)
def test_whole_loop_equals_the_reference(
    reference: Any, name: str, builder: Any, config: SiameseTrackerConfig, frames: int
) -> None:
    tracker = SiameseTracker(reference.seeded(builder(), name), config, Modality.RGB)
    synthetic = [(reference.seeds.frame(t),) for t in range(frames)]
    for tag, box in reference.manifest["pysot"]["synthetic_sequence"]["boxes"].items():
        assert_same_track(reference.golden(name), tag, track(tracker, synthetic, box))
    real = [(picture,) for picture in reference.crossing(frames)]
    box = reference.manifest["pysot"]["real_sequence"]["init_box_xywh"]
    assert_same_track(reference.golden(f"real_{name}"), "crossing", track(tracker, real, box))


def rgbt_track(reference: Any, weights: str, frames: int) -> dict[str, Any]:
    strategy: AttentionStrategy = FSRPN
    tracker = SiameseTracker(reference.seeded(siamrpn_r50(), weights), R50, Modality.FUSED, strategy)
    pictures = [(reference.seeds.frame(t, 900, 3), reference.seeds.frame(t, 910, 1)[:, :, 0]) for t in range(frames)]
    return track(tracker, pictures, reference.manifest["fsrpn"]["synthetic_sequence"]["box"])


def test_rgbt_loop_equals_the_reference(reference: Any) -> None:
    assert_same_track(reference.golden("fsrpn"), "synth", rgbt_track(reference, "fsrpn", 4))


def test_rgbt_loop_stays_finite_where_the_reference_overflows(reference: Any) -> None:
    assert np.isnan(reference.golden("fsrpn")["overflow.best_score"]).all()
    found = rgbt_track(reference, "siamrpn_r50_l234_dwxcorr", 3)
    assert np.isfinite(found["bbox"]).all()
    assert (found["best_score"] > 0).all()
    assert (found["best_idx"] > 0).all()


@pytest.mark.parametrize("fusion", ["adaptive", "gate"])
@pytest.mark.parametrize(("missing", "left"), [("thermal", Modality.RGB), ("visible", Modality.IR)])
@pytest.mark.parametrize("level", [0, 255])
def test_tracking_goes_on_with_the_other_modality_and_says_so(
    scene: Any, fusion: Any, missing: str, left: Modality, level: int
) -> None:
    box = Box(60, 50, 30, 20)
    scale = crop_scale(box)
    tracker = SiameseTracker(Oracle((5, 0, 30 * scale, 20 * scale)), R50, fusion=fusion)
    state = tracker.init(scene, box)
    visible, thermal = scene.visible_bgr, scene.thermal
    if missing == "thermal":
        thermal = np.full_like(thermal, level)
    else:
        visible = np.full_like(visible, level)
    blind = type(scene)(visible, thermal)
    after = tracker.update(state, blind)
    assert after.seen_in is left
    assert after.box.center_xy[0] == pytest.approx(box.center_xy[0] + 5 / scale, abs=1e-3)
    assert tracker.update(after, scene).seen_in is Modality.FUSED


def test_a_frozen_stream_is_noticed_after_a_while_and_forgiven_at_once(scene: Any) -> None:
    generator = np.random.default_rng(0)
    box = Box(60, 50, 30, 20)
    scale = crop_scale(box)
    tracker = SiameseTracker(Oracle((0, 0, 30 * scale, 20 * scale)), R50, fusion="adaptive")
    state = tracker.init(scene, box)
    seen = []
    for frame in range(R50.frozen_after + 3):
        noisy = scene.visible_bgr ^ generator.integers(0, 2, scene.visible_bgr.shape, np.uint8)
        thermal = scene.thermal if frame < R50.frozen_after + 2 else scene.thermal ^ np.uint8(1)
        state = tracker.update(state, type(scene)(noisy, thermal))
        seen.append(state.seen_in)
    assert seen[: R50.frozen_after - 1] == [Modality.FUSED] * (R50.frozen_after - 1)
    assert seen[-4:] == [Modality.RGB] * 3 + [Modality.FUSED]


def test_when_both_streams_stand_still_both_are_used(scene: Any) -> None:
    tracker = SiameseTracker(Oracle((0, 0, 60, 40)), replace(R50, frozen_after=1), fusion="adaptive")
    state = tracker.init(scene, Box(60, 50, 30, 20))
    for _ in range(3):
        state = tracker.update(state, scene)
        assert state.seen_in is Modality.FUSED
