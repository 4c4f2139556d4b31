"""The stream command through the real command line: outputs, bad input, interruption, full disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from fusion.didfuse import DidFuse
from pipeline.cli.main import run
from pipeline.tint import tint
from tests.pipeline.cli.conftest import COUNT, HEIGHT, WIDTH

REPO = Path(__file__).resolve().parents[3]
CHEAP = ["--fuser", "average", "--tracker", "none"]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, Any]:
    loaded = json.loads((folder / "summary.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def frames(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def stream(*arguments: object) -> int:
    return run(["stream", *(str(argument) for argument in arguments)])


def test_two_videos_give_a_line_and_a_picture_for_every_pair(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert stream("--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["fused.mp4", "results.jsonl", "summary.json"]
    pictures = frames(out / "fused.mp4")
    assert len(pictures) == len(lines(out)) == COUNT
    assert (pictures[0].width, pictures[0].height) == (WIDTH, HEIGHT)
    assert [line["time_s"] for line in lines(out)] == pytest.approx([index / 25 for index in range(COUNT)])
    assert all(line["dt_ms"] == 0 and line["status"] == "paired" for line in lines(out))
    assert all({"decode", "fuse", "track"} <= set(line["stage_ms"]) for line in lines(out))
    content = summary(out)
    assert {"pairs", "unpaired", "dropped", "fps", "latency_ms", "stage_ms", "fuser", "tracker"} <= set(content)
    assert {"modality", "engine", "precision", "device", "versions", "exit"} <= set(content)
    assert (content["pairs"], content["unpaired"], content["dropped"], content["exit"]) == (COUNT, 0, 0, 0)
    assert set(content["latency_ms"]) == {"p50", "p95", "p99"}
    assert all(set(value) == {"p50", "p95"} for value in content["stage_ms"].values())
    assert (content["fuser"], content["tracker"], content["device"]) == ("average", "none", "cpu")
    assert str(out / "fused.mp4") in capsys.readouterr().out


def test_the_engine_runs_the_fusion_and_is_noted(media: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    videos = ("--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", "--max-pairs", 2)
    for engine in ("torch", "onnx"):
        options = ("--fuser", "nestfuse-lite", "--tracker", "none", "--engine", engine, "--out", tmp_path / engine)
        assert stream(*videos, *options) == 0
        assert summary(tmp_path / engine)["engine"] == engine
    expected, got = (frames(tmp_path / engine / "fused.mp4")[-1].to_ndarray() for engine in ("torch", "onnx"))
    assert abs(expected.astype(int) - got).mean() < 1


def test_the_engine_runs_the_tracker_and_finds_the_same_boxes(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("RGBT_STREAM_CACHE", str(tmp_path / "cache"))
    videos = ("--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", "--max-pairs", 3)
    runs = {"torch": ("torch", "float32"), "onnx": ("onnx", "float32"), "half": ("torch", "bfloat16")}
    boxes = {}
    for name, (engine, precision) in runs.items():
        options = ("--fuser", "none", "--box", "8,8,20,16", "--engine", engine, "--out", tmp_path / name)
        assert stream(*videos, *options, "--set", f"tracking.precision={precision}") == 0
        content = summary(tmp_path / name)
        ran = tuple(content[key] for key in ("engine", "tracker_engine", "precision"))
        assert ran == (engine, engine, precision)
        boxes[name] = np.asarray([line["targets"][0]["box"] for line in lines(tmp_path / name)])
    np.testing.assert_allclose(boxes["onnx"], boxes["torch"], rtol=0, atol=0.02)
    np.testing.assert_allclose(boxes["half"], boxes["torch"], rtol=0, atol=4)


def test_weights_serve_every_mode_of_their_network(media: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(DidFuse().state_dict(), tmp_path / "didfuse.pt")
    didfuse = ("--weights", tmp_path / "didfuse.pt", "--tracker", "none", "--max-pairs", 2)
    videos = ("--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4")
    for out, chosen in (("mode", ("--fuser", "didfuse", "--mode", "l1")), ("name", ("--fuser", "didfuse-l1"))):
        assert stream(*videos, *didfuse, *chosen, "--out", tmp_path / out) == 0
        assert summary(tmp_path / out)["fuser"] == "didfuse-l1"
    pixels = [frames(tmp_path / out / "fused.mp4")[1].to_ndarray() for out in ("mode", "name")]
    assert (pixels[0] == pixels[1]).all()


def test_two_runs_give_the_same_results(media: Path, tmp_path: Path) -> None:
    told = []
    for name in ("first", "second"):
        out = tmp_path / name
        assert stream("--visible", media / "color", "--thermal", media / "thermal.mp4", *CHEAP, "--out", out) == 0
        told.append([{**line, "stage_ms": None} for line in lines(out)])
    assert told[0] == told[1]
    assert len(told[0]) == COUNT


def test_the_last_word_names_the_videos_that_are_there(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP, "--segment-seconds", "0.2"]
    assert stream(*line, "--out", tmp_path / "all") == 0
    assert f"video: {tmp_path / 'all' / 'fused.mp4'} to fused-005.mp4 (5 files)" in capsys.readouterr().out
    out = tmp_path / "last"
    assert stream(*line, "--set", "recording.segments.keep_mb=0.001", "--out", out) == 0
    assert f"video: {out / 'fused-005.mp4'}   results: " in capsys.readouterr().out
    assert [path.name for path in out.glob("*.mp4")] == ["fused-005.mp4"]


def test_a_sequence_starts_on_its_first_box(media: Path, tmp_path: Path) -> None:
    sequence = tmp_path / "sequence"
    sequence.mkdir()
    for name in ("color", "ir"):
        (sequence / name).symlink_to(media / name)
    (sequence / "groundtruth.txt").write_text("".join(f"{20 + i},30,16,20\n" for i in range(COUNT)))
    out = tmp_path / "out"
    assert stream("--sequence", sequence, *CHEAP, "--max-pairs", 5, "--out", out) == 0
    assert len(frames(out / "fused.mp4")) == len(lines(out)) == 5


def test_a_shorter_stream_is_a_warning(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert stream("--visible", media / "visible.mp4", "--thermal", media / "short.mp4", *CHEAP, "--out", out) == 0
    assert len(lines(out)) == len(frames(out / "fused.mp4")) == COUNT
    assert [line["status"] for line in lines(out)].count("single") == summary(out)["unpaired"] > 0
    assert "warning" in capsys.readouterr().err


def test_overwrite_touches_only_its_own_files(media: Path, tmp_path: Path) -> None:
    (tmp_path / "fused.mp4").write_bytes(b"old")
    (tmp_path / "fused-1000.mp4").write_bytes(b"old")
    (tmp_path / "mine.txt").write_text("precious")
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP, "--out", tmp_path]
    assert stream(*line) == 2
    assert stream(*line, "--overwrite", "--fuser", "absent") == 2
    assert (tmp_path / "fused.mp4").read_bytes() == b"old"
    assert stream(*line, "--overwrite", "--no-overlay") == 0
    assert len(frames(tmp_path / "fused.mp4")) == COUNT
    assert not (tmp_path / "fused-1000.mp4").exists()
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_tint_can_be_recorded(media: Path, tmp_path: Path) -> None:
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP, "--max-pairs", 3]
    bare = ["--set", "overlay.inset=false", "--set", "overlay.status_line=false"]
    assert stream(*line, *bare, "--out", tmp_path / "tinted", "--tint") == 0
    recorded = frames(tmp_path / "tinted" / "fused.mp4")[0].to_ndarray(format="bgr24")
    visible = frames(media / "visible.mp4")[0].to_ndarray(format="bgr24")
    thermal = frames(media / "thermal.mp4")[0].to_ndarray(format="gray")
    expected = tint(visible, thermal, "ironbow")
    assert np.abs(recorded.astype(int) - expected).mean() < 12
    assert np.abs(recorded.astype(int) - visible).mean() > 12


def test_options_of_an_attention_that_is_not_there_are_warned_of(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP, "--max-pairs", 2]
    for out, given in (("given", ["--pooling", "max"]), ("not", ["--set", "fusion.pooling=max"])):
        assert stream(*line, *given, "--out", tmp_path / out) == 0
        warned = "--pooling not used: the fusion method average has no attention" in capsys.readouterr().err
        assert warned == (out == "given")


def bad_lines() -> Iterator[tuple[str, list[str], str]]:
    """Name, arguments (``@`` stands for the media folder) and a word that the message must contain."""
    both = ["--visible", "@/visible.mp4", "--thermal", "@/thermal.mp4"]
    yield "tint without overlay", [*both, "--tint", "--no-overlay"], "--tint"
    yield "tint without colour", [*both, "--tint", "--gray"], "--gray"
    yield "missing file", ["--visible", "@/absent.mp4", "--thermal", "@/thermal.mp4"], "absent.mp4"
    yield "truncated video", ["--visible", "@/cut.mp4", "--thermal", "@/thermal.mp4"], "cut.mp4"
    yield "audio only", ["--visible", "@/visible.mp4", "--thermal", "@/audio.wav"], "audio.wav"
    yield "empty folder", ["--visible", "@/empty", "--thermal", "@/ir"], "empty"
    yield "no video at all", ["--visible", __file__, "--thermal", "@/ir"], "test_stream.py"
    yield "no source", [], "--sequence"
    yield "sequence without pictures", ["--sequence", "@/empty"], "empty"
    yield "unknown fuser", [*both, "--fuser", "nestfus"], "nestfuse"
    yield "unknown range", [*both, "--range", "soft"], "--range"
    yield "box with NaN", [*both, "--box", "1,2,nan,4"], "--box"
    yield "box of three numbers", [*both, "--box", "1,2,3"], "--box"
    yield "box without area", [*both, "--box", "1,2,0,4"], "--box"
    yield "no pair wanted", [*both, "--max-pairs", "0"], "--max-pairs"
    yield "seed below 0", [*both, "--seed", "-1"], "--seed"
    yield "seed too large", [*both, "--seed", str(2**64)], "--seed"
    yield "unknown option", [*both, "--fusre", "average"], "--fuser"
    yield "unknown setting", [*both, "--set", "fusion.metod=auif"], "did you mean method"
    yield "missing configuration", [*both, "--config", "@/absent.yaml"], "absent.yaml"
    yield "missing calibration", [*both, "--calibration", "@/absent.yaml"], "absent.yaml"
    yield "unknown device", [*both, "--device", "gpu"], "--device"


@pytest.mark.parametrize(
    ("arguments", "word"), [case[1:] for case in bad_lines()], ids=[case[0] for case in bad_lines()]
)
def test_bad_input_is_named_in_one_or_two_lines(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    given = [argument.replace("@", str(media)) for argument in arguments]
    defaults = [] if "--fuser" in given else ["--fuser", "average"]
    assert run(["stream", *given, *defaults, "--tracker", "none", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert word in printed
    assert len([line for line in printed.splitlines() if not line.startswith("warning")]) <= 2


@pytest.mark.parametrize("name", ["fused.mp4", "fused-002.mp4"])
def test_an_input_is_never_replaced_by_the_recording(
    media: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    earlier = tmp_path / "out" / name
    shutil.copy(media / "visible.mp4", earlier)
    line = ["--visible", earlier, "--thermal", media / "thermal.mp4", *CHEAP, "--out", tmp_path / "out", "--overwrite"]
    assert stream(*line) == 2
    assert "give another --out" in capsys.readouterr().err
    assert earlier.read_bytes() == (media / "visible.mp4").read_bytes()


def test_a_wrong_key_in_the_configuration_is_named(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("fusion: {poling: avg}\n")
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", "--config", config]
    assert stream(*line, "--out", tmp_path / "out") == 2
    printed = capsys.readouterr().err
    assert "fusion.poling" in printed
    assert "did you mean pooling" in printed


def test_an_output_below_a_file_is_refused(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP]
    assert stream(*line, "--out", tmp_path / "file") == 2
    assert stream(*line, "--out", tmp_path / "file" / "below") == 2
    assert "--out" in capsys.readouterr().err


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """A long run in a process of its own, at least 20 lines in."""
    line = [sys.executable, "run_stream.py", "stream", "--visible", "synthetic", "--thermal", "synthetic", *CHEAP]
    for channel in ("visible", "thermal"):
        line += ["--set", f"source.{channel}_options.length=100000"]
        line += ["--set", f"source.{channel}_options.size_wh=[96, 72]"]
    process = subprocess.Popen(
        [*line, "--out", str(out), *arguments],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    results = out / "results.jsonl"
    limit_s = time.monotonic() + 60
    while not results.exists() or results.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit_s, "the run did not begin"
        time.sleep(0.02)
    return process


def test_a_killed_run_leaves_files_that_can_be_used(tmp_path: Path) -> None:
    process = start(tmp_path / "out")
    process.kill()
    process.communicate(timeout=20)
    told = lines(tmp_path / "out")
    assert [line["index"] for line in told] == list(range(len(told)))
    assert len(frames(tmp_path / "out" / "fused.mp4")) >= 0.95 * len(told) - 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_closed_and_exits_130(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path / "out")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    told = lines(tmp_path / "out")
    assert len(frames(tmp_path / "out" / "fused.mp4")) == len(told) == summary(tmp_path / "out")["pairs"]
    assert summary(tmp_path / "out")["exit"] == 130


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; mounting one needs rights that not every test run has."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_keeps_what_was_recorded(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--set", "source.visible_options.length=3000", "--set", "source.thermal_options.length=3000"]
    quality = ["--set", "recording.quality=1", "--set", "overlay.inset=false"]
    line = ["--visible", "synthetic", "--thermal", "synthetic", *CHEAP, *size, *quality]
    assert stream(*line, "--out", small_disk / "out") == 1
    printed = capsys.readouterr().err
    assert "disk is full" in printed
    told = lines(small_disk / "out")
    assert [entry["index"] for entry in told] == list(range(len(told)))
    assert len(frames(small_disk / "out" / "fused.mp4")) >= 0.9 * len(told) > 0


def test_a_full_disk_is_refused_at_the_start(small_disk: Path, media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (small_disk / "filler").open("wb") as file, contextlib.suppress(OSError):
        file.write(b"\0" * (4 << 20))
    line = ["--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", *CHEAP]
    assert stream(*line, "--out", small_disk / "out") == 2
    assert "--out" in capsys.readouterr().err
