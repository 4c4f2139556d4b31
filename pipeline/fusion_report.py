"""The page that shows fused stills side by side with their sources, and where they differ.

One self-contained HTML file: numbers as a table, then for every pair a contact sheet of whole pictures, a zoom
of the place where the methods disagree most, and there the difference from the mean of the sources once
brightness and contrast are matched.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fusion.metrics import METRIC_NAMES, ConventionName
from pipeline.fusion_evaluation import MethodScores, StillPair, ranks, read_grey

_PICTURE_WIDTH = 420
_ZOOM_SIDE = 300
_ZOOM_SHARE = 0.28
_DIFFERENCE_GAIN = 3.0
_JPEG_QUALITY = 88
_CONVENTION_TITLES: Mapping[ConventionName, str] = {
    "paper": "as the NestFuse paper computes them",
    "standard": "textbook definitions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One number of the table: its text, place 1, 2 or 0, and its length from the worst to the best, 0 to 1."""

    text: str
    place: int
    length: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One picture of a contact sheet with its zoom and difference, as data URIs."""

    title: str
    note: str
    picture: str
    zoom: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """All pictures of one pair."""

    name: str
    size: str
    columns: tuple[_Column, ...]


def write_report(
    path: Path,
    *,
    title: str,
    pairs: Sequence[StillPair],
    fused: Mapping[str, Sequence[Path]],
    results: Sequence[MethodScores],
    most_sheets: int,
) -> None:
    """Write the report of ``results`` to ``path``.

    Args:
        path: the HTML file.
        title: what was measured, such as the name of the data folder.
        pairs: the sources.
        fused: method -> one stored picture per pair.
        results: scores of the same methods.
        most_sheets: contact sheets to show; more pairs than that are thinned out evenly.
    """
    shown = np.unique(np.linspace(0, len(pairs) - 1, min(most_sheets, len(pairs))).round().astype(int))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("fusion_report.html").render(
        title=title,
        pair_count=len(pairs),
        metrics=METRIC_NAMES,
        tables=[
            (convention, _CONVENTION_TITLES[convention], _table(results, convention))
            for convention in results[0].per_image
        ],
        sheets=[_sheet(index, pairs[index], fused, results) for index in shown.tolist()],
        plots=[(metric, _strip(results, metric)) for metric in METRIC_NAMES],
        gain=_DIFFERENCE_GAIN,
    )
    path.write_text(page, encoding="utf-8")


def _table(results: Sequence[MethodScores], convention: ConventionName) -> list[tuple[str, list[_Cell]]]:
    means = {scores.method: scores.means(convention) for scores in results}
    cells: dict[str, list[_Cell]] = {method: [] for method in means}
    for metric in METRIC_NAMES:
        places = ranks(results, convention, metric)
        values = [row[metric] for row in means.values()]
        least, most = min(values), max(values)
        for method, row in means.items():
            cells[method].append(
                _Cell(
                    text=f"{row[metric]:.5f}",
                    place=places.get(method, 0),
                    length=(row[metric] - least) / (most - least) if most > least else 1.0,
                )
            )
    return list(cells.items())


def _sheet(index: int, pair: StillPair, fused: Mapping[str, Sequence[Path]], results: Sequence[MethodScores]) -> _Sheet:
    ir, visible = read_grey(pair.ir), read_grey(pair.visible)
    pictures = {method: read_grey(paths[index]) for method, paths in fused.items()}
    middle = (ir.astype(np.float32) + visible) / 2
    matched = {method: matched_tone(picture, middle) for method, picture in pictures.items()}
    zoom = place_of_disagreement([*matched.values()] if len(matched) > 1 else [ir, visible])
    notes = {scores.method: _note(scores, index) for scores in results}
    titled = [("infrared", "", ir), ("visible", "", visible)]
    titled += [(method, notes[method], picture) for method, picture in pictures.items()]
    return _Sheet(
        name=pair.name,
        size=f"{ir.shape[1]}x{ir.shape[0]}",
        columns=tuple(
            _Column(
                title=title,
                note=note,
                picture=_picture_uri(_framed(picture, zoom)),
                zoom=_picture_uri(_enlarged(picture[zoom])),
                difference=_picture_uri(_enlarged(difference_colors((matched_tone(picture, middle) - middle)[zoom]))),
            )
            for title, note, picture in titled
        ),
    )


def _note(scores: MethodScores, index: int) -> str:
    columns = next(iter(scores.per_image.values()))
    shown = ("En", "FMI_w", "SSIMa", "VIF")
    # A name and its number stay on one line.
    return " ".join(f"{metric}\N{NO-BREAK SPACE}{columns[metric][index]:.3f}" for metric in shown)


def matched_tone(picture: NDArray[np.uint8], reference: NDArray[np.floating]) -> NDArray[np.float32]:
    """``picture`` (H, W) with the mean and the contrast of ``reference``, so that differences show structure."""
    contrast = float(picture.std())
    gain = float(reference.std()) / contrast if contrast > 0 else 0.0
    return np.asarray((picture - picture.mean()) * gain + reference.mean(), dtype=np.float32)


def place_of_disagreement(pictures: Sequence[NDArray[np.uint8] | NDArray[np.float32]]) -> tuple[slice, slice]:
    """The square window, about a quarter of the picture wide, in which ``pictures`` (H, W) differ most."""
    height, width = pictures[0].shape
    side = max(min(round(_ZOOM_SHARE * width), height, width), 1)
    # Variance, not deviation: a small strong difference (a target) outweighs a large faint one (a tone).
    spread = np.var(np.stack(pictures).astype(np.float32), axis=0)
    sums = cv2.integral(spread)
    totals = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(totals.argmax()), totals.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def difference_colors(difference: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Signed grey levels (H, W) as BGR: brighter is red, darker is blue, equal is white."""
    strength = np.clip(np.abs(difference) * _DIFFERENCE_GAIN / 128.0, 0, 1)[..., None]
    end = np.where(difference[..., None] > 0, (31.0, 24.0, 178.0), (172.0, 102.0, 33.0))
    return np.asarray(np.rint(255.0 + strength * (end - 255.0)), dtype=np.uint8)


