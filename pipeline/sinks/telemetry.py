"""Counts every result into the telemetry of a run, and writes its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.frames import StreamResult
from pipeline.telemetry import SourceHealth, Telemetry, TelemetryLog


class TelemetrySink:
    """Feeds a run's telemetry, which receives every result."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def write(self, result: StreamResult) -> None:
        """Count one result."""
        self._telemetry.add_result(result)

    def close(self) -> None:
        """Nothing to close."""


class TelemetryLogSink:
    """Writes the log of a run's telemetry.

    Args:
        telemetry: has the numbers.
        log: receives a line now and then.
        health: says how the sources are doing.
    """

    def __init__(
        self, telemetry: Telemetry, log: TelemetryLog, health: Callable[[], Sequence[SourceHealth]] = lambda: ()
    ) -> None:
        self._telemetry = telemetry
        self._log = log
        self._health = health

    @property
    def due(self) -> bool:
        """It is time for another line."""
        return self._log.due

    def write(self, result: StreamResult) -> None:
        """Write a line if one is due."""
        if self._log.due:
            self._log.write(self._telemetry.snapshot(), self._health())

    def close(self) -> None:
        """Nothing to close: every line of the log is complete."""
