"""Trust in views: a blind eye loses its say, a clear one keeps it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers.reliability import (
    Trust,
    answer_margins,
    blend_views,
    first_trust,
    later_trust,
    overlap_with,
)

ALL = np.ones(3, bool)


def boxes_on_a_grid() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(1, 4, 1, 5, 5) boxes of 20 px, 16 px apart."""
    boxes = np.full((1, 4, 1, 5, 5), 20, np.float32)
    boxes[0, 0, 0] = (np.arange(5) - 2) * 16
    boxes[0, 1, 0] = ((np.arange(5) - 2) * 16)[:, None]
    return boxes


def test_overlap_equals_the_exact_ratio_of_areas() -> None:
    boxes = np.asarray([[[0, 10, 100], [0, 0, 0], [20, 20, 20], [20, 20, 20]]], np.float32)
    overlap = overlap_with(boxes, np.asarray([[0.0, 0.0, 20.0, 20.0]]))
    np.testing.assert_allclose(overlap, [[1, 1 / 3, 0]], atol=1e-6)


def test_a_margin_is_the_lead_over_the_best_answer_elsewhere() -> None:
    score = np.zeros((1, 1, 5, 5), np.float32)
    score[0, 0, 2, 2], score[0, 0, 0, 4] = 0.9, 0.7
    chosen = np.asarray([[0.0, 0.0, 20.0, 20.0]])
    assert answer_margins(score, boxes_on_a_grid(), chosen) == pytest.approx([0.2])
    elsewhere = np.asarray([[32.0, -32.0, 20.0, 20.0]])
    assert answer_margins(score, boxes_on_a_grid(), elsewhere) == pytest.approx([-0.2])


def test_a_view_that_answers_everywhere_has_little_say() -> None:
    trust = first_trust(np.asarray([0.05, 0.95, 0.9]))
    weights = trust.weights(ALL)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] < 0.01
    assert weights[1] > weights[2] > 0.4


def test_a_view_that_goes_blind_loses_its_say_and_regains_it() -> None:
    trust = first_trust(np.asarray([0.9, 0.9, 0.9]))
    for _ in range(30):
        trust = later_trust(trust, np.asarray([-0.3, 0.8, 0.5]), ALL)
    assert trust.weights(ALL)[0] < 0.05
    for _ in range(30):
        trust = later_trust(trust, np.asarray([0.8, 0.8, 0.8]), ALL)
    assert trust.weights(ALL)[0] > 0.3


def test_an_unusable_view_has_no_say_and_keeps_its_trust() -> None:
    trust = first_trust(np.asarray([0.9, 0.5, 0.9]))
    usable = np.asarray([True, False, False])
    np.testing.assert_allclose(trust.weights(usable), [1, 0, 0])
    after = later_trust(trust, np.asarray([0.1, 0.0, 0.0]), usable)
    assert after.clarity[0] < 0.9
    assert after.clarity[1:] == trust.clarity[1:]


def test_without_any_usable_view_all_keep_their_say() -> None:
    assert first_trust(np.asarray([0.5, 0.5, 0.5])).weights(np.zeros(3, bool)) == pytest.approx([1 / 3] * 3)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=4), st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_weights_are_a_share_for_any_history(first: list[float], later: list[float]) -> None:
    trust: Trust = first_trust(np.asarray(first))
    every = np.ones(len(first), bool)
    for value in later:
        trust = later_trust(trust, np.full(len(first), value), every)
    weights = trust.weights(every)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()


def test_blending_equal_views_changes_nothing() -> None:
    score = np.random.default_rng(0).random((1, 1, 5, 5)).astype(np.float32)
    boxes = boxes_on_a_grid()
    blended, blended_boxes = blend_views(np.stack([score, score]), np.stack([boxes, boxes]), np.asarray([[0.3], [0.7]]))
    np.testing.assert_allclose(blended, score, rtol=1e-5)
    np.testing.assert_allclose(blended_boxes, boxes, rtol=1e-4, atol=1e-4)


def test_boxes_come_from_the_view_that_sees_the_place() -> None:
    score = np.zeros((2, 1, 1, 1, 1), np.float32)
    score[1] = 0.8
    boxes = np.stack([np.full((1, 4, 1, 1, 1), 5, np.float32), np.full((1, 4, 1, 1, 1), 50, np.float32)])
    blended, blended_boxes = blend_views(score, boxes, np.asarray([[0.5], [0.5]]))
    assert blended.item() == pytest.approx(0.4)
    np.testing.assert_allclose(blended_boxes.ravel(), 50, rtol=1e-5)
