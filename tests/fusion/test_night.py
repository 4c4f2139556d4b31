"""Dark pictures are lifted as far as needed, evenly and steadily."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.factory import build_fuser
from fusion.fuser import NightName, RangeName
from fusion.night import NightLift, build_night


def night_scene(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A dark colour picture with a lamp, and a thermal one with a person in it."""
    generator = np.random.default_rng(seed)
    visible = generator.integers(2, 14, (60, 80, 3)).astype(np.uint8)
    visible[5:10, 5:10] = 250
    thermal = generator.integers(4, 18, (60, 80)).astype(np.uint8)
    thermal[20:50, 40:52] = 70
    return visible, thermal


def day_scene() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    visible, thermal = night_scene()
    return np.maximum(visible, 90) + visible // 9, thermal


@settings(deadline=None, max_examples=40)
@given(middle=st.floats(0, 255), darkness=st.integers(0, 60), always=st.booleans())
def test_the_curve_keeps_the_order_and_both_ends(middle: float, darkness: int, always: bool) -> None:
    lift = NightLift(always=always)
    lift.observe(np.full((9, 9), darkness, np.uint8))
    levels = np.linspace(0, 255, 256, dtype=np.float32)
    picture = np.concatenate([levels, np.full(2000, middle, np.float32)])[None]
    lifted = lift(picture.repeat(4, 0))[0][:256]
    assert lifted[0] == pytest.approx(0, abs=0.01)
    assert lifted[-1] == pytest.approx(255, abs=0.01)
    slope = np.diff(lifted)
    assert slope.min() >= 0
    assert slope.max() < 6
    assert (lifted >= levels - 0.01).all()
    if middle >= 64 or (darkness >= 40 and not always):
        assert np.abs(lifted - levels).max() < 0.5


def test_a_night_scene_is_lifted_and_a_day_scene_is_not() -> None:
    visible, thermal = night_scene()
    plain = build_fuser("average")(visible, thermal)
    lifted = build_fuser("average", night="auto")(visible, thermal)
    assert np.median(plain) < 20
    assert np.median(lifted) > 40
    background, person = lifted[30:50, 60:].mean(), lifted[25:45, 42:50].mean()
    assert person - background > 1.5 * (plain[25:45, 42:50].mean() - plain[30:50, 60:].mean())
    day = day_scene()
    assert np.array_equal(build_fuser("average", night="auto")(*day), build_fuser("average")(*day))


def test_colour_noise_does_not_grow() -> None:
    visible, thermal = night_scene()
    plain, lifted = (build_fuser("average", night=night)(visible, thermal) for night in ("off", "auto"))

    def colourfulness(picture: NDArray[np.uint8]) -> float:
        return float(np.ptp(picture[12:].astype(int), axis=2).mean())

    assert colourfulness(lifted) < 1.6 * colourfulness(plain)


@pytest.mark.parametrize(
    ("night", "range_name", "colour", "acts"),
    [
        ("auto", "stretch", True, True),
        ("auto", "smooth", True, True),
        ("auto", "fixed", True, False),
        ("auto", "stretch", False, False),
        ("on", "stretch", False, True),
        ("on", "fixed", True, True),
        ("off", "smooth", True, False),
    ],
)
def test_when_it_acts(night: NightName, range_name: RangeName, colour: bool, acts: bool) -> None:
    visible, thermal = night_scene()
    if not colour:
        visible = visible[..., :1].repeat(3, axis=2)
    plain = build_fuser("average", range_name=range_name)(visible, thermal)
    got = build_fuser("average", range_name=range_name, night=night)(visible, thermal)
    assert np.array_equal(plain, got) is not acts


def test_dusk_falls_slowly_and_a_reset_forgets() -> None:
    fuser = build_fuser("average", range_name="smooth", night="auto")
    day, night = day_scene(), night_scene()
    for _ in range(5):
        fuser(*day)
    first = np.median(fuser(*night))
    for _ in range(150):
        last = np.median(fuser(*night))
    assert first < 0.7 * last
    fuser.reset()
    assert np.median(fuser(*night)) == pytest.approx(last, rel=0.15)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(InputError, match="--night dusk"):
        build_night("dusk", "smooth")  # type: ignore[arg-type]
