"""Reports to a collector, here a small HTTP server that keeps what it is sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from fusion.errors import InputError
from pipeline.open_telemetry import CollectorLink
from pipeline.telemetry import SourceHealth, Telemetry

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install -e '.[otel]'")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append((self.path, ExportMetricsServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_numbers_arrive() -> None:
    telemetry = Telemetry()
    telemetry.add_stage("fuse", 12.0)
    telemetry.count("dropped", 3)
    source = SourceHealth(role="thermal", name="camera", state="stalled")
    with collector() as (endpoint, received):
        link = CollectorLink(endpoint, telemetry=telemetry, health=lambda: (source,), period_s=0.2)
        end_s = time.monotonic() + 15
        while not received and time.monotonic() < end_s:
            time.sleep(0.02)
        link.close()
    path, request = received[0]
    assert path == "/v1/metrics"
    metrics = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    assert set(metrics) == {"rgbt.pairs", "rgbt.rate", "rgbt.events", "rgbt.duration", "rgbt.source.up"}
    durations = {
        tuple(attribute.value.string_value for attribute in point.attributes): point.as_double
        for point in metrics["rgbt.duration"].gauge.data_points
    }
    assert durations[("fuse", "0.95")] == 0.012
    dropped = [point.as_int for point in metrics["rgbt.events"].sum.data_points]
    assert 3 in dropped
    assert metrics["rgbt.source.up"].gauge.data_points[0].as_int == 0


def test_a_collector_that_is_not_there_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    begin_s = time.monotonic()
    CollectorLink("http://127.0.0.1:9", telemetry=Telemetry(), period_s=0.1).close()
    assert time.monotonic() - begin_s < 15


@pytest.mark.parametrize("endpoint", ["localhost:4318", "file:///etc/passwd", "", "http://"])
def test_an_address_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(InputError, match="collector"):
        CollectorLink(endpoint, telemetry=Telemetry())
