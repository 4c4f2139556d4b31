"""What a training run leaves for people: loss curves and a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trackers.training.sources import TrainingSet


def write_curves(out: Path, history: Sequence[tuple[int, float, float, float, float]]) -> None:
    """Plot the losses over the steps, smoothed, as ``losses.png``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = np.array(history, dtype=np.float64).reshape(-1, 5)
    width = max(len(rows) // 100, 1)
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for column, name in enumerate(("loss", "classes", "boxes", "mean IoU"), start=1):
        smooth = np.convolve(rows[:, column], np.ones(width) / width, mode="valid")
        axes.plot(rows[width - 1 :, 0], smooth, label=name)
    axes.set_xlabel("step")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out / "losses.png", dpi=110)
    pyplot.close(figure)


def write_card(
    path: Path,
    config: Mapping[str, Any],
    data: TrainingSet,
    history: Sequence[tuple[int, float, float, float, float]],
) -> None:
    """Write the facts of a run as Markdown; measured quality is added by whoever measures it."""
    last = np.array(history[-500:], dtype=np.float64).reshape(-1, 5).mean(axis=0)
    names = ", ".join(track.name for track in data.sequences) or "none"
    left_out = ", ".join(config["left_out"]) or "none"
    start = Path(config["backbone"]).name if config["backbone"] else "random weights"
    path.write_text(
        f"""# siamrpn-lite

- Steps: {config["steps"]} of {config["batch"]} pairs, seed {config["seed"]}, {config["precision"]}, peak rate \
{config["learning_rate"]}.
- Backbone from: {start}; its blocks 4 and later learn after {config["unfreeze_at"]:.0%} of the steps.
- Sequences trained on ({len(data.sequences)}): {names}.
- Left out: {left_out}.
- Stills with boxes: {len(data.boxed)}; photographs: {len(data.photographs)}; registered visible and thermal \
stills: {len(data.registered)}.
- Mean of the last {min(len(history), 500)} steps: loss {last[1]:.3f}, classes {last[2]:.3f}, boxes {last[3]:.3f}, \
IoU of positive places {last[4]:.3f}.
""",
        encoding="utf-8",
    )
