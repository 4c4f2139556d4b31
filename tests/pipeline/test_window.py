"""The desktop window, on a display of its own where Xvfb is there."""

from __future__ import annotations

import io
import json
import os
import queue
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.cli.main import run
from pipeline.frames import StreamResult
from pipeline.overlay import Overlay, OverlayConfig
from pipeline.sinks.window import WindowSink
from pipeline.window import HEADER, QUIT, Picture, read_pictures
from tests.pipeline.doubles import make_pair

pytest.importorskip("tkinter", reason="this Python was built without tkinter")


REPO = Path(__file__).resolve().parents[2]


def result(index: int) -> StreamResult:
    pair = make_pair(index, width=160, height=120)
    return StreamResult(pair=pair, fused_bgr=pair.visible_bgr)


def overlay() -> Overlay:
    return Overlay(OverlayConfig(), "average")


@dataclass(frozen=True, slots=True)
class Display:
    """A screen of its own in memory, which can be looked at."""

    name: str
    memory: Path

    def screen(self) -> NDArray[np.uint8]:
        """What is to be seen now, (480, 640, 3) BGR. The file is an X window dump (XWD, version 7)."""
        data = self.memory.read_bytes()
        fields = struct.unpack(">25I", data[:100])
        header_size, width, height, bytes_per_line, colors = (fields[place] for place in (0, 4, 5, 12, 19))
        begin = header_size + 12 * colors
        lines = np.frombuffer(data[begin : begin + height * bytes_per_line], np.uint8).reshape(height, bytes_per_line)
        return np.ascontiguousarray(lines[:, : 4 * width].reshape(height, width, 4)[..., :3])


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Display]:
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("no Xvfb here: apt-get install xvfb")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [server, "-displayfd", str(writing), "-screen", "0", "640x480x24", "-fbdir", str(tmp_path)],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as answer:
        number = answer.readline().strip()
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield Display(f":{number}", tmp_path / "Xvfb_screen0")
    process.terminate()
    process.wait(10)


def piped(data: bytes) -> io.FileIO:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return io.FileIO(reading, closefd=True)


def test_only_the_newest_picture_is_kept() -> None:
    data = b"".join(HEADER.pack(2, 1) + bytes([index] * 6) for index in range(5)) + HEADER.pack(9, 9)
    latest: queue.Queue[Picture | None] = queue.Queue(1)
    with piped(data) as stream:
        read_pictures(stream, latest)
    assert latest.get_nowait() is None


def test_without_a_display_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(InputError, match="--window: no window can be opened here"):
        WindowSink(overlay(), lambda: None)


def test_without_a_display_the_command_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    source = ["--visible", "synthetic", "--thermal", "synthetic", "--fuser", "average", "--tracker", "none"]
    assert run(["stream", *source, "--window", "--out", str(tmp_path / "out")]) == 2
    assert "--window" in capsys.readouterr().err


def test_pictures_are_shown(display: Display) -> None:
    window = WindowSink(overlay(), lambda: None)
    for index in range(20):
        window.write(result(index))
        time.sleep(0.01)
    assert window._process.poll() is None
    window.close()
    window.close()
    window.write(result(21))
    assert window._process.returncode is not None


def test_what_is_on_the_screen_is_the_newest_picture(display: Display) -> None:
    window = WindowSink(Overlay(OverlayConfig(inset=False, status_line=False), "average"), lambda: None)
    try:
        for color in ((30, 60, 200), (200, 120, 40)):
            picture = np.full((120, 160, 3), color, np.uint8)
            window.write(replace(result(0), fused_bgr=picture))
            end_s = time.monotonic() + 15
            while (seen := (display.screen() == color).all(axis=2)).sum() != 120 * 160:
                assert time.monotonic() < end_s
                time.sleep(0.05)
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            assert (len(rows), len(columns)) == (120, 160)
    finally:
        window.close()


def test_a_window_that_is_gone_does_not_harm_the_run(display: Display) -> None:
    quitted: list[bool] = []
    window = WindowSink(overlay(), lambda: quitted.append(True))
    window._process.kill()
    for index in range(50):
        window.write(result(index))
        time.sleep(0.002)
    window.close()
    assert not quitted


PRESS_Q = """
import sys, tkinter
sys.path.insert(0, {repository!r})
from pipeline import window

class Pressed(tkinter.Tk):
    def mainloop(self, n=0):
        self.after(200, self.press)
        super().mainloop(n)

    def press(self):
        self.focus_force()
        self.update()
        self.event_generate("<Key-q>")

tkinter.Tk = Pressed
sys.exit(window.main())
"""


def test_q_in_the_window_ends_the_run(display: Display, tmp_path: Path) -> None:
    program = tmp_path / "pressed.py"
    program.write_text(PRESS_Q.format(repository=str(REPO)))
    quitted = threading.Event()
    window = WindowSink(overlay(), quitted.set, program=program)
    end_s = time.monotonic() + 15
    index = 0
    while not quitted.is_set() and time.monotonic() < end_s:
        window.write(result(index))
        index += 1
        time.sleep(0.02)
    assert quitted.is_set()
    assert window._process.returncode == QUIT
    window.close()


@pytest.mark.slow
def test_a_run_with_a_window_gives_the_same_files(display: Display, tmp_path: Path) -> None:
    source = ["--visible", "synthetic", "--thermal", "synthetic", "--fuser", "average", "--tracker", "none"]
    sizes = ["--set=source.visible_options.size_wh=[96, 72]", "--set=source.thermal_options.size_wh=[96, 72]"]
    line = ["stream", *source, *sizes, "--max-pairs", "30", "--out", str(tmp_path / "out"), "--window"]
    assert run(line) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["pairs"] == 30
