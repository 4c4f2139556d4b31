from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError
from pipeline.frames import FramePair, StreamResult
from pipeline.overlay import Overlay, OverlayConfig
from pipeline.tint import tint
from trackers.box import Box
from trackers.state import TrackState, TrackStatus


def result(width: int, height: int, *boxes: Box, status: TrackStatus = TrackStatus.TRACKING) -> StreamResult:
    pair = FramePair(
        index=0,
        time_s=1.0,
        dt_s=0.0,
        visible_bgr=np.full((height, width, 3), 90, np.uint8),
        thermal=np.full((height, width), 255, np.uint8),
    )
    states = {number: TrackState(box=box, score=0.9, status=status, template=None) for number, box in enumerate(boxes)}
    return StreamResult(pair=pair, fused_bgr=pair.visible_bgr, states=states)


def bare() -> OverlayConfig:
    return OverlayConfig(inset=False, status_line=False)


def test_the_input_picture_is_left_alone() -> None:
    given_result = result(320, 240, Box(100, 100, 60, 60))
    before = given_result.fused_bgr.copy()
    drawn = Overlay(OverlayConfig(), "average").draw(given_result, 25.0)
    assert drawn.shape == before.shape
    assert not np.array_equal(drawn, before)
    assert np.array_equal(given_result.fused_bgr, before)


def test_a_tint_takes_the_place_of_the_fused_picture() -> None:
    given_result = result(320, 240, Box(100, 100, 60, 60))
    drawn = Overlay(OverlayConfig(inset=False, status_line=False, tint=True), "").draw(given_result)
    expected = tint(given_result.pair.visible_bgr, given_result.pair.thermal, "ironbow")
    assert np.array_equal(drawn[200:], expected[200:])
    assert not np.array_equal(drawn[100, 103], expected[100, 103])  # the target is drawn on it
    assert not np.array_equal(expected, given_result.fused_bgr)


def test_the_status_line_names_the_methods_that_made_the_result() -> None:
    overlay = Overlay(OverlayConfig(inset=False), "average")
    given_result = result(320, 240)
    other = Overlay(OverlayConfig(inset=False), "laplacian").draw(given_result)
    assert not np.array_equal(overlay.draw(given_result), other)
    assert np.array_equal(overlay.draw(replace(given_result, title="laplacian")), other)


@pytest.mark.parametrize(
    ("status", "strongest"), [(TrackStatus.TRACKING, 1), (TrackStatus.UNCERTAIN, 2), (TrackStatus.LOST, 2)]
)
def test_the_outline_stands_on_the_box_in_the_color_of_its_state(status: TrackStatus, strongest: int) -> None:
    drawn = Overlay(bare(), "").draw(result(640, 480, Box(200, 150, 100, 120), status=status))
    corner = drawn[150, 203].astype(int)
    assert corner[strongest] == corner.max() > 180
    assert np.array_equal(drawn[210, 250], (90, 90, 90))  # the inside is free
    middle_is_drawn = not np.array_equal(drawn[150, 250], (90, 90, 90))
    assert middle_is_drawn is (status is not TrackStatus.LOST)


def test_the_inset_moves_out_of_the_way_of_a_target_and_stays() -> None:
    overlay = Overlay(OverlayConfig(status_line=False), "")

    def bright_corner(*boxes: Box) -> str:
        drawn = overlay.draw(result(640, 480, *boxes))
        changed = np.abs(drawn.astype(int) - 90).max(axis=2) > 40
        for box in boxes:
            changed[int(box.y) - 30 : int(box.y + box.h) + 30, int(box.x) - 10 : int(box.x + box.w) + 80] = False
        rows, columns = np.nonzero(changed)
        return f"{'top' if rows.mean() < 240 else 'bottom'}-{'left' if columns.mean() < 320 else 'right'}"

    assert bright_corner() == "top-right"
    assert bright_corner(Box(520, 60, 60, 60)) == "bottom-right"
    assert bright_corner() == "bottom-right"


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 300),
    x=st.floats(-500, 900),
    y=st.floats(-500, 900),
    w=st.floats(0, 900),
    h=st.floats(0, 900),
    status=st.sampled_from(list(TrackStatus)),
)
def test_any_size_and_any_box_can_be_drawn(
    width: int, height: int, x: float, y: float, w: float, h: float, status: TrackStatus
) -> None:
    drawn = Overlay(OverlayConfig(), "nestfuse").draw(result(width, height, Box(x, y, w, h), status=status), 30)
    assert drawn.shape == (height, width, 3)
    assert drawn.dtype == np.uint8


def test_a_senseless_inset_is_refused() -> None:
    with pytest.raises(InputError, match="inset_width"):
        OverlayConfig(inset_width=0.9)
