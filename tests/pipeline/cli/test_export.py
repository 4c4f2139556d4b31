"""``export`` through the real command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from fusion.nestfuse import NestFuse, NestFuseConfig
from pipeline.cli.main import run
from trackers.factory import untrained_network

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_a_tracker_and_a_fusion_network_are_written_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.save(untrained_network("nanotrack").state_dict(), tmp_path / "tracker.pth")
    torch.save(NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4)).state_dict(), tmp_path / "fuser.pth")
    out = tmp_path / "out"
    for kind, name, stems in (
        ("tracker", "nanotrack", ("nanotrack.template", "nanotrack.search", "nanotrack.fused.search")),
        ("fuser", "nestfuse", ("nestfuse",)),
    ):
        weights = str(tmp_path / f"{kind}.pth")
        assert run(["export", f"--{kind}", name, "--out", str(out), "--weights", weights]) == 0
        printed = capsys.readouterr().out
        assert all((out / f"{stem}.onnx").is_file() and f"{stem}.onnx" in printed for stem in stems)
        assert re.search(r"largest difference from torch: .*\d", printed)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--fuser"),
        (["--fuser", "nestfuse", "--tracker", "nanotrack"], "not allowed with"),
        (["--fuser", "nestfus"], "nestfuse"),
        (["--fuser", "average"], "average"),
        (["--tracker", "nanotrak"], "did you mean nanotrack"),
        (["--tracker", "siamrpn-r50"], "siamrpn-r50 has no weights here"),
        (["--tracker", "nanotrack", "--weights", "absent.pth"], "absent.pth"),
    ],
)
def test_what_cannot_be_exported_is_named(
    arguments: list[str],
    word: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "store"))
    assert run(["export", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert word in capsys.readouterr().err
