"""Training of AUIF-Net and DIDFuse: the loss, AUIF's training form, and runs that resume."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.auif import Auif
from fusion.checkpoints import read_state_dict
from fusion.errors import InputError
from fusion.factory import build_fuser
from fusion.training import FuserTrainingConfig, train_fuser
from fusion.training.config import DecompositionWeights
from fusion.training.decomposition import AuifReconstruction, adopt_fused_statistics
from fusion.training.images import PairCrops, list_pairs, read_grey, read_pair
from fusion.training.losses import decomposition_losses
from fusion.training.state import save_training_state

WEIGHTS = DecompositionWeights(background=2.0, detail=3.0, reconstruction=5.0, gradient=7.0)


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Three pairs whose thermal picture shows other things than the visible one."""
    folder = tmp_path / "stills"
    generator = np.random.default_rng(0)
    for kind in ("ir", "vis"):
        (folder / kind).mkdir(parents=True)
        for index in range(3):
            coarse = generator.integers(20, 236, (6, 7), dtype=np.uint8)
            cv2.imwrite(str(folder / kind / f"{index}.png"), cv2.resize(coarse, (50, 44)))
    return folder


def config(stills: Path, out: Path, **changes: object) -> FuserTrainingConfig:
    options: dict[str, object] = {"steps": 4, "batch_size": 2, "crop_px": 32, "save_every": 2, "threads": 1}
    options |= changes
    return FuserTrainingConfig(images=(stills,), out=out, **options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=6)
@given(height=st.integers(10, 24), width=st.integers(10, 24), seed=st.integers(0, 99))
def test_the_training_form_of_auif_has_the_values_and_gradients_of_the_plain_one(
    height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    network = Auif().double()
    pictures = torch.rand(2, 1, height, width, dtype=torch.float64)
    results = []
    for output in (network(pictures), AuifReconstruction(network)(pictures)[0]):
        network.zero_grad()
        output.square().sum().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        results.append([output.detach(), *(each.clone() for each in gradients if each is not None)])
    assert len(results[0]) == len(list(network.parameters())) + 1
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-9)


def test_a_perfect_reconstruction_with_equal_parts_costs_nothing() -> None:
    pictures, parts = torch.rand(4, 1, 20, 22), torch.rand(2, 3, 20, 22).repeat(2, 1, 1, 1)
    losses = decomposition_losses(pictures, pictures, parts, parts, WEIGHTS, 5.0)
    for name, value in losses.items():
        assert float(value) == pytest.approx(0, abs=1e-5), name


@settings(deadline=None, max_examples=10)
@given(difference=st.floats(0.01, 2.0))
def test_near_backgrounds_and_far_details_are_cheap(difference: float) -> None:
    pictures, same = torch.rand(2, 1, 16, 16), torch.zeros(2, 2, 16, 16)
    differing = same.clone()
    differing[1] += difference
    expected = float(np.tanh(difference**2))
    apart = decomposition_losses(pictures, pictures, same, differing, WEIGHTS, 5.0)
    assert float(apart["loss"]) == pytest.approx(-WEIGHTS.detail * expected, abs=1e-4)
    together = decomposition_losses(pictures, pictures, differing, same, WEIGHTS, 5.0)
    assert float(together["loss"]) == pytest.approx(WEIGHTS.background * expected, abs=1e-4)


def test_gradients_count_in_the_visible_picture_alone() -> None:
    pictures, parts = torch.full((2, 1, 20, 20), 0.5), torch.zeros(2, 1, 20, 20)
    ramp = torch.linspace(0, 1.9, 20).expand(1, 20, 20)
    for wrong, expected in ((0, 0.0), (1, 0.05)):  # thermal; visible, whose slope is 0.1 along one of two axes
        outputs = pictures.clone()
        outputs[wrong] += ramp
        losses = decomposition_losses(pictures, outputs, parts, parts, WEIGHTS, 5.0)
        assert float(losses["gradient"]) == pytest.approx(expected, abs=1e-6)
        total = 10 * (losses["pixel_mse"] + 5 * losses["one_minus_ssim"]) + 7 * losses["gradient"]
        torch.testing.assert_close(losses["loss"], total)


