"""Counts every result into the telemetry of a run, and writes its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.frames import StreamResult
from pipeline.telemetry import SourceHealth, Telemetry, TelemetryLog


class TelemetrySink:
    """Feeds a run's telemetry.

    Args:
        telemetry: receives every result.
        log: receives a line now and then, or None.
        health: says how the sources are doing, for the log.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        log: TelemetryLog | None = None,
        health: Callable[[], Sequence[SourceHealth]] = lambda: (),
    ) -> None:
        self._telemetry = telemetry
        self._log = log
        self._health = health

    def write(self, result: StreamResult) -> None:
        """Count one result."""
        self._telemetry.add_result(result)
        if self._log is not None and self._log.due:
            self._log.write(self._telemetry.snapshot(), self._health())

    def close(self) -> None:
        """Nothing to close: every line of the log is complete."""
