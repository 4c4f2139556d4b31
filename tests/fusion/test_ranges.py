"""From unbounded grey levels to 8 bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion.errors import InputError
from fusion.metrics.flicker import FlickerMeter
from fusion.ranges import SmoothRange, SmoothRangeConfig, build_range, fixed_range, stretched_range
from fusion.still_filter import StillFilter, StillFilterConfig

LEVELS = arrays(np.float32, (5, 7), elements=st.floats(-500, 500, width=32))


@settings(deadline=None, max_examples=50)
@given(levels=LEVELS)
def test_order_of_grey_levels_is_kept(levels: np.ndarray) -> None:
    order = np.argsort(levels.ravel())
    for name in ("fixed", "stretch", "smooth"):
        mapped = build_range(name)(levels).ravel()[order].astype(int)
        assert (np.diff(mapped) >= 0).all()


def test_stretch_reaches_both_ends_and_survives_a_flat_picture() -> None:
    levels = np.linspace(-20, 400, 35, dtype=np.float32).reshape(5, 7)
    assert (stretched_range(levels).min(), stretched_range(levels).max()) == (0, 255)
    assert (stretched_range(np.full((3, 3), 77.4, np.float32)) == 77).all()


def test_stretch_equals_what_the_authors_save(reference: Any) -> None:
    golden = reference.golden("nestfuse")
    checked = 0
    for key in golden:
        tag = key.removesuffix(".saved_u8")
        output = golden.get(f"{tag}.out")
        if tag == key or output is None or int(golden.get(f"{tag}.out.stride", 1)) != 1:
            continue
        saved = stretched_range(output.reshape(golden[key].shape))
        assert np.abs(saved.astype(int) - golden[key]).max() <= 1
        assert (saved == golden[key]).mean() > 0.999
        checked += 1
    assert checked


def test_fixed_rounds_and_clips() -> None:
    assert fixed_range(np.array([[-3, 0.6, 254.4, 300]], np.float32)).tolist() == [[0, 1, 254, 255]]


def test_rounding_favours_no_level_among_halves() -> None:
    levels = np.arange(0, 200, 0.5, dtype=np.float32).reshape(1, -1)
    assert (np.bincount(fixed_range(levels).ravel())[1:200] == 2).all()


def test_smooth_range_follows_slowly_and_resets() -> None:
    scene = np.linspace(40, 160, 64 * 64, dtype=np.float32).reshape(64, 64)
    mapping = SmoothRange()
    steady = mapping(scene)
    assert steady.min() == 0
    assert steady.max() == 255
    flash = scene.copy()
    flash[:8, :8] = 300
    changed = mapping(flash)
    assert np.abs(changed[16:].astype(int) - steady[16:]).max() < 20
    assert np.abs(stretched_range(flash)[16:].astype(int) - steady[16:]).max() > 100
    mapping.reset()
    assert np.array_equal(mapping(scene), steady)


def test_smooth_range_follows_a_cut_at_once_and_leaves_noise_alone() -> None:
    generator = np.random.default_rng(0)
    mapping = SmoothRange()
    mapping(generator.uniform(200, 250, (32, 32)).astype(np.float32))
    dark = mapping(generator.uniform(0, 60, (32, 32)).astype(np.float32))
    assert 90 < dark.mean() < 160
    flat = SmoothRange()(generator.uniform(100, 102, (32, 32)).astype(np.float32))
    assert int(flat.max()) - int(flat.min()) < 16


def scene_with(low: float) -> np.ndarray:
    scene = np.full((64, 64), 120, np.float32)
    scene[:, 32:] = 180
    scene[:6, :6] = low
    return scene


def test_something_dark_that_comes_and_goes_does_not_move_the_range_every_time() -> None:
    mapping = SmoothRange(SmoothRangeConfig(still=StillFilterConfig(still_levels=0)))
    levels = [mapping(scene_with(20 if index // 20 % 2 else 60))[40, 10] for index in range(400)]
    assert np.ptp(np.array(levels[150:], int)) <= 3
    stretched = [stretched_range(scene_with(low))[40, 10] for low in (20, 60)]
    assert np.ptp(np.array(stretched, int)) > 20


def test_rare_extremes_do_not_cost_the_contrast_of_all_other_pictures() -> None:
    mapping = SmoothRange()
    spread, stretched = [], []
    for index in range(500):
        scene = scene_with(20 if index % 40 == 0 else 100)
        spread.append(float(mapping(scene).std()))
        stretched.append(float(stretched_range(scene).std()))
    assert np.mean(spread[100:]) > 0.85 * np.mean(stretched[100:])


@pytest.mark.parametrize(("gone", "pictures", "share"), [(80, 20, 0.6), (80, 600, 0.95), (115, 120, 0.65)])
def test_the_range_narrows_once_what_was_dark_stays_away(gone: float, pictures: int, share: float) -> None:
    # Soon where less than two thirds of the range are left in use, and slowly otherwise.
    def contrast(picture: np.ndarray) -> int:
        return int(picture[40, 40]) - int(picture[40, 10])

    mapping = SmoothRange()
    for _ in range(100):
        before = contrast(mapping(scene_with(20)))
    aim = contrast(stretched_range(scene_with(gone)))
    after = [contrast(mapping(scene_with(gone))) for _ in range(pictures)]
    assert before < 0.65 * aim
    assert abs(after[19] - before) < 0.05 * aim
    assert after[-1] > share * aim


def test_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match="--range bright"):
        build_range("bright")
    with pytest.raises(InputError, match="still_levels"):
        StillFilterConfig(still_levels=-1)
    with pytest.raises(InputError, match="pictures"):
        StillFilterConfig(pictures=0)
    with pytest.raises(InputError, match="held_pictures"):
        SmoothRangeConfig(held_pictures=0)
    with pytest.raises(InputError, match="widening"):
        SmoothRangeConfig(widening=0)
    with pytest.raises(InputError, match="narrowing"):
        SmoothRangeConfig(narrowing=1.5)
    with pytest.raises(InputError, match="averaged_pictures"):
        SmoothRangeConfig(averaged_pictures=0)
    with pytest.raises(InputError, match="widest"):
        SmoothRangeConfig(widest=0.9)
    with pytest.raises(InputError, match="margin"):
        SmoothRangeConfig(margin=0.5)
    with pytest.raises(InputError, match="positive"):
        SmoothRangeConfig(minimum_span=0)


def noisy_video(
    count: int, noise: float = 2.0, seed: int = 0, gain: float = 1.0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Two still scenes with noise, jumps every twelve pictures, and what a method with gain makes of them."""
    generator = np.random.default_rng(seed)
    scenes = [cv2.GaussianBlur(generator.uniform(0, 255, (96, 128)), (0, 0), 6) for _ in range(2)]
    scenes = [60 + (scene - scene.min()) * (100 / np.ptp(scene)) for scene in scenes]
    jumps = np.zeros((2, 96, 128))
    for index in range(count):
        if index % 12 == 0:
            jumps = generator.normal(0, noise / 2, (2, 12, 16)).repeat(8, 1).repeat(8, 2)
        visible, thermal = (
            np.clip(np.rint(scene + jump + generator.normal(0, noise, scene.shape)), 0, 255).astype(np.uint8)
            for scene, jump in zip(scenes, jumps, strict=True)
        )
        yield visible, thermal, gain * (visible.astype(np.float32) + thermal) - 60


