"""Expected average overlap (EAO): the mean overlap to expect on a sequence of a given length.

Source of the measure: Kristan et al., The Visual Object Tracking VOT2015 challenge results. Two lineages cut runs into
fragments and weigh them differently, and give different numbers for the same runs:

* ``matlab``: the MATLAB toolkit 2015-2019 and PySOT;
* ``toolkit``: vot-toolkit 0.7.4.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trackers.evaluation.interval import Interval
from trackers.evaluation.raster import BoolArray, FloatArray

# Frames between a failure and the new start of the tracker.
SKIP_FRAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverlaps:
    """What the EAO needs of one run over one sequence of N frames.

    Attributes:
        overlaps: (N,) overlap with the ground truth; NaN where the run has no region (start, failure, skipped).
        starts: frames at which the tracker was started.
        failures: frames at which it failed.
        repetitions: how many runs the sequence has; each counts 1 / repetitions in the ``matlab`` lineage.
        tagged: (N,) frames that carry the tag whose EAO is asked for, or None for all (``matlab`` lineage).
    """

    overlaps: FloatArray
    starts: tuple[int, ...]
    failures: tuple[int, ...]
    repetitions: int = 1
    tagged: BoolArray | None = None


@dataclass(slots=True)
class _WeightedCurve:
    """Sums over fragments by position."""

    total: FloatArray
    weight: FloatArray

    @classmethod
    def of_length(cls, length: int) -> _WeightedCurve:
        return cls(np.zeros(length), np.zeros(length))

    def add(self, fragment: FloatArray, length: int, weight: float) -> None:
        """Add a fragment that lives for ``length`` frames: its own and then zeros."""
        sums = np.zeros(length)
        own = min(len(fragment), length)
        sums[:own] = np.cumsum(fragment[:own])
        sums[own:] = sums[own - 1]
        # The frame of the start never enters a mean: position k (from 0) averages k frames.
        sums -= fragment[0]
        self.total[1:length] += weight * sums[1:] / np.arange(1, length)
        self.weight[:length] += weight

    def mean(self) -> FloatArray:
        """Mean by position; NaN where no fragment lives."""
        alive = self.weight > 0
        return np.where(alive, self.total / np.where(alive, self.weight, 1.0), np.nan)


def matlab_curve(runs: Iterable[RunOverlaps]) -> FloatArray:
    """EAO by sequence length in the ``matlab`` lineage.

    A run without failure is one fragment that ends with the sequence. Otherwise the run is cut at the points where
    the tracker would start again (5 frames after each failure, if that is at most the length of the sequence);
    every fragment but the last is continued with zeros to the longest sequence. A failure so late that no new start
    fits does not close its fragment.

    Returns:
        (longest sequence,); element k is the EAO of length k + 1, NaN where no fragment is that long.
    """
    runs = list(runs)
    longest = max((len(run.overlaps) for run in runs), default=0)
    curve = _WeightedCurve.of_length(longest)
    for run in runs:
        _add_matlab_fragments(curve, run, longest)
    result = curve.mean()
    if longest and not np.isnan(result[0]):
        result[0] = 1.0
    return result


def _add_matlab_fragments(curve: _WeightedCurve, run: RunOverlaps, longest: int) -> None:
    length = len(run.overlaps)
    weight = 1.0 / run.repetitions
    values = np.nan_to_num(run.overlaps, nan=0.0)
    points = [0, *(frame + SKIP_FRAMES for frame in run.failures if frame + SKIP_FRAMES <= length)]
    for point, following in itertools.pairwise(points):
        fragment = values[point : following + 1]
        share = len(fragment) / (following - point + 1)
        curve.add(fragment, longest, weight * share * _tagged_share(run, point, following + 1))
    if points[-1] < length:
        fragment = values[points[-1] :]
        curve.add(fragment, len(fragment), weight * _tagged_share(run, points[-1], length))


def _tagged_share(run: RunOverlaps, start: int, stop: int) -> float:
    return 1.0 if run.tagged is None else float(run.tagged[start:stop].mean())


def toolkit_curve(runs: Iterable[RunOverlaps]) -> FloatArray:
    """EAO by sequence length in the ``toolkit`` lineage (vot-toolkit 0.7.4).

    Every start opens a fragment. One that ends in a failure leaves that frame out and is continued with zeros to
    the longest fragment; the others end with the sequence. All fragments weigh the same.

    Returns:
        (longest fragment,); element k is the EAO of length k + 1; the first is 0.
    """
    fragments: list[tuple[FloatArray, bool]] = []
    for run in runs:
        values = np.nan_to_num(run.overlaps, nan=0.0)
        for number, start in enumerate(run.starts):
            limit = run.starts[number + 1] if number + 1 < len(run.starts) else len(values)
            failure = next((frame for frame in run.failures if start < frame < limit), None)
            fragments.append((values[start : limit if failure is None else failure], failure is not None))
    longest = max((len(fragment) for fragment, _ in fragments), default=0)
    curve = _WeightedCurve.of_length(longest)
    for fragment, failed in fragments:
        curve.add(fragment, longest if failed else len(fragment), 1.0)
    return curve.mean()


def eao_score(curve: FloatArray, interval: Interval) -> float:
    """Mean of the curve over the interval; lengths without a value are left out (NaN when none is left)."""
    part = curve[interval.low - 1 : interval.high]
    part = part[~np.isnan(part)]
    return float(part.mean()) if len(part) else float("nan")
