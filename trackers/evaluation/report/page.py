"""Writes a report: ``report.html`` (self-contained), ``table.tex`` and CSV files."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import jinja2
from markupsafe import Markup

from fusion.whole_files import written_whole
from trackers.evaluation.report import plots, tables
from trackers.evaluation.report.content import Report, versions
from trackers.evaluation.scores import ResetScores

_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(report: Report, out: Path) -> None:
    """Write the page, the LaTeX table and the CSV files into a folder, each in one step.

    Raises:
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "report.html", render_page(report))
    write_text(out / "table.tex", tables.latex_table(report))
    write_text(out / "scores.csv", tables.scores_csv(report))
    write_text(out / "per_sequence.csv", tables.per_sequence_csv(report))
    if report.protocol != "ope":
        write_text(out / "per_attribute.csv", tables.per_tag_csv(report))


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that no reader and no kill meets half of it."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def render_page(report: Report) -> str:
    """The page as HTML text with inline style, plots and pictures."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    columns, every = tables.main_columns(report), tables.all_columns(report)
    return template.render(
        report=report,
        variant_headings=tables.VARIANT_HEADINGS,
        columns=columns,
        rows=list(zip(tables.variant_rows(report), tables.score_rows(report, columns), strict=True)),
        all_columns=every,
        all_rows=list(zip(report.entries, tables.score_rows(report, every), strict=True)),
        plots=[Markup(svg) for svg in _plots(report)],
        sequences=_sequence_rows(report),
        sequence_headings=_sequence_headings(report),
        tags=_tag_rows(report),
        gallery=[(picture, base64.b64encode(picture.jpeg).decode("ascii")) for picture in report.gallery],
        versions=versions(),
    )


def _plots(report: Report) -> list[str]:
    if report.protocol == "ope":
        return [
            plots.success_plot(report.entries),
            plots.precision_plot(report.entries),
            plots.normalised_precision_plot(report.entries),
        ]
    return [
        plots.eao_plot(report.entries, "matlab", report.interval),
        plots.accuracy_robustness_plot(report.entries),
        plots.eao_plot(report.entries, "toolkit", report.interval),
    ]


def _sequence_headings(report: Report) -> tuple[tuple[str, str, int], ...]:
    """Heading, key and digits of the numbers printed per sequence."""
    if report.protocol == "ope":
        return (("success", "success_auc", 3), ("precision", "precision_20px", 3))
    return (("A", f"accuracy_{report.lineage}", 3), ("F", "failures", 2))


def _sequence_rows(report: Report) -> list[tuple[str, int, list[str]]]:
    headings = _sequence_headings(report)
    rows = []
    for name, first in report.entries[0].scores.per_sequence.items():
        texts = [
            tables.number_text(entry.scores.per_sequence[name][key], digits)
            for entry in report.entries
            for _, key, digits in headings
        ]
        rows.append((name, int(first["frames"]), texts))
    return rows


def _tag_rows(report: Report) -> list[tuple[str, int, list[str]]]:
    scored = [entry.scores for entry in report.entries if isinstance(entry.scores, ResetScores)]
    if not scored or not scored[0].per_tag:
        return []
    rows = []
    for tag, first in scored[0].per_tag.items():
        texts = []
        for scores in scored:
            score = scores.per_tag[tag]
            accuracy = math.nan if not score.frames else score.accuracy
            texts += [
                tables.number_text(score.eao_matlab, 3),
                tables.number_text(accuracy, 3),
                tables.number_text(score.failures, 2),
            ]
        rows.append((tag, first.frames, texts))
    return rows
