"""Plots of an evaluation as SVG text; the same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trackers.evaluation.interval import Interval
from trackers.evaluation.measures import Lineage
from trackers.evaluation.one_pass import NORMALISED_THRESHOLDS, PRECISION_THRESHOLDS_PX, SUCCESS_THRESHOLDS
from trackers.evaluation.report.content import Entry
from trackers.evaluation.scores import OnePassScores, ResetScores

# Distinguishable with the common forms of colour blindness (Okabe and Ito, 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c00")
_MARKERS = "osD^vP*X"


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Fixed identifiers and no date, so that a report is reproducible.
    with mpl.rc_context({"svg.hashsalt": "rgbt-stream", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def eao_plot(entries: Sequence[Entry], lineage: Lineage, interval: Interval) -> str:
    """EAO by sequence length, with the interval of the score shaded."""
    figure, axes = _axes(
        f"Expected average overlap ({lineage} lineage)", "sequence length [frames]", "expected average overlap"
    )
    longest = 2
    for number, entry in enumerate(entries):
        if isinstance(entry.scores, ResetScores):
            curve = entry.scores.curves[lineage]
            longest = max(longest, len(curve))
            score = entry.scores.numbers[f"eao_{lineage}"]
            label = f"{entry.name} [{score:.3f}]"
            # Length 1 holds a convention (1 or 0), no measurement.
            axes.plot(np.arange(2, len(curve) + 1), curve[1:], color=_colour(number), label=label)
    axes.axvspan(interval.low, min(interval.high, longest), color="0.5", alpha=0.12, lw=0)
    axes.set_xlim(0, min(longest, 2 * interval.high))
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    return _svg(figure)


def accuracy_robustness_plot(entries: Sequence[Entry]) -> str:
    """Accuracy against exp(-30 F / L): better is up and to the right."""
    figure, axes = _axes("Accuracy and robustness", "robustness exp(-30 F / L)", "accuracy")
    for number, entry in enumerate(entries):
        numbers = entry.scores.numbers
        axes.scatter(
            [numbers["robustness_exp_s30"]],
            [numbers["accuracy_matlab"]],
            s=70,
            color=_colour(number),
            marker=_MARKERS[number % len(_MARKERS)],
            label=entry.name,
            zorder=3,
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8, loc="lower left")
    return _svg(figure)


def success_plot(entries: Sequence[Entry]) -> str:
    """Share of frames whose overlap is above a threshold."""
    figure, axes = _axes("Success", "overlap threshold", "share of frames")
    _lines(axes, entries, SUCCESS_THRESHOLDS, "success", "success_auc")
    return _svg(figure)


def precision_plot(entries: Sequence[Entry]) -> str:
    """Share of frames whose centre error is at most a threshold in pixels."""
    figure, axes = _axes("Precision", "centre error [pixels]", "share of frames")
    _lines(axes, entries, PRECISION_THRESHOLDS_PX, "precision", "precision_20px")
    axes.axvline(20, color="0.5", lw=0.8, ls=":")
    return _svg(figure)


def normalised_precision_plot(entries: Sequence[Entry]) -> str:
    """Share of frames whose centre error, divided by the size of the target, is at most a threshold."""
    figure, axes = _axes("Normalised precision", "centre error / target size", "share of frames")
    _lines(axes, entries, NORMALISED_THRESHOLDS, "normalised_precision", "normalised_precision_auc")
    return _svg(figure)


def _lines(
    axes: Axes, entries: Sequence[Entry], thresholds: Sequence[float] | np.ndarray, curve: str, figure_name: str
) -> None:
    for number, entry in enumerate(entries):
        if isinstance(entry.scores, OnePassScores):
            label = f"{entry.name} [{entry.scores.numbers[figure_name]:.3f}]"
            axes.plot(thresholds, getattr(entry.scores.curves, curve), color=_colour(number), label=label)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
