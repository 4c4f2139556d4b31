"""GStreamer pipelines as sources, with a stand-in for gst-launch-1.0 that writes real Matroska."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from fusion.errors import InputError
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.cli.main import run
from pipeline.frames import PairStatus
from pipeline.sources import SourceOptions, is_live
from pipeline.sources.gstreamer import launch_arguments
from pipeline.sources.live import LiveSource, open_live
from pipeline.sources.live_state import LiveConfig, LiveState
from pipeline.sources.uri_names import display_name, uri_kind
from tests.pipeline.waiting import frames_until

QUICK = LiveConfig(
    watchdog_s=0.3, open_timeout_s=5.0, read_timeout_s=0.5, backoff_s=0.1, backoff_limit_s=0.3, give_up_s=20.0
)

# Writes 30 pictures a second until a word in its arguments says otherwise; notes its arguments and its number.
STAND_IN = """#!{python}
import json, os, sys, time
from fractions import Fraction
from pathlib import Path
folder = Path(__file__).parent
with (folder / "calls").open("a") as file:
    file.write(json.dumps([os.getpid(), sys.argv[1:]]) + "\\n")
words = sys.argv[1:]
if "broken" in words:
    sys.exit(1)
import av
import numpy as np
pipe = open(1, "wb", buffering=0)
options = {{"flush_packets": "1", "live": "1", "cluster_time_limit": "20"}}
container = av.open(pipe, "w", format="matroska", options=options)
stream = container.add_stream("ffv1" if "deep" in words else "libx264", rate=30)
stream.width, stream.height = 160, 120
stream.pix_fmt = "gray16le" if "deep" in words else "yuv420p"
if "deep" not in words:
    stream.options = {{"preset": "ultrafast", "tune": "zerolatency", "g": "15"}}
number = 0
begin_s = time.monotonic()
while True:
    if "deep" in words:
        frame = av.VideoFrame.from_ndarray(np.full((120, 160), 7000 + number, np.uint16), format="gray16le")
    else:
        picture = np.full((120, 160, 3), 60, np.uint8)
        picture[:, 4 * number % 160 : 4 * number % 160 + 12] = 220
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
    frame.pts, frame.time_base = number, Fraction(1, 30)
    container.mux(stream.encode(frame))
    number += 1
    if "dies" in words and number == 20:
        os._exit(1)
    if "stalls" in words and number == 20:
        time.sleep(600)
    time.sleep(max(0.0, begin_s + number / 30 - time.monotonic()))
"""


@pytest.fixture
def gst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the stand-in, which is found first; its file ``calls`` has a line for each start."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "gst-launch-1.0"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def calls(folder: Path) -> list[tuple[int, list[str]]]:
    return [tuple(json.loads(line)) for line in (folder / "calls").read_text().splitlines()]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def open_pipeline(description: str, *, thermal: bool = False) -> LiveSource:
    role = "thermal" if thermal else "visible"
    return open_live(f"gst:{description}", role=role, options=SourceOptions(), config=QUICK)


def test_frames_come_and_closing_ends_the_program(gst: Path) -> None:
    with open_pipeline("videotestsrc pattern='smpte 100%' ! videoconvert") as source:
        assert (source.info.name, source.info.live) == ("gst:videotestsrc", True)
        frames = frames_until(source, lambda frame: frame.index >= 20)
        assert frames[-1].image.shape == (120, 160, 3)
        assert source.health().state is LiveState.LIVE
    ((process, arguments),) = calls(gst)
    # As the shell would split it, but nothing of it ever went to a shell.
    begun = ["-q", "videotestsrc", "pattern=smpte 100%", "!", "videoconvert"]
    assert arguments == [*begun, "!", "matroskamux", "streamable=true", "!", "fdsink", "fd=1"]
    assert not alive(process)


def test_counts_of_16_bits_stay_as_they_are(gst: Path) -> None:
    with open_pipeline("deep", thermal=True) as source:
        assert source.info.is_thermal_16bit
        frame = frames_until(source, lambda frame: frame.index >= 3)[-1]
    assert 7000 <= frame.image.min() == frame.image.max() < 7100


@pytest.mark.parametrize("fault", ["dies", "stalls"])
def test_a_pipeline_that_dies_or_stalls_is_started_again(gst: Path, fault: str) -> None:
    with open_pipeline(f"source {fault}") as source:
        frames = frames_until(source, lambda frame: frame.epoch >= 1)
        assert source.health().reconnects >= 1
        assert frames[-1].time_s > frames[-2].time_s
    assert len(calls(gst)) >= 2
    assert not any(alive(process) for process, _ in calls(gst))


def test_a_pipeline_that_never_works_is_said_in_a_line(
    gst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "gst:rtspsrc location=rtsp://admin:s3cret@camera/ ! broken"
    assert (
        run(["stream", "--visible", secret, "--fuser", "none", "--tracker", "none", "--out", str(tmp_path / "o")]) == 2
    )
    said = capsys.readouterr().err
    assert "gst:rtspsrc" in said
    assert "ended with code 1" in said
    assert "s3cret" not in said
    assert len(said.splitlines()) <= 2
    assert len(calls(gst)) == 3


def test_a_pipeline_beside_another_one_gives_pairs(gst: Path) -> None:
    config = PairSourceConfig(visible="gst:first", thermal="gst:second", patience=QUICK)
    assert config.live
    with open_pairs(config) as pairs:
        paired = 0
        for pair in pairs:
            paired += pair.status is PairStatus.PAIRED
            if paired >= 20 or pair.index > 200:
                break
    assert paired >= 20


def test_what_cannot_be_a_pipeline_is_refused(gst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, word in (
        ("", "needs a pipeline"),
        ("a 'b", "quotes"),
        ("a ! b --gst-plugin-load=x", "--gst-plugin-load"),
    ):
        with pytest.raises(InputError, match=word):
            launch_arguments(wrong)
    monkeypatch.setenv("PATH", str(gst.parent))
    with pytest.raises(InputError, match=r"not on this machine; install GStreamer"):
        open_pipeline("videotestsrc")


def test_a_pipeline_is_a_live_source_whose_name_holds_no_properties() -> None:
    uri = "gst:rtspsrc location=rtsp://admin:s3cret@camera/ ! rtph264depay"
    assert (uri_kind(uri), is_live(uri), display_name(uri)) == ("gstreamer", True, "gst:rtspsrc")
    assert display_name("gst:location=rtsp://admin:s3cret@camera/") == "gst:..."
