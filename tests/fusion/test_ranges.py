"""From unbounded grey levels to 8 bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion.errors import InputError
from fusion.ranges import SmoothRange, SmoothRangeConfig, build_range, fixed_range, stretched_range

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


def test_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match="--range bright"):
        build_range("bright")
    with pytest.raises(InputError, match="low_percent"):
        SmoothRangeConfig(low_percent=60, high_percent=50)
    with pytest.raises(InputError, match="adaption"):
        SmoothRangeConfig(adaption=0)
    with pytest.raises(InputError, match="positive"):
        SmoothRangeConfig(minimum_span=0)
