"""Lost targets: where they are looked for, what is believed, and that nothing drifts meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.tracker_recovery import follow_event
from fusion.errors import InputError
from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from trackers.appearance import album_of, appearance_of, later_album, look_at, similarity
from trackers.box import Box
from trackers.factory import build_tracker
from trackers.networks.interface import Features, Response
from trackers.recovery import (
    Evidence,
    after_verdict,
    evidence_for,
    is_lost,
    judge,
    later_usual,
    places_of_this_pair,
    search_places,
)
from trackers.siamese_core import SiameseTrackerConfig, TargetMemory
from trackers.siamese_tracker import SiameseTracker
from trackers.state import Modality, TrackStatus

CAREFUL = SiameseTrackerConfig(recovery=True, tracking_above=0.75, lost_below=0.55)


@dataclass(frozen=True)
class Pair:
    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]


class BrightSpot:
    """A network that finds the brightest place of a crop; its features are the crop itself at stride 8, less grey."""

    def extract(self, crops: Tensor) -> Features:
        return (torch.nn.functional.avg_pool2d(crops, 8, ceil_mode=True) - 128,)

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        return tuple(features)

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        grey = features[0].mean(1, keepdim=True)
        score = grey.clamp(0, 100) / 100
        rows = grey.shape[-1]
        axis = (torch.arange(rows) - rows // 2) * 8.0
        boxes = torch.full((grey.shape[0], 4, 1, rows, rows), 64.0)
        boxes[:, 0, 0], boxes[:, 1, 0] = axis, axis[:, None]
        return Response(score, boxes)


def picture(center_xy: tuple[int, int] | None, size_wh: tuple[int, int] = (320, 240)) -> Pair:
    """A dark scene with a bright square of 24 px, or without it."""
    grey = np.random.default_rng(0).integers(20, 60, (size_wh[1], size_wh[0]), np.uint8)
    if center_xy is not None:
        x, y = center_xy
        grey[y - 12 : y + 12, x - 12 : x + 12] = 240
    return Pair(np.repeat(grey[:, :, None], 3, 2), grey)


def spot_tracker(**settings: Any) -> SiameseTracker:
    return SiameseTracker(BrightSpot(), replace(CAREFUL, **settings), Modality.RGB)


def test_a_hidden_target_keeps_its_place_and_size_and_is_called_lost() -> None:
    tracker = spot_tracker()
    state = tracker.init(picture((100, 80)), Box(88, 68, 24, 24))
    state = tracker.update(state, picture((104, 82)))
    assert state.status is TrackStatus.TRACKING
    held = state.box
    for pair in range(30):
        state = tracker.update(state, picture(None))
        assert state.score < 0.55
        assert state.status is not TrackStatus.TRACKING
        if pair + 1 >= CAREFUL.lost_after:
            assert state.status is TrackStatus.LOST
            assert state.box == held


def test_a_target_that_comes_back_elsewhere_is_found_and_confirmed() -> None:
    tracker = spot_tracker()
    state = tracker.init(picture((60, 60)), Box(48, 48, 24, 24))
    for _ in range(5):
        state = tracker.update(state, picture(None))
    statuses = []
    for _ in range(40):
        state = tracker.update(state, picture((260, 190)))
        statuses.append(state.status)
    assert statuses[-1] is TrackStatus.TRACKING
    found = statuses.index(TrackStatus.UNCERTAIN)
    assert statuses[:found] == [TrackStatus.LOST] * found
    assert np.subtract(state.box.center_xy, (260, 190)) == pytest.approx((0, 0), abs=12)


def test_the_loop_of_the_paper_moves_on_whatever_the_score() -> None:
    tracker = spot_tracker(recovery=False)
    state = tracker.init(picture((100, 80)), Box(88, 68, 24, 24))
    for _ in range(3):
        state = tracker.update(state, picture(None))
    assert state.status is TrackStatus.LOST
    assert state.template.lost_pairs == 0


def test_a_lost_target_does_not_disturb_the_others() -> None:
    tracker = spot_tracker()
    pair = picture((100, 80))
    tracked = tracker.init(pair, Box(88, 68, 24, 24))
    lost = tracker.init(picture((250, 180)), Box(238, 168, 24, 24))
    for _ in range(3):
        (lost,) = tracker.update_all([lost], picture(None))
    together = tracker.update_all([lost, tracked, lost], pair)
    alone = tracker.update(tracked, pair)
    assert together[1].box.as_tuple() == pytest.approx(alone.box.as_tuple(), abs=1e-3)
    assert together[1].status is TrackStatus.TRACKING


@settings(deadline=None, max_examples=50)
@given(
    center=st.tuples(st.floats(0, 640), st.floats(0, 480)),
    side=st.floats(20, 900),
    count=st.integers(1, 6),
)
def test_the_search_covers_the_whole_picture_nearest_places_first(
    center: tuple[float, float], side: float, count: int
) -> None:
    places = search_places(center, side, (640, 480))
    assert len(set(places)) == len(places)
    distance = np.hypot(*(np.asarray(places).T - np.asarray(center)[:, None])) if places else np.zeros(0)
    assert (np.diff(distance) > -2).all()
    covered = np.zeros((480, 640), bool)
    for x, y in (*places, center):
        covered[
            max(0, int(y - side / 2)) : int(y + side / 2) + 1, max(0, int(x - side / 2)) : int(x + side / 2) + 1
        ] = 1
    assert covered[8:-8, 8:-8].all()
    visited: set[tuple[float, float]] = set()
    for lost_pairs in range(1, len(places) // count + 2):
        visited.update(places_of_this_pair(places, lost_pairs, count))
    assert visited == set(places)


def test_confidence_falls_with_unusual_looks_only() -> None:
    both = (True, True)
    assert evidence_for(0.9, (0.5, 0.1), None, both).confidence == 0.9
    assert evidence_for(0.9, (0.8, 0.7), (0.8, 0.7), both).confidence == pytest.approx(0.9)
    assert evidence_for(0.9, (0.95, 0.9), (0.8, 0.7), both).confidence == pytest.approx(0.9)
    assert evidence_for(0.9, (0.4, 0.8), (0.8, 0.8), both).likeness == pytest.approx((0.5, 1))
    assert evidence_for(0.9, (0.4, 0.8), (0.8, 0.8), (False, True)).likeness == pytest.approx((1,))
    assert evidence_for(0.9, (-0.2, 0.8), (0.8, 0.8), (True, False)).confidence == 0
    assert later_usual(None, (0.7,)) == (0.7,)
    assert later_usual((0.7,), (0.9,)) == pytest.approx((0.71,))


def remembered(**changes: Any) -> TargetMemory:
    memory = TargetMemory(
        features=(), center_xy=(90.0, 70.0), size_wh=(20.0, 30.0), fills=(), usual_similarity=(0.9, 0.9),
        sure_place=((50.0, 40.0), (10.0, 12.0)),
    )  # fmt: skip
    return replace(memory, **changes)


def seen(score: float, *likeness: float) -> Evidence:
    return Evidence(score=score, likeness=likeness)


def test_a_low_score_alone_is_no_loss() -> None:
    memory = remembered()
    for _ in range(20):
        verdict = judge(memory, [seen(0.02, 0.9, 0.8)], CAREFUL)
        assert verdict.status is TrackStatus.UNCERTAIN
        memory = after_verdict(memory, verdict)
    assert memory.sure_place == (memory.center_xy, memory.size_wh)


def test_a_target_that_looks_like_something_else_is_lost_after_some_pairs_and_put_back() -> None:
    memory, statuses = remembered(), []
    for _ in range(CAREFUL.lost_after):
        verdict = judge(memory, [seen(0.3, 0.4, 0.5)], CAREFUL)
        memory = after_verdict(memory, verdict)
        statuses.append(verdict.status)
    assert statuses == [TrackStatus.UNCERTAIN] * (CAREFUL.lost_after - 1) + [TrackStatus.LOST]
    assert (memory.center_xy, memory.size_wh) == ((50, 40), (10, 12))
    assert is_lost(memory)


def test_before_anything_is_usual_the_score_decides() -> None:
    memory = remembered(usual_similarity=None)
    for _ in range(CAREFUL.lost_after):
        memory = after_verdict(memory, judge(memory, [seen(0.1)], CAREFUL))
    assert is_lost(memory)


def test_a_finding_elsewhere_has_to_prove_itself() -> None:
    lost = remembered(lost_pairs=7)
    gone, there = seen(0.0, 0.2, 0.3), seen(0.9, 0.85, 0.75)
    assert judge(lost, [gone, seen(0.9, 0.5, 0.6)], CAREFUL).status is TrackStatus.LOST
    assert judge(lost, [gone, seen(0.4, 0.9, 0.9)], CAREFUL).status is TrackStatus.LOST
    verdict = judge(lost, [gone, gone, there], CAREFUL)
    assert (verdict.status, verdict.place) == (TrackStatus.UNCERTAIN, 2)
    found = after_verdict(lost, verdict)
    assert not is_lost(found)
    assert judge(found, [seen(0.9, 0.7, 0.6)], CAREFUL).status is TrackStatus.LOST
    for expected in (TrackStatus.UNCERTAIN, TrackStatus.TRACKING):
        verdict = judge(found, [seen(0.95, 0.9, 0.9)], CAREFUL)
        assert verdict.status is expected
        found = after_verdict(found, verdict)
    assert (found.lost_pairs, found.proofs_due) == (0, 0)


def test_an_unknown_pose_is_believed_when_the_network_is_as_sure_as_ever() -> None:
    found = remembered(lost_pairs=7, proofs_due=2, usual_score=0.92)
    eager = replace(CAREFUL, tracking_above=0.5, lost_below=0.1)
    assert judge(found, [seen(0.9, 0.74, 0.82)], eager).status is TrackStatus.UNCERTAIN
    assert judge(found, [seen(0.8, 0.74, 0.82)], eager).status is TrackStatus.LOST
    assert judge(found, [seen(0.92, 0.7, 0.76)], eager).status is TrackStatus.LOST


def test_a_target_that_never_left_is_believed_by_its_looks() -> None:
    verdict = judge(remembered(lost_pairs=2), [seen(0.05, 0.85, 0.9), seen(0.9, 0.9, 0.9)], CAREFUL)
    assert (verdict.status, verdict.place) == (TrackStatus.UNCERTAIN, 0)


def test_an_album_keeps_the_first_looks_follows_recent_ones_and_collects_new_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    first = (torch.rand(1, 4, 2, 2, generator=generator),)
    album, kept = album_of(first), 0

    def after(pose: Tensor) -> tuple[Features, int]:
        _, with_kept = similarity(pose, album[0])[0].tolist()
        return later_album(album, (pose,), kept, is_new=with_kept < 0.9)

    album, kept = after(first[0] * 2)
    assert kept == 0
    poses = [torch.randn(1, 4, 2, 2, generator=generator) for _ in range(30)]
    for pose in poses:
        album, kept = after(pose)
    assert kept == len(poses)
    assert album[0].shape == album_of(first)[0].shape
    for known in (first[0], *poses[-5:]):
        assert similarity(known, album[0])[0, 0].item() == pytest.approx(1, abs=1e-5)
    assert similarity(poses[0], album[0])[0, 0].item() < 0.99


def test_looks_read_at_a_place_are_those_of_a_template_cut_there() -> None:
    generator = torch.Generator().manual_seed(0)
    search = torch.rand(1, 6, 31, 31, generator=generator)
    template = search[:, :, 8 + 2 : 23 + 2, 8 - 3 : 23 - 3]
    remembered = appearance_of((template,))
    assert remembered.shape == (1, 6, 7, 7)
    here = look_at((search,), torch.tensor([[-3 * 8.0, 2 * 8.0]]), cells=7, search_size_px=255)
    torch.testing.assert_close(here, remembered, rtol=1e-4, atol=1e-4)
    assert similarity(here, *album_of((remembered,)))[0].tolist() == pytest.approx([1, 1], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("event", "seed"), [("hidden", 2), ("absent", 6)])
def test_the_default_tracker_finds_a_hidden_and_an_absent_target_again(event: Any, seed: int) -> None:
    found = follow_event(build_tracker("siamrpn-lite"), event, seed)
    assert found.iou_before > 0.5
    assert found.recovered
    assert found.falsely_tracked <= 0.05 * found.gone_pairs


def test_a_template_is_refreshed_from_sure_pairs_alone_and_keeps_the_first() -> None:
    tracker = build_tracker("siamrpn-lite", overrides={"template_refresh": 0.25, "refresh_every": 2})
    scene = SyntheticScene(SyntheticConfig(seed=0))
    frames = [scene.frame(index) for index in range(12)]
    box = frames[0].boxes[0]
    assert box is not None
    state = tracker.init(frames[0], box)
    first = expected = state.template.features
    for frame in frames[1:]:
        before = state.template.sure_pairs
        state = tracker.update(state, frame)
        memory = state.template
        if memory.sure_pairs > before and memory.sure_pairs % 2 == 0:
            again = tracker.remember(tracker.images_of(frame), memory.center_xy, memory.size_wh)
            expected = tuple(torch.lerp(old, new, 0.25) for old, new in zip(first, again.features, strict=True))
        for have, want in zip(memory.features, expected, strict=True):
            torch.testing.assert_close(have, want)
    assert memory.sure_pairs >= 4
    assert not torch.equal(expected[0], first[0])
    # A pair in which one eye sees nothing teaches nothing.
    dark = Pair(frames[11].visible_bgr, np.zeros_like(frames[11].thermal))
    for _ in range(4):
        state = tracker.update(state, dark)
    assert state.template.sure_pairs == memory.sure_pairs
    assert state.template.features is memory.features
    with pytest.raises(InputError, match="refresh_every"):
        SiameseTrackerConfig(template_refresh=0.2, refresh_every=0)
