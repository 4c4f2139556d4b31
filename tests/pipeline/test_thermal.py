"""16-bit thermal to 8 bits: contrast without flicker."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError
from pipeline.thermal import ThermalConfig, ThermalDisplay, colorize, equalized_levels, palette_table


@cache
def scene(index: int, *, hot_from: int = 30, noise: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Counts of 0.01 K of a room with a warm wall, into which something at 90 degrees enters; and its mask."""
    rng = np.random.default_rng(index)
    height, width = 256, 320
    y, x = np.mgrid[0:height, 0:width]
    counts = 29300 + 0.5 * x + 60 * np.sin(x / 37) * np.cos(y / 23) + 120 * (y > 170)
    counts += cv2.GaussianBlur(np.random.default_rng(99).normal(0, 120, (height, width)), (0, 0), 4)
    hot = np.zeros((height, width), bool)
    if index >= hot_from:
        left = 4 * (index - hot_from)
        hot = (np.abs(x - left) < 35) & (np.abs(y - 120) < 45)
        counts = np.where(hot, 36300 - 40.0 * np.abs(y - 120), counts)
    return np.rint(counts + rng.normal(0, noise, counts.shape)).astype(np.uint16), hot


def worst_background_jump(display: ThermalDisplay) -> float:
    """Greatest change from one picture to the next of the mean brightness of the static background, grey levels."""
    static = np.ones((256, 320), bool)
    for index in range(60):
        static &= ~scene(index)[1]
    pictures = [display(scene(index)[0], index / 30) for index in range(60)]
    means = [float(picture[static].mean()) for picture in pictures]
    return float(np.abs(np.diff(means)).max())


def test_the_background_keeps_its_brightness_when_something_hot_enters() -> None:
    smoothed = worst_background_jump(ThermalDisplay())
    plain = worst_background_jump(ThermalDisplay(ThermalConfig(smoothing_s=0.0)))
    assert smoothed <= 0.8
    assert plain > 2 * smoothed


def test_the_scene_fills_the_range_and_the_hot_object_stands_out() -> None:
    display = ThermalDisplay()
    for index in range(60):
        counts, hot = scene(index)
        picture = display(counts, index / 30)
    low, high = np.percentile(picture[~hot], [2, 98])
    assert high - low > 150
    assert picture[hot].min() > np.percentile(picture[~hot], 99)


def test_an_even_scene_does_not_become_noise() -> None:
    rng = np.random.default_rng(0)
    counts = np.rint(rng.normal(29300, 3, (120, 160))).astype(np.uint16)
    picture = ThermalDisplay()(counts, 0.0)
    assert picture.std() < 4
    assert 100 < picture.mean() < 155


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), spread=st.integers(1, 20000), plateau=st.floats(0.5, 10))
def test_tables_never_turn_warm_and_cold_around(seed: int, spread: int, plateau: float) -> None:
    counts = np.random.default_rng(seed).integers(20000, 20000 + spread, (40, 50)).astype(np.uint16)
    levels = equalized_levels(counts, plateau=plateau, max_step=2.0)
    assert np.diff(levels).min() >= -1e-3
    assert levels.min() >= 0
    assert levels.max() <= 255


def test_fixed_range_is_linear_and_does_not_depend_on_the_picture() -> None:
    display = ThermalDisplay(ThermalConfig(mode="fixed", low=1000, high=2000))
    assert display(np.array([[0, 1000, 1500, 2000, 9999]], np.uint16), 0.0).tolist() == [[0, 0, 128, 255, 255]]


def test_black_hot_cameras_are_turned_around() -> None:
    counts = np.array([[1000, 2000]], np.uint16)
    config = ThermalConfig(mode="fixed", low=1000, high=2000, polarity="black-hot")
    assert ThermalDisplay(config)(counts, 0.0).tolist() == [[255, 0]]
    assert ThermalDisplay(ThermalConfig(polarity="black-hot"))(np.array([[10, 250]], np.uint8), 0.0).tolist() == [
        [245, 5]
    ]


def test_8_bit_pictures_pass_unchanged_and_three_equal_channels_become_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    display = ThermalDisplay()
    assert np.array_equal(display(image, 0.0), image)
    assert np.array_equal(display(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), 0.0), image)


def test_display_is_deterministic_and_can_be_reset() -> None:
    display = ThermalDisplay()
    first = [display(scene(index)[0], index / 30) for index in (0, 35)]
    display.reset()
    again = [display(scene(index)[0], index / 30) for index in (0, 35)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    "settings_given",
    [
        {"mode": "fixed"},
        {"mode": "fixed", "low": 2.0, "high": 1.0},
        {"low": 1.0, "high": 2.0},
        {"plateau": 0.0},
        {"smoothing_s": -1.0},
        {"max_step": float("nan")},
    ],
)
def test_settings_without_meaning_are_refused(settings_given: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"thermal\."):
        ThermalConfig(**settings_given)  # type: ignore[arg-type]


def test_wrong_types_are_refused() -> None:
    with pytest.raises(ValueError, match="uint16 or uint8"):
        ThermalDisplay().apply(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="observe"):
        ThermalDisplay().apply(np.zeros((4, 4), np.uint16))


def test_ironbow_grows_brighter_with_heat() -> None:
    table = palette_table("ironbow")
    luma = cv2.cvtColor(table[None], cv2.COLOR_BGR2GRAY)[0].astype(int)
    assert table.shape == (256, 3)
    assert np.diff(luma).min() >= 0
    assert luma[0] < 8
    assert luma[-1] > 248


@pytest.mark.parametrize("palette", ["white-hot", "inferno", "magma", "turbo", "jet", "hot", "bone", "viridis"])
def test_palettes_color_every_level(palette: str) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colors = colorize(levels, palette)  # type: ignore[arg-type]
    assert colors.shape == (16, 16, 3)
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) > 60
