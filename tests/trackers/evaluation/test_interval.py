"""The interval of sequence lengths: parsing, and the estimate against published constants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusion.errors import InputError
from trackers.evaluation.interval import VOT_RGBT2019_INTERVAL, Interval, estimate_interval, parse_interval

REPO = Path(__file__).resolve().parents[3]
CASES = REPO.parent / "shared" / "vot" / "train" / "cases" / "interval.json"

# Frames of the 60 sequences of VOT-RGBT2019 (a public fact of the benchmark).
VOT_RGBT2019_LENGTHS = [
    *(123, 313, 659, 280, 222, 225, 75, 282, 333, 177, 175, 333, 299, 261, 89, 415, 212, 161, 501, 604),
    *(147, 254, 210, 267, 230, 418, 180, 140, 319, 768, 1041, 187, 436, 454, 45, 87, 126, 211, 1335, 128),
    *(422, 672, 303, 491, 282, 154, 1080, 589, 212, 391, 177, 80, 218, 230, 576, 225, 238, 161, 426, 434),
]


def test_the_lengths_of_vot_rgbt2019_give_its_published_interval() -> None:
    estimate = estimate_interval(VOT_RGBT2019_LENGTHS)
    assert estimate.interval == VOT_RGBT2019_INTERVAL
    assert estimate.peak == 210


@pytest.mark.skipif(not CASES.is_file(), reason="the reference interval cases are not beside the checkout")
def test_reference_cases() -> None:
    for case in json.loads(CASES.read_text()):
        estimate = estimate_interval(case["lengths"], mass=case["threshold"])
        found = (estimate.interval.low, estimate.interval.high, estimate.peak)
        assert found == (case["low"], case["high"], case["peak"]), case["name"]
        assert estimate.kernel_std == pytest.approx(case["kernel_std"], rel=1e-9)


def test_equal_lengths_have_no_estimate() -> None:
    with pytest.raises(InputError, match="--interval"):
        estimate_interval([60, 60, 60])


def test_parse() -> None:
    assert parse_interval("10:40") == Interval(low=10, high=40)
    for wrong in ("10", "a:b", "10-40", "0:5", "9:5", ""):
        with pytest.raises(InputError):
            parse_interval(wrong)
