"""The fuse command: stills of every kind, folders, videos, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion.didfuse import DidFuse
from pipeline.cli.main import run
from tests.pipeline.cli.conftest import COUNT, HEIGHT, WIDTH, scene

REPO = Path(__file__).resolve().parents[3]
VISIBLE, THERMAL = scene(4)


def save(path: Path, picture: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return path


def fuse(visible: Path, thermal: Path, out: Path, *more: str) -> int:
    return run(
        ["fuse", "--visible", str(visible), "--thermal", str(thermal), "--out", str(out), "--method", "average", *more]
    )


def load(path: Path) -> NDArray[Any]:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture)


def test_colour_in_gives_colour_out(tmp_path: Path) -> None:
    out = tmp_path / "new" / "fused.png"
    assert fuse(save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL), out, "--range", "fixed") == 0
    fused = load(out)
    assert fused.shape == VISIBLE.shape
    hue_kept = np.corrcoef(
        (fused[..., 2].astype(int) - fused[..., 0]).ravel(), (VISIBLE[..., 2].astype(int) - VISIBLE[..., 0]).ravel()
    )
    assert hue_kept[0, 1] > 0.9
    gray = (cv2.cvtColor(VISIBLE, cv2.COLOR_BGR2GRAY).astype(float) + THERMAL) / 2
    assert np.abs(cv2.cvtColor(fused, cv2.COLOR_BGR2GRAY) - gray).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_gray_in_gives_one_channel_out(tmp_path: Path, suffix: str) -> None:
    gray = cv2.cvtColor(VISIBLE, cv2.COLOR_BGR2GRAY)
    out = tmp_path / f"fused{suffix}"
    assert fuse(save(tmp_path / "v.png", gray), save(tmp_path / "t.png", THERMAL), out) == 0
    assert load(out).shape == gray.shape


def test_a_mode_changes_the_picture_and_its_weights_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "store"))
    torch.manual_seed(0)
    torch.save({"weight": DidFuse().state_dict(), "epoch": 1}, tmp_path / "both.pkl")
    pair = save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL)
    didfuse = ("--method", "didfuse", "--weights", str(tmp_path / "both.pkl"))
    assert fuse(*pair, tmp_path / "sum.png", *didfuse) == 0
    assert fuse(*pair, tmp_path / "l1.png", *didfuse, "--mode", "l1") == 0
    assert not np.array_equal(load(tmp_path / "sum.png"), load(tmp_path / "l1.png"))
    assert fuse(*pair, tmp_path / "max.png", *didfuse, "--mode", "max") == 2
    assert "didfuse has sum, average, l1" in capsys.readouterr().err
    assert fuse(*pair, tmp_path / "none.png", "--method", "densefuse", "--mode", "l1") == 2
    assert "weights import FILE --as densefuse" in capsys.readouterr().err


def test_gray_can_be_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "fused.png"
    assert fuse(save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL), out, "--gray") == 0
    fused = load(out)
    assert fused.ndim == 2 or np.ptp(fused.astype(int), axis=2).max() == 0


def test_strips_give_the_same_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visible, thermal = save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL)
    whole, strips = tmp_path / "whole.png", tmp_path / "strips.png"
    more = ("--method", "nestfuse-lite", "--pooling", "max")
    assert fuse(visible, thermal, whole, *more) == 0
    assert fuse(visible, thermal, strips, *more, "--strip-pixels", "1000") == 0
    assert np.abs(load(whole).astype(int) - load(strips)).max() <= 1
    assert fuse(visible, thermal, strips, *more, "--strip-pixels", "0") == 2
    assert "--strip-pixels 0" in capsys.readouterr().err


@pytest.mark.parametrize("visible", [VISIBLE, cv2.cvtColor(VISIBLE, cv2.COLOR_BGR2GRAY)], ids=["colour", "grey"])
def test_tint_colours_what_is_warm(tmp_path: Path, visible: NDArray[Any]) -> None:
    thermal = np.zeros_like(THERMAL)
    thermal[20:40, 30:60] = 170
    out = tmp_path / "tinted.png"
    assert fuse(save(tmp_path / "v.png", visible), save(tmp_path / "t.png", thermal), out, "--tint") == 0
    tinted = load(out).astype(int)
    spread = tinted.max(axis=2) - tinted.min(axis=2)
    assert spread[20:40, 30:60].min() > 40
    cold = np.ones(thermal.shape, bool)
    cold[20:40, 30:60] = False
    gray = visible if visible.ndim == 2 else cv2.cvtColor(visible, cv2.COLOR_BGR2GRAY)
    assert spread[cold].max() <= 1
    assert np.abs(tinted[..., 0] - gray)[cold].max() <= 1
    assert fuse(tmp_path / "v.png", tmp_path / "t.png", out, "--tint", "--gray") == 2


@pytest.mark.parametrize("wrong", [("--method", "nestfsue"), ("--mode", "l1"), ("--strip-pixels", "0")])
def test_tint_does_not_hide_what_is_wrong(
    tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    visible, thermal = save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL)
    assert fuse(visible, thermal, tmp_path / "out.png", "--tint", *wrong) == 2
    assert wrong[1] in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pooling", "max"), "warning: --pooling not used: the fusion method average has no attention"),
        (("--pooling", "avg", "--spatial", "l1"), "warning: --pooling and --spatial not used"),
        ((), None),
        (("--method", "nestfuse-lite", "--pooling", "max", "--spatial", "l1"), None),
    ],
)
def test_options_of_the_attention_are_not_passed_over_in_silence(
    tmp_path: Path, options: tuple[str, ...], said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    visible, thermal = save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL)
    assert fuse(visible, thermal, tmp_path / "out.png", *options) == 0
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == (said is not None)
    assert said is None or printed[0].startswith(said)


def test_a_thermal_picture_of_16_bits_is_mapped(tmp_path: Path) -> None:
    counts = (THERMAL.astype(np.uint16) * 10) + 29_000
    out = tmp_path / "fused.png"
    even = np.full_like(VISIBLE, 100)
    assert fuse(save(tmp_path / "v.png", even), save(tmp_path / "t.png", counts), out) == 0
    fused = load(out)
    assert fused[40, 32] > 100 > fused[60, 80]  # the warm square is brighter


def test_another_size_is_fitted_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = cv2.resize(THERMAL, (WIDTH // 2, HEIGHT // 2))
    out = tmp_path / "fused.png"
    assert fuse(save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", small), out) == 0
    assert load(out).shape == VISIBLE.shape
    assert "calibration" in capsys.readouterr().err


def test_transparency_and_palette_are_resolved(tmp_path: Path) -> None:
    alpha = np.dstack([VISIBLE, np.full((HEIGHT, WIDTH), 100, np.uint8)])
    plain, through = tmp_path / "plain.png", tmp_path / "alpha.png"
    thermal = save(tmp_path / "t.png", THERMAL)
    assert fuse(save(tmp_path / "v.png", VISIBLE), thermal, plain) == 0
    assert fuse(save(tmp_path / "va.png", alpha), thermal, through) == 0
    assert np.array_equal(load(plain), load(through))


def test_folders_are_paired_by_name(media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fuse(media / "color", media / "ir", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"{index:04d}.png" for index in range(COUNT)]


def test_folders_without_equal_names_are_paired_by_order(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "v" / f"left{index}.png", VISIBLE)
        save(tmp_path / "t" / f"right{index}.jpg", THERMAL)
    assert fuse(tmp_path / "v", tmp_path / "t", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
    save(tmp_path / "t" / "right9.jpg", THERMAL)
    assert fuse(tmp_path / "v", tmp_path / "t", tmp_path / "out2") == 2


def test_one_folder_with_both_kinds_is_paired_by_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in (1, 2, 10):
        save(tmp_path / "both" / f"VIS{index}.png", VISIBLE)
        save(tmp_path / "both" / f"IR{index}.png", THERMAL)
    assert fuse(tmp_path / "both", tmp_path / "both", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.png", "10.png", "2.png"]
    save(tmp_path / "both" / "VIS3.png", VISIBLE)
    assert fuse(tmp_path / "both", tmp_path / "both", tmp_path / "out") == 2
    assert "no partner for 3" in capsys.readouterr().err


def test_an_output_below_a_file_is_named_before_anything_is_fused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visible = save(tmp_path / "v.png", VISIBLE)
    (tmp_path / "damaged.png").write_bytes(b"never read")
    assert fuse(visible, tmp_path / "damaged.png", visible / "fused.png") == 2
    assert f"--out {visible}: a file is in the way" in capsys.readouterr().err


@pytest.mark.parametrize("twice", ["visible", "thermal", "both in one"])
def test_two_pictures_of_one_name_are_refused_before_one_replaces_the_other(
    tmp_path: Path, twice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    visible, thermal = tmp_path / "visible", tmp_path / "thermal"
    names = ("VIS1.png", "IR1.png") if twice == "both in one" else ("1.png", "1.png")
    if twice == "both in one":
        visible = thermal
        save(visible / "VIS_1.png", VISIBLE)
    else:
        save(tmp_path / twice / "1.bmp", VISIBLE if twice == "visible" else THERMAL)
    save(visible / names[0], VISIBLE)
    save(thermal / names[1], THERMAL)
    assert fuse(visible, thermal, tmp_path / "out") == 2
    assert "keep one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_partner_missing_names_it(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "t" / "0003.png", THERMAL)
    assert fuse(media / "color", tmp_path / "t", tmp_path / "out") == 2
    assert "0000.png" in capsys.readouterr().err


def test_thermal_pictures_that_are_left_over_are_named(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "v" / "0003.png", VISIBLE)
    assert fuse(tmp_path / "v", media / "ir", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0003.png"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert f"no partner for {COUNT - 1} of {COUNT} thermal pictures (0000.png, 0001.png, 0002.png, ...)" in said[0]


def test_two_videos_give_a_video(media: Path, tmp_path: Path) -> None:
    out = tmp_path / "fused.mp4"
    assert fuse(media / "visible.mp4", media / "thermal.mp4", out) == 0
    with av.open(str(out)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == COUNT
    assert (pictures[0].width, pictures[0].height) == (WIDTH, HEIGHT)


def test_what_cannot_be_fused_is_refused(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visible, thermal = save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL)
    pixel = save(tmp_path / "pixel.png", THERMAL[:1, :1])
    deep = save(tmp_path / "deep.png", VISIBLE.astype(np.uint16) * 200)
    holes = save(
        tmp_path / "holes.tiff", np.where(THERMAL > 100, np.nan, THERMAL.astype(np.float32)).astype(np.float32)
    )
    broken = tmp_path / "broken.png"
    broken.write_bytes(visible.read_bytes()[:50])
    out = tmp_path / "fused.png"
    cases: list[tuple[Path, Path, Path, str]] = [
        (pixel, thermal, out, "pixel.png"),
        (visible, pixel, out, "pixel.png"),
        (deep, thermal, out, "deep.png"),
        (visible, holes, out, "NaN"),
        (broken, thermal, out, "broken.png"),
        (tmp_path / "absent.png", thermal, out, "absent.png"),
        (visible, media / "thermal.mp4", out, "same kind"),
        (visible, thermal, tmp_path / "fused.xyz", "fused.xyz"),
        (visible, thermal, visible, "overwrite"),
        (media / "color", media / "ir", media / "ir", "input folder"),
        (media / "visible.mp4", media / "thermal.mp4", tmp_path / "fused.avi", "mp4"),
        (media / "cut.mp4", media / "thermal.mp4", tmp_path / "fused.mp4", "cut.mp4"),
    ]
    for first, second, target, word in cases:
        assert fuse(first, second, target) == 2, word
        printed = capsys.readouterr().err
        assert word in printed
        assert len(printed.splitlines()) <= 2
    assert not out.exists()


def test_a_wrong_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visible, thermal = save(tmp_path / "v.png", VISIBLE), save(tmp_path / "t.png", THERMAL)
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"not a checkpoint")
    line = ["fuse", "--visible", str(visible), "--thermal", str(thermal), "--out", str(tmp_path / "f.png")]
    assert run([*line, "--method", "nestfuse", "--weights", str(wrong)]) == 2
    assert "wrong.pth" in capsys.readouterr().err
    assert run([*line, "--method", "auif", "--weights", str(tmp_path / "absent.pth")]) == 2
    assert "absent.pth" in capsys.readouterr().err
    assert run([*line, "--method", "nestfsue"]) == 2
    assert "nestfuse" in capsys.readouterr().err


def test_a_file_name_that_is_no_text_is_a_name_like_any_other(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    visible, thermal, out = (Path(os.fsdecode(folder + b"/" + name)) for name in (b"v\xe9.png", b"t\xe9.png", b"o\xe9"))
    for path, picture in ((visible, VISIBLE), (thermal, THERMAL)):
        assert cv2.imwrite(str(tmp_path / "plain.png"), picture)
        (tmp_path / "plain.png").rename(path)
    # In a process of its own: OpenCV used to end it. With the strict output of most terminals.
    line = [sys.executable, "run_stream.py", "fuse", "--visible", visible, "--thermal", thermal]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(
        [*line, "--method", "average", "--out", f"{out}.png"],
        cwd=REPO,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"fused picture" in ended.stdout
    assert Path(f"{out}.png").is_file()


def test_a_dash_is_printed_where_ascii_alone_is_known(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    code = "from pipeline.cli import main; main._load = lambda name: (print('\\u2013'), exit(0)); main.run(['doctor'])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPO, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, b"\\u2013"), ended.stderr
