"""Trackers as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fusion.errors import InputError, RunError
from trackers.export import Form, TrackerExportReport, export_network, export_tracker
from trackers.networks.correlation import depthwise_correlation, shifted_correlation

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NANO = Path(__file__).parents[2].parent / "shared" / "data" / "weights" / "nanotrack"


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2), st.integers(0, 1000))
def test_shifted_products_are_the_depthwise_correlation(
    batch: int, channels: int, size: int, padding: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    search = torch.randn(batch, channels, 8, 11, generator=generator)
    kernel = torch.randn(batch, channels, size, size, generator=generator)
    torch.testing.assert_close(
        shifted_correlation(search, kernel, padding),
        depthwise_correlation(search, kernel, padding),
        rtol=1e-4,
        atol=1e-5,
    )


def check_files(report: TrackerExportReport) -> None:
    """Convolutions have constant weights, the number of targets is free, and the search graph sees its input."""
    for path in (report.template_path, report.search_path):
        graph = onnx.load(path).graph
        inputs = {each.name for each in graph.input}
        constants = {each.name for each in graph.initializer} | {
            node.output[0] for node in graph.node if node.op_type in ("Constant", "Identity")
        }
        assert all(node.input[1] in constants - inputs for node in graph.node if node.op_type == "Conv")
        assert all(each.type.tensor_type.shape.dim[0].dim_param == "targets" for each in graph.input)
    template, search = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (report.template_path, report.search_path)
    )
    generator = np.random.default_rng(1)
    modalities = 1 if report.form == "single" else 2
    crops = [generator.uniform(0, 255, (2, 3, 127, 127)).astype(np.float32) for _ in range(modalities)]
    remembered = template.run(None, dict(zip((each.name for each in template.get_inputs()), crops, strict=True)))
    crops = [generator.uniform(0, 255, (2, 3, 255, 255)).astype(np.float32) for _ in range(modalities)]
    score, boxes = search.run(
        None, dict(zip((each.name for each in search.get_inputs()), [*crops, *remembered], strict=True))
    )
    assert score.shape[0] == boxes.shape[0] == 2
    assert boxes.shape == (2, 4, *score.shape[1:])
    assert np.abs(score[0] - score[1]).max() > 1e-4


@pytest.mark.parametrize(("name", "form"), [("siamrpn-lite", "fused"), ("nanotrack-v3", "single")])
def test_the_graphs_compute_what_torch_does(lively: Any, name: str, form: Form, tmp_path: Path) -> None:
    (report,) = export_network(lively(name), name, tmp_path / "out", forms=[form])
    assert report.form == form
    assert set((tmp_path / "out").iterdir()) == {report.template_path, report.search_path}
    assert report.score_difference < 1e-4
    assert report.box_difference_px < 0.01
    assert report.size_bytes == report.template_path.stat().st_size + report.search_path.stat().st_size
    check_files(report)


@pytest.mark.slow
def test_the_anchor_networks_export_as_well(lively: Any, tmp_path: Path) -> None:
    (fused,) = export_network(lively("siamrpn-mobilev2"), "siamrpn-mobilev2", tmp_path, forms=["fused"])
    assert fused.score_difference < 1e-4
    check_files(fused)


def test_official_weights_export(tmp_path: Path) -> None:
    if not (NANO / "nanotrackv2.pth").is_file():
        pytest.skip("the official weights are not here")
    (report,) = export_tracker("nanotrack", tmp_path, NANO / "nanotrackv2.pth", forms=["fused"])
    assert report.score_difference < 1e-4
    assert report.box_difference_px < 0.01
    check_files(report)


def test_a_graph_that_differs_is_refused(lively: Any, tmp_path: Path) -> None:
    network = lively("nanotrack")
    head = network.ban_head
    head.cls_pred = nn.Sequential(*head.cls_pred, Shifted())
    with pytest.raises(RunError, match="it was not written"):
        export_network(network, "shifted", tmp_path, forms=["single"])
    assert not list(tmp_path.iterdir())


class Shifted(nn.Module):
    """Computes one thing for torch and another for the graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (0.0 if torch.onnx.is_in_onnx_export() else torch.tensor([1.0, 0.0])[:, None, None])


def test_unknown_names_and_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="did you mean nanotrack"):
        export_tracker("nanotrak", tmp_path)
    with pytest.raises(InputError, match="siamrpn-r50 has no weights here"):
        export_tracker("siamrpn-r50", tmp_path)
