"""``stream`` with two network cameras: what is left when cameras go, and when the run is ended from outside."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.cli.main import run
from tests.pipeline.rtsp_server import RtspServer
from tests.pipeline.waiting import wait_until

REPO = Path(__file__).resolve().parents[3]
CHEAP = ["--fuser", "average", "--tracker", "none"]
IMPATIENT = [
    f"--set=source.patience.{name}={value}"
    for name, value in (("read_timeout_s", 0.4), ("backoff_s", 0.1), ("backoff_limit_s", 0.2), ("give_up_s", 1.5))
]

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def cameras() -> Iterator[tuple[RtspServer, RtspServer]]:
    with RtspServer(looped=30) as visible, RtspServer(looped=30) as thermal:
        yield visible, thermal


def lines(out: Path) -> list[dict[str, Any]]:
    """The whole lines of the results so far."""
    path = out / "results.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_it_goes_on_with_one_camera_and_fails_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    with cameras() as (visible, thermal):

        def break_one_after_the_other() -> None:
            wait_until(lambda: sum(line["status"] == "paired" for line in lines(out)) >= 10, 60)
            visible.stop()
            wait_until(lambda: sum(line["status"] == "single" for line in lines(out)) >= 10, 60)
            thermal.stop()

        breaker = threading.Thread(target=break_one_after_the_other)
        breaker.start()
        code = run(
            ["stream", "--visible", visible.url, "--thermal", thermal.url, *CHEAP, *IMPATIENT, "--out", str(out)]
        )
        breaker.join()
        visible.start()
        thermal.start()
    assert code == 1
    said = capsys.readouterr().err
    assert "gone for good" in said
    assert "no source is left" in said
    assert "secret" not in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["exit"] == 1
    assert summary["pairs"] == len(lines(out)) >= 20
    assert frames(out / "fused.mp4") == summary["pairs"] - summary["recording_dropped"]
    assert summary["levels"] == {"0": summary["pairs"], "1": 0, "2": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_live_run_that_is_ended_leaves_what_it_recorded(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    with cameras() as (visible, thermal):
        command = [sys.executable, "run_stream.py", "stream", "--visible", visible.url, "--thermal", thermal.url]
        process = subprocess.Popen([*command, *CHEAP, "--out", str(out)], cwd=REPO, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: len(lines(out)) >= 120, 60)
            process.send_signal(number)
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
    written = lines(out)
    if number is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert not (out / "summary.json").exists()
        # All but what the encoder's queue held, where the machine was busy.
        assert frames(out / "fused.mp4") >= 0.9 * len(written)
        return
    assert process.returncode == 130
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["exit"], summary["pairs"]) == (130, len(written))
    assert frames(out / "fused.mp4") == len(written) - summary["recording_dropped"]


def test_a_single_channel_without_tracker_speaks_of_no_tracking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RtspServer(looped=30) as camera:
        alone = ["stream", "--visible", camera.url, *CHEAP, "--max-pairs", "5", "--out", str(tmp_path / "out")]
        assert run(alone) == 0
    said = capsys.readouterr().err
    assert "only one channel is there: showing it as it is" in said
    assert "tracking" not in said
