"""Flicker and contrast of fused videos: every method over one recorded pair of streams, read once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.fuser import Fuser
from fusion.metrics.flicker import Flicker, FlickerMeter
from fusion.metrics.information import entropy, standard_deviation_standard
from pipeline.assemble import PairStream
from pipeline.frames import FramePair, PairStatus

COLUMNS = ("ratio", "fused", "visible", "thermal", "SD", "En")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoScores:
    """What one method reached on a video.

    Attributes:
        flicker: temporal variances of the static background.
        deviation: mean over the frames of the fused picture's standard deviation, in grey levels.
        entropy_bits: mean over the frames of its entropy.
    """

    flicker: Flicker
    deviation: float
    entropy_bits: float

    def entry(self) -> dict[str, float | int | None]:
        """Numbers as written to scores.json; a ratio to inputs without any noise is null."""
        ratio = self.flicker.ratio
        return {
            "ratio": ratio if math.isfinite(ratio) else None,
            "fused": self.flicker.fused,
            "visible": self.flicker.visible,
            "thermal": self.flicker.thermal,
            "SD": self.deviation,
            "En": self.entropy_bits,
            "static_share": self.flicker.static_share,
            "frames": self.flicker.frames,
        }


@dataclass(slots=True)
class _Running:
    meter: FlickerMeter = field(default_factory=FlickerMeter)
    deviations: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)


def measure_video(
    stream: PairStream,
    fusers: Mapping[str, Fuser],
    *,
    most_pairs: int | None = None,
    on_pair: Callable[[], None] = lambda: None,
) -> dict[str, VideoScores]:
    """Fuse all pairs of ``stream`` with every fuser and measure the results.

    Pairs in which a picture is missing or held over are skipped: they would measure pairing, not fusion.

    Args:
        stream: recorded pairs.
        fusers: name -> fuser; each sees the pairs in order, so its range may adapt.
        most_pairs: stop after so many.
        on_pair: called after each pair, for progress.

    Raises:
        InputError: fewer than two whole pairs.
    """
    running = {name: _Running() for name in fusers}
    for fuser in fusers.values():
        fuser.reset()
    for pair in islice(stream, most_pairs):
        if pair.status is PairStatus.PAIRED:
            visible = _luma(pair.visible_bgr)
            for name, fuser in fusers.items():
                _count(running[name], pair, visible, _luma(fuser(pair.visible_bgr, pair.thermal)))
        on_pair()
    if any(len(state.deviations) < 2 for state in running.values()):
        raise InputError("flicker needs at least two pairs of pictures; the videos are too short or do not overlap")
    return {
        name: VideoScores(
            flicker=state.meter.result(),
            deviation=float(np.mean(state.deviations)),
            entropy_bits=float(np.mean(state.entropies)),
        )
        for name, state in running.items()
    }


def write_video_scores(folder: Path, results: Mapping[str, VideoScores], title: str) -> None:
    """Write ``scores.json`` and ``table.md`` into ``folder``."""
    entries = {name: scores.entry() for name, scores in results.items()}
    (folder / "scores.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"## Flicker on {title}",
        "",
        "| method | flicker ratio | fused | visible | thermal | SD | En |",
        f"|---|{'---:|' * len(COLUMNS)}",
    ]
    for name, entry in entries.items():
        cells = ["inf" if entry[column] is None else f"{entry[column]:.3f}" for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Fused, visible, thermal: temporal variance of the static background in squared grey levels; the ratio is that "
        "of the fused video to the larger of its inputs, less is better. SD and En: contrast and entropy of the fused "
        "frames, more is better.",
        "",
    ]
    (folder / "table.md").write_text("\n".join(lines), encoding="utf-8")


def _count(state: _Running, pair: FramePair, visible: NDArray[np.uint8], fused: NDArray[np.uint8]) -> None:
    state.meter.add(visible=visible, thermal=pair.thermal, fused=fused)
    state.deviations.append(standard_deviation_standard(fused))
    state.entropies.append(entropy(fused))


def _luma(picture_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
