"""doctor, demo and weights through the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fusion.nestfuse import NestFuse
from pipeline.cli.main import run
from pipeline.doctor import Verdict, examine


def test_doctor_finds_what_this_machine_has(capsys: pytest.CaptureFixture[str]) -> None:
    findings = {finding.name: finding for finding in examine()}
    assert all(findings[name].verdict is Verdict.WORKS for name in ("Python", "torch", "H.264 recording"))
    assert findings["FFV1 16-bit thermal"].verdict is Verdict.WORKS
    assert all(finding.remedy for finding in findings.values() if finding.verdict is not Verdict.WORKS)
    broken = any(finding.verdict is Verdict.BROKEN for finding in findings.values())
    assert run(["doctor"]) == int(broken)
    assert "torch" in capsys.readouterr().out


def test_the_demo_says_where_the_video_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out), "--fuser", "average", "--tracker", "none", "--pairs", "6"]) == 0
    assert str(out / "fused.mp4") in capsys.readouterr().out
    assert json.loads((out / "summary.json").read_text())["pairs"] == 6


def test_an_imported_checkpoint_is_listed_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "store"))
    official = tmp_path / "official.pth"
    torch.manual_seed(0)
    torch.save(NestFuse().state_dict(), official)
    assert run(["weights", "import", str(official), "--as", "nestfuse"]) == 0
    stored = tmp_path / "store" / "nestfuse.safetensors"
    assert run(["weights", "list"]) == 0
    assert str(stored) in capsys.readouterr().out
    assert run(["weights", "verify"]) == 0
    stored.write_bytes(stored.read_bytes()[:-4] + b"\0\1\2\3")
    assert run(["weights", "verify"]) == 1
    assert str(stored) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["weights"], "list|verify|fetch|import"),
        (["weights", "import", "absent.pth", "--as", "nestfuse"], "absent.pth"),
        (["weights", "fetch", "siamrpn-r50"], "no public origin"),
        (["weights", "fetch", "nanotrak"], "did you mean nanotrack"),
        (["weights", "import", __file__, "--as", "nestfuse"], "test_small_commands.py"),
        (["weights", "import", __file__, "--as", "nestfus"], "nestfuse"),
        (["train-fuser", "--images", "absent", "--out", "x"], "absent"),
        (["train-fuser", "--out", "x"], "--images"),
        (["train-tracker", "--data", "absent", "--out", "x"], "absent"),
        (["train-tracker", "--tracker", "siamrpn-r50", "--data", "absent", "--out", "x"], "--tracker"),
    ],
)
def test_what_these_commands_refuse(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "store"))
    assert run(arguments) == 2
    printed = capsys.readouterr().err
    assert word in printed
    assert len(printed.splitlines()) <= 2
