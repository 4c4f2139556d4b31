"""From raw results to scores.json, tables and the page; and the score command."""

from __future__ import annotations

import csv
import json
import math
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.cli.main import run

REPO = Path(__file__).resolve().parents[3]
TRAIN = REPO.parent / "shared" / "vot" / "train"
needs_reference = pytest.mark.skipif(not TRAIN.is_dir(), reason="the reference results are not beside the checkout")

LENGTHS = {"near": 30, "far": 45}


def write_dataset(root: Path, *, pictures: bool = False) -> Path:
    for number, (name, length) in enumerate(LENGTHS.items()):
        folder = root / name
        folder.mkdir(parents=True)
        boxes = [(10 + frame / 2, 12 + number, 16, 12) for frame in range(length)]
        (folder / "groundtruth.txt").write_text("".join("{},{},{},{}\n".format(*box) for box in boxes))
        (folder / "sequence").write_text(
            "width=64\nheight=48\nchannels.color=color/%08d.png\nchannels.ir=ir/%08d.png\n"
        )
        (folder / "dark.tag").write_text("1\n" * 20)
        if pictures:
            for channel in ("color", "ir"):
                (folder / channel).mkdir()
                for frame in range(length):
                    picture = np.full((48, 64), 40 + frame, np.uint8)
                    cv2.imwrite(str(folder / channel / f"{frame + 1:08d}.png"), picture)
    return root


def write_results(root: Path, tracker: str, *, failing: bool, repetitions: int = 1) -> None:
    for number, (name, length) in enumerate(LENGTHS.items()):
        folder = root / tracker / "baseline" / name
        folder.mkdir(parents=True)
        lines = ["1", *(f"{10 + frame / 2},{13 + number},16,12" for frame in range(1, length))]
        if failing:
            lines[12:18] = ["2", "0", "0", "0", "0", "1"]
        for repetition in range(1, repetitions + 1):
            (folder / f"{name}_{repetition:03d}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data")
    write_results(tmp_path / "results", "good-fused", failing=False)
    write_results(tmp_path / "results", "bad-ir", failing=True)
    return tmp_path


def score(folder: Path, *options: str) -> int:
    return run(
        [
            "score",
            *("--data", str(folder / "data"), "--results", str(folder / "results"), "--out", str(folder / "out")),
            *options,
        ]
    )