@pytest.mark.parametrize("method", ["auif", "didfuse"])
def test_a_run_learns_and_its_weights_fuse(method: Literal["auif", "didfuse"], stills: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_fuser(config(stills, out, method=method, steps=20, learning_rate=0.01, save_every=14))
    assert {path.name for path in out.iterdir()} == {
        "training.pt",
        "loss.csv",
        "loss.png",
        f"{method}.md",
        f"{method}.safetensors",
    }
    header, *rows = (out / "loss.csv").read_text().splitlines()
    balance = "balance," if method == "auif" else ""
    assert header == f"step,loss,pixel_mse,one_minus_ssim,background,detail,gradient,{balance}seconds"
    losses = {int(row.split(",")[0]): float(row.split(",")[1]) for row in rows}
    assert losses[14] < losses[10]  # means since the row before; from 14 on with the statistics of inference
    assert all(value.isfinite().all() for value in read_state_dict(out / f"{method}.safetensors").values())
    thermal, visible = (read_grey(stills / kind / "0.png") for kind in ("ir", "vis"))
    assert build_fuser(method, weights=out / f"{method}.safetensors")(visible, thermal).shape == (44, 50, 3)
    assert "3 registered pairs" in (out / f"{method}.md").read_text()


@pytest.mark.parametrize("method", ["auif", "didfuse"])
def test_an_interrupted_run_resumes_to_the_very_same_weights(
    method: Literal["auif", "didfuse"], stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_fuser(config(stills, whole, method=method))

    def save_and_die(*arguments: object) -> None:
        save_training_state(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fusion.training.loop.save_training_state", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train_fuser(config(stills, broken, method=method))
    train_fuser(config(stills, broken, method=method, resume=True))
    first, second = (read_state_dict(folder / f"{method}.safetensors") for folder in (whole, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # The last step of four was learned with the statistics of inference.
    assert {int(value) for name, value in first.items() if name.endswith("num_batches_tracked")} == {3}
    changed = config(stills, broken, method=method, decomposition=DecompositionWeights(detail=0.25), resume=True)
    with pytest.raises(InputError, match="another decomposition"):
        train_fuser(changed)


@torch.no_grad()
def test_fused_parts_become_the_norm_of_the_decoder(stills: Path) -> None:
    torch.manual_seed(2)
    network, pairs = Auif().eval(), list_pairs([stills], "auif")
    adopt_fused_statistics(network, pairs)
    normalised = []
    for pair in pairs:
        thermal, visible = torch.from_numpy(read_pair(pair))[:, None, None].float() / 255
        parts = zip(network.encode(thermal), network.encode(visible), strict=True)
        normalised.append(network.decoder[:3](sum(one + other for one, other in parts)))
    variance, mean = torch.var_mean(torch.stack(normalised), correction=0)
    assert float(mean) == pytest.approx(0, abs=1e-3)
    assert float(variance) == pytest.approx(1, rel=0.05)


def test_crops_of_a_pair_are_of_one_place(stills: Path) -> None:
    pairs = list_pairs([stills], "auif")
    doubled = [(thermal, thermal) for thermal, _ in pairs]
    thermal, visible = PairCrops(doubled, crop_px=32, batch_size=4, seed=5).batch(7).chunk(2, 1)
    assert thermal.shape == (4, 1, 32, 32)
    assert torch.equal(thermal, visible)
    crops = PairCrops(pairs, crop_px=32, batch_size=4, seed=5)
    assert torch.equal(crops.batch(7)[:, :1], thermal)
    assert not torch.equal(crops.batch(7), crops.batch(8))
    assert not torch.equal(crops.batch(7), crops.batch(7, rank=1))


def test_pictures_without_partners_are_no_pairs(stills: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="auif learns from pairs"):
        train_fuser(config(stills / "ir", tmp_path / "run", method="auif"))
    with pytest.raises(InputError, match="no such folder"):
        list_pairs([tmp_path / "nowhere"], "auif")
    picture = np.zeros((40, 40), np.uint8)
    cv2.imwrite(str(stills / "vis" / "1.png"), picture)
    with pytest.raises(InputError, match="differ in size"):
        train_fuser(config(stills, tmp_path / "other", method="auif"))
