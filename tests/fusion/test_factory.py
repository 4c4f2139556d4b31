"""Fusion methods by name: what they make of pictures, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.auif import Auif
from fusion.errors import InputError
from fusion.factory import FUSION_METHODS, attention_strategy, build_fuser, weights_name
from fusion.fuser import FUSION_MODES, method_in_mode
from fusion.nestfuse import NestFuse, NestFuseConfig


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, channels), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return image if channels > 1 else image.reshape(height, width)


@pytest.fixture(scope="module")
def nestfuse_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.manual_seed(0)
    torch.save(NestFuse(NestFuseConfig(channels=(8, 6, 8, 10), stem_channels=4)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def auif_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "auif.pt"
    torch.manual_seed(0)
    torch.save(Auif().state_dict(), path)
    return path


@pytest.fixture
def weights_of(nestfuse_file: Path, auif_file: Path) -> dict[str, Path | None]:
    return {"average": None, "nestfuse": nestfuse_file, "nestfuse-lite": nestfuse_file, "auif": auif_file}


@pytest.mark.parametrize("name", ["average", "nestfuse", "nestfuse-lite", "auif"])
@pytest.mark.parametrize("size", [(16, 16), (33, 47), (41, 18)])
def test_output_has_the_size_of_the_input_and_is_repeatable(
    name: str, size: tuple[int, int], weights_of: dict[str, Path | None]
) -> None:
    visible, thermal = picture(*size), picture(*size, channels=1, seed=1)
    first, second = (build_fuser(name, weights=weights_of[name])(visible, thermal) for _ in range(2))
    assert first.shape == (*size, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


@pytest.mark.parametrize("pooling", ["avg", "max", "nuclear"])
@pytest.mark.parametrize("spatial", ["softmax", "l1"])
def test_every_attention_fuses(pooling: str, spatial: str, nestfuse_file: Path) -> None:
    assert attention_strategy(pooling, spatial).pooling == pooling
    fuser = build_fuser("nestfuse", weights=nestfuse_file, pooling=pooling, spatial=spatial)  # type: ignore[arg-type]
    assert fuser(picture(20, 24), picture(20, 24, channels=1)).any()


def test_average_is_the_mean() -> None:
    grey = np.full((4, 4), 100, np.uint8)
    fused = build_fuser("average", range_name="fixed")(np.full((4, 4, 3), 200, np.uint8), grey)
    assert (fused == 150).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), height=st.integers(1, 20), width=st.integers(1, 20))
def test_grey_stays_grey_and_colour_keeps_its_hue(seed: int, height: int, width: int) -> None:
    thermal = picture(height, width, channels=1, seed=seed + 1)
    grey = np.repeat(picture(height, width, channels=1, seed=seed)[..., None], 3, axis=2)
    fused = build_fuser("average", range_name="fixed")(grey, thermal)
    assert (fused[..., 0] == fused[..., 1]).all()
    assert (fused[..., 1] == fused[..., 2]).all()
    assert np.array_equal(build_fuser("average", range_name="fixed")(grey[..., 0], thermal), fused)


def test_chroma_is_kept_unless_gray_is_asked_for() -> None:
    visible, thermal = picture(24, 30) // 2 + 60, picture(24, 30, channels=1, seed=3) // 2 + 60
    fused = build_fuser("average", range_name="fixed")(visible, thermal)
    before, after = (cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb).astype(int)[..., 1:] for image in (visible, fused))
    inside = ((fused > 0) & (fused < 255)).all(axis=2)
    assert inside.any()
    assert np.abs(before - after)[inside].max() <= 2
    gray = build_fuser("average", range_name="fixed", gray=True)(visible, thermal)
    assert (gray[..., 0] == gray[..., 2]).all()


def test_a_wrong_picture_is_refused_in_a_helpful_line() -> None:
    fuser = build_fuser("average")
    good, thermal = picture(20, 20), picture(20, 20, channels=1)
    for visible, infrared, message in (
        (good[:-1], thermal, r"20 x 19 pixels and the thermal one 20 x 20"),
        (good.astype(np.float32), thermal, "float32 values"),
        (good, thermal.astype(np.uint16), "thermal picture has uint16"),
        (np.dstack([good, thermal]), thermal, "alpha channel"),
        (good[:0], thermal[:0], "must be"),
    ):
        with pytest.raises(InputError, match=message):
            fuser(visible, infrared)


def test_a_tiny_picture_is_refused_by_networks_and_taken_by_average(weights_of: dict[str, Path | None]) -> None:
    tiny = picture(1, 1), picture(1, 1, channels=1)
    assert build_fuser("average", range_name="fixed")(*tiny).shape == (1, 1, 3)
    for name in ("nestfuse", "auif"):
        with pytest.raises(InputError, match="too small"):
            build_fuser(name, weights=weights_of[name])(*tiny)


def test_unknown_names_are_refused(nestfuse_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path))
    for arguments, message in (
        ({"name": "nestfuze"}, "did you mean nestfuse"),
        ({"name": "average", "range_name": "wide"}, "--range wide"),
        ({"name": "average", "mode": "l1"}, "average has no modes; auif"),
        ({"name": "auif", "mode": "max"}, "auif has sum, average, l1"),
        ({"name": "densefuse-l1"}, "weights import FILE --as densefuse.*densefuse_gray.model"),
        ({"name": "ifcnn", "mode": "sum"}, "weights import FILE --as ifcnn-sum.*IFCNN-SUM.pth"),
        ({"name": "average", "engine": "onyx"}, "--engine onyx"),
        ({"name": "average", "device": "tpu"}, "--device tpu"),
        ({"name": "average", "pooling": "mean"}, "--pooling mean"),
        ({"name": "average", "weights": nestfuse_file}, "has none"),
        ({"name": "ifcnn"}, "weights import FILE --as ifcnn.*weights fetch ifcnn"),
        ({"name": "nestfuse", "weights": tmp_path / "none.pt"}, "no such file"),
        ({"name": "auif", "weights": nestfuse_file}, "do not fit Auif"),
    ):
        with pytest.raises(InputError, match=message):
            build_fuser(**arguments)  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            build_fuser("average", device="cuda")


def test_method_names_are_unique() -> None:
    assert len(set(FUSION_METHODS)) == len(FUSION_METHODS)


def test_every_mode_is_a_method_and_the_first_is_the_published_one() -> None:
    for method, modes in FUSION_MODES.items():
        assert method_in_mode(method, None) == method_in_mode(method, modes[0]) == method
        assert {method_in_mode(method, mode) for mode in modes} <= {*FUSION_METHODS}
    assert weights_name("didfuse-l1") == "didfuse"
    assert weights_name("average") is weights_name("unknown") is None


def test_a_mode_is_the_method_of_that_name(auif_file: Path) -> None:
    pair = picture(20, 24), picture(20, 24, channels=1, seed=1)
    fused = {
        mode: build_fuser("auif", mode=mode, weights=auif_file, range_name="fixed")(*pair)
        for mode in FUSION_MODES["auif"]
    }
    assert np.array_equal(fused["l1"], build_fuser("auif-l1", weights=auif_file, range_name="fixed")(*pair))
    assert np.array_equal(fused["sum"], build_fuser("auif", weights=auif_file, range_name="fixed")(*pair))
    assert not np.array_equal(fused["sum"], fused["average"])


@pytest.mark.parametrize("method", ["auif", "didfuse"])
def test_shipped_weights_fuse_in_every_mode(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an import: what either picture shows is seen in the fused one, darker where both are darker."""
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path))
    visible, thermal = np.full((48, 64), 110, np.uint8), np.full((48, 64), 90, np.uint8)
    visible[8:20, 8:28], thermal[28:40, 36:56] = 190, 200
    for mode in FUSION_MODES[method]:
        levels = build_fuser(method, mode=mode, range_name="fixed")(visible, thermal)[..., 0].astype(int)
        ground, seen, warm = (int(np.median(part)) for part in (levels[:6], levels[10:18, 10:26], levels[30:38, 38:54]))
        assert seen > ground + 10, mode
        assert warm > ground + 10, mode
