"""summary.json: what a run did, how fast, with what, and how it ended."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fusion.whole_files import written_whole
from pipeline.frames import StreamResult
from pipeline.telemetry import Reservoir, Telemetry

_LIBRARIES = ("rgbt-stream", "torch", "numpy", "av", "opencv-python-headless", "opencv-python", "onnxruntime")


@dataclass(slots=True, kw_only=True)
class RunStatistics:
    """Durations and counts of a run, gathered pair by pair.

    Attributes:
        pairs: results so far.
        dropped: pairs that a live run threw away because newer ones came.
        recording_dropped: pictures that a live run left out of the video because the disk or encoder was too slow.
        levels: results by degradation level, see ``pipeline.degrade``.
        stage_ms: durations of each stage in milliseconds, one a pair; of a long run a fair sample.
        latency_ms: time from the moment a pair was ready until it was recorded, likewise.
        telemetry: is told of stages that are no part of the results too.
    """

    pairs: int = 0
    dropped: int = 0
    recording_dropped: int = 0
    levels: dict[int, int] = field(default_factory=dict)
    stage_ms: dict[str, Reservoir] = field(default_factory=dict)
    latency_ms: Reservoir = field(default_factory=Reservoir)
    telemetry: Telemetry = field(default_factory=Telemetry)

    def add(self, result: StreamResult, latency_ms: float) -> None:
        """Count one result."""
        self.pairs += 1
        self.levels[result.level] = self.levels.get(result.level, 0) + 1
        self.latency_ms.add(latency_ms)
        for stage, duration_ms in result.stage_ms.items():
            self._window(stage).add(duration_ms)

    def add_stage(self, stage: str, duration_ms: float) -> None:
        """Count the duration of a stage that is no part of the result itself."""
        self._window(stage).add(duration_ms)
        self.telemetry.add_stage(stage, duration_ms)

    def _window(self, stage: str) -> Reservoir:
        return self.stage_ms.setdefault(stage, Reservoir())


def percentiles(values: list[float], wanted: tuple[int, ...]) -> dict[str, float | None]:
    """``{"p50": ...}`` of the values, rounded to 0.001; None where there are no values."""
    if not values:
        return {f"p{percent}": None for percent in wanted}
    numbers = np.percentile(np.asarray(values), wanted)
    return {f"p{percent}": round(float(number), 3) for percent, number in zip(wanted, numbers, strict=True)}


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def timing_fields(statistics: RunStatistics, elapsed_s: float) -> dict[str, Any]:
    """The fields ``pairs``, ``fps``, ``latency_ms`` and ``stage_ms`` of the summary."""
    rate = statistics.pairs / elapsed_s if elapsed_s > 0 else math.nan
    return {
        "pairs": statistics.pairs,
        "fps": round(rate, 2) if math.isfinite(rate) else None,
        "latency_ms": percentiles(statistics.latency_ms.values, (50, 95, 99)),
        "stage_ms": {stage: percentiles(kept.values, (50, 95)) for stage, kept in statistics.stage_ms.items()},
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that readers see the old file or the whole new one, never a part.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with written_whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
