"""evaluate-fusion on generated stills and videos: the files it writes, its arithmetic, and bad input."""

import base64
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fusion.densefuse import DenseFuse
from fusion.metrics import METRIC_NAMES, score_conventions
from fusion.picture_fuser import AverageMethod, PictureFuser
from fusion.ranges import build_range
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.cli.evaluate_fusion import split_methods, split_options, split_weights
from pipeline.cli.main import run
from pipeline.flicker_evaluation import measure_video, write_video_scores
from pipeline.fusion_evaluation import find_pairs, ranks, read_grey, score_methods
from pipeline.fusion_report import difference_colors, matched_tone, place_of_disagreement

REPO = Path(__file__).resolve().parents[2]
SIZE = (70, 90)


def picture(seed: int) -> np.ndarray:
    rough = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=SIZE), (0, 0), 2.5)
    return np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8)


def store(path: Path, levels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), levels)
    return path


def store_scenes(folder: Path) -> None:
    for number in (1, 2, 10):
        store(folder / "scenes" / f"IR{number}.png", picture(number))
        store(folder / "scenes" / f"VIS{number}.bmp", picture(100 + number))
        mean = (picture(number).astype(np.uint16) + picture(100 + number)) // 2
        store(folder / "mean" / f"{number}.png", mean.astype(np.uint8))
        store(folder / "thermal" / f"{number}.png", picture(number))
    store(folder / "scenes" / "notes.png", picture(0))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store_scenes(tmp_path)
    return tmp_path / "scenes"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, two sets of fused pictures, and in ``out`` what the command made of them."""
    folder = tmp_path_factory.mktemp("evaluated")
    store_scenes(folder)
    arguments = ["evaluate-fusion", "--data", str(folder / "scenes"), "--out", str(folder / "out")]
    arguments += ["--convention", "both", "--workers", "1"]
    assert run([*arguments, "--fused", str(folder / "mean"), "--fused", str(folder / "thermal")]) == 0
    return folder


def test_results_hold_every_picture_s_scores_and_their_means(evaluated: Path) -> None:
    scores = json.loads((evaluated / "out" / "scores.json").read_text())
    assert list(scores) == ["mean", "thermal"]
    entry = scores["mean"]
    assert entry["images"] == ["1", "2", "10"]
    assert entry["pairs"] == 3
    fused = read_grey(evaluated / "mean" / "10.png")
    expected = score_conventions(picture(10), picture(110), fused, ("paper", "standard"))
    for prefix, convention in (("", "paper"), ("std_", "standard")):
        for metric in METRIC_NAMES:
            values = entry["per_image"][prefix + metric]
            assert values[2] == expected[convention][metric]  # type: ignore[index]
            assert entry[prefix + metric] == pytest.approx(np.mean(values), rel=1e-12)
    with (evaluated / "out" / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 3
    assert float(rows[0]["VIF"]) == entry["per_image"]["VIF"][0]


def test_table_has_the_paper_s_columns_and_marks_the_best(evaluated: Path) -> None:
    lines = (evaluated / "out" / "table.md").read_text().splitlines()
    assert "| method | En | SD | MI | FMI_dct | FMI_w | SSIMa | VIF |" in lines
    mean = next(line for line in lines if line.startswith("| mean |")).split("|")[2:-1]
    thermal = next(line for line in lines if line.startswith("| thermal |")).split("|")[2:-1]
    for ours, theirs in zip(mean, thermal, strict=True):
        assert {ours.strip().count("*"), theirs.strip().count("*")} == {2, 4}
        better, worse = (ours, theirs) if "**" in ours else (theirs, ours)
        assert float(better.strip(" *")) > float(worse.strip(" *"))


def test_report_is_one_file_with_a_sheet_for_every_pair(evaluated: Path) -> None:
    page = (evaluated / "out" / "report.html").read_text()
    assert "://" not in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 3 * 4 * 3  # pairs, columns, rows
    for text in pictures:
        assert cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) is not None
    assert re.findall(r"<h2>Pair (\S+)", page) == ["1", "2", "10"]


def test_methods_are_built_and_their_pictures_kept(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate-fusion", "--data", str(data), "--out", str(out), "--workers", "1", "--max-pairs", "1"]
    assert run([*arguments, "--methods", "average:range=fixed", "--fused", str(tmp_path / "mean")]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores) == ["average:range=fixed", "mean"]
    made, expected = read_grey(out / "fused" / "average-range-fixed" / "1.png"), read_grey(tmp_path / "mean" / "1.png")
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert scores["mean"]["VIF"] == pytest.approx(scores["average:range=fixed"]["VIF"], rel=0.01)


def test_options_of_an_attention_that_is_not_there_are_warned_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["evaluate-fusion", "--data", str(data), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert run([*line, "--methods", "laplacian,average:pooling=max", "--max-pairs", "1"]) == 0
    warned = [text for text in capsys.readouterr().err.splitlines() if text.startswith("warning")]
    assert len(warned) == 1
    assert "pooling=max not used: the fusion method average has no attention" in warned[0]


def test_modes_of_a_method_are_measured_side_by_side(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(DenseFuse().state_dict(), tmp_path / "dense.model")
    arguments = ["evaluate-fusion", "--data", str(data), "--out", str(tmp_path / "out"), "--workers", "1"]
    arguments += ["--max-pairs", "1", "--methods", "densefuse,densefuse:mode=l1"]
    assert run([*arguments, "--weights", str(tmp_path / "dense.model")]) == 0
    assert list(json.loads((tmp_path / "out" / "scores.json").read_text())) == ["densefuse", "densefuse:mode=l1"]


def test_fewer_sheets_and_pairs_on_request(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate-fusion", "--data", str(data), "--out", str(out), "--fused", str(tmp_path / "mean")]
    assert run([*arguments, "--workers", "1", "--sheets", "1", "--max-pairs", "2"]) == 0
    assert json.loads((out / "scores.json").read_text())["mean"]["images"] == ["1", "2"]
    assert (out / "report.html").read_text().count("<h2>Pair") == 1


def test_pairs_may_also_lie_in_two_folders(tmp_path: Path) -> None:
    for name in ("FLIR_00006.jpg", "FLIR_2.jpg"):
        store(tmp_path / "ir" / name, picture(1))
        store(tmp_path / "vis" / name, picture(2))
    assert [(pair.name, pair.ir.parent.name) for pair in find_pairs(tmp_path)] == [
        ("FLIR_2", "ir"),
        ("FLIR_00006", "ir"),
    ]


def test_several_processes_give_the_same_numbers(data: Path, tmp_path: Path) -> None:
    pairs = find_pairs(data)
    fused = {"mean": [tmp_path / "mean" / f"{pair.name}.png" for pair in pairs]}
    alone = score_methods(fused, pairs, "paper", workers=1)
    assert score_methods(fused, pairs, "paper", workers=2) == alone


def test_one_method_alone_is_neither_best_nor_second(data: Path, tmp_path: Path) -> None:
    pairs = find_pairs(data)[:1]
    results = score_methods({"mean": [tmp_path / "mean" / "1.png"]}, pairs, "paper", workers=1)
    assert ranks(results, "paper", "En") == {}
    twins = score_methods({name: [tmp_path / "mean" / "1.png"] for name in "ab"}, pairs, "paper", workers=1)
    assert ranks(twins, "paper", "En") == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to measure on; give --data"),
        (["--data", "{data}"], "give --methods"),
        (["--data", "{data}", "--fused", "{mean}", "--fused", "{mean}"], "named twice"),
        (["--data", "{data}", "--fused", "{mean}", "--video-visible", "a.mp4"], "two different measurements"),
        (["--data", "{mean}", "--fused", "{mean}"], "no pictures named IR1"),
        (["--data", "{missing}", "--fused", "{mean}"], "missing"),
        (["--data", "{data}", "--fused", "{partial}"], "no picture for 2 of 3 pairs (2, 10)"),
        (["--data", "{data}", "--fused", "{small}"], "40x70 pixels, but IR1.png has 90x70"),
        (["--data", "{alone}", "--fused", "{mean}"], "1 IR pictures have no VIS partner (1)"),
        (["--data", "{twice}", "--fused", "{mean}"], "are the same picture"),
        (["--data", "{deep}", "--fused", "{mean}"], "IR1.png: 16-bit picture where 8 bits are needed"),
        (["--data", "{tiny}", "--fused", "{mean}"], "at least 65 pixels a side"),
        (["--data", "{data}", "--fused", "{mean}", "--workers", "-1"], "--workers -1"),
        (["--data", "{data}", "--methods", "nestfuse:max"], "not name=value"),
        (["--data", "{data}", "--methods", "nestfuse:pool=max"], "no option 'pool'"),
        (["--data", "{data}", "--methods", "average", "--weights", "auif=x"], "auif is not among"),
        (["--video-visible", "a.mp4", "--methods", "average"], "--video-thermal is missing"),
    ],
)
def test_bad_input_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    store(tmp_path / "partial" / "1.png", picture(1))
    for number in (1, 2, 10):
        store(tmp_path / "small" / f"{number}.png", picture(1)[:, :40])
    store(tmp_path / "alone" / "IR1.png", picture(1))
    for name in ("IR1.png", "IR1.bmp", "VIS1.png"):
        store(tmp_path / "twice" / name, picture(1))
    for name in ("IR1.png", "VIS1.png"):
        store(tmp_path / "tiny" / name, picture(1)[:64])
    store(tmp_path / "deep" / "IR1.png", picture(1).astype(np.uint16) * 100)
    store(tmp_path / "deep" / "VIS1.png", picture(1))
    names = ("mean", "partial", "small", "alone", "twice", "tiny", "deep", "missing")
    places = {name: str(tmp_path / name) for name in names} | {"data": str(data)}
    filled = [text.format(**places) for text in arguments]
    assert run(["evaluate-fusion", "--out", str(tmp_path / "out"), *filled]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert len(message.strip().splitlines()) <= 2
    assert not (tmp_path / "out" / "scores.json").exists()


def test_methods_keep_their_options() -> None:
    assert split_methods("average, nestfuse:pooling=max,spatial=l1,auif") == [
        "average",
        "nestfuse:pooling=max,spatial=l1",
        "auif",
    ]
    assert split_options("nestfuse:pooling=max,spatial=l1") == {"pooling": "max", "spatial": "l1"}
    assert split_options("average") == {}


def test_weights_belong_to_the_method_they_name() -> None:
    methods = ["average", "nestfuse:pooling=max", "nestfuse"]
    assert split_weights(["nestfuse=a/b.safetensors"], methods) == {"nestfuse": Path("a/b.safetensors")}
    assert split_weights(["b.pt"], ["auif"]) == {"auif": Path("b.pt")}


def test_the_zoom_finds_the_place_where_pictures_differ() -> None:
    first = picture(1)
    second = first.copy()
    second[40:60, 70:85] = 255 - second[40:60, 70:85]
    rows, columns = place_of_disagreement([first, second])
    assert rows.start <= 40
    assert rows.stop >= 60
    assert columns.start <= 70
    assert columns.stop >= 85
    assert columns.stop <= first.shape[1]


def test_tone_is_no_difference() -> None:
    reference = picture(1).astype(np.float32)
    darker = (picture(1) // 2).astype(np.uint8)
    assert np.abs(matched_tone(darker, reference) - reference).max() < 2
    assert np.allclose(matched_tone(np.full(SIZE, 7, np.uint8), reference), reference.mean())


def test_differences_are_blue_white_and_red() -> None:
    blue, white, red = difference_colors(np.array([[-200.0, 0.0, 200.0]]))[0].tolist()
    assert white == [255, 255, 255]
    assert blue[0] > blue[2]
    assert red[2] > red[0]


def test_stretching_every_frame_flickers_more_than_a_smooth_range(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = 60 + 60 * np.linspace(0, 1, SIZE[1]) + np.zeros(SIZE)
    for index in range(30):
        for role in ("visible", "thermal"):
            frame = base + generator.normal(scale=2, size=SIZE)
            if index % 4 < 2:  # a glint that each frame's own stretch gives the whole range to
                frame[10:14, 20:24] = 255
            store(tmp_path / role / f"{index}.png", frame.round().clip(0, 255).astype(np.uint8))
    source = PairSourceConfig(visible=str(tmp_path / "visible"), thermal=str(tmp_path / "thermal"))
    fusers = {
        name: PictureFuser(AverageMethod(), build_range(name), gray=True) for name in ("fixed", "stretch", "smooth")
    }
    with open_pairs(source) as stream:
        results = measure_video(stream, fusers)
    assert results["stretch"].flicker.ratio > 10 * results["fixed"].flicker.ratio
    assert results["smooth"].flicker.ratio < results["stretch"].flicker.ratio / 4
    # The mean of two noises of deviation 2.
    assert results["fixed"].flicker.fused == pytest.approx(2, rel=0.15)
    write_video_scores(tmp_path, results, "glint")
    entry = json.loads((tmp_path / "scores.json").read_text())["fixed"]
    assert entry["ratio"] == results["fixed"].flicker.ratio
    assert entry["frames"] == 25  # whole stretches
    assert "| fixed |" in (tmp_path / "table.md").read_text()


def test_what_is_odd_about_a_measured_video_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(6):
        store(tmp_path / "visible" / f"{index}.png", picture(index))
        if index < 4:
            store(tmp_path / "thermal" / f"{index}.png", picture(100 + index)[:, :-2])
    videos = ["--video-visible", str(tmp_path / "visible"), "--video-thermal", str(tmp_path / "thermal")]
    assert run(["evaluate-fusion", *videos, "--methods", "average", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "no calibration given" in said
    assert "2 of 6 visible frames found no thermal frame" in said


def test_a_machine_that_knows_ascii_alone_gets_the_same_report(data: Path, tmp_path: Path) -> None:
    line = [sys.executable, "run_stream.py", "evaluate-fusion", "--data", data, "--fused", tmp_path / "mean"]
    line += ["--workers", "1", "--max-pairs", "1", "--out", tmp_path / "out"]
    poor = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = subprocess.run(line, cwd=REPO, env=poor, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "utf-8" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_an_earlier_measurement_is_replaced_only_on_request(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate-fusion", "--data", str(data), "--out", str(out), "--workers", "1", "--max-pairs", "1"]
    arguments += ["--fused", str(tmp_path / "mean")]
    out.mkdir()
    (out / "scores.json").write_text("{}")
    (out / "notes.txt").write_text("mine")
    assert run(arguments) == 2
    assert (out / "scores.json").read_text() == "{}"
    assert run([*arguments, "--overwrite"]) == 0
    assert "mean" in json.loads((out / "scores.json").read_text())
    assert (out / "notes.txt").read_text() == "mine"


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pictures_of_an_earlier_measurement_go_and_others_stay(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["evaluate-fusion", "--data", str(data), "--out", str(out), "--workers", "1", "--overwrite"]
    assert run([*line, "--methods", "average,laplacian"]) == 0
    store(out / "fused" / "average" / "11.png", picture(1))
    store(out / "fused" / "mine" / "1.png", picture(1))
    assert run([*line, "--methods", "laplacian", "--max-pairs", "1"]) == 0
    assert below(out / "fused") == ["average/11.png", "laplacian/1.png", "mine/1.png"]
    # Nor is what is measured now removed, whoever wrote it; only when it is not.
    assert run([*line, "--fused", str(out / "fused" / "laplacian"), "--max-pairs", "1"]) == 0
    assert below(out / "fused") == ["average/11.png", "laplacian/1.png", "mine/1.png"]
    assert run([*line, "--fused", str(tmp_path / "mean"), "--max-pairs", "1"]) == 0
    assert below(out / "fused") == ["average/11.png", "mine/1.png"]
    assert not (out / "pictures.json").exists()


@pytest.mark.parametrize("listed", ['["../../mine/1.png", "fused/../1.png", "/1.png", 1]', "{}", "[", '"fused"'])
def test_a_list_of_pictures_reaches_no_others(data: Path, tmp_path: Path, listed: str) -> None:
    out = tmp_path / "out"
    mine = [store(path, picture(1)) for path in (tmp_path / "mine" / "1.png", out / "1.png", out / "fused" / "1.png")]
    (out / "pictures.json").write_text(listed)
    line = ["evaluate-fusion", "--data", str(data), "--out", str(out), "--workers", "1", "--overwrite"]
    assert run([*line, "--methods", "average", "--max-pairs", "1"]) == 0
    assert all(path.is_file() for path in mine)
    assert json.loads((out / "pictures.json").read_text()) == ["fused/average/1.png"]


def test_measuring_a_video_leaves_no_pictures_of_stills(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["evaluate-fusion", "--out", str(out), "--methods", "average", "--overwrite"]
    assert run([*line, "--data", str(data), "--workers", "1", "--max-pairs", "1"]) == 0
    videos = ["--video-visible", "synthetic", "--video-thermal", "synthetic", "--max-pairs", "2"]
    assert run([*line, *videos]) == 0
    assert below(out) == ["scores.json", "table.md"]
    assert not (out / "fused").exists()
