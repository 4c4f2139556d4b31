from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.frames import PairStatus, StreamResult
from pipeline.telemetry import Reservoir, SourceHealth, Telemetry, TelemetryLog, Window, prometheus_text
from tests.pipeline.doubles import make_pair

numbers = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=200)


def result(index: int, status: PairStatus = PairStatus.PAIRED, **stage_ms: float) -> StreamResult:
    pair = replace(make_pair(index), status=status, dt_s=-0.002)
    return StreamResult(pair=pair, fused_bgr=pair.visible_bgr, stage_ms=stage_ms, dropped=index // 2)


@settings(deadline=None)
@given(numbers, st.integers(1, 50))
def test_a_window_knows_the_percentiles_of_its_last_values(values: list[float], size: int) -> None:
    window = Window(size)
    assert window.percentiles() is None
    for value in values:
        window.add(value)
    found = window.percentiles()
    assert found is not None
    expected = np.percentile(np.asarray(values[-size:], np.float32), (50, 95, 99))
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(expected), abs=0.01, rel=1e-5)
    assert found.last == pytest.approx(values[-1], abs=0.001)
    assert (window.count, window.total) == (len(values), pytest.approx(sum(values)))


def test_a_reservoir_keeps_all_values_while_they_fit_and_then_a_fair_sample() -> None:
    small = Reservoir(100)
    for value in range(100):
        small.add(value)
    assert small.values == list(range(100))
    large, again = Reservoir(1000), Reservoir(1000)
    for value in range(50_000):
        large.add(value)
        again.add(value)
    assert large.values == again.values
    assert (len(large.values), large.count) == (1000, 50_000)
    # The standard error of a quartile of 1000 of 50,000 values is 685.
    assert np.percentile(large.values, (25, 50, 75)) == pytest.approx([12_500, 25_000, 37_500], abs=3500)


def test_results_are_counted_with_their_stages_skew_and_drops() -> None:
    telemetry = Telemetry()
    for index in range(6):
        telemetry.add_result(result(index, PairStatus.HELD if index == 5 else PairStatus.PAIRED, fuse=4.0 + index))
    telemetry.add_stage("record", 1.5)
    telemetry.add_age(42.0)
    telemetry.count("reconnects", 2)
    snapshot = telemetry.snapshot()
    assert snapshot.pairs == 6
    assert snapshot.stages_ms["fuse"].p50 == 6.5
    assert snapshot.stages_ms["record"].last == 1.5
    assert snapshot.skew_ms is not None
    assert snapshot.skew_ms.p50 == 2.0
    assert snapshot.age_ms is not None
    assert snapshot.age_ms.p95 == 42.0
    assert snapshot.counters == {"dropped": 2, "single": 0, "held": 1, "reconnects": 2}
    assert telemetry.totals()["fuse"] == (6, 39.0)


def test_it_takes_numbers_from_many_threads() -> None:
    telemetry = Telemetry()

    def work() -> None:
        for index in range(500):
            telemetry.add_result(result(index, fuse=1.0))
            telemetry.count("seen")
            if index % 50 == 0:
                telemetry.snapshot()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.snapshot().pairs == 2000
    assert telemetry.snapshot().counters["seen"] == 2000
    assert telemetry.totals()["fuse"][0] == 2000


def test_the_log_is_lines_of_json_of_bounded_size(tmp_path: Path) -> None:
    telemetry = Telemetry()
    telemetry.add_result(result(0, fuse=3.0))
    path = tmp_path / "telemetry.jsonl"
    log = TelemetryLog(path, period_s=0.0, most_bytes=3000)
    source = SourceHealth(role="visible", name="camera", state="live", fps=30.0)
    for _ in range(40):
        assert log.write(telemetry.snapshot(), (source,))
    rest = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in ((tmp_path / "telemetry.jsonl.1").read_text() + rest).splitlines()]
    assert lines[0]["stages_ms"]["fuse"]["p50"] == 3.0
    assert lines[-1]["sources"][0]["state"] == "live"
    assert len(rest) < 4000
    assert not TelemetryLog(path, period_s=1e6).write(telemetry.snapshot()) or path.exists()


def test_the_log_waits_between_lines_and_gives_up_quietly(tmp_path: Path) -> None:
    log = TelemetryLog(tmp_path / "telemetry.jsonl", period_s=1000.0)
    snapshot = Telemetry().snapshot()
    assert log.write(snapshot)
    assert not log.write(snapshot)
    nowhere = TelemetryLog(tmp_path / "missing" / "telemetry.jsonl", period_s=0.0)
    assert not nowhere.write(snapshot)
    assert nowhere.failed


def test_prometheus_text_is_well_formed_whatever_the_names() -> None:
    telemetry = Telemetry()
    telemetry.add_result(result(0, **{'odd"stage\n': 2.0}))
    source = SourceHealth(role="thermal", name="x", state="stalled", age_s=2.5, frames=7)
    text = prometheus_text(telemetry.snapshot(), telemetry.totals(), [source], {"viewers": 3.0})
    assert 'rgbt_stage_seconds{stage="odd\\"stage\\n",quantile="0.5"} 0.002' in text
    assert 'rgbt_source_up{role="thermal"} 0' in text
    assert "rgbt_viewers 3" in text
    assert text.endswith("\n")
