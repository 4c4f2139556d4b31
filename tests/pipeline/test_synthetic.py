"""The synthetic scene: deterministic, true to its own ground truth, and what the scripted events promise."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.errors import InputError
from pipeline.sources import SourceOptions, open_source
from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene

SMALL = (320, 240)


@pytest.fixture(scope="module")
def quiet() -> SyntheticScene:
    """Without noise, events and night."""
    return SyntheticScene(SyntheticConfig(size_wh=SMALL, occlude=(), dark=(), noise=0))


def test_the_same_seed_gives_the_same_pictures_in_any_order() -> None:
    first, second = (SyntheticScene(SyntheticConfig(seed=4, size_wh=SMALL, length=60)) for _ in range(2))
    forward = [first.frame(index) for index in (0, 30, 59)]
    backward = [second.frame(index) for index in (59, 30, 0)]
    for a, b in zip(forward, reversed(backward), strict=True):
        assert np.array_equal(a.visible_bgr, b.visible_bgr)
        assert np.array_equal(a.thermal_raw, b.thermal_raw)
        assert np.array_equal(a.thermal, b.thermal)
        assert (a.boxes, a.visibility) == (b.boxes, b.visibility)
    other = SyntheticScene(SyntheticConfig(seed=5, size_wh=SMALL, length=60)).visible(0)
    assert not np.array_equal(other, forward[0].visible_bgr)


def test_pictures_have_the_announced_form(quiet: SyntheticScene) -> None:
    frame = quiet.frame(7)
    assert frame.visible_bgr.shape == (240, 320, 3)
    assert (frame.thermal.shape, frame.thermal.dtype) == ((240, 320), np.uint8)
    assert frame.thermal_raw.dtype == np.uint16
    assert len(frame.boxes) == len(frame.visibility) == len(quiet.names) == 5


def test_the_box_encloses_what_moves_in_both_pictures(quiet: SyntheticScene) -> None:
    """Between two moments only pixels inside the boxes of either (and soft shadows) change."""
    for first, second in ((0, 40), (100, 170)):
        allowed = np.zeros((240, 320), bool)
        for index in (first, second):
            for box in quiet.boxes(index):
                if box is not None:
                    rows = slice(max(0, round(box.y) - 4), round(box.y + box.h) + 4)
                    allowed[rows, max(0, round(box.x) - 4) : round(box.x + box.w) + 4] = True
        thermal = np.abs(quiet.thermal_raw(first).astype(int) - quiet.thermal_raw(second)) > 100
        visible = np.abs(quiet.visible(first).astype(int) - quiet.visible(second)).max(axis=2) > 60
        assert thermal.sum() > 300
        assert not (thermal & ~allowed).any()
        assert (visible & ~allowed).mean() < 1e-4


def test_the_box_is_tight(quiet: SyntheticScene) -> None:
    """The person is warmer than everything around; its rows and columns are those of the box."""
    frame = quiet.frame(0)
    box = frame.boxes[0]
    assert box is not None
    assert frame.visibility[0] > 0.95
    left, top = round(box.x) - 8, round(box.y) - 8
    part = frame.thermal_raw[top : top + round(box.h) + 16, left : left + round(box.w) + 16]
    warm = part > 27315 + 1650
    rows, columns = np.flatnonzero(warm.any(axis=1)), np.flatnonzero(warm.any(axis=0))
    assert [rows[0] + top, rows[-1] + 1 + top] == pytest.approx([box.y, box.y + box.h], abs=2.5)
    assert [columns[0] + left, columns[-1] + 1 + left] == pytest.approx([box.x, box.x + box.w], abs=2.5)


def test_there_are_warm_and_cold_objects(quiet: SyntheticScene) -> None:
    frame = quiet.frame(60)
    warmth = {}
    for name, box in zip(quiet.names, frame.boxes, strict=True):
        if box is not None:
            x, y = (round(value) for value in box.center_xy)
            warmth[name] = (float(frame.thermal_raw[y, x]) - 27315) / 100
    assert warmth["person in red"] > 17
    assert warmth["cold lorry"] < 8


@pytest.mark.parametrize("count", [1, 10, 45])
def test_a_scripted_occlusion_hides_the_target_for_just_that_long(count: int) -> None:
    config = SyntheticConfig(size_wh=SMALL, length=200, occlude=((80, count),), dark=(), tree=False)
    scene = SyntheticScene(config)
    hidden = [index for index in range(60, 160) if scene.visibility(index)[0] < 0.02]
    assert hidden[0] == pytest.approx(80, abs=1)
    assert hidden[-1] == pytest.approx(79 + count, abs=1)
    assert hidden == list(range(hidden[0], hidden[-1] + 1))
    assert all(scene.boxes(index)[0] is not None for index in hidden)
    assert scene.visibility(30)[0] > 0.9


def test_a_scripted_absence_takes_the_target_out_of_the_scene() -> None:
    scene = SyntheticScene(SyntheticConfig(size_wh=SMALL, length=100, absent=((20, 5),), occlude=(), dark=()))
    absent = [index for index in range(100) if scene.boxes(index)[0] is None]
    assert absent == [20, 21, 22, 23, 24]
    assert scene.visibility(22)[0] == 0


def test_night_falls_in_the_visible_picture_only() -> None:
    scene = SyntheticScene(SyntheticConfig(size_wh=SMALL, length=120, occlude=(), dark=((60, 60),)))
    assert scene.visible(119).mean() < 0.25 * scene.visible(30).mean()
    assert scene.thermal(119).mean() == pytest.approx(scene.thermal(30).mean(), rel=0.1)


def test_default_events_are_seen_in_a_run_of_any_length() -> None:
    for length in (60, 300):
        scene = SyntheticScene(SyntheticConfig(size_wh=SMALL, length=length))
        assert min(scene.visibility(index)[0] for index in range(length)) < 0.02
        assert scene.visible(length - 1).mean() < 60


def test_the_target_passes_behind_the_tree_and_other_objects(quiet: SyntheticScene) -> None:
    seen = np.array([quiet.visibility(index) for index in range(0, 300, 3)])
    boxes = [quiet.boxes(index) for index in range(0, 300, 3)]
    assert all(box[0] is not None for box in boxes)
    assert seen[:, 0].min() < 0.35
    assert seen[:, 1].min() < 0.5
    assert (seen <= 1).all()


def test_as_sources_both_give_frames_of_the_same_moments() -> None:
    options = SourceOptions(size_wh=SMALL, length=4, thermal_16bit=True)
    with (
        open_source("synthetic:7", role="visible", options=options) as visible,
        open_source("synthetic:7", role="thermal", options=options) as thermal,
    ):
        frames = list(zip(visible, thermal, strict=True))
        assert visible.info.length == len(frames) == 4
        assert thermal.info.is_thermal_16bit
        assert all(a.time_s == b.time_s for a, b in frames)
        assert frames[0][1].image.dtype == np.uint16
    again = SyntheticScene(SyntheticConfig(seed=7, size_wh=SMALL, length=4))
    assert np.array_equal(frames[3][0].image, again.visible(3))


@pytest.mark.parametrize("size_wh", [(64, 64), (160, 120), (640, 360), (501, 403)])
def test_any_size_can_be_painted(size_wh: tuple[int, int]) -> None:
    frame = SyntheticScene(SyntheticConfig(size_wh=size_wh, length=70)).frame(30)
    assert frame.visible_bgr.shape == (size_wh[1], size_wh[0], 3)


@pytest.mark.parametrize(
    "settings",
    [{"size_wh": (10, 10)}, {"fps": 0.0}, {"length": 0}, {"seed": -1}, {"noise": -1.0}, {"occlude": ((0, 0),)}],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="synthetic scene"):
        SyntheticConfig(**settings)  # type: ignore[arg-type]
