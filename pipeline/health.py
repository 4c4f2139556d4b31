"""How the sources of a run are doing, for those who watch it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from pipeline.assemble import PairStream
from pipeline.live_pairs import LivePairStream
from pipeline.sources import Role, Source
from pipeline.sources.live import LiveSource
from pipeline.telemetry import SourceHealth

_SPAN_S = 3.0


@dataclass(slots=True)
class _Rate:
    """Frames a second over the last seconds, from counts at the moments somebody asks."""

    counts: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=64))

    def at(self, now_s: float, frames: int) -> float | None:
        self.counts.append((now_s, frames))
        while len(self.counts) > 2 and now_s - self.counts[0][0] > _SPAN_S:
            self.counts.popleft()
        first_s, first = self.counts[0]
        return round((frames - first) / (now_s - first_s), 2) if now_s - first_s > 0.2 else None


class SourceWatch:
    """Reads health and counts off the pairs of a run; safe to call from any one thread while the run goes on."""

    def __init__(self, pairs: PairStream) -> None:
        self._pairs = pairs
        self._rates: dict[Role, _Rate] = {"visible": _Rate(), "thermal": _Rate()}

    def health(self) -> tuple[SourceHealth, ...]:
        """How each source is doing now."""
        sources: tuple[tuple[Role, Source | None], ...] = (
            ("visible", self._pairs.visible),
            ("thermal", self._pairs.thermal),
        )
        return tuple(self._health(role, source) for role, source in sources if source is not None)

    def counters(self) -> dict[str, int]:
        """Counts of pairing since the beginning."""
        stats = self._pairs.stats
        counters = {"unpaired": stats.unpaired, "out_of_order": stats.out_of_order, "paired": stats.paired}
        if isinstance(self._pairs, LivePairStream):
            counters["inbox_dropped"] = self._pairs.live_stats.inbox_dropped
        return counters

    def _health(self, role: Role, source: Source) -> SourceHealth:
        info = source.info
        now_s = time.monotonic()
        if isinstance(source, LiveSource):
            live = source.health()
            return SourceHealth(
                role=role,
                name=info.name,
                state=live.state.value,
                fps=self._rates[role].at(now_s, live.frames),
                frames=live.frames,
                age_s=round(live.age_s, 3),
                reconnects=live.reconnects,
                suspect=live.suspect,
                size_wh=(info.width, info.height),
            )
        stats = self._pairs.stats
        frames = stats.visible if role == "visible" else stats.thermal
        return SourceHealth(
            role=role,
            name=info.name,
            state="file",
            fps=self._rates[role].at(now_s, frames),
            frames=frames,
            size_wh=(info.width, info.height),
        )
