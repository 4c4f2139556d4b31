"""NanoTrack v2 and v3 with their official weights: PyTorch goldens, ONNX files, and whole sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from fusion.checkpoints import load_strictly, read_state_dict
from trackers.box import Box, iou
from trackers.factory import tracker_config
from trackers.networks.folding import folded
from trackers.networks.nanotrack import NanoTrack, nanotrack_state
from trackers.siamese_tracker import SiameseTracker
from trackers.state import Modality

pytestmark = pytest.mark.usefixtures("no_gradients")

ONNX = {2: ("v2_backbone_sim.onnx", "v2_head_sim.onnx"), 3: ("v3_backbone.onnx", "v3_head.onnx")}
NAMES = {2: "nanotrack", 3: "nanotrack-v3"}


@pytest.fixture(scope="module", params=[2, 3], ids=["v2", "v3"])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def network(shared: Path, version: Any) -> NanoTrack:
    path = shared / f"data/weights/nanotrack/nanotrackv{version}.pth"
    network = NanoTrack(version)
    load_strictly(network, nanotrack_state(read_state_dict(path)), str(path))
    return network.eval()


def test_only_the_unused_neck_is_left_out(reference: Any, version: Any) -> None:
    listed = {key: shape for key, shape, _ in reference.keys(f"nanotrack_v{version}")["keys"]}
    ours = {key: list(value.shape) for key, value in NanoTrack(version).state_dict().items()}
    assert ours == {key: shape for key, shape in listed.items() if not key.startswith("neck.")}


def test_network_equals_the_reference(reference: Any, network: NanoTrack, version: int) -> None:
    golden = reference.golden(f"nanotrack_v{version}")
    template, search = network.extract(reference.crop(127, 1)), network.extract(reference.crop(255, 2))
    reference.assert_close(golden, f"z.features.{network.last_block}", template[0])
    reference.assert_close(golden, f"x.features.{network.last_block}", search[0])
    matches = network.match(network.encode_template(template), network.adjust_search(search))
    logits, distances = network.ban_head.read(matches)
    reference.assert_close(golden, "cls", logits)
    reference.assert_close(golden, "loc", distances)


def test_network_equals_the_onnx_files(shared: Path, reference: Any, network: NanoTrack, version: int) -> None:
    folder = shared / "data/weights/nanotrack"
    backbone, head = (
        onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"]) for name in ONNX[version]
    )
    search = reference.crop(255, 2)
    (from_onnx,) = backbone.run(None, {backbone.get_inputs()[0].name: search.numpy()})
    (features,) = network.extract(search)
    np.testing.assert_allclose(features.numpy(), from_onnx, rtol=0, atol=1e-4)
    (template,) = network.extract(reference.crop(127, 1))
    logits, distances = head.run(None, {"input1": template.numpy(), "input2": features.numpy()})
    matches = network.match(network.encode_template((template,)), network.adjust_search((features,)))
    ours = network.ban_head.read(matches)
    np.testing.assert_allclose(ours[0].numpy(), logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours[1].numpy(), distances, rtol=1e-5, atol=1e-4)


def test_whole_loop_equals_the_reference(reference: Any, network: NanoTrack, version: int) -> None:
    tracker = SiameseTracker(network, tracker_config(NAMES[version]), Modality.RGB)
    golden = reference.golden("real_nanotrack")[f"v{version}.torch.crossing.bbox"]
    pictures = reference.crossing(len(golden))
    x, y, w, h = golden[0]
    memory = tracker.remember((pictures[0],), (x + (w - 1) / 2, y + (h - 1) / 2), (w, h))
    for picture, expected in zip(pictures[1:], golden[1:], strict=True):
        (memory,), _ = tracker.advance([memory], (picture,))
        (cx, cy), (w, h) = memory.center_xy, memory.size_wh
        np.testing.assert_allclose((cx - w / 2, cy - h / 2, w, h), expected, rtol=0, atol=0.01)


def test_folded_network_follows_a_real_target_on_both_modalities(
    reference: Any, network: NanoTrack, version: int
) -> None:
    class Pair:
        def __init__(self, picture: Any) -> None:
            self.visible_bgr = picture
            self.thermal = np.ascontiguousarray(picture[:, :, 1])

    tracker = SiameseTracker(folded(network), tracker_config(NAMES[version]))
    golden = reference.golden("real_nanotrack")[f"v{version}.torch.crossing.bbox"]
    pictures = reference.crossing(30)
    state = tracker.init(Pair(pictures[0]), Box(*(float(value) for value in golden[0])))
    overlaps = []
    for picture, expected in zip(pictures[1:], golden[1:], strict=False):
        state = tracker.update(state, Pair(picture))
        overlaps.append(iou(state.box, Box(*(float(value) for value in expected))))
    assert np.mean(overlaps) > 0.7
    assert torch.is_tensor(state.template.features[0])
