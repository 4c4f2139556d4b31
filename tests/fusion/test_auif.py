"""AUIF-Net: the published values, and the collapsed form against the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.auif import Auif, CombinationName, Layer, blur, laplace, load_auif
from fusion.auif_inference import AuifMethod, collapse, collapse_layer
from fusion.checkpoints import read_merged_state_dict
from fusion.errors import InputError
from fusion.weight_store import shipped_weights

GOLDEN_MODES: dict[str, CombinationName] = {"Sum": "sum", "Average": "average", "l1_norm": "l1"}


def random_network(seed: int) -> Auif:
    torch.manual_seed(seed)
    network = Auif().eval()
    for layer in (*network.conv1, *network.conv2):
        assert isinstance(layer, Layer)
        torch.nn.init.uniform_(layer.theta, 0, 0.2)
        for parameter in layer.rest.parameters():
            torch.nn.init.uniform_(parameter, 0.1, 1.2)
    return network


def plane(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)[None, None]


@pytest.fixture(scope="module")
def official(shared: Path) -> Auif:
    folder = shared / "data" / "weights" / "auif"
    return load_auif(read_merged_state_dict(folder), str(folder))


def tno_pair(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    folder = shared / "data" / "stills" / "tno21"
    infrared, visible = (cv2.imread(str(folder / f"{name}2.png"), cv2.IMREAD_GRAYSCALE) for name in ("IR", "VIS"))
    assert infrared is not None
    assert visible is not None
    return infrared, visible


@torch.no_grad()
def test_network_equals_the_published_one(official: Auif, reference: Any) -> None:
    golden = reference.golden("auif")
    infrared, visible = golden_pair(reference)
    for tag, image in (("ir", infrared), ("vi", visible)):
        base, detail = official.encode(image)
        reference.check(golden, f"syn.{tag}.blur", blur(image))
        reference.check(golden, f"syn.{tag}.laplace", laplace(image))
        reference.check(golden, f"syn.{tag}.encoder_base", base)
        reference.check(golden, f"syn.{tag}.encoder_detail", detail)
    for key, mode in GOLDEN_MODES.items():
        reference.check(golden, f"syn.{key}", official.fuse(infrared, visible, mode))


def test_collapsed_form_equals_the_published_pictures(official: Auif, reference: Any, shared: Path) -> None:
    infrared, visible = tno_pair(shared)
    golden = reference.golden("real_auif_tno2")
    for key, mode in GOLDEN_MODES.items():
        levels = collapse(official, mode).fuse_luma(visible, infrared)
        reference.check(golden, f"tno2.{key}", torch.from_numpy(levels / 255))
    picture = np.rint(collapse(official).fuse_luma(visible, infrared))
    assert np.abs(picture - golden["tno2.Sum.u8"]).max() <= 1


def test_collapsed_form_equals_the_plain_one_with_official_weights(official: Auif) -> None:
    assert_collapses_exactly(official)


def test_collapsed_form_equals_the_plain_one_with_shipped_weights() -> None:
    path = shipped_weights("auif")
    assert path is not None
    assert_collapses_exactly(load_auif(read_merged_state_dict(path), str(path)))


@torch.no_grad()
def assert_collapses_exactly(network: Auif) -> None:
    first, second = plane(61, 83, 0), plane(61, 83, 1)
    for mode in get_args(CombinationName):
        plain = network.fuse(as_tensor(first), as_tensor(second), mode)[0, 0].numpy()
        assert np.abs(collapse(network, mode).fuse_planes(first, second) - plain).max() <= 1e-5


@settings(deadline=None, max_examples=15)
@given(height=st.integers(10, 30), width=st.integers(10, 30), seed=st.integers(0, 99))
def test_collapsed_layer_equals_the_plain_one_to_the_last_pixel(height: int, width: int, seed: int) -> None:
    layer = random_network(seed).conv1[0]
    assert isinstance(layer, Layer)
    x, image = plane(height, width, seed), plane(height, width, seed + 1)
    with torch.no_grad():
        plain = layer(as_tensor(x), as_tensor(image))
    np.testing.assert_allclose(collapse_layer(layer)(x, image), plain[0, 0].numpy(), rtol=0, atol=1e-5)


def test_ignoring_the_border_would_be_noticed() -> None:
    layer = random_network(3).conv1[0]
    assert isinstance(layer, Layer)
    x = plane(20, 20, 5)
    collapsed = collapse_layer(layer)
    inside = cv2.filter2D(x, -1, collapsed.inside, delta=collapsed.offset, borderType=cv2.BORDER_REFLECT_101)
    difference = np.abs(inside - collapsed._convolved(x))
    assert difference[1:-1, 1:-1].max() == 0
    assert min(difference[0].max(), difference[-1].max(), difference[:, 0].max(), difference[:, -1].max()) > 1e-3


def test_weights_come_from_a_folder_or_one_merged_file(tmp_path: Path) -> None:
    network = random_network(0)
    state = network.state_dict()
    for name, prefix in (("Encoder_Base", "conv1"), ("Encoder_Detail", "conv2"), ("Decoder", "decoder")):
        part = {key: value for key, value in state.items() if key.startswith(prefix)}
        torch.save(part, tmp_path / f"TCSVT_{name}.model")
    loaded = load_auif(read_merged_state_dict(tmp_path), "folder")
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    torch.save(state, tmp_path / "merged.pt")
    load_auif(read_merged_state_dict(tmp_path / "merged.pt"), "file")
    with pytest.raises(InputError, match="occurs in two files"):
        read_merged_state_dict(tmp_path)
    with pytest.raises(InputError, match="one of AUIF's three files"):
        load_auif(read_merged_state_dict(tmp_path / "TCSVT_Decoder.model"), "decoder.model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint"):
        read_merged_state_dict(tmp_path / "empty")


def test_method_takes_grey_pictures() -> None:
    method: AuifMethod = collapse(random_network(1))
    picture = np.random.default_rng(0).integers(0, 256, (12, 15), dtype=np.uint8)
    levels = method.fuse_luma(picture, picture[::-1].copy())
    assert levels.shape == (12, 15)
    assert levels.min() >= 0
    assert levels.max() <= 255


def golden_pair(reference: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return reference.image(61, 83, 51) / 255, reference.image(61, 83, 52, cell=24) / 255
