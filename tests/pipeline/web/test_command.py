"""``stream --web`` as a user starts it: files or cameras in, a page beside, files out."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from pipeline.cli.main import run
from tests.pipeline.rtsp_server import Faults, RtspServer
from tests.pipeline.waiting import wait_until
from tests.pipeline.web.command import get, serving, started, synthetic
from tests.pipeline.web.rig import Watcher

TOKEN = "correct horse battery"

pytestmark = pytest.mark.slow


def test_two_cameras_are_watched_with_a_token_recorded_and_stopped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with RtspServer(faults=Faults()) as visible, RtspServer(fps=9.0, faults=Faults()) as thermal:
        secret = visible.url.replace("rtsp://", "rtsp://admin:s3cret@")
        cameras = ["--visible", secret, "--thermal", thermal.url, "--web", "0.0.0.0:0", "--segment-seconds", "2"]
        with started(out, *cameras, token=TOKEN) as (process, host):
            wait_until(lambda: serving(host), 40)
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(host, "/api/status")
            assert refused.value.code == 401
            refused.value.close()
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            with connect(f"ws://{host}/ws", max_queue=None, additional_headers=bearer) as socket:
                viewer = Watcher(socket)
                first = viewer.picture().header["frame"]
                viewer.picture(like=lambda picture: picture.header["frame"] > first + 30)
                viewer.say(type="snapshot")
                viewer.event("saved")
                viewer.say(type="record", on=False)
                viewer.event("recording")
                viewer.say(type="nudge", shift=[4, 0])
                wait_until(lambda: get(host, "/api/status", bearer)["registration"]["origin"] == "nudged")
                viewer.say(type="calibration")
                assert viewer.event("saved")["names"] == ["calibration-001.yaml"]
                moved = viewer.picture().header["frame"]
                viewer.picture(like=lambda picture: picture.header["frame"] > moved + 10)
            status = get(host, "/api/status", bearer)
            assert [source["state"] for source in status["sources"]] == ["live", "live"]
            assert status["telemetry"]["age_ms"]["p50"] > 0
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=30)
            assert process.returncode == 130
    summary = json.loads((out / "summary.json").read_text())
    assert summary["exit"] == 130
    names = {path.name for path in out.iterdir()}
    assert {"fused.mp4", "results.jsonl", "summary.json", "telemetry.jsonl"} <= names
    assert len([name for name in names if name.startswith("snapshot-")]) == 3
    everything = "".join(said) + json.dumps(status)
    everything += "".join(path.read_text() for path in out.iterdir() if path.suffix in (".json", ".jsonl"))
    assert "s3cret" not in everything


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--web", "8000"], "HOST:PORT"),
        (["--web", "0.0.0.0:8000"], "--token"),
        (["--web", "0.0.0.0:8000", "--token", "short"], "at least 12"),
        (["--web", "256.1.1.1:8000", "--token", TOKEN], "cannot listen"),
        (["--web", "127.0.0.1:0", "--set", "web.quality=0"], "web.quality"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    given = ["--fuser", "average", "--tracker", "none", "--out", str(tmp_path / "out")]
    assert run(["stream", *synthetic(10), *given, *arguments]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert len(said.splitlines()) <= 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("cannot mount a small disk here")
    yield place
    subprocess.run(["umount", str(place)], check=False)


def test_a_full_disk_stops_the_recording_but_not_the_picture(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with started(small_disk / "out", *synthetic(3000), "--web", "127.0.0.1:0") as (process, host):
        wait_until(lambda: serving(host), 40)
        with connect(f"ws://{host}/ws", max_queue=None) as socket:
            viewer = Watcher(socket)
            viewer.picture()
            with contextlib.suppress(OSError):
                ballast.write_bytes(b"\0" * (4 << 20))
            # A busy machine may have to say first that fusion or recording cannot keep up.
            while "No space" not in viewer.event("warning")["text"]:
                pass
            first = viewer.picture().header["frame"]
            viewer.picture(like=lambda picture: picture.header["frame"] > first + 40)
        ballast.unlink()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == 1
    assert "recording stopped" in said
    assert json.loads((small_disk / "out" / "summary.json").read_text())["exit"] == 1