def _framed(picture: NDArray[np.uint8], zoom: tuple[slice, slice]) -> NDArray[np.uint8]:
    """The whole picture at the width of the sheet, with the zoomed place marked."""
    scale = _PICTURE_WIDTH / picture.shape[1]
    size = (_PICTURE_WIDTH, max(round(picture.shape[0] * scale), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.cvtColor(cv2.resize(picture, size, interpolation=method), cv2.COLOR_GRAY2BGR)
    rows, columns = zoom
    start = (round(columns.start * scale), round(rows.start * scale))
    end = (round(columns.stop * scale) - 1, round(rows.stop * scale) - 1)
    cv2.rectangle(canvas, start, end, (0, 0, 0), 4)
    cv2.rectangle(canvas, start, end, (60, 200, 255), 2)
    return np.asarray(canvas, dtype=np.uint8)


def _enlarged(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if part.shape[0] > _ZOOM_SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (_ZOOM_SIDE, _ZOOM_SIDE), interpolation=method), dtype=np.uint8)


def _picture_uri(picture: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _strip(results: Sequence[MethodScores], metric: str) -> Markup:
    """One metric's value for every pair, a row of dots per method with the mean as a bar (inline SVG)."""
    rows = [next(iter(scores.per_image.values()))[metric] for scores in results]
    least, most = min(map(min, rows)), max(map(max, rows))
    span = most - least or 1.0
    marks = []
    for row, (scores, values) in enumerate(zip(results, rows, strict=True)):
        y = 12 + 18 * row
        marks.append(Markup('<line class="rail" x1="8" x2="312" y1="{0}" y2="{0}"/>').format(y))
        for name, value in zip(scores.names, values, strict=True):
            marks.append(
                Markup('<circle cx="{:.1f}" cy="{}" r="3.2"><title>{} {}: {:.5f}</title></circle>').format(
                    8 + 304 * (value - least) / span, y, scores.method, name, value
                )
            )
        mean = 8 + 304 * (float(np.mean(values)) - least) / span
        marks.append(
            Markup('<line class="mean" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(mean, y - 7, y + 7)
        )
    height = 18 * len(rows) + 24
    scale = Markup('<text x="8" y="{1}">{0:.3f}</text><text x="312" y="{1}" text-anchor="end">{2:.3f}</text>').format(
        least, height - 4, most
    )
    return Markup('<svg viewBox="0 0 320 {}" role="img">{}{}</svg>').format(height, Markup().join(marks), scale)
