"""Training: it learns, resumes exactly after a kill, and says what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.checkpoints import load_strictly, read_state_dict
from fusion.errors import InputError
from fusion.nestfuse import LITE, NARROW, NestFuse, NestFuseConfig, config_of_weights
from fusion.training import FuserTrainingConfig, train_fuser
from fusion.training.autoencoder import initial_network
from fusion.training.images import GreyCrops, draw_edge_lines, list_images, read_grey
from fusion.training.losses import structural_similarity
from fusion.weight_store import find_weights


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(4):
        coarse = generator.integers(0, 256, (6, 7), dtype=np.uint8)
        image = cv2.resize(coarse, (70, 60 if index else 20), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


@pytest.fixture
def stills(pictures: Path, tmp_path: Path) -> Path:
    """Two pairs, of a picture and itself."""
    folder = tmp_path / "stills"
    for kind in ("ir", "vis"):
        (folder / kind).mkdir(parents=True)
        for index, path in enumerate(sorted(pictures.iterdir())[1:3]):
            (folder / kind / f"{index}.png").write_bytes(path.read_bytes())
    return folder


def config(pictures: Path, out: Path, **changes: object) -> FuserTrainingConfig:
    settings: dict[str, object] = {"steps": 6, "batch_size": 2, "crop_px": 32, "save_every": 3, "threads": 1}
    settings |= changes
    return FuserTrainingConfig(images=(pictures,), out=out, **settings)  # type: ignore[arg-type]


def test_a_run_writes_everything_and_the_loss_falls(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_fuser(config(pictures, out, steps=30, learning_rate=3e-3))
    names = {path.name for path in out.iterdir()}
    assert names == {"training.pt", "loss.csv", "loss.png", "nestfuse.md", "nestfuse.safetensors"}
    losses = [float(line.split(",")[1]) for line in (out / "loss.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]
    load_strictly(NestFuse(), read_state_dict(out / "nestfuse.safetensors"), "trained")
    card = (out / "nestfuse.md").read_text()
    assert "30 steps" in card
    assert "seed 0" in card


def test_a_killed_run_resumes_to_the_very_same_weights(pictures: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_fuser(config(pictures, whole))
    code = (
        "from pathlib import Path; from fusion.training import *; "
        f"train_fuser(FuserTrainingConfig(images=(Path({str(pictures)!r}),), out=Path({str(killed)!r}), steps=6, "
        "batch_size=2, crop_px=32, save_every=1, threads=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while not (killed / "training.pt").exists() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (killed / "training.pt").exists()
    train_fuser(config(pictures, killed, save_every=1, resume=True))
    first, second = (read_state_dict(folder / "nestfuse.safetensors") for folder in (whole, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_deep_supervision_trains_all_outputs(pictures: Path, tmp_path: Path) -> None:
    train_fuser(config(pictures, tmp_path / "run", steps=1, deep_supervision=True))
    assert "conv1.conv2d.weight" in read_state_dict(tmp_path / "run" / "nestfuse.safetensors")


def test_the_small_network_learns_from_the_full_one(pictures: Path, stills: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = tmp_path / "teacher.pt"
    torch.save(NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4)).state_dict(), teacher)
    out = tmp_path / "run"
    changes = {"method": "nestfuse-lite", "teacher": teacher, "lessons": 3}
    train_fuser(config(stills, out, **changes))
    load_strictly(NestFuse(LITE), read_state_dict(out / "nestfuse-lite.safetensors"), "trained")
    before = read_state_dict(out / "nestfuse-lite.safetensors")
    (out / "training.pt").unlink()
    train_fuser(config(stills, out, resume=True, **changes))
    after = read_state_dict(out / "nestfuse-lite.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(InputError, match="learns from pairs"):
        train_fuser(config(pictures, tmp_path / "other", **changes))


def test_the_narrow_network_keeps_the_encoder_of_its_teacher(stills: Path, tmp_path: Path) -> None:
    shipped = find_weights("nestfuse")
    assert shipped is not None
    out = tmp_path / "run"
    changes = {"method": "nestfuse-narrow", "teacher": shipped, "lessons": 2, "learning_rate": 3e-3}
    train_fuser(config(stills, out, steps=40, save_every=20, **changes))
    losses = [float(line.split(",")[1]) for line in (out / "loss.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0] / 2
    teacher, trained = read_state_dict(shipped), read_state_dict(out / "nestfuse-narrow.safetensors")
    assert config_of_weights(trained) == NARROW
    encoder = [name for name in trained if name.startswith("conv0.") or name[3:5] == "_0"]
    assert len(encoder) == 18
    assert all(torch.equal(trained[name], teacher[name]) for name in encoder)
    foreign = tmp_path / "teacher.pt"
    torch.save(NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4)).state_dict(), foreign)
    with pytest.raises(InputError, match="its encoder has"):
        train_fuser(config(stills, tmp_path / "other", **{**changes, "teacher": foreign}))


def test_every_channel_of_the_small_network_speaks_before_its_first_step(pictures: Path, tmp_path: Path) -> None:
    network = initial_network(config(pictures, tmp_path, method="nestfuse-lite"))
    loudest = []
    for path in sorted(pictures.iterdir()):
        image = torch.from_numpy(read_grey(path)).float()[None, None]
        loudest.append([features.amax((0, 2, 3)) for features in network.encode(image)])
    for levels in zip(*loudest, strict=True):
        assert float((levels[0] > 0).float().mean()) > 0.9
        # What is silent in one picture speaks in another.
        assert bool((torch.stack(levels).amax(0) > 0).all())


def test_crops_depend_on_seed_step_and_rank_alone(pictures: Path) -> None:
    paths = list_images([pictures])
    crops = GreyCrops(paths, crop_px=32, batch_size=3, seed=5)
    assert crops.batch(7).shape == (3, 1, 32, 32)
    assert torch.equal(crops.batch(7), GreyCrops(paths, crop_px=32, batch_size=3, seed=5).batch(7))
    assert not torch.equal(crops.batch(7), crops.batch(8))
    assert not torch.equal(crops.batch(7), crops.batch(7, rank=1))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000))
def test_edge_lines_change_the_sides_alone(seed: int) -> None:
    grey = np.full((2, 32, 40), 128, np.uint8)
    drawn = draw_edge_lines(grey, 1.0, np.random.default_rng(seed))
    assert (grey == 128).all()
    assert (drawn[:, 3:-3, 3:-3] == 128).all()
    for picture in drawn:
        levels = set(np.unique(picture).tolist()) - {128}
        assert len(levels) == 1
        assert levels <= {*range(32), *range(224, 256)}
    assert np.array_equal(draw_edge_lines(grey, 0.0, np.random.default_rng(seed)), grey)


def test_a_checkpoint_older_than_a_setting_resumes_without_it(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_fuser(config(pictures, out, steps=1))
    state = torch.load(out / "training.pt", weights_only=True)
    del state["config"]["edge_lines"]
    torch.save(state, out / "training.pt")
    with pytest.raises(InputError, match="another edge_lines"):
        train_fuser(config(pictures, out, steps=2, resume=True, edge_lines=0.5))
    train_fuser(config(pictures, out, steps=2, resume=True))


def test_similarity_of_equal_pictures_is_one() -> None:
    image = torch.rand(2, 1, 20, 24) * 255
    torch.testing.assert_close(structural_similarity(image, image, 255.0), torch.tensor(1.0))
    assert structural_similarity(image, 255 - image, 255.0) < 0


def test_bad_input_is_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        train_fuser(config(tmp_path / "nowhere", tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        train_fuser(config(tmp_path / "empty", tmp_path / "run"))
    with pytest.raises(InputError, match="multiple of 8"):
        config(pictures, tmp_path / "run", crop_px=50)
    with pytest.raises(InputError, match="edge_lines"):
        config(pictures, tmp_path / "run", edge_lines=1.5)
    with pytest.raises(InputError, match="can be trained"):
        config(pictures, tmp_path / "run", method="average")
    out = tmp_path / "run"
    train_fuser(config(pictures, out, steps=1))
    with pytest.raises(InputError, match="--resume"):
        train_fuser(config(pictures, out, steps=2))
    with pytest.raises(InputError, match="another seed"):
        train_fuser(config(pictures, out, steps=2, seed=1, resume=True))
    (out / "training.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="cannot be read"):
        train_fuser(config(pictures, out, steps=2, resume=True))
    (pictures / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        train_fuser(config(pictures, tmp_path / "other", steps=20))
