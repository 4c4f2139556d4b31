"""Pictures as they come from the world, through the real commands: a right result or a clear refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fusion.densefuse import DenseFuse
from pipeline.cli.main import run
from tests.pipeline.cli.conftest import scene

VISIBLE, THERMAL = scene(4)
COLOUR = Image.fromarray(VISIBLE[..., ::-1].copy())
GREY = Image.fromarray(THERMAL)
_ORIENTATION = 0x112
_TURNED_RIGHT = 6


def fuse(visible: Path, thermal: Path, out: Path, *more: str) -> int:
    files = ["--visible", str(visible), "--thermal", str(thermal), "--out", str(out)]
    return run(["fuse", *files, "--method", "average", "--range", "fixed", *more])


def stream(visible: Path, thermal: Path, out: Path) -> int:
    sources = ["--visible", str(visible), "--thermal", str(thermal), "--out", str(out)]
    return run(["stream", *sources, "--fuser", "average", "--tracker", "none", "--no-overlay"])


def load(path: Path) -> NDArray[Any]:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a good pair and what it is fused to."""
    folder = tmp_path_factory.mktemp("good")
    COLOUR.save(folder / "v.png")
    GREY.save(folder / "t.png")
    assert fuse(folder / "v.png", folder / "t.png", folder / "fused.png") == 0
    return folder


def lying() -> tuple[Image.Image, Image.Exif]:
    """The visible picture as a camera on its side stores it."""
    notes = Image.Exif()
    notes[_ORIENTATION] = _TURNED_RIGHT
    return COLOUR.transpose(Image.Transpose.ROTATE_90), notes


def save_lying(path: Path) -> None:
    picture, notes = lying()
    more: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    picture.save(path, exif=notes, **more)


def alpha(path: Path) -> None:
    picture = COLOUR.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path)


RIGHT: dict[str, tuple[str, Callable[[Path], None], float]] = {
    "alpha": ("v.png", alpha, 0),
    "CMYK JPEG": ("v.jpg", lambda path: COLOUR.convert("CMYK").save(path, quality=98), 2),
    "CMYK TIFF": ("v.tif", lambda path: COLOUR.convert("CMYK").save(path), 1),
    "lying JPEG": ("v.jpg", save_lying, 4),
    "lying PNG": ("v.png", save_lying, 0),
    "lying TIFF": ("v.tif", save_lying, 0),
    "lying WebP": ("v.webp", save_lying, 0),
    "progressive JPEG": ("v.jpg", lambda path: COLOUR.save(path, progressive=True, quality=98), 3),
    "palette": ("v.png", lambda path: COLOUR.quantize(256).save(path), 6),
    "transparent palette": ("v.png", lambda path: COLOUR.quantize(256).save(path, transparency=3), 6),
}


@pytest.mark.parametrize("name", RIGHT)
def test_unusual_pictures_are_fused_right(name: str, good: Path, tmp_path: Path) -> None:
    file, save, tolerance = RIGHT[name]
    save(tmp_path / file)
    out = tmp_path / "fused.png"
    assert fuse(tmp_path / file, good / "t.png", out) == 0
    expected = load(good / "fused.png").astype(float)
    fused = load(out)
    assert fused.shape == expected.shape
    assert np.abs(fused - expected).mean() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_a_visible_picture_of_one_channel_gives_one(mode: str, good: Path, tmp_path: Path) -> None:
    COLOUR.convert(mode).save(tmp_path / "v.png")
    out = tmp_path / "fused.png"
    assert fuse(tmp_path / "v.png", good / "t.png", out) == 0
    luma = np.asarray(COLOUR.convert(mode).convert("L"), float)
    assert np.abs(load(out) - (luma + THERMAL) / 2).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_thermal_pictures_mean_the_same_in_every_mode(mode: str, good: Path, tmp_path: Path) -> None:
    GREY.convert(mode).save(tmp_path / "t.png")
    out = tmp_path / "fused.png"
    assert fuse(good / "v.png", tmp_path / "t.png", out) == 0
    assert np.abs(load(out).astype(int) - load(good / "fused.png")).max() <= 1


def half(path: Path, picture: Image.Image, share: float, **more: Any) -> None:
    picture.save(path, **more)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def flipped(path: Path) -> None:
    COLOUR.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def with_nan(path: Path) -> None:
    levels = THERMAL.astype(np.float32)
    levels[3, 3] = np.nan
    Image.fromarray(levels).save(path)


