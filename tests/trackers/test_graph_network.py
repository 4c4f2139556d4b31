"""Trackers outside of PyTorch: the same boxes, graphs that are kept, and mistakes that are explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from fusion.errors import InputError
from pipeline.sources.sequence import read_ground_truth
from trackers.box import Box
from trackers.factory import STRATEGIES, build_tracker, tracker_around, tracker_config
from trackers.siamese_tracker import SiameseTracker
from trackers.stage_graphs import CACHE_VARIABLE, StageGraphs
from trackers.state import Modality

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

BOXES = (Box(60, 50, 30, 20), Box(20, 10, 40, 40), Box(150, 100, 20, 50))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this file's own, shared by its tests."""
    folder = tmp_path_factory.getbasetemp() / "graph_cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def moved(scene: Any, steps: int) -> list[Any]:
    """The scene, drifting by a few pixels in every picture."""
    shifts = [(3 * step, -2 * step) for step in range(steps)]
    return [
        type(scene)(*(np.roll(each, shift, (1, 0)) for each in (scene.visible_bgr, scene.thermal))) for shift in shifts
    ]


def track(tracker: SiameseTracker, pairs: Sequence[Any], boxes: Sequence[Box]) -> np.ndarray[Any, Any]:
    """Boxes and scores of all targets in all pairs but the first, (pairs, targets, 5)."""
    states = [tracker.init(pairs[0], box) for box in boxes]
    rows = []
    for pair in pairs[1:]:
        states = tracker.update_all(states, pair)
        rows.append([(*state.box.as_tuple(), state.score) for state in states])
    return np.asarray(rows)


@pytest.mark.parametrize(
    ("name", "strategy", "modality"),
    [
        ("siamrpn-lite", "gate", Modality.FUSED),
        ("siamrpn-lite", "adaptive", Modality.FUSED),
        ("siamrpn-lite", "gate", Modality.IR),
        ("nanotrack", "adaptive", Modality.FUSED),
        ("nanotrack-v3", "paper", Modality.FUSED),
        ("siamrpn-alex", "authors", Modality.FUSED),
        pytest.param("siamrpn-mobilev2", "mean", Modality.FUSED, marks=pytest.mark.slow),
    ],
)
def test_several_targets_get_the_boxes_of_torch(
    lively: Any, scene: Any, name: str, strategy: str, modality: Modality
) -> None:
    network, fusion = lively(name), STRATEGIES[strategy]
    config = replace(tracker_config(name), recovery=name == "nanotrack")
    pairs = moved(scene, 3)
    found = [
        track(tracker_around(network, name, config, modality, fusion, engine=engine, device=CPU), pairs, BOXES)
        for engine in ("torch", "onnx")
    ]
    assert np.abs(np.diff(found[0], axis=0)).max() > 0
    np.testing.assert_allclose(found[1][:, :, :4], found[0][:, :, :4], rtol=0, atol=0.02)
    np.testing.assert_allclose(found[1][:, :, 4], found[0][:, :, 4], rtol=0, atol=1e-3)


def test_a_real_sequence_gives_the_boxes_of_torch(shared: Path) -> None:
    folder = shared / "data" / "rgbt_tracking" / "M3SVD_stairs_man"
    names = [sorted((folder / part).iterdir())[:30] for part in ("color", "ir")]
    pairs = [
        type("Pair", (), {"visible_bgr": cv2.imread(str(color)), "thermal": cv2.imread(str(ir), cv2.IMREAD_GRAYSCALE)})
        for color, ir in zip(*names, strict=True)
    ]
    box = read_ground_truth(folder / "groundtruth.txt")[0]
    assert box is not None
    found = [track(build_tracker("siamrpn-lite", engine=engine), pairs, [box]) for engine in ("torch", "onnx")]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=0.01)


@pytest.mark.parametrize("missing", ["visible", "thermal"])
def test_the_gate_goes_on_with_one_eye(scene: Any, missing: str) -> None:
    visible, thermal = scene.visible_bgr, scene.thermal
    if missing == "visible":
        visible = np.zeros_like(visible)
    else:
        thermal = np.zeros_like(thermal)
    pairs = [scene, type(scene)(visible, thermal)]
    found = [track(build_tracker("siamrpn-lite", engine=engine), pairs, BOXES) for engine in ("torch", "onnx")]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=0.02)


def test_openvino_finds_the_same_boxes_and_keeps_what_it_remembers(scene: Any) -> None:
    pytest.importorskip("openvino")
    pairs = moved(scene, 4)
    found = [track(build_tracker("siamrpn-lite", engine=engine), pairs, BOXES) for engine in ("torch", "openvino")]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=0.05)
    half = track(build_tracker("siamrpn-lite", engine="openvino", precision="bfloat16"), pairs[:2], BOXES)
    np.testing.assert_allclose(half[0], found[0][0], rtol=0, atol=3)


def test_targets_pass_from_one_engine_to_the_other(scene: Any) -> None:
    torch_tracker, onnx_tracker = (build_tracker("siamrpn-lite", engine=engine) for engine in ("torch", "onnx"))
    start = torch_tracker.init(scene, BOXES[0])
    onnx_tracker.init(scene, BOXES[0])
    here, there = torch_tracker.update(start, scene), onnx_tracker.update(start, scene)
    assert there.box.as_tuple() == pytest.approx(here.box.as_tuple(), abs=0.02)


def test_graphs_are_written_once_and_again_for_other_weights(lively: Any, cache: Path) -> None:
    network = lively("nanotrack")
    first = StageGraphs(network, "kept", (127, 255)).answer(1)
    (path,) = (cache / "graphs").glob("kept-*")
    written_ns = path.stat().st_mtime_ns
    assert StageGraphs(network, "kept", (127, 255)).answer(1) == first == path.read_bytes()
    assert path.stat().st_mtime_ns == written_ns
    with torch.no_grad():
        next(network.parameters()).add_(0.5)
    StageGraphs(network, "kept", (127, 255)).answer(1)
    assert len(list((cache / "graphs").glob("kept-*"))) == 2
    assert not list(cache.rglob("*.partial"))


def test_a_tracker_is_ready_before_its_first_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    build_tracker("siamrpn-lite", engine="onnx")
    stages = {path.name.removeprefix("siamrpn-lite-").rpartition("-")[0] for path in tmp_path.rglob("*.onnx")}
    assert stages == {"extract-127", "encode", "extract-255", "adjust", "answer-2"}


def test_a_cache_that_cannot_be_written_is_done_without(
    lively: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert StageGraphs(lively("nanotrack"), "nanotrack", (127, 255)).answer(1)


def test_writing_graphs_leaves_the_network_as_it_was(lively: Any) -> None:
    network = lively("siamrpn-lite")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    StageGraphs(network, "untouched", (127, 255)).answer(2)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_precision_that_the_engine_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="choose --engine torch"):
        build_tracker("siamrpn-lite", engine="onnx", precision="bfloat16")
