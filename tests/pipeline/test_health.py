"""What is told of the sources, and how old a picture of a camera is when it is shown."""

from __future__ import annotations

import time

from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.control import RunControl
from pipeline.frames import FramePair, StreamResult
from pipeline.health import SourceWatch
from pipeline.shelf import PairShelf
from pipeline.sources import SourceOptions
from pipeline.telemetry import Telemetry
from pipeline.web.hub import Hub
from tests.pipeline.doubles import make_pair
from tests.pipeline.rtsp_server import Faults, RtspServer


def hub(telemetry: Telemetry, *, host_time: bool) -> Hub:
    return Hub(control=RunControl(), shelf=PairShelf(), telemetry=telemetry, host_time=host_time)


def publish(to: Hub, pair: FramePair, **stage_ms: float) -> int:
    to.publish(StreamResult(pair=pair, fused_bgr=pair.visible_bgr, stage_ms=stage_ms))
    assert to.latest is not None
    return to.latest.serial


def test_the_age_of_a_cameras_picture_counts_from_its_capture() -> None:
    pair = make_pair(0)
    captured = FramePair(
        index=0, time_s=time.monotonic() - 0.25, dt_s=0.0, visible_bgr=pair.visible_bgr, thermal=pair.thermal
    )
    telemetry = Telemetry()
    shown = hub(telemetry, host_time=True)
    shown.confirm(publish(shown, captured))
    age = telemetry.snapshot().age_ms
    assert age is not None
    assert 250 <= age.last < 5000
    shown.detach()


def test_the_age_of_a_recordings_picture_counts_from_its_reading() -> None:
    telemetry = Telemetry()
    shown = hub(telemetry, host_time=False)
    serial = publish(shown, make_pair(0), decode=500.0, fuse=30.0, track=20.0)
    shown.confirm(serial)
    shown.confirm(serial + 1)  # was never sent
    age = telemetry.snapshot().age_ms
    assert age is not None
    assert 50 <= age.last < 450
    shown.detach()


def test_recorded_sources_are_files_with_counts() -> None:
    options = SourceOptions(length=10, size_wh=(96, 72))
    config = PairSourceConfig(
        visible="synthetic", thermal="synthetic", visible_options=options, thermal_options=options
    )
    with open_pairs(config) as pairs:
        watch = SourceWatch(pairs)
        assert len(list(pairs)) == 10
        health = watch.health()
        assert [(source.role, source.state, source.frames) for source in health] == [
            ("visible", "file", 10),
            ("thermal", "file", 10),
        ]
        assert health[0].size_wh == (96, 72)
        assert watch.counters() == {"unpaired": 0, "out_of_order": 0, "paired": 10}


def test_cameras_tell_their_state_and_rate() -> None:
    with RtspServer(fps=20.0, faults=Faults()) as camera:
        config = PairSourceConfig(visible=camera.url.replace("rtsp://", "rtsp://user:s3cret@"))
        with open_pairs(config) as pairs:
            watch = SourceWatch(pairs)
            watch.health()
            for pair in pairs:
                if pair.index == 20:
                    break
            (source,) = watch.health()
            assert source.state == "live"
            assert "s3cret" not in source.name
            assert source.fps is not None
            assert 5 < source.fps < 60
            assert source.frames >= 20
            assert "inbox_dropped" in watch.counters()
