"""Measures of reset-based runs: worked examples, properties, and the reference scores of real trackers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trackers.evaluation.dataset import VideoSequence
from trackers.evaluation.eao import RunOverlaps, eao_score, matlab_curve, toolkit_curve
from trackers.evaluation.interval import Interval
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.measures import (
    SequenceRuns,
    compare,
    eao_curve,
    matlab_accuracy,
    sequence_accuracy,
    tag_names,
    tag_scores,
    tag_weighted,
    toolkit_accuracy,
)
from trackers.evaluation.regions import regions_from_rows
from trackers.evaluation.results import read_sequence_runs, trajectory_from_rows

REPO = Path(__file__).resolve().parents[3]
TRAIN = REPO.parent / "shared" / "vot" / "train"
needs_reference = pytest.mark.skipif(not TRAIN.is_dir(), reason="the reference results are not beside the checkout")

NAN = float("nan")


def run(values: list[float], starts: tuple[int, ...] = (0,), failures: tuple[int, ...] = ()) -> RunOverlaps:
    return RunOverlaps(overlaps=np.array(values), starts=starts, failures=failures)


def test_without_failure_the_curve_is_the_running_mean_after_the_start() -> None:
    curve = matlab_curve([run([NAN, 0.5, 1.0, 0.0])])
    assert curve.tolist() == [1.0, 0.5, 0.75, 0.5]
    assert toolkit_curve([run([NAN, 0.5, 1.0, 0.0])]).tolist() == [0.0, 0.5, 0.75, 0.5]


def test_a_failed_fragment_goes_on_with_zeros() -> None:
    values = [NAN, 0.8, NAN, NAN, NAN, NAN, NAN, NAN, 0.6, 0.6]
    failing = run(values, starts=(0, 7), failures=(2,))
    # Fragments: 0.8 then zeros to 10 frames; 0.6 0.6 to the end of the sequence (3 frames long).
    expected = [0.8, (0.4 + 0.6) / 2, *(0.8 / k for k in range(3, 10))]
    assert matlab_curve([failing])[1:] == pytest.approx([(0.8 + 0.6) / 2, *expected[1:]])
    assert toolkit_curve([failing])[1:] == pytest.approx([(0.8 + 0.6) / 2, (0.4 + 0.6) / 2])


def test_a_failure_too_late_for_a_new_start_stays_open_in_the_matlab_lineage_only() -> None:
    late = run([NAN, 1.0, 1.0, NAN, NAN], failures=(3,))
    assert matlab_curve([late, run([NAN] + [0.5] * 9)])[-1] == pytest.approx(0.5)
    assert matlab_curve([late])[4] == pytest.approx(0.5)
    assert len(toolkit_curve([late])) == 3


def test_score_leaves_out_lengths_that_no_fragment_has() -> None:
    assert eao_score(np.array([1.0, 0.5, np.nan]), Interval(low=2, high=9)) == 0.5
    assert np.isnan(eao_score(np.array([1.0]), Interval(low=5, high=9)))


def sequence_runs(groundtruth: list[list[float]], trajectories: list[list[list[float]]]) -> SequenceRuns:
    sequence = VideoSequence(
        name="s", source=Path("s"), groundtruth=regions_from_rows(groundtruth), width=100, height=80
    )
    return compare(sequence, [trajectory_from_rows(rows) for rows in trajectories])


def test_burn_in_does_not_count_for_accuracy() -> None:
    box = [10.0, 10.0, 20.0, 20.0]
    bad = [10.0, 10.0, 20.0, 40.0]
    part = sequence_runs([box] * 12, [[[1.0], *[bad] * 9, box, box]])
    assert matlab_accuracy([part]) == 1.0
    assert toolkit_accuracy([part]) == 1.0


def test_a_sequence_without_usable_frames_is_nan_or_zero() -> None:
    part = sequence_runs([[10.0, 10.0, 20.0, 20.0]] * 5, [[[1.0], *[[10.0, 10.0, 20.0, 20.0]] * 4]])
    assert np.isnan(sequence_accuracy(part, "matlab"))
    assert sequence_accuracy(part, "toolkit") == 0


@needs_reference
def test_micro_cases() -> None:
    cases = json.loads((TRAIN / "cases" / "micro.json").read_text())
    assert len(cases) == 16
    for case in cases:
        results = [
            compare(
                VideoSequence(
                    name=entry["name"],
                    source=Path(entry["name"]),
                    groundtruth=regions_from_rows(entry["groundtruth"]),
                    width=case["width"],
                    height=case["height"],
                ),
                [trajectory_from_rows(rows) for rows in entry["trajectories"]],
            )
            for entry in case["sequences"]
        ]
        interval = Interval(low=case["low"], high=case["high"])
        shifted = Interval(low=case["low"] + 1, high=case["high"] + 1)
        pysot, toolkit = case["expected"]["pysot"], case["expected"]["toolkit_0_7_4"]
        name = case["name"]
        assert eao_score(eao_curve(results, "matlab"), interval) == pytest.approx(pysot["eao"], abs=1e-6), name
        assert matlab_accuracy(results) == pytest.approx(pysot["accuracy"], abs=1e-6), name
        assert sum(part.failures for part in results) == pytest.approx(pysot["lost_number"], abs=1e-9), name
        curve = eao_curve(results, "toolkit")
        assert curve == pytest.approx(toolkit["eao_curve"], abs=2e-6), name
        # The toolkit's own numbers count the interval from 0.
        assert eao_score(curve, shifted) == pytest.approx(toolkit["eao"], abs=1e-6), name
        assert toolkit_accuracy(results) == pytest.approx(toolkit["accuracy"], abs=1e-6), name


@needs_reference
@pytest.mark.parametrize("name", ["syn_ws", "syn_ws2", "rgbt2019", "vot2018"])
def test_reference_scores(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(TRAIN / f"{name}.zip") as archive:
        archive.extractall(tmp_path)
    expected = json.loads((TRAIN / "expected.json").read_text())["datasets"][name]
    curves = json.loads((TRAIN / "pysot_curves.json").read_text())[name]
    dataset = read_dataset(tmp_path / "dataset")
    low, high = expected["eao_interval_1based"]
    interval, shifted = Interval(low=low, high=high), Interval(low=low + 1, high=high + 1)
    assert len(dataset.sequences) == expected["sequences"]
    assert sum(len(sequence) for sequence in dataset.sequences) == expected["frames"]
    for tracker, numbers in expected["trackers"].items():
        results = [
            compare(sequence, read_sequence_runs(tmp_path / "results", tracker, sequence.name, len(sequence)))
            for sequence in dataset.sequences
        ]
        pysot, toolkit = numbers["pysot"], numbers["toolkit_0_7_4"]
        curve = eao_curve(results, "matlab")
        assert eao_score(curve, interval) == pytest.approx(pysot["eao"], abs=1e-6)
        assert np.nan_to_num(curve, nan=-1) == pytest.approx(
            [-1 if value is None else value for value in curves[tracker]], abs=1e-6
        )
        assert matlab_accuracy(results) == pytest.approx(pysot["accuracy"], abs=1e-6)
        assert sum(part.failures for part in results) == pytest.approx(pysot["lost_number"], abs=1e-9)
        curve = eao_curve(results, "toolkit")
        assert eao_score(curve, interval) == pytest.approx(toolkit["eao_index_low_minus_1"], abs=1e-6)
        assert eao_score(curve, shifted) == pytest.approx(toolkit["eao_index_low_high"], abs=1e-6)
        assert toolkit_accuracy(results) == pytest.approx(toolkit["accuracy"], abs=1e-6)
        exact = numbers["pysot_structure_exact_polygon_overlap"]
        assert eao_score(eao_curve(results, "matlab", exact=True), interval) == pytest.approx(exact["eao"], abs=1e-5)
        assert matlab_accuracy(results, exact=True) == pytest.approx(exact["accuracy"], abs=1e-5)
        for part in results:
            own = numbers["per_sequence"][part.sequence.name]
            assert sequence_accuracy(part, "toolkit") == pytest.approx(own["accuracy_toolkit"], abs=1e-6)
            assert part.failures == pytest.approx(own["failures"], abs=1e-9)
        if "tag_weighted_matlab_style" in numbers:
            style = numbers["tag_weighted_matlab_style"]
            scores = tag_scores(results, tag_names(dataset), interval)
            for tag, score in scores.items():
                assert score.frames == style["frames_by_tag"][tag]
                assert score.failures == style["failures_by_tag"][tag]
                assert score.accuracy == pytest.approx(style["accuracy_by_tag"][tag], abs=1e-6)
            weighted = tag_weighted(scores)
            for key in (
                "accuracy_weighted_mean",
                "accuracy_mean",
                "failures_weighted_mean",
                "failures_mean",
                "normalized_weighted_mean",
            ):
                assert getattr(weighted, key) == pytest.approx(style[key], abs=1e-6), key
