"""Measures of one-pass evaluation: success, precision and normalised precision.

The tracker starts once, in the first frame, and is never reset. Sources: Wu, Lim, Yang, Online object tracking: a
benchmark (success over overlap thresholds 0 to 1 in steps of 0.05, precision at 20 pixels); Müller et al.,
TrackingNet (centre error divided by the size of the ground truth). Each figure is the mean over the sequences of the
share of frames, as OTB, GTOT, RGBT234 and LasHeR count it; frames whose ground truth has no area do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trackers.evaluation.overlap import overlaps
from trackers.evaluation.raster import FloatArray
from trackers.evaluation.regions import Regions, initial_box, regions_from_rows

SUCCESS_THRESHOLDS = np.linspace(0.0, 1.0, 21)
PRECISION_THRESHOLDS_PX = np.arange(51, dtype=np.float64)
NORMALISED_THRESHOLDS = np.linspace(0.0, 0.5, 51)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePassCurves:
    """Shares of frames by threshold for one sequence, or their mean over sequences.

    Attributes:
        success: (21,) overlap above 0, 0.05, ..., 1.
        precision: (51,) centre error of at most 0, 1, ..., 50 pixels.
        normalised_precision: (51,) centre error over ground truth size of at most 0, 0.01, ..., 0.5.
    """

    success: FloatArray
    precision: FloatArray
    normalised_precision: FloatArray


def one_pass_curves(found: Regions, groundtruth: Regions, alternative: Regions | None = None) -> OnePassCurves:
    """Curves of one sequence of N frames.

    Args:
        found: N regions; a frame without one (the start) counts as the ground truth itself.
        groundtruth: N regions; polygons are taken as their min/max boxes.
        alternative: a second annotation of the N frames; each frame counts with the better of the two (the
            "maximum" success and precision rates of GTOT and RGBT234).
    """
    truth = _boxes(groundtruth)
    boxes = _boxes(found)
    boxes[found.counts == 0] = truth[found.counts == 0]
    valid = (truth[:, 2] > 0) & (truth[:, 3] > 0)
    if not valid.any():
        nothing = [np.full(len(part), math.nan) for part in (SUCCESS_THRESHOLDS, PRECISION_THRESHOLDS_PX)]
        return OnePassCurves(success=nothing[0], precision=nothing[1], normalised_precision=nothing[1])
    overlap, error_px, relative = _compare(boxes[valid], truth[valid])
    if alternative is not None:
        other = _boxes(alternative)[valid]
        # A second box without area says nothing of its frame.
        usable = (other[:, 2] > 0) & (other[:, 3] > 0)
        other = np.where(usable[:, None], other, truth[valid])
        second = _compare(boxes[valid], other)
        overlap = np.maximum(overlap, second[0])
        error_px, relative = np.minimum(error_px, second[1]), np.minimum(relative, second[2])
    return OnePassCurves(
        success=(overlap[:, None] > SUCCESS_THRESHOLDS).mean(axis=0),
        precision=(error_px[:, None] <= PRECISION_THRESHOLDS_PX).mean(axis=0),
        normalised_precision=(relative[:, None] <= NORMALISED_THRESHOLDS).mean(axis=0),
    )


def _compare(boxes: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Overlap, centre error in pixels, and centre error over target size of N boxes."""
    overlap = overlaps(
        regions_from_rows(boxes.tolist()), regions_from_rows(truth.tolist()), bounds_wh=None, rule="exact"
    )
    offset = (boxes[:, :2] + boxes[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    return overlap, np.linalg.norm(offset, axis=1), np.linalg.norm(offset / truth[:, 2:], axis=1)


def _boxes(regions: Regions) -> FloatArray:
    boxes = np.zeros((len(regions), 4))
    for index in range(len(regions)):
        row = regions.row(index)
        if row:
            boxes[index] = initial_box(row, "hull").as_tuple()
    return boxes


def mean_curves(curves: Sequence[OnePassCurves]) -> OnePassCurves:
    """Mean over sequences, each counting the same; sequences without valid frames are left out."""
    valid = [part for part in curves if not np.isnan(part.success).any()] or list(curves)
    return OnePassCurves(
        success=np.mean([part.success for part in valid], axis=0),
        precision=np.mean([part.precision for part in valid], axis=0),
        normalised_precision=np.mean([part.normalised_precision for part in valid], axis=0),
    )


def one_pass_numbers(curves: OnePassCurves) -> dict[str, float]:
    """The figures that tables print.

    ``success_auc`` is the mean of the success curve; ``precision_20px`` (RGBT234, LasHeR) and ``precision_5px`` (GTOT)
    are points of the precision curve; ``normalised_precision_0.2`` is the point at 0.2 (PySOT) and
    ``normalised_precision_auc`` the mean of the curve over 0 to 0.5 (TrackingNet, LasHeR).
    """
    return {
        "success_auc": float(curves.success.mean()),
        "success_0.5": float(curves.success[10]),
        "precision_20px": float(curves.precision[20]),
        "precision_5px": float(curves.precision[5]),
        "normalised_precision_0.2": float(curves.normalised_precision[20]),
        "normalised_precision_auc": float(curves.normalised_precision.mean()),
    }
