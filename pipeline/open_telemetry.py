"""Sends the numbers of a run to an OpenTelemetry collector (extra ``otel``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from fusion.errors import InputError
from pipeline.telemetry import Percentiles, SourceHealth, Telemetry

_PERIOD_S = 10.0
_TIMEOUT_S = 5.0


class CollectorLink:
    """Reports to a collector every ten seconds from a thread of its own, until closed; a collector that does not
    answer costs the run nothing.

    Args:
        endpoint: address of the collector's OTLP over HTTP, such as ``http://localhost:4318``.
        telemetry: what is reported.
        health: says how the sources are doing.
        period_s: seconds between two reports.

    Raises:
        InputError: the address is none, or the extra is not installed.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        telemetry: Telemetry,
        health: Callable[[], Sequence[SourceHealth]] = lambda: (),
        period_s: float = _PERIOD_S,
    ) -> None:
        if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
            raise InputError("collector: give the address of an OTLP collector, such as http://localhost:4318")
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.metrics import CallbackOptions, Observation
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
        except ImportError:
            raise InputError("collector: OpenTelemetry is not installed; pip install 'rgbt-stream[otel]'") from None
        exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + "/v1/metrics", timeout=_TIMEOUT_S)
        reader = PeriodicExportingMetricReader(
            exporter, export_interval_millis=period_s * 1e3, export_timeout_millis=_TIMEOUT_S * 1e3
        )
        self._provider = MeterProvider([reader], resource=Resource.create({"service.name": "rgbt-stream"}))
        meter = self._provider.get_meter("rgbt-stream")

        def pairs(_: CallbackOptions) -> Iterator[Observation]:
            yield Observation(telemetry.snapshot().pairs)

        def rate(_: CallbackOptions) -> Iterator[Observation]:
            yield Observation(telemetry.snapshot().fps)

        def counts(_: CallbackOptions) -> Iterator[Observation]:
            for name, count in telemetry.snapshot().counters.items():
                yield Observation(count, {"kind": name})

        def durations(_: CallbackOptions) -> Iterator[Observation]:
            snapshot = telemetry.snapshot()
            windows = {**snapshot.stages_ms, "skew": snapshot.skew_ms, "age at display": snapshot.age_ms}
            for stage, values in windows.items():
                for quantile, value_s in _quantiles_s(values):
                    yield Observation(value_s, {"stage": stage, "quantile": quantile})

        def sources(_: CallbackOptions) -> Iterator[Observation]:
            for source in health():
                yield Observation(int(source.state in ("live", "file")), {"role": source.role, "state": source.state})

        meter.create_observable_counter("rgbt.pairs", [pairs], description="Pairs processed")
        meter.create_observable_gauge("rgbt.rate", [rate], unit="1/s", description="Pairs a second")
        meter.create_observable_counter("rgbt.events", [counts], description="Drops and unpaired frames by kind")
        meter.create_observable_gauge("rgbt.duration", [durations], unit="s", description="Durations of the last pairs")
        meter.create_observable_gauge("rgbt.source.up", [sources], description="1 while frames arrive")

    def close(self) -> None:
        """Report once more and end; waits a few seconds at most."""
        self._provider.shutdown(timeout_millis=_TIMEOUT_S * 1e3)


def _quantiles_s(values: Percentiles | None) -> tuple[tuple[str, float], ...]:
    if values is None:
        return ()
    return ("0.5", values.p50 / 1e3), ("0.95", values.p95 / 1e3), ("0.99", values.p99 / 1e3)