def test_writes_scores_tables_and_a_self_contained_page(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(evaluation, "--interval", "10:30") == 0
    scores = json.loads((evaluation / "out" / "scores.json").read_text())
    assert set(scores) == {"good-fused", "bad-ir"}
    good, bad = scores["good-fused"], scores["bad-ir"]
    assert (good["failures"], bad["failures"]) == (0, 2)
    assert good["eao"] == good["eao_matlab"] > bad["eao_matlab"]
    assert bad["failures_per_sequence"] == 1
    assert bad["robustness_exp_s100"] == pytest.approx(math.exp(-100 * 2 / 75))
    assert bad["per_sequence"]["near"]["failures"] == 1
    assert bad["per_tag"]["dark"]["failures"] == 2
    assert bad["per_tag"]["empty"]["frames"] == 75 - 40

    page = (evaluation / "out" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 3
    table = page[page.index('id="main-table"') :]
    assert table.index("Infrared") < table.index("Fused")
    rows = list(csv.DictReader((evaluation / "out" / "scores.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["bad-ir", "good-fused"]
    assert float(rows[1]["eao_matlab"]) == good["eao_matlab"]
    assert r"\toprule" in (evaluation / "out" / "table.tex").read_text()
    assert "good-fused" in capsys.readouterr().out


def test_the_lineage_chooses_the_headline(evaluation: Path) -> None:
    assert score(evaluation, "--interval", "10:30", "--lineage", "toolkit") == 0
    scores = json.loads((evaluation / "out" / "scores.json").read_text())
    assert scores["bad-ir"]["eao"] == scores["bad-ir"]["eao_toolkit"] != scores["bad-ir"]["eao_matlab"]


def test_same_results_same_bytes_and_a_changed_result_changes_the_numbers(evaluation: Path) -> None:
    def outputs() -> list[bytes]:
        assert score(evaluation, "--interval", "10:30") == 0
        return [(evaluation / "out" / name).read_bytes() for name in ("scores.json", "report.html", "table.tex")]

    first = outputs()
    assert outputs() == first
    path = evaluation / "results" / "good-fused" / "baseline" / "near" / "near_001.txt"
    lines = path.read_text().splitlines()
    lines[15] = "40,30,5,5"
    path.write_text("\n".join(lines) + "\n")
    assert outputs()[0] != first[0]


def test_an_interval_without_sequences_is_said_and_null(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(evaluation) == 0
    scores = json.loads((evaluation / "out" / "scores.json").read_text())
    assert scores["good-fused"]["eao"] is None
    assert scores["good-fused"]["eao_matlab_interval_of_these_lengths"] > 0.5
    assert "undefined" in capsys.readouterr().out


def test_repetitions_are_averaged(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    write_results(tmp_path / "results", "three", failing=True, repetitions=3)
    path = tmp_path / "results" / "three" / "baseline" / "near" / "near_002.txt"
    path.write_text("\n".join(["1", *(["10,13,16,12"] * 29)]) + "\n")
    assert score(tmp_path, "--interval", "10:30") == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["three"]
    assert scores["failures"] == pytest.approx(1 + 2 / 3)


def test_failures_are_shown_with_their_frames(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", pictures=True)
    write_results(tmp_path / "results", "bad-ir", failing=True)
    assert score(tmp_path, "--interval", "10:30") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "near, frame 13 of 30" in page


def test_one_pass_results(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    write_results(tmp_path / "results", "good-fused", failing=False)
    assert score(tmp_path, "--protocol", "ope") == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["good-fused"]
    assert scores["precision_20px"] == 1
    assert 0.7 < scores["success_auc"] < 0.95
    assert (tmp_path / "out" / "report.html").read_text().count("<svg") == 3


def test_names_that_look_like_markup_stay_text(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    write_results(tmp_path / "results", "<b>x&y_z", failing=False)
    assert score(tmp_path, "--interval", "10:30") == 0
    assert "<b>x" not in (tmp_path / "out" / "report.html").read_text()
    assert r"x\&y\_z" in (tmp_path / "out" / "table.tex").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--interval", "9"), "LOW:HIGH"),
        (("--interval", "30:10"), "1 <= LOW <= HIGH"),
        (("--sequences", "nowhere"), "no sequence 'nowhere'"),
        (("--trackers", "nobody"), "no results of 'nobody'"),
        (("--ground-truth", "x.json"), "either --data"),
        (("--official", "/nowhere/python"), "install-vot-toolkit"),
    ],
)
def test_wrong_options(
    evaluation: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(evaluation, *options) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_result_line_ends_with_its_place(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = evaluation / "results" / "bad-ir" / "baseline" / "far" / "far_001.txt"
    path.write_text(path.read_text().replace("\n0\n", "\nzero\n", 1))
    assert score(evaluation) == 2
    assert "far_001.txt, line 14" in capsys.readouterr().err


@needs_reference
@pytest.mark.parametrize("lineage", ["matlab", "toolkit"])
def test_the_command_reproduces_reference_scores(tmp_path: Path, lineage: str) -> None:
    with zipfile.ZipFile(TRAIN / "rgbt2019.zip") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "dataset").rename(tmp_path / "data")
    assert score(tmp_path, "--lineage", lineage) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    for tracker, expected in json.loads((TRAIN / "expected.json").read_text())["datasets"]["rgbt2019"][
        "trackers"
    ].items():
        block = expected["pysot" if lineage == "matlab" else "toolkit_0_7_4"]
        eao = block["eao" if lineage == "matlab" else "eao_index_low_minus_1"]
        assert scores[tracker]["eao"] == pytest.approx(eao, abs=1e-6)
        assert scores[tracker]["accuracy"] == pytest.approx(block["accuracy"], abs=1e-6)
        assert scores[tracker]["failures"] == expected["pysot"]["lost_number"]
        for s in (30, 100):
            assert scores[tracker][f"robustness_exp_s{s}"] == pytest.approx(
                expected["pysot"][f"robustness_exp_S{s}"], abs=1e-9
            )
            assert scores[tracker][f"robustness_toolkit_exp_s{s}"] == pytest.approx(
                expected["toolkit_0_7_4"][f"ar_robustness_S{s}"], abs=1e-9
            )
    published = json.loads((TRAIN / "expected.json").read_text())["datasets"]["rgbt2019"]["trackers"]["JMMAC"]
    assert round(scores["JMMAC"]["robustness_exp_s100"], 4) == published["published"]["robustness_exp_S100"]


@needs_reference
def test_pysot_ground_truth_gives_the_same_scores(tmp_path: Path) -> None:
    with zipfile.ZipFile(TRAIN / "syn_ws2.zip") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "dataset").rename(tmp_path / "data")
    assert score(tmp_path, "--interval", "20:70") == 0
    expected = json.loads((tmp_path / "out" / "scores.json").read_text())
    content = {}
    for name in (tmp_path / "data" / "list.txt").read_text().split():
        folder = tmp_path / "data" / name
        lines = (folder / "groundtruth.txt").read_text().split()
        content[name] = {
            "gt_rect": [[float(number) for number in line.split(",")] for line in lines],
            "width": 320,
            "height": 240,
            **{path.stem: [int(v) for v in path.read_text().split()] for path in folder.glob("*.tag")},
        }
    (tmp_path / "syn.json").write_text(json.dumps(content))
    arguments = ["score", "--ground-truth", str(tmp_path / "syn.json"), "--interval", "20:70"]
    assert run([*arguments, "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out2")]) == 0
    found = json.loads((tmp_path / "out2" / "scores.json").read_text())
    for tracker, numbers in expected.items():
        assert found[tracker] == numbers
