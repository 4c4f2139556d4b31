"""From raw results to ``scores.json``, tables and the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion.errors import InputError
from trackers.evaluation.dataset import Dataset
from trackers.evaluation.interval import Interval, estimate_interval, parse_interval
from trackers.evaluation.measures import Lineage
from trackers.evaluation.official import check_toolkit, compare_with_official
from trackers.evaluation.report import tables
from trackers.evaluation.report.content import Entry, OfficialRow, ProtocolName, Report, in_table_order, read_variant
from trackers.evaluation.report.gallery import failure_gallery
from trackers.evaluation.report.page import write_report, write_text
from trackers.evaluation.scores import ResetScores, as_json, score_one_pass, score_resets


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """How results are scored.

    Attributes:
        protocol: reset-based or one pass.
        lineage: which lineage the headline figures follow.
        interval: ``LOW:HIGH`` or ``auto``.
        official: Python of the environment of the official toolkit, or None.
    """

    protocol: ProtocolName = "vot-rgbt2019"
    lineage: Lineage = "matlab"
    interval: str = "109:322"
    official: Path | None = None


def score_results(
    dataset: Dataset,
    results: Path,
    trackers: Sequence[str],
    out: Path,
    options: ScoringOptions,
    *,
    configuration: Mapping[str, str],
) -> str:
    """Score raw results, write ``scores.json``, tables and ``report.html``, and return the table as text.

    Raises:
        InputError: a result or an option is wrong.
        RunError: the official toolkit was asked for and failed.
    """
    interval = check_options(options, dataset)
    entries = []
    for tracker in trackers:
        scores = (
            score_one_pass(dataset, results, tracker)
            if options.protocol == "ope"
            else score_resets(dataset, results, tracker, interval=interval, lineage=options.lineage)
        )
        entries.append(Entry(name=tracker, variant=read_variant(results, tracker), scores=scores))
    ordered = in_table_order(entries)
    official: tuple[OfficialRow, ...] = ()
    if options.official is not None:
        official = compare_with_official(options.official, dataset, results, ordered, interval, out)
    report = Report(
        title=f"Tracking on {dataset.name}",
        dataset=dataset.name,
        protocol=options.protocol,
        lineage=options.lineage,
        interval=interval,
        entries=ordered,
        notes=tuple(_notes(ordered, dataset, interval)),
        gallery=failure_gallery(ordered),
        official=official,
        configuration={
            "dataset": f"{dataset.name}: {len(dataset.sequences)} sequences, "
            f"{sum(len(sequence) for sequence in dataset.sequences)} frames",
            "protocol": options.protocol,
            "lineage": options.lineage,
            "interval": str(interval),
            **configuration,
        },
    )
    write_report(report, out)
    content = {entry.name: as_json(entry.scores) for entry in ordered}
    write_text(out / "scores.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    return _text_table(report)


def check_options(options: ScoringOptions, dataset: Dataset) -> Interval:
    """Refuse what could only fail after trackers have run for hours; returns the interval that is meant.

    Raises:
        InputError: the interval is none, or there is no official toolkit where one is asked for.
    """
    if options.official is not None:
        if options.protocol == "ope":
            raise InputError("--official: the official toolkit is compared under --protocol vot-rgbt2019 only")
        check_toolkit(options.official)
    return choose_interval(options.interval, dataset)


def choose_interval(text: str, dataset: Dataset) -> Interval:
    """The interval named on the command line, or the one the lengths of the dataset give (``auto``).

    Raises:
        InputError: the text has another form, or the lengths give none.
    """
    if text == "auto":
        return estimate_interval([len(sequence) for sequence in dataset.sequences]).interval
    return parse_interval(text)


def _notes(entries: Sequence[Entry], dataset: Dataset, interval: Interval) -> list[str]:
    notes = []
    reset_based = any(isinstance(entry.scores, ResetScores) for entry in entries)
    longest = max(len(sequence) for sequence in dataset.sequences)
    if reset_based and longest < interval.high:
        notes.append(
            f"The longest sequence has {longest} frames, fewer than the interval {interval} asks for: the EAO averages "
            "only the lengths that exist and is not comparable with published figures. --interval auto derives the "
            "interval from the lengths of this dataset."
        )
    notes += [
        f"The EAO of {entry.name} is undefined: no sequence is as long as {interval.low} frames."
        for entry in entries
        if math.isnan(entry.scores.numbers.get("eao", 0.0))
    ]
    return notes


def _text_table(report: Report) -> str:
    columns = tables.main_columns(report)
    table = [["result", *(column.heading for column in columns)]]
    for entry, cells in zip(report.entries, tables.score_rows(report, columns), strict=True):
        table.append([entry.name, *(cell.text for cell in cells)])
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    if report.protocol == "ope":
        lines = ["one-pass evaluation"]
    else:
        lines = [f"reset-based, {report.lineage} lineage, EAO over lengths {report.interval}"]
    for first, *others in table:
        texts = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *texts]))
    for row in report.official:
        pair = f"ours {row.ours:.6f}, official {row.official:.6f}, difference {row.difference:.1e}"
        lines.append(f"{row.tracker} {row.measure} (toolkit lineage): {pair}")
    return "\n".join([*lines, *(f"note: {note}" for note in report.notes)])
