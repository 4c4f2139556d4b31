"""How a run is doing while it goes on: durations, rates and counts in bounded memory, as values, JSON lines and
Prometheus text."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.frames import PairStatus, StreamResult

# Values that percentiles are taken over: at 30 a second the last 17 seconds.
_WINDOW = 512
_RATE_SPAN_S = 3.0
_QUANTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of the last values, all in the unit of the values; ``last`` is the newest one."""

    p50: float
    p95: float
    p99: float
    last: float


class Window:
    """The last values of one quantity in a ring of fixed size, with the count and sum of all there ever were."""

    def __init__(self, size: int = _WINDOW) -> None:
        self._values = np.zeros(size, np.float32)
        self.count = 0
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take one value; the oldest one goes when the ring is full."""
        self._values[self.count % len(self._values)] = value
        self.count += 1
        self.total += value

    def percentiles(self) -> Percentiles | None:
        """Percentiles of the values in the ring; None before the first one."""
        if not self.count:
            return None
        numbers = np.percentile(self._values[: min(self.count, len(self._values))], _QUANTILES)
        last = self._values[(self.count - 1) % len(self._values)]
        return Percentiles(*(round(float(number), 3) for number in (*numbers, last)))


class Reservoir:
    """A sample of fixed size of all values of a run, each equally likely to be in it.

    Algorithm R of J. S. Vitter, "Random sampling with a reservoir", ACM TOMS 11 (1), 1985. The seed is fixed, so
    equal values give an equal sample.
    """

    def __init__(self, size: int = 4096, seed: int = 0) -> None:
        self._values = np.zeros(size)
        self._random = np.random.default_rng(seed)
        self.count = 0

    def add(self, value: float) -> None:
        """Take one value into account."""
        size = len(self._values)
        place = self.count if self.count < size else int(self._random.integers(0, self.count + 1))
        if place < size:
            self._values[place] = value
        self.count += 1

    def __len__(self) -> int:
        return self.count

    @property
    def values(self) -> list[float]:
        """The sample; all values while they fit."""
        return [float(value) for value in self._values[: min(self.count, len(self._values))]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHealth:
    """How one stream is doing.

    Attributes:
        role: ``visible`` or ``thermal``.
        name: short name without credentials.
        state: opening, live, stalled, reconnecting, failed, or ended; ``file`` for a recording that is read.
        fps: frames a second lately, or None.
        frames: frames so far.
        age_s: seconds since the last frame, or None.
        reconnects: times the stream was opened anew.
        suspect: frames that the decoder flagged as damaged.
        size_wh: picture size, or None while unknown.
    """

    role: str
    name: str
    state: str
    fps: float | None = None
    frames: int = 0
    age_s: float | None = None
    reconnects: int = 0
    suspect: int = 0
    size_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySnapshot:
    """All numbers of one moment.

    Attributes:
        uptime_s: seconds since the beginning.
        pairs: results so far.
        fps: results a second over the last seconds.
        stages_ms: percentiles of each stage's duration in milliseconds.
        skew_ms: percentiles of the distance in time within a pair, in milliseconds.
        age_ms: percentiles of the age of a picture when a viewer confirmed that it is shown, in milliseconds.
        counters: counts by name, such as ``dropped`` and ``held``.
        idle_s: seconds since the last result, or None before the first.
        level: how far fusion is degraded now, see ``pipeline.degrade``.
    """

    uptime_s: float
    pairs: int
    fps: float
    stages_ms: dict[str, Percentiles] = field(default_factory=dict)
    skew_ms: Percentiles | None = None
    age_ms: Percentiles | None = None
    counters: dict[str, int] = field(default_factory=dict)
    idle_s: float | None = None
    level: int = 0


class Telemetry:
    """Gathers the numbers of a run from any thread; memory does not grow with time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin_s = time.monotonic()
        self._stages: dict[str, Window] = {}
        self._skew = Window()
        self._age = Window()
        self._moments_s: deque[float] = deque(maxlen=_WINDOW)
        self._pairs = 0
        self._level = 0
        self._counters: dict[str, int] = {"dropped": 0, "single": 0, "held": 0}

    def add_result(self, result: StreamResult) -> None:
        """Count one result with its stages, skew and drops."""
        with self._lock:
            self._pairs += 1
            self._moments_s.append(time.monotonic())
            for stage, duration_ms in result.stage_ms.items():
                self._stages.setdefault(stage, Window()).add(duration_ms)
            self._counters["dropped"] = result.dropped
            self._level = result.level
            if result.level:
                self._add_up(f"level_{result.level}")
            if result.pair.status is PairStatus.PAIRED:
                self._skew.add(abs(result.pair.dt_s) * 1e3)
            else:
                self._counters[result.pair.status.value] += 1

    def add_stage(self, stage: str, duration_ms: float) -> None:
        """Count the duration of a stage that is no part of the result."""
        with self._lock:
            self._stages.setdefault(stage, Window()).add(duration_ms)

    def add_age(self, age_ms: float) -> None:
        """Count the age of a picture at the moment it was shown."""
        with self._lock:
            self._age.add(age_ms)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._add_up(name, amount)

    def set_count(self, name: str, count: int) -> None:
        """Set a counter that is kept elsewhere."""
        with self._lock:
            self._counters[name] = count

    def snapshot(self) -> TelemetrySnapshot:
        """The numbers of now."""
        now_s = time.monotonic()
        with self._lock:
            recent = [moment_s for moment_s in self._moments_s if now_s - moment_s <= _RATE_SPAN_S]
            span_s = min(_RATE_SPAN_S, now_s - recent[0]) if recent else 0.0
            stages = {name: window.percentiles() for name, window in self._stages.items()}
            return TelemetrySnapshot(
                uptime_s=round(now_s - self._begin_s, 3),
                pairs=self._pairs,
                fps=round((len(recent) - 1) / span_s, 2) if len(recent) > 1 and span_s > 0 else 0.0,
                stages_ms={name: values for name, values in stages.items() if values is not None},
                skew_ms=self._skew.percentiles(),
                age_ms=self._age.percentiles(),
                counters=dict(self._counters),
                idle_s=round(now_s - self._moments_s[-1], 3) if self._moments_s else None,
                level=self._level,
            )

    def _add_up(self, name: str, amount: int = 1) -> None:
        self._counters[name] = self._counters.get(name, 0) + amount

    def totals(self) -> dict[str, tuple[int, float]]:
        """Count and sum in milliseconds of every stage since the beginning."""
        with self._lock:
            return {name: (window.count, window.total) for name, window in self._stages.items()}


