"""ONNX files of fusion networks agree with torch at sizes they were not exported at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fusion.errors import InputError
from fusion.export import export_fuser
from fusion.nestfuse import NestFuse, NestFuseConfig

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_nestfuse_is_exported_with_free_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4))
    for unit in network.modules():
        if isinstance(unit, torch.nn.Conv2d):
            # Positive weights of gain 1: the picture stays on its scale and no ReLU hides a mistake.
            torch.nn.init.uniform_(unit.weight, 0, 2 / unit.weight[0].numel())
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    report = export_fuser("nestfuse", tmp_path / "out", tmp_path / "weights.pt")
    assert report.paths[0].is_file()
    assert report.largest_difference <= 0.05
    assert (61, 83) in report.checked_sizes


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can be made a graph"):
        export_fuser("average", tmp_path)