def pages(path: Path) -> None:
    COLOUR.save(path, save_all=True, append_images=[COLOUR.rotate(180)])


REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "float TIFF": ("x.tif", lambda path: GREY.convert("F").save(path), "floating-point"),
    "NaN": ("x.tif", with_nan, "NaN"),
    "32-bit integers": ("x.tif", lambda path: GREY.convert("I").save(path), "int32"),
    "colour of 16 bits": ("x.png", lambda path: cv2.imwrite(str(path), VISIBLE.astype(np.uint16) * 257), "16-bit"),
    "pages": ("x.tif", pages, "2 pictures"),
    "animated PNG": ("x.png", pages, "2 pictures"),
    "animated WebP": ("x.webp", pages, "2 pictures"),
    "empty": ("x.png", lambda path: path.write_bytes(b""), "damaged"),
    "text": ("x.png", lambda path: path.write_text("hello"), "damaged"),
    "flipped bits": ("x.png", flipped, "damaged"),
    **{
        f"{share:.0%} of a {suffix}": (f"x.{suffix}", lambda path, share=share: half(path, COLOUR, share), "damaged")
        for suffix in ("jpg", "png", "webp", "tif", "bmp", "ppm")
        for share in (0.5, 0.98)
    },
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("role", ["visible", "thermal"])
def test_what_has_no_meaning_is_refused(
    name: str, role: str, good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, save, complaint = REFUSED[name]
    bad, out = tmp_path / file, tmp_path / "fused.png"
    save(bad)
    pair = (bad, good / "t.png") if role == "visible" else (good / "v.png", bad)
    assert fuse(*pair, out) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("libpng")]
    assert len(told) <= 2
    assert complaint in told[-1]
    assert str(bad) in told[-1]
    assert not out.exists()


@pytest.mark.parametrize(("others", "code"), [("y", 2), ("a", 1)], ids=["first", "last"])
@pytest.mark.parametrize("name", ["float TIFF", "pages", "50% of a jpg", "colour of 16 bits"])
def test_a_stream_names_such_a_picture(
    name: str, others: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the first of a folder it is bad input; later the run does less than asked, and says so."""
    file, save, complaint = REFUSED[name]
    for folder, picture in (("visible", COLOUR), ("thermal", GREY)):
        (tmp_path / folder).mkdir()
        for index in range(3):
            picture.save(tmp_path / folder / f"{others}{index}.png")
    save(tmp_path / "visible" / file)
    assert stream(tmp_path / "visible", tmp_path / "thermal", tmp_path / "out") == code
    told = capfd.readouterr().err
    assert complaint in told
    assert file in told


def test_a_stream_stands_its_pictures_up(tmp_path: Path) -> None:
    for folder in ("visible", "thermal"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        save_lying(tmp_path / "visible" / f"{index}.png")
        GREY.save(tmp_path / "thermal" / f"{index}.png")
    assert stream(tmp_path / "visible", tmp_path / "thermal", tmp_path / "out") == 0
    video = cv2.VideoCapture(str(tmp_path / "out" / "fused.mp4"))
    read, picture = video.read()
    assert read
    assert picture.shape == VISIBLE.shape


def test_empty_folders_and_other_sizes_are_named(good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert fuse(tmp_path / "empty", good, tmp_path / "out") == 2
    assert "no pictures" in capfd.readouterr().err
    GREY.resize((50, 40)).save(tmp_path / "t.png")
    assert fuse(good / "v.png", tmp_path / "t.png", tmp_path / "fused.png") == 0
    assert "50x40" in capfd.readouterr().err
    assert load(tmp_path / "fused.png").shape == VISIBLE.shape


def test_a_checkpoint_of_another_network_is_refused(
    good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    torch.save(DenseFuse().state_dict(), tmp_path / "w.pt")
    (tmp_path / "noise.pt").write_bytes(b"\x80\x02nothing")
    for method, weights in (("nestfuse", "w.pt"), ("auif", "w.pt"), ("nestfuse", "noise.pt"), ("nestfuse", "none.pt")):
        more = ("--method", method, "--weights", str(tmp_path / weights))
        assert fuse(good / "v.png", good / "t.png", tmp_path / "fused.png", *more) == 2
        assert weights in capfd.readouterr().err
        assert not (tmp_path / "fused.png").exists()
