"""Accuracy, failures and EAO of reset-based runs, each flavour under its own name.

The same words stand for different numbers in different tools; the names here say which one is meant. Two lineages:
``matlab`` (MATLAB toolkit 2015-2019 and PySOT, behind the published figures) and ``toolkit`` (vot-toolkit 0.7.4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trackers.evaluation.dataset import Dataset, VideoSequence
from trackers.evaluation.eao import RunOverlaps, eao_score, matlab_curve, toolkit_curve
from trackers.evaluation.interval import Interval
from trackers.evaluation.overlap import matlab_overlaps, overlaps
from trackers.evaluation.raster import BoolArray, FloatArray
from trackers.evaluation.results import Trajectory

Lineage = Literal["matlab", "toolkit"]

# Frames from a start on (that one included) whose overlap does not count for accuracy.
BURN_IN_FRAMES = 10
# The name of the tag that stands for frames without any tag.
UNTAGGED = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRuns:
    """The repetitions of one tracker over one sequence, with the overlap of every frame in every definition.

    Overlaps are (N,) float64, NaN where the run has no region.
    """

    sequence: VideoSequence
    runs: tuple[Trajectory, ...]
    matlab_eao: tuple[FloatArray, ...]
    matlab_accuracy: tuple[FloatArray, ...]
    toolkit: tuple[FloatArray, ...]
    exact: tuple[FloatArray, ...]

    @property
    def failures(self) -> float:
        """Failures, averaged over the repetitions."""
        return sum(len(run.failures) for run in self.runs) / len(self.runs)


def compare(sequence: VideoSequence, runs: Sequence[Trajectory]) -> SequenceRuns:
    """Overlaps of the repetitions over one sequence; repetitions that are one object are compared once."""
    size_wh = sequence.width, sequence.height
    truth = sequence.groundtruth
    found: dict[int, tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = {}
    for run in runs:
        if id(run) not in found:
            found[id(run)] = (
                *matlab_overlaps(run.regions, truth, size_wh=size_wh),
                overlaps(run.regions, truth, bounds_wh=size_wh, rule="toolkit"),
                overlaps(run.regions, truth, bounds_wh=size_wh, rule="exact"),
            )
    by_run = [found[id(run)] for run in runs]
    matlab_eao, matlab_accuracy, toolkit, exact = (tuple(part) for part in zip(*by_run, strict=True))
    return SequenceRuns(
        sequence=sequence,
        runs=tuple(runs),
        matlab_eao=matlab_eao,
        matlab_accuracy=matlab_accuracy,
        toolkit=toolkit,
        exact=exact,
    )


def usable_overlaps(overlap: FloatArray, codes_start: BoolArray) -> FloatArray:
    """The overlaps that count for accuracy: NaN in the burn-in frames after each start."""
    usable = overlap.copy()
    for start in np.flatnonzero(codes_start):
        usable[start : start + BURN_IN_FRAMES] = np.nan
    return usable


def _usable(runs: Sequence[Trajectory], values: Sequence[FloatArray]) -> list[FloatArray]:
    return [usable_overlaps(value, run.codes == 1) for run, value in zip(runs, values, strict=True)]


def _mean_over_runs(values: Sequence[FloatArray]) -> FloatArray:
    """Per frame the mean over the repetitions that have a value; NaN where none has."""
    stacked = np.stack(values)
    counts = (~np.isnan(stacked)).sum(axis=0)
    return np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), np.nan)


def _mean(values: FloatArray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan


def matlab_accuracy(results: Sequence[SequenceRuns], *, exact: bool = False) -> float:
    """Mean overlap over all usable frames of all sequences, each frame averaged over its repetitions."""
    frames = [_mean_over_runs(_usable(part.runs, part.exact if exact else part.matlab_accuracy)) for part in results]
    return _mean(np.concatenate(frames))


def sequence_accuracy(part: SequenceRuns, lineage: Lineage) -> float:
    """Accuracy over one sequence; without a usable frame NaN (``matlab``) or 0 (``toolkit``)."""
    match lineage:
        case "matlab":
            return _mean(_mean_over_runs(_usable(part.runs, part.matlab_accuracy)))
        case "toolkit":
            means = [_mean(values) for values in _usable(part.runs, part.toolkit)]
            return float(np.mean(np.nan_to_num(means, nan=0.0)))


def toolkit_accuracy(results: Sequence[SequenceRuns]) -> float:
    """Mean of the accuracies of the sequences, weighted by their lengths."""
    lengths = [len(part.sequence) for part in results]
    values = [sequence_accuracy(part, "toolkit") for part in results]
    return float(np.average(values, weights=lengths))


def _runs_for_eao(results: Sequence[SequenceRuns], overlap: str, tag: str | None = None) -> list[RunOverlaps]:
    return [
        RunOverlaps(
            overlaps=values,
            starts=run.starts,
            failures=run.failures,
            repetitions=len(part.runs),
            tagged=None if tag is None else tag_frames(part.sequence, tag),
        )
        for part in results
        for run, values in zip(part.runs, getattr(part, overlap), strict=True)
    ]


def eao_curve(
    results: Sequence[SequenceRuns], lineage: Lineage, *, exact: bool = False, tag: str | None = None
) -> FloatArray:
    """EAO by sequence length; element k belongs to length k + 1.

    Args:
        results: all sequences of one tracker.
        lineage: whose fragments and weights.
        exact: use exact areas instead of the raster of the lineage.
        tag: weigh each fragment by its share of frames with this tag (``matlab`` lineage).
    """
    match lineage:
        case "matlab":
            return matlab_curve(_runs_for_eao(results, "exact" if exact else "matlab_eao", tag))
        case "toolkit":
            return toolkit_curve(_runs_for_eao(results, "exact" if exact else "toolkit"))


def tag_names(dataset: Dataset) -> list[str]:
    """Names of the tags in the dataset, in alphabetical order, then ``empty``; none when it has no tags."""
    names = sorted({name for sequence in dataset.sequences for name in sequence.tags})
    return [*names, UNTAGGED] if names else []


def tag_frames(sequence: VideoSequence, tag: str) -> BoolArray:
    """(N,) which frames carry the tag; ``empty`` selects those without any."""
    if tag == UNTAGGED:
        marked = np.zeros(len(sequence), dtype=np.bool_)
        for values in sequence.tags.values():
            marked |= values
        return ~marked
    return sequence.tags.get(tag, np.zeros(len(sequence), dtype=np.bool_))


@dataclass(frozen=True, slots=True, kw_only=True)
class TagScore:
    """One attribute: frames that carry it, failures on them, accuracy over them, EAO weighted by it."""

    frames: int
    failures: float
    accuracy: float
    eao_matlab: float


def tag_scores(results: Sequence[SequenceRuns], tags: Sequence[str], interval: Interval) -> dict[str, TagScore]:
    """Scores by attribute as the MATLAB toolkit's accuracy-robustness report has them.

    The frames with the tag are selected first; burn-in is applied to what is left.
    """
    return {tag: _tag_score(results, tag, interval) for tag in tags}


def _tag_score(results: Sequence[SequenceRuns], tag: str, interval: Interval) -> TagScore:
    frames, failures = 0, 0.0
    accuracies = []
    for part in results:
        chosen = tag_frames(part.sequence, tag)
        frames += int(chosen.sum())
        usable = [
            usable_overlaps(values[chosen], run.codes[chosen] == 1)
            for run, values in zip(part.runs, part.matlab_accuracy, strict=True)
        ]
        accuracies.append(_mean_over_runs(usable))
        failures += sum(int((run.codes[chosen] == 2).sum()) for run in part.runs) / len(part.runs)
    curve = eao_curve(results, "matlab", tag=tag)
    return TagScore(
        frames=frames,
        failures=failures,
        accuracy=_mean(np.concatenate(accuracies)),
        eao_matlab=eao_score(curve, interval),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TagWeighted:
    """Means over attributes: weighted by their frames, and plain.

    ``failures_weighted_mean`` is the "weighted mean" of the MATLAB report: sum N_t F_t / sum N_t.
    """

    accuracy_weighted_mean: float
    accuracy_mean: float
    failures_weighted_mean: float
    failures_mean: float
    normalized_weighted_mean: float


def tag_weighted(scores: Mapping[str, TagScore]) -> TagWeighted:
    """Combine the scores by attribute; attributes without frames do not count."""
    used = [score for score in scores.values() if score.frames]
    frames = np.array([score.frames for score in used], dtype=np.float64)
    failures = np.array([score.failures for score in used])
    valid = [score for score in used if not math.isnan(score.accuracy)]
    return TagWeighted(
        accuracy_weighted_mean=float(
            np.average([score.accuracy for score in valid], weights=[score.frames for score in valid])
        ),
        accuracy_mean=float(np.mean([score.accuracy for score in valid])),
        failures_weighted_mean=float(np.average(failures, weights=frames)),
        failures_mean=float(failures.mean()),
        normalized_weighted_mean=float(failures.sum() / frames.sum()),
    )
