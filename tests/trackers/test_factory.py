"""Trackers by name: every preset fits, checkpoints in PySOT's wrapping load, and mistakes are explained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fusion.errors import InputError
from fusion.weight_store import DIRECTORY_VARIABLE
from trackers.box import Box
from trackers.factory import STRATEGIES, TRACKERS, build_tracker, tracker_config, tracker_engine, weight_recipes
from trackers.networks.siamrpn import siamrpn_alex
from trackers.state import Modality


@pytest.fixture(autouse=True)
def _no_imported_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "none"))


@pytest.fixture(scope="module")
def alex_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    state = {f"module.{name}": value for name, value in siamrpn_alex("layer").state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_has_a_preset_and_a_recipe(name: str) -> None:
    assert tracker_config(name).exemplar_size == 127
    assert name in {recipe.name for recipe in weight_recipes()}


def test_presets_differ_where_the_authors_tuned_them() -> None:
    assert tracker_config("siamrpn-alex").instance_size == 287
    assert tracker_config("nanotrack").penalty_k == 0.15
    assert tracker_config("siamrpn-mobilev2").learning_rate == 0.5


@pytest.mark.parametrize("modality", list(Modality))
def test_a_pysot_checkpoint_becomes_a_tracker(scene: Any, alex_checkpoint: Path, modality: Modality) -> None:
    tracker = build_tracker("siamrpn-alex", weights=alex_checkpoint, modality=modality)
    state = tracker.init(scene, Box(60, 50, 30, 20))
    after = tracker.update(state, scene)
    assert 0 <= after.score <= 1
    assert after.box.area > 0


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "gate"])
def test_every_strategy_tracks_on_both_modalities(scene: Any, alex_checkpoint: Path, strategy: str) -> None:
    tracker = build_tracker("siamrpn-alex", weights=alex_checkpoint, strategy=strategy)
    after = tracker.update(tracker.init(scene, Box(60, 50, 30, 20)), scene)
    assert after.box.area > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("siamrpn-r5", {}, "did you mean siamrpn-r50"),
        ("siamrpn-alex", {}, "weights import FILE --as siamrpn-alex"),
        ("siamrpn-alex", {"weights": Path("absent.pth")}, "no such file"),
        ("siamrpn-alex", {"strategy": "papier"}, "did you mean paper"),
        ("siamrpn-alex", {"strategy": "gate"}, "no learned gate"),
        ("siamrpn-alex", {"precision": "float64"}, "there are auto, float32, bfloat16, float16"),
        ("siamrpn-alex", {"precision": "float16"}, "float16 is for --engine torch --device cuda"),
        ("siamrpn-alex", {"execution": "graphs"}, "graphs is for --engine torch --device cuda"),
        ("siamrpn-alex", {"execution": "fast"}, "there are auto, graphs, eager"),
        ("siamrpn-lite", {"engine": "onnx", "precision": "bfloat16"}, "--engine onnx computes in float32"),
        ("siamrpn-alex", {"engine": "onyx"}, "there are auto, torch, onnx, openvino"),
        ("siamrpn-alex", {"device": "gpu"}, "auto, cpu or cuda"),
        ("siamrpn-alex", {"overrides": {"penaltyk": 1}}, "did you mean penalty_k"),
        ("siamrpn-alex", {"overrides": {"penalty_k": "much"}}, "must be float"),
        ("siamrpn-alex", {"overrides": {"instance_size": 255.5}}, "must be int"),
        ("siamrpn-alex", {"overrides": {"learning_rate": 2}}, "0..1"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_tracker(name, **arguments)


def test_weights_of_another_network_are_refused(alex_checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"do not fit SiamRPN.*missing"):
        build_tracker("siamrpn-mobilev2", weights=alex_checkpoint)


@pytest.mark.parametrize(
    ("name", "device", "precision", "expected"),
    [
        ("nanotrack", "cpu", "auto", "onnx"),
        ("siamrpn-r50", "cpu", "float32", "onnx"),
        ("siamrpn-r50", "cpu", "bfloat16", "torch"),
        ("siamrpn-r50", "cuda", "auto", "torch"),
        ("siamrpn-lite", "cpu", "auto", "torch"),
    ],
)
def test_auto_takes_the_engine_that_suits_a_tracker_here(name: str, device: str, precision: Any, expected: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert tracker_engine(name, "auto", precision=precision, device=torch.device(device)) == expected
    assert tracker_engine(name, "openvino", precision=precision, device=torch.device(device)) == "openvino"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_auto_does_without_what_is_not_installed(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert tracker_engine("nanotrack", "auto", device=torch.device("cpu")) == "torch"
