"""What a training leaves for people: the loss curve as CSV and PNG, and the model card."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from fusion.training.config import FuserTrainingConfig
from fusion.training.state import LossRow


def write_curve(rows: Sequence[LossRow], folder: Path) -> None:
    """Write ``loss.csv`` and ``loss.png`` of the rows, each replaced in one step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "loss", "pixel_mse", "one_minus_ssim", "seconds"])
    for row in rows:
        numbers = (row.total, row.pixel, row.dissimilarity, row.seconds)
        writer.writerow([row.step, *(f"{number:.6g}" for number in numbers)])
    _replace(folder / "loss.csv", text.getvalue().encode())
    _replace(folder / "loss.png", _plot(rows))


def write_card(
    config: FuserTrainingConfig, rows: Sequence[LossRow], *, pictures: int, held_out: Mapping[str, float]
) -> None:
    """Write the model card ``<method>.md`` beside the weights."""
    sources = "\n".join(f"- `{'/'.join(folder.parts[-2:])}`" for folder in config.images)
    goal = (
        "Autoencoder without fusion"
        if config.method == "nestfuse"
        else f"Student of nestfuse: {config.lessons} crops of pairs with its fused pictures as targets, and in every "
        "step as many single pictures with themselves as targets"
    )
    quality = "\n".join(f"| {name} | {value:.4f} |" for name, value in held_out.items())
    card = f"""# {config.method}: model card

## Data
{pictures} pictures, read as grey levels, from the folders
{sources}

Crops of {config.crop_px} x {config.crop_px} px, mirrored at random, as a function of seed and step.

## Recipe
{goal}; loss = mean squared error (grey levels 0..255) + {config.ssim_weight:g} * (1 - SSIM).
Adam, highest learning rate {config.learning_rate:g}, 100 steps of warm-up, cosine to 0.
{rows[-1].step} steps of {config.batch_size} crops, convolutions in {config.precision}, seed {config.seed},
features scaled by {config.feature_scale:g} when written,
deep supervision {"on" if config.deep_supervision else "off"}; {rows[-1].seconds:.0f} s of training.
PyTorch {torch.__version__} on {platform.machine()}.

## Measured
Reconstruction of held-out pictures (every 50th file, left out of training; centre crops):

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
    axes.plot(steps, [row.total for row in rows], label="loss")
    axes.plot(steps, [row.pixel for row in rows], label="mean squared error")
    axes.plot(steps, [100 * row.dissimilarity for row in rows], label="100 (1 - SSIM)")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