class TelemetryLog:
    """Writes a line of JSON with all numbers every few seconds, in two files of bounded size.

    A full file is renamed to ``NAME.1`` and begun anew. A disk that is full ends the log, not the run.
    """

    def __init__(self, path: Path, *, period_s: float = 5.0, most_bytes: int = 8 << 20) -> None:
        self._path = path
        self._period_s = period_s
        self._most_bytes = most_bytes
        self._next_s = time.monotonic()
        self.failed = False

    @property
    def due(self) -> bool:
        """It is time for another line."""
        return not self.failed and time.monotonic() >= self._next_s

    def write(self, snapshot: TelemetrySnapshot, sources: Sequence[SourceHealth] = ()) -> bool:
        """Append a line if one is due; says whether it did."""
        if not self.due:
            return False
        self._next_s = time.monotonic() + self._period_s
        line = {"wall_s": round(time.time(), 3), **asdict(snapshot), "sources": [asdict(source) for source in sources]}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
                length = file.tell()
            if length > self._most_bytes:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
        except OSError:
            self.failed = True
        return not self.failed


def prometheus_text(
    snapshot: TelemetrySnapshot,
    totals: Mapping[str, tuple[int, float]],
    sources: Sequence[SourceHealth] = (),
    gauges: Mapping[str, float] | None = None,
) -> str:
    """The numbers in the Prometheus text format, version 0.0.4; durations in seconds, as is the custom there."""
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Sequence[tuple[str, float]]) -> None:
        if samples:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
            lines.extend(f"{name}{labels} {value:.10g}" for labels, value in samples)

    family("rgbt_pairs_total", "counter", "Pairs processed.", [("", snapshot.pairs)])
    for name, count in sorted(snapshot.counters.items()):
        family(f"rgbt_{name}_total", "counter", f"Count of {name.replace('_', ' ')}.", [("", count)])
    family("rgbt_fps", "gauge", "Pairs a second over the last seconds.", [("", snapshot.fps)])
    family("rgbt_degradation_level", "gauge", "How far fusion is degraded.", [("", snapshot.level)])
    family("rgbt_uptime_seconds", "gauge", "Age of the run.", [("", snapshot.uptime_s)])
    stages: list[tuple[str, float]] = []
    for stage, values in snapshot.stages_ms.items():
        stages += [(_labels(stage=stage, quantile=q), value / 1e3) for q, value in _quantiles(values)]
    lines_before = len(lines)
    family("rgbt_stage_seconds", "summary", "Duration of each stage over the last pairs.", stages)
    if len(lines) > lines_before:
        for stage, (count, total_ms) in totals.items():
            lines.append(f"rgbt_stage_seconds_sum{_labels(stage=stage)} {total_ms / 1e3:.10g}")
            lines.append(f"rgbt_stage_seconds_count{_labels(stage=stage)} {count}")
    for name, text, window in (
        ("rgbt_skew_seconds", "Distance in time within a pair.", snapshot.skew_ms),
        ("rgbt_age_at_display_seconds", "Age of a picture when a viewer showed it.", snapshot.age_ms),
    ):
        if window is not None:
            family(name, "summary", text, [(_labels(quantile=q), value / 1e3) for q, value in _quantiles(window)])
    known = [source for source in sources if source.age_s is not None]
    family(
        "rgbt_source_up", "gauge", "1 while frames arrive.", [(_of(s), s.state in ("live", "file")) for s in sources]
    )
    family("rgbt_source_frames_total", "counter", "Frames read.", [(_of(s), s.frames) for s in sources])
    family("rgbt_source_reconnects_total", "counter", "Reconnects.", [(_of(s), s.reconnects) for s in sources])
    family("rgbt_source_age_seconds", "gauge", "Age of the last frame.", [(_of(s), s.age_s or 0.0) for s in known])
    for name, value in (gauges or {}).items():
        family(f"rgbt_{name}", "gauge", f"{name.replace('_', ' ').capitalize()}.", [("", value)])
    return "\n".join(lines) + "\n"


def _quantiles(values: Percentiles) -> tuple[tuple[str, float], ...]:
    return ("0.5", values.p50), ("0.95", values.p95), ("0.99", values.p99)


def _of(source: SourceHealth) -> str:
    return _labels(role=source.role)


def _labels(**labels: str) -> str:
    escaped = (
        (name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
