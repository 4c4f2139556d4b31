"""The flicker measure on generated videos whose variance is known."""

from collections.abc import Iterator

import numpy as np
import pytest

from fusion.errors import InputError
from fusion.metrics.flicker import FlickerMeter

SHAPE = (60, 80)


def background() -> np.ndarray:
    return np.tile(np.linspace(60, 180, SHAPE[1]), (SHAPE[0], 1))


def noisy(count: int, deviation: float, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield (background() + generator.normal(scale=deviation, size=SHAPE)).round().clip(0, 255).astype(np.uint8)


def to_picture(levels: np.ndarray) -> np.ndarray:
    return levels.round().clip(0, 255).astype(np.uint8)


def measure(meter: FlickerMeter, *videos: Iterator[np.ndarray]) -> None:
    for visible, thermal, fused in zip(*videos, strict=True):
        meter.add(visible=visible, thermal=thermal, fused=fused)


def test_camera_noise_is_measured_as_its_variance() -> None:
    meter = FlickerMeter()
    measure(meter, noisy(50, 3.0, 1), noisy(50, 5.0, 2), noisy(50, 4.0, 3))
    flicker = meter.result()
    # Rounding to whole levels adds a twelfth.
    assert flicker.visible == pytest.approx(9 + 1 / 12, rel=0.02)
    assert flicker.thermal == pytest.approx(25 + 1 / 12, rel=0.02)
    assert flicker.fused == pytest.approx(16 + 1 / 12, rel=0.02)
    assert flicker.ratio == flicker.fused / flicker.thermal
    assert flicker.static_share > 0.99
    assert flicker.frames == 50


def test_pumping_gain_raises_the_ratio_and_a_steady_gain_does_not_hide_it() -> None:
    still = [to_picture(frame) for frame in noisy(50, 2.0, 1)]
    pumping = [to_picture(frame * (1 + 0.1 * np.sin(index))) for index, frame in enumerate(still)]
    ratios = []
    for fused in (still, pumping):
        meter = FlickerMeter()
        measure(meter, iter(still), noisy(50, 2.0, 2), iter(fused))
        ratios.append(meter.result().ratio)
    assert ratios[0] == pytest.approx(1.0, abs=0.05)
    assert ratios[1] > 5


def test_moving_objects_do_not_count() -> None:
    def crossing() -> Iterator[np.ndarray]:
        for index, frame in enumerate(noisy(50, 2.0, 1)):
            frame[20:30, index : index + 8] = 250
            yield frame

    with_object, without = FlickerMeter(), FlickerMeter()
    measure(with_object, crossing(), noisy(50, 2.0, 2), crossing())
    measure(without, noisy(50, 2.0, 1), noisy(50, 2.0, 2), noisy(50, 2.0, 1))
    assert with_object.result().fused == pytest.approx(without.result().fused, rel=0.02)
    assert with_object.result().static_share < without.result().static_share


def test_a_slow_change_of_the_scene_is_no_flicker() -> None:
    def dusk() -> Iterator[np.ndarray]:
        for index, frame in enumerate(noisy(200, 2.0, 1)):
            yield to_picture(frame - 0.1 * index)

    meter = FlickerMeter()
    measure(meter, noisy(200, 2.0, 1), noisy(200, 2.0, 2), dusk())
    # 20 levels over the whole video would be a variance of 33; within a stretch it is half a level squared.
    assert meter.result().fused < 5


def test_still_videos_give_a_ratio_of_one_and_flicker_out_of_nothing_an_infinite_one() -> None:
    still = to_picture(background())
    for fused, ratio in (([still] * 4, 1.0), ([still, still + 9] * 2, float("inf"))):
        meter = FlickerMeter(stretch=4)
        measure(meter, iter([still] * 4), iter([still] * 4), iter(fused))
        assert meter.result().ratio == ratio


def test_a_short_remainder_is_left_out_and_a_short_video_is_not() -> None:
    meter = FlickerMeter(stretch=10)
    measure(meter, noisy(14, 2.0, 1), noisy(14, 2.0, 2), noisy(14, 2.0, 3))
    assert meter.result().frames == 10
    short = FlickerMeter(stretch=10)
    measure(short, noisy(3, 2.0, 1), noisy(3, 2.0, 2), noisy(3, 2.0, 3))
    assert short.result().frames == 3


def test_videos_that_cannot_be_measured_are_refused() -> None:
    meter = FlickerMeter()
    still = to_picture(background())
    with pytest.raises(InputError, match="at least two frames"):
        meter.result()
    with pytest.raises(InputError, match="one size"):
        meter.add(visible=still, thermal=still[1:], fused=still)
    meter.add(visible=still, thermal=still, fused=still)
    with pytest.raises(InputError, match="size changes"):
        meter.add(visible=still[1:], thermal=still[1:], fused=still[1:])
    with pytest.raises(ValueError, match="at least 2 frames"):
        FlickerMeter(stretch=1)
