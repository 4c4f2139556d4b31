"""All scores of one tracker over a dataset, as they stand in ``scores.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion.errors import InputError
from trackers.evaluation.dataset import Dataset
from trackers.evaluation.eao import eao_score
from trackers.evaluation.interval import Interval, estimate_interval
from trackers.evaluation.measures import (
    Lineage,
    SequenceRuns,
    TagScore,
    compare,
    eao_curve,
    matlab_accuracy,
    sequence_accuracy,
    tag_names,
    tag_scores,
    tag_weighted,
    toolkit_accuracy,
)
from trackers.evaluation.one_pass import OnePassCurves, mean_curves, one_pass_curves, one_pass_numbers
from trackers.evaluation.raster import FloatArray
from trackers.evaluation.results import read_one_pass, read_sequence_runs

_SENSITIVITIES = (30, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetScores:
    """Scores of one tracker under the reset-based protocol.

    Attributes:
        numbers: every flavour of every measure by its own name.
        per_sequence: sequence name to its numbers.
        per_tag: attribute name to its numbers.
        curves: lineage to the EAO curve; element k belongs to sequences of k + 1 frames.
        results: the runs with the overlap of every frame.
    """

    numbers: Mapping[str, float]
    per_sequence: Mapping[str, Mapping[str, float]]
    per_tag: Mapping[str, TagScore]
    curves: Mapping[Lineage, FloatArray]
    results: tuple[SequenceRuns, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePassScores:
    """Scores of one tracker under one-pass evaluation, as in ``ResetScores``."""

    numbers: Mapping[str, float]
    per_sequence: Mapping[str, Mapping[str, float]]
    curves: OnePassCurves


def score_resets(dataset: Dataset, results: Path, tracker: str, *, interval: Interval, lineage: Lineage) -> ResetScores:
    """Score the raw results of one tracker under the reset-based protocol.

    Args:
        dataset: the sequences.
        results: folder with ``<tracker>/baseline/<sequence>/<sequence>_001.txt``.
        tracker: name of the tracker's folder.
        interval: sequence lengths over which the EAO is averaged.
        lineage: which lineage ``eao`` and ``accuracy`` stand for; both have their own names besides.

    Raises:
        InputError: a result file is missing or wrong; file and line are named.
    """
    parts = tuple(
        compare(sequence, read_sequence_runs(results, tracker, sequence.name, len(sequence)))
        for sequence in dataset.sequences
    )
    curves: dict[Lineage, FloatArray] = {
        "matlab": eao_curve(parts, "matlab"),
        "toolkit": eao_curve(parts, "toolkit"),
    }
    tags = tag_scores(parts, tag_names(dataset), interval)
    numbers = {
        "eao_matlab": eao_score(curves["matlab"], interval),
        "accuracy_matlab": matlab_accuracy(parts),
        "eao_toolkit": eao_score(curves["toolkit"], interval),
        "accuracy_toolkit": toolkit_accuracy(parts),
        "eao_toolkit_interval_counted_from_0": eao_score(
            curves["toolkit"], Interval(low=interval.low + 1, high=interval.high + 1)
        ),
        "eao_matlab_exact_overlap": eao_score(eao_curve(parts, "matlab", exact=True), interval),
        "accuracy_matlab_exact_overlap": matlab_accuracy(parts, exact=True),
        **_eao_for_own_lengths(parts, curves),
        **_failure_numbers(parts),
    }
    if tags:
        weighted = tag_weighted(tags)
        numbers |= {
            "accuracy_tags_weighted_mean": weighted.accuracy_weighted_mean,
            "accuracy_tags_mean": weighted.accuracy_mean,
            "failures_tags_weighted_mean": weighted.failures_weighted_mean,
            "failures_tags_mean": weighted.failures_mean,
            "failures_tags_normalized_weighted_mean": weighted.normalized_weighted_mean,
        }
    headline = {
        "eao": numbers[f"eao_{lineage}"],
        "accuracy": numbers[f"accuracy_{lineage}"],
        "failures": numbers["failures_sum"],
    }
    return ResetScores(
        numbers={**headline, **numbers},
        per_sequence={part.sequence.name: _sequence_numbers(part) for part in parts},
        per_tag=tags,
        curves=curves,
        results=parts,
    )


def _eao_for_own_lengths(parts: Sequence[SequenceRuns], curves: Mapping[Lineage, FloatArray]) -> dict[str, float]:
    """EAO over the interval that the lengths of this very dataset give; nothing when they give none."""
    try:
        estimate = estimate_interval([len(part.sequence) for part in parts])
    except InputError:
        return {}
    return {
        "interval_of_these_lengths_low": estimate.interval.low,
        "interval_of_these_lengths_high": estimate.interval.high,
        **{
            f"eao_{lineage}_interval_of_these_lengths": eao_score(curve, estimate.interval)
            for lineage, curve in curves.items()
        },
    }


def _failure_numbers(parts: Sequence[SequenceRuns]) -> dict[str, float]:
    """Six numbers that all go by the name of failures or robustness."""
    total = sum(part.failures for part in parts)
    frames = sum(len(part.sequence) for part in parts)
    by_length = sum(len(part.sequence) * part.failures for part in parts) / frames
    mean_length = frames / len(parts)
    return {
        "failures_sum": total,
        "failures_per_sequence": total / len(parts),
        "failures_per_sequence_weighted_by_length": by_length,
        "robustness_failures_per_100_frames": 100 * total / frames,
        **{f"robustness_exp_s{s}": math.exp(-s * total / frames) for s in _SENSITIVITIES},
        **{f"robustness_toolkit_exp_s{s}": math.exp(-s * by_length / mean_length) for s in _SENSITIVITIES},
        "sequences": len(parts),
        "frames": frames,
        "mean_length": mean_length,
        "repetitions_most": max(len(part.runs) for part in parts),
        "repetitions_least": min(len(part.runs) for part in parts),
    }


def _sequence_numbers(part: SequenceRuns) -> dict[str, float]:
    return {
        "frames": len(part.sequence),
        "repetitions": len(part.runs),
        "failures": part.failures,
        "accuracy_matlab": sequence_accuracy(part, "matlab"),
        "accuracy_toolkit": sequence_accuracy(part, "toolkit"),
    }


def score_one_pass(dataset: Dataset, results: Path, tracker: str) -> OnePassScores:
    """Score the raw results of one tracker under one-pass evaluation.

    Raises:
        InputError: a result file is missing or wrong; file and line are named.
    """
    curves = {
        sequence.name: one_pass_curves(
            read_one_pass(results, tracker, sequence.name, len(sequence)).regions,
            sequence.groundtruth,
            sequence.alternative,
        )
        for sequence in dataset.sequences
    }
    overall = mean_curves(list(curves.values()))
    numbers = one_pass_numbers(overall)
    return OnePassScores(
        numbers={
            **numbers,
            "sequences": len(dataset.sequences),
            "frames": sum(len(sequence) for sequence in dataset.sequences),
        },
        per_sequence={
            sequence.name: {"frames": len(sequence), **one_pass_numbers(curves[sequence.name])}
            for sequence in dataset.sequences
        },
        curves=overall,
    )


def as_json(scores: ResetScores | OnePassScores) -> dict[str, Any]:
    """The entry of one tracker in ``scores.json``; what is undefined becomes null."""
    entry: dict[str, Any] = {name: finite(value) for name, value in scores.numbers.items()}
    entry["per_sequence"] = {
        name: {key: finite(value) for key, value in numbers.items()} for name, numbers in scores.per_sequence.items()
    }
    if isinstance(scores, ResetScores):
        entry["per_tag"] = {
            name: {
                "frames": tag.frames,
                "failures": finite(tag.failures),
                "accuracy_matlab": finite(tag.accuracy),
                "eao_matlab": finite(tag.eao_matlab),
            }
            for name, tag in scores.per_tag.items()
        }
        entry["eao_curve"] = {
            lineage: [finite(float(value)) for value in curve] for lineage, curve in scores.curves.items()
        }
    else:
        entry["curves"] = {
            "success": scores.curves.success.tolist(),
            "precision": scores.curves.precision.tolist(),
            "normalised_precision": scores.curves.normalised_precision.tolist(),
        }
    return entry


def finite(value: float) -> float | int | None:
    """The number itself, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
