"""The tables of an evaluation: rows of text for the page, LaTeX, and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from trackers.evaluation.report.content import Report
from trackers.evaluation.scores import ResetScores

_LATEX_SPECIAL = str.maketrans(
    {"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
)
_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its heading, the key of its number, digits, and whether more is better (None: no best)."""

    heading: str
    key: str
    digits: int = 4
    more_is_better: bool | None = True


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, and whether it is the best of its column."""

    text: str
    best: bool = False


MAIN_RESET = (
    Column(heading="EAO", key="eao"),
    Column(heading="Accuracy", key="accuracy"),
    Column(heading="Failures", key="failures", digits=2, more_is_better=False),
)
BOTH_LINEAGES = (
    Column(heading="EAO matlab", key="eao_matlab"),
    Column(heading="EAO toolkit", key="eao_toolkit"),
    Column(heading="A matlab", key="accuracy_matlab"),
    Column(heading="A toolkit", key="accuracy_toolkit"),
    Column(heading="F sum", key="failures_sum", digits=2, more_is_better=False),
    Column(heading="F per sequence", key="failures_per_sequence", more_is_better=False),
    Column(heading="F per sequence, by length", key="failures_per_sequence_weighted_by_length", more_is_better=False),
    Column(heading="F by attribute (weighted mean)", key="failures_tags_weighted_mean", more_is_better=False),
    Column(heading="100 F / L", key="robustness_failures_per_100_frames", more_is_better=False),
    Column(heading="exp(-30 F / L)", key="robustness_exp_s30"),
    Column(heading="exp(-100 F / L)", key="robustness_exp_s100"),
    Column(heading="R toolkit, S = 30", key="robustness_toolkit_exp_s30"),
    Column(heading="EAO matlab, exact overlap", key="eao_matlab_exact_overlap"),
    Column(heading="EAO matlab, own interval", key="eao_matlab_interval_of_these_lengths"),
)
MAIN_ONE_PASS = (
    Column(heading="Success AUC", key="success_auc"),
    Column(heading="Precision 20 px", key="precision_20px"),
    Column(heading="Normalised precision", key="normalised_precision_auc"),
)
ALL_ONE_PASS = (
    *MAIN_ONE_PASS,
    Column(heading="Success at 0.5", key="success_0.5"),
    Column(heading="Precision 5 px", key="precision_5px"),
    Column(heading="Normalised precision at 0.2", key="normalised_precision_0.2"),
)


def main_columns(report: Report) -> tuple[Column, ...]:
    """Columns of the main table of the protocol."""
    return MAIN_ONE_PASS if report.protocol == "ope" else MAIN_RESET


def all_columns(report: Report) -> tuple[Column, ...]:
    """Columns of the table with every flavour; those that no tracker has are left out."""
    columns = ALL_ONE_PASS if report.protocol == "ope" else BOTH_LINEAGES
    return tuple(column for column in columns if any(column.key in entry.scores.numbers for entry in report.entries))


def number_text(value: float, digits: int) -> str:
    """A number with fixed digits, or a dash when it is undefined."""
    return _NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def score_rows(report: Report, columns: Sequence[Column]) -> list[list[Cell]]:
    """The cells of the given columns, one row per tracker, the best of each column marked."""
    best = {}
    for column in columns:
        values = [entry.scores.numbers.get(column.key, math.nan) for entry in report.entries]
        values = [value for value in values if not math.isnan(value)]
        if len(report.entries) > 1 and values and column.more_is_better is not None:
            best[column.key] = max(values) if column.more_is_better else min(values)
    return [
        [
            Cell(
                number_text(value := entry.scores.numbers.get(column.key, math.nan), column.digits),
                value == best.get(column.key),
            )
            for column in columns
        ]
        for entry in report.entries
    ]


VARIANT_HEADINGS = ("Tracker", "Modality", "Attention", "Pooling", "Fusion level")


def variant_rows(report: Report) -> list[list[str]]:
    """The leading cells of the main table: tracker, modality, attention form, pooling, level of fusion."""
    return [
        [
            entry.variant.tracker,
            entry.variant.modality_label or _NOTHING,
            entry.variant.attention or _NOTHING,
            entry.variant.pooling or _NOTHING,
            entry.variant.level or _NOTHING,
        ]
        for entry in report.entries
    ]


def latex_table(report: Report) -> str:
    """The main table as LaTeX (needs the package booktabs)."""
    columns = main_columns(report)
    lines = [
        f"% {report.dataset}, protocol {report.protocol}, lineage {report.lineage}, interval {report.interval}",
        rf"\begin{{tabular}}{{{'l' * len(VARIANT_HEADINGS)}{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join((*VARIANT_HEADINGS, *(_latex(column.heading) for column in columns))) + r" \\",
        r"\midrule",
    ]
    for leading, cells in zip(variant_rows(report), score_rows(report, columns), strict=True):
        texts = [_latex(text) for text in leading]
        texts += [rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text) for cell in cells]
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    return text.replace(_NOTHING, "--").translate(_LATEX_SPECIAL)


def scores_csv(report: Report) -> str:
    """One row per tracker with every number in full precision."""
    keys = list(dict.fromkeys(key for entry in report.entries for key in entry.scores.numbers))
    return _csv(
        ["name", "tracker", "modality", "attention", "pooling", "level", *keys],
        [
            [
                entry.name,
                entry.variant.tracker,
                entry.variant.modality,
                entry.variant.attention,
                entry.variant.pooling,
                entry.variant.level,
                *(_plain(entry.scores.numbers.get(key, math.nan)) for key in keys),
            ]
            for entry in report.entries
        ],
    )


def per_sequence_csv(report: Report) -> str:
    """One row per tracker and sequence."""
    return _csv(
        ["name", "sequence", *_sequence_keys(report)],
        [
            [entry.name, sequence, *(_plain(numbers.get(key, math.nan)) for key in _sequence_keys(report))]
            for entry in report.entries
            for sequence, numbers in entry.scores.per_sequence.items()
        ],
    )


def _sequence_keys(report: Report) -> list[str]:
    first = next(iter(report.entries[0].scores.per_sequence.values()))
    return list(first)


def per_tag_csv(report: Report) -> str:
    """One row per tracker and attribute; only the heading when the dataset has no attributes."""
    return _csv(
        ["name", "attribute", "frames", "failures", "accuracy_matlab", "eao_matlab"],
        [
            [entry.name, tag, score.frames, *map(_plain, (score.failures, score.accuracy, score.eao_matlab))]
            for entry in report.entries
            if isinstance(entry.scores, ResetScores)
            for tag, score in entry.scores.per_tag.items()
        ],
    )


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _csv(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return buffer.getvalue()