@pytest.mark.parametrize("noise", [0.5, 0.9])
def test_smooth_range_adds_contrast_without_flicker(noise: float) -> None:
    mapping, meter, stretched_meter = SmoothRange(), FlickerMeter(), FlickerMeter()
    deviations = []
    for visible, thermal, levels in noisy_video(75, noise):
        fused, stretched = mapping(levels), stretched_range(levels)
        meter.add(visible=visible, thermal=thermal, fused=fused)
        stretched_meter.add(visible=visible, thermal=thermal, fused=stretched)
        deviations.append((fused.std(), stretched.std()))
    smooth, stretch = np.mean(deviations, axis=0)
    assert stretched_meter.result().ratio > 1.3
    assert meter.result().ratio < 1.1
    assert abs(smooth / stretch - 1) < 0.05


def test_what_moves_leaves_no_trail_and_keeps_its_contrast() -> None:
    generator = np.random.default_rng(1)
    calm = StillFilter()
    for step in range(60):
        levels = np.full((64, 120), 90, np.float32)
        left = 2 + step
        levels[20:28, left : left + 8] = 104
        result = calm(levels + generator.normal(0, 1, levels.shape).astype(np.float32))
        assert abs(result[20:28, left : left + 8].mean() - 104) < 1
        if left > 20:
            assert abs(result[20:28, : left - 2].mean() - 90) < 0.3
    assert result[40:].std() < 0.5


def test_a_wide_drift_is_calmed_more_than_what_moves_before_it() -> None:
    generator = np.random.default_rng(2)
    calm = StillFilter()
    backgrounds, objects = [], []
    for step in range(100):
        drift = 3 * np.sin(step / 4)
        levels = np.full((96, 160), 90 + drift, np.float32)
        left = 2 + step
        levels[40:52, left : left + 12] += 12
        result = calm(levels + generator.normal(0, 1, levels.shape).astype(np.float32))
        backgrounds.append(result[:30].mean())
        objects.append(result[40:52, left : left + 12].mean() - result[:30].mean())
    assert np.std(backgrounds[20:]) < 0.6 * 3 / np.sqrt(2)
    assert np.mean(objects[20:]) > 0.93 * 12


@pytest.mark.parametrize("step", [1.0, 2.0, 4.0, 40.0])
def test_every_change_arrives(step: float) -> None:
    calm = StillFilter()
    picture = np.full((20, 30), 100, np.float32)
    calm(picture)
    arrived = [float(calm(picture + np.float32(step)).mean()) - 100 for _ in range(80)]
    assert arrived[-1] == pytest.approx(step, rel=0.05)
    if step > 9:
        assert arrived[0] == pytest.approx(step, rel=0.01)


def test_the_filter_takes_another_size_and_can_be_switched_off() -> None:
    first, second = np.full((8, 9), 100, np.float32), np.full((8, 9), 101, np.float32)
    calm = StillFilter()
    calm(first)
    assert np.array_equal(calm(np.full((4, 4), 7, np.float32)), np.full((4, 4), 7, np.float32))
    off = StillFilter(StillFilterConfig(still_levels=0))
    off(first)
    assert np.array_equal(off(second), second)
