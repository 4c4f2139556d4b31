"""DIDFuse, DenseFuse and IFCNN against their published implementations with real weights; the Laplacian pyramid."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from fusion.checkpoints import read_merged_state_dict
from fusion.densefuse import DenseFuse, load_densefuse
from fusion.didfuse import DidFuse, load_didfuse
from fusion.errors import InputError
from fusion.factory import build_fuser
from fusion.ifcnn import Ifcnn, IfcnnRule, load_ifcnn
from fusion.laplacian import LaplacianMethod


def pair(reference: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return reference.image(61, 83, 51), reference.image(61, 83, 52, cell=24)


def as_arrays(reference: Any) -> tuple[np.ndarray, np.ndarray]:
    infrared, visible = (image[0, 0].numpy().astype(np.uint8) for image in pair(reference))
    return infrared, visible


@torch.no_grad()
def test_didfuse_equals_the_published_one(reference: Any, shared: Path) -> None:
    folder = shared / "data" / "weights" / "didfuse"
    network, golden = load_didfuse(read_merged_state_dict(folder), "didfuse"), reference.golden("didfuse")
    infrared, visible = (image / 255 for image in pair(reference))
    for tag, image in (("ir", infrared), ("vi", visible)):
        for part, features in zip(("f1", "f2", "base", "detail"), network.encode(image), strict=True):
            reference.check(golden, f"syn.{tag}.{part}", features)
    for key, mode, name in (
        ("Sum", "sum", "didfuse"),
        ("Average", "average", "didfuse-average"),
        ("l1_norm", "l1", ""),
    ):
        reference.check(golden, f"syn.{key}", network.fuse(infrared, visible, mode))
        if name:
            thermal, luma = as_arrays(reference)
            fused = build_fuser(name, weights=folder, range_name="fixed")(luma, thermal)
            assert np.abs(fused[..., 0].astype(int) - golden[f"syn.{key}.u8"]).max() <= 1
    with pytest.raises(InputError, match="one of DIDFuse's two files"):
        load_didfuse(read_merged_state_dict(folder / "Encoder_weight_IJCAI.pkl"), "encoder")


@torch.no_grad()
def test_densefuse_equals_the_published_one(reference: Any, shared: Path) -> None:
    file = shared / "data" / "weights" / "densefuse" / "densefuse_gray.model"
    network, golden = load_densefuse(read_merged_state_dict(file), "densefuse"), reference.golden("densefuse")
    infrared, visible = pair(reference)
    reference.check(golden, "syn.enc_ir", network.encode(infrared))
    reference.check(golden, "syn.enc_vi", network.encode(visible))
    reference.check(golden, "syn.addition", network.fuse(infrared, visible))
    # The published softmax is NaN on the whole picture; this one fuses.
    assert np.isnan(golden["syn.attention_weight"]).all()
    assert network.fuse(infrared, visible, "l1").isfinite().all()


@pytest.mark.parametrize("rule", get_args(IfcnnRule))
@torch.no_grad()
def test_ifcnn_equals_the_published_one(rule: IfcnnRule, reference: Any, shared: Path) -> None:
    file = shared / "data" / "weights" / "ifcnn" / f"IFCNN-{rule.upper()}.pth"
    network, golden = load_ifcnn(read_merged_state_dict(file), "ifcnn"), reference.golden("ifcnn")
    infrared, visible = (image.expand(-1, 3, -1, -1) / 255 for image in pair(reference))
    output = network.fuse_colour(visible, infrared, rule)
    for channel in range(3):
        reference.check(golden, f"syn.{rule.upper()}.gray.ch{channel}", output[0, channel])
    thermal, luma = as_arrays(reference)
    name = "ifcnn" if rule == "max" else f"ifcnn-{rule}"
    fused = build_fuser(name, weights=file, range_name="fixed")(luma, thermal)
    assert np.abs(fused[..., 0].astype(int) - golden[f"syn.{rule.upper()}.gray.saved_gray_u8"]).max() <= 1


@pytest.mark.parametrize(
    ("network", "names"),
    [(DidFuse, ["didfuse_encoder", "didfuse_decoder"]), (DenseFuse, ["densefuse_gray"]), (Ifcnn, ["ifcnn"])],
)
def test_names_and_shapes_are_those_of_published_checkpoints(network: Any, names: list[str], reference: Any) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for name in names:
        expected |= reference.keys(name)
    assert {key: tuple(value.shape) for key, value in network().state_dict().items()} == expected


@pytest.mark.parametrize("size", [(1, 1), (9, 30), (61, 83), (128, 96)])
def test_laplacian_of_a_picture_with_itself_is_the_picture(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    fused = LaplacianMethod().fuse_luma(picture, picture)
    np.testing.assert_allclose(fused, picture, atol=1e-3)


def test_laplacian_keeps_the_stronger_detail() -> None:
    flat, textured = np.full((64, 64), 128, np.uint8), np.full((64, 64), 128, np.uint8)
    textured[20:40:2, 20:40] = 228
    fused = LaplacianMethod().fuse_luma(flat, textured)
    assert fused[20:40].std() > 0.8 * textured[20:40].std()
