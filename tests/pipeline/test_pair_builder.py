"""Registration and display that change while pairs are built."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fusion.errors import InputError
from pipeline.adjustment import Nudge, nudged
from pipeline.calibration import Calibration
from pipeline.frames import Frame, FramePair, PairStatus
from pipeline.pair_builder import PairBuilder
from pipeline.pairing import PairedFrames
from pipeline.registration import Registrar
from pipeline.thermal import ThermalConfig

COUNTS = np.random.default_rng(2).integers(29000, 31000, (48, 64)).astype(np.uint16)


def build(builder: PairBuilder, *, visible_wh: tuple[int, int] = (128, 96), index: int = 0) -> FramePair:
    visible = np.zeros((visible_wh[1], visible_wh[0], 3), np.uint8)
    moment = {"time_s": index / 25, "arrival_s": index / 25, "index": index}
    first, second = Frame(image=visible, **moment), Frame(image=COUNTS, **moment)
    return builder.build(PairedFrames(index=index, visible=first, thermal=second, status=PairStatus.PAIRED))


def shifted(builder: PairBuilder, x: float, y: float = 0.0) -> Calibration:
    known = builder.calibration
    assert known is not None
    return nudged(known, Nudge(shift_xy=(x, y)))


def test_a_pair_carries_the_native_picture_and_what_it_covers() -> None:
    pair = build(PairBuilder())
    assert pair.thermal_native is COUNTS
    assert pair.covered is None
    builder = PairBuilder()
    build(builder)
    builder.recalibrate(shifted(builder, 20))
    pair = build(builder, index=1)
    assert pair.covered is not None
    assert not pair.covered[:, :19].any()
    assert pair.covered[:, 21:].all()


def test_a_new_calibration_counts_from_the_next_pair_on_and_none_is_the_beginning() -> None:
    builder = PairBuilder()
    assert builder.calibration is None
    begin = build(builder)
    moved = shifted(builder, 6, -2)
    builder.recalibrate(moved)
    pair = build(builder, index=1)
    assert pair.thermal_raw is not None
    assert np.array_equal(pair.thermal_raw, Registrar((128, 96), (64, 48), moved)(COUNTS).thermal)
    builder.recalibrate(None)
    again = build(builder, index=2)
    assert np.array_equal(again.thermal_raw, begin.thermal_raw)
    with pytest.raises(InputError, match="outside"):
        builder.recalibrate(shifted(builder, 5000))


def test_a_camera_that_changes_its_size_ends_what_was_set_during_the_run() -> None:
    builder = PairBuilder()
    build(builder)
    builder.recalibrate(shifted(builder, 6))
    pair = build(builder, visible_wh=(160, 120), index=1)
    assert pair.thermal.shape == (120, 160)
    assert any("registration made during the run is dropped" in text for text in builder.warnings)
    known = builder.calibration
    assert known is not None
    assert known.visible_wh == (160, 120)


def test_a_pair_is_built_anew_as_the_next_one_would_be() -> None:
    builder = PairBuilder(display=ThermalConfig(mode="fixed", low=29000, high=31000))
    old = build(builder)
    builder.recalibrate(shifted(builder, 9))
    builder.redisplay(ThermalConfig(mode="fixed", low=28000, high=32000, polarity="black-hot"))
    again, following = builder.rebuild(old), build(builder, index=1)
    assert again.index == old.index
    assert np.array_equal(again.thermal, following.thermal)
    assert np.array_equal(again.thermal_raw, following.thermal_raw)
    assert not np.array_equal(again.thermal, old.thermal)


def test_changes_from_another_thread_never_mix_two_calibrations() -> None:
    builder = PairBuilder()
    build(builder)
    choices = [shifted(builder, x) for x in (-8, 0, 8)]
    right = [Registrar((128, 96), (64, 48), choice)(COUNTS).thermal for choice in choices]
    right.append(Registrar((128, 96), (64, 48), None)(COUNTS).thermal)
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            builder.recalibrate([*choices, None][number % 4])
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for index in range(60):
            raw = build(builder, index=index).thermal_raw
            assert any(np.array_equal(raw, expected) for expected in right)
    finally:
        ended.set()
        thread.join()
