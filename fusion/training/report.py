"""What a training leaves for people: the loss curve as CSV and PNG, and the model card."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from fusion.training.config import FuserTrainingConfig
from fusion.training.state import LossRow
from fusion.training.task import TaskReport
from fusion.whole_files import written_whole


def write_curve(rows: Sequence[LossRow], folder: Path) -> None:
    """Write ``loss.csv`` and ``loss.png`` of the rows, each replaced in one step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0].losses) if rows else []
    writer.writerow(["step", *names, "seconds"])
    for row in rows:
        numbers = (*(row.losses[name] for name in names), row.seconds)
        writer.writerow([row.step, *(f"{number:.6g}" for number in numbers)])
    _replace(folder / "loss.csv", text.getvalue().encode())
    _replace(folder / "loss.png", _plot(rows))


def write_card(config: FuserTrainingConfig, rows: Sequence[LossRow], report: TaskReport) -> None:
    """Write the model card ``<method>.md`` beside the weights."""
    sources = "\n".join(f"- `{'/'.join(folder.parts[-2:])}`" for folder in config.images)
    quality = "\n".join(f"| {name} | {value:.4f} |" for name, value in report.quality.items())
    card = f"""# {config.method}: model card

## Data
{report.data}, read as grey levels, from the folders
{sources}

Crops of {config.crop_px} x {config.crop_px} px, mirrored at random, as a function of seed and step.

## Recipe
{report.goal}
Adam, highest learning rate {config.learning_rate:g}, 100 steps of warm-up, cosine to 0.
{rows[-1].step} steps of {config.batch_size} crops, convolutions in {config.precision}, seed {config.seed}.
{report.remarks} {rows[-1].seconds:.0f} s of training.
PyTorch {torch.__version__} on {platform.machine()}.

## Measured
{report.held_out}:

| measure | value |
|---|---|
{quality}

## Licence
The weights derive from the pictures above; see the licences of those data sets before you pass them on.
"""
    _replace(config.out / f"{config.method}.md", card.encode())


def _plot(rows: Sequence[LossRow]) -> bytes:
    # Imported here: drawing is the only use, and slow to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row.step for row in rows]
    for name in rows[0].losses if rows else ():
        axes.plot(steps, [row.losses[name] for row in rows], label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _replace(path: Path, content: bytes) -> None:
    with written_whole(path) as partial:
        partial.write_bytes(content)
