"""The stream command with a real tracker network; untrained, for what it follows does not matter here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fusion.nestfuse import NestFuse
from pipeline.cli.main import run
from tests.pipeline.cli.conftest import COUNT
from trackers.factory import untrained_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    safetensors.torch.save_file(untrained_network("siamrpn-lite").state_dict(), path)
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def stream(media: Path, out: Path, *more: object) -> int:
    line = ["stream", "--visible", media / "visible.mp4", "--thermal", media / "thermal.mp4", "--out", out, *more]
    return run([str(part) for part in line if part != ""])


def test_several_targets_are_followed_the_same_way_twice(media: Path, weights: Path, tmp_path: Path) -> None:
    told = []
    for name in ("first", "second"):
        boxes = ["--box", "20,30,16,20", "--box", "50,10,20.5,24"]
        line = [*boxes, "--fuser", "average", "--weights", weights, "--max-pairs", 6]
        assert stream(media, tmp_path / name, *line) == 0
        told.append([{**entry, "stage_ms": None} for entry in lines(tmp_path / name)])
    assert told[0] == told[1]
    assert [[target["id"] for target in entry["targets"]] for entry in told[0]] == [[1, 2]] * 6
    assert told[0][0]["targets"][0]["box"] == [20.0, 30.0, 16.0, 20.0]
    assert told[0][0]["targets"][1]["box"] == [50.0, 10.0, 20.5, 24.0]
    assert all(0 <= target["score"] <= 1 for entry in told[0] for target in entry["targets"])
    assert {target["state"] for entry in told[0] for target in entry["targets"]} <= {"tracking", "uncertain", "lost"}


@pytest.mark.parametrize("channel", ["both", "color", "ir"])
def test_a_sequence_is_compared_with_its_truth(
    media: Path, weights: Path, tmp_path: Path, channel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sequence = tmp_path / "sequence"
    sequence.mkdir()
    for name in ("color", "ir") if channel == "both" else (channel,):
        (sequence / name).symlink_to(media / name)
    (sequence / "groundtruth.txt").write_text("".join(f"{20 + index},30,16,20\n" for index in range(COUNT)))
    out = tmp_path / "out"
    line = [
        "stream",
        "--sequence",
        sequence,
        "--fuser",
        "average",
        "--weights",
        weights,
        "--max-pairs",
        5,
        "--out",
        out,
    ]
    assert run([str(part) for part in line]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["modality"] == {"both": "fused", "color": "rgb", "ir": "ir"}[channel]
    assert summary["ground_truth"]["boxes"] == 4
    assert 0 <= summary["ground_truth"]["mean_iou"] <= 1
    assert lines(out)[0]["targets"][0]["box"] == [20.0, 30.0, 16.0, 20.0]
    if channel != "both":
        assert f"--modality {summary['modality']}" in capsys.readouterr().err


@pytest.mark.parametrize("box", ["200,200,10,10", "-30,5,20,20", "10,71.9,20,30"])
def test_a_box_outside_the_picture_is_refused(
    media: Path, weights: Path, tmp_path: Path, box: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stream(media, tmp_path / "out", "--box", box, "--fuser", "average", "--weights", weights) == 2
    printed = capsys.readouterr().err
    assert f"--box {box}" in printed
    assert "Traceback" not in printed
    assert not list((tmp_path / "out").iterdir())


def test_a_refused_box_leaves_the_earlier_recording(media: Path, weights: Path, tmp_path: Path) -> None:
    line = ["--fuser", "average", "--weights", weights, "--max-pairs", 2]
    assert stream(media, tmp_path / "out", "--box", "20,30,16,20", *line) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert stream(media, tmp_path / "out", "--box", "200,200,10,10", *line, "--overwrite") == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_weights_go_to_the_network_they_fit(media: Path, weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    nest = tmp_path / "nest.safetensors"
    safetensors.torch.save_file(NestFuse().state_dict(), nest)
    box = ["--box", "20,30,16,20", "--max-pairs", 2]
    assert stream(media, tmp_path / "one", *box, "--weights", nest, "--weights", weights) == 0
    assert stream(media, tmp_path / "two", *box, "--weights", nest, "--tracker", "none") == 0


def test_weights_that_fit_nothing_are_refused(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.safetensors"
    safetensors.torch.save_file({"some.weight": torch.zeros(3)}, wrong)
    assert stream(media, tmp_path / "out", "--box", "20,30,16,20", "--weights", wrong) == 2
    printed = capsys.readouterr().err
    assert "wrong.safetensors" in printed
    assert len(printed.splitlines()) <= 2
