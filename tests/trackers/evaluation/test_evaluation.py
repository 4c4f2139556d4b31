"""Whole evaluations: resuming, workers that die, trackers that raise, stale results, missing pictures."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fusion.attention import FSRPN, PAPER, PoolingKind
from fusion.errors import InputError, RunError
from fusion.factory import build_fuser
from pipeline.cli.evaluate import add_arguments, tracker_specs
from pipeline.cli.main import run
from tests.trackers.evaluation.doubles import PixelTracker, build_double, write_sequences
from trackers.box import Box
from trackers.evaluation.evaluation import EvaluationSummary, evaluate, local_executor
from trackers.evaluation.frames import PicturePair
from trackers.evaluation.jobs import Builder
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.pixel_fusion import PixelFusionTracker, fuser_digest
from trackers.evaluation.protocol import RunOptions
from trackers.evaluation.scoring import ScoringOptions
from trackers.evaluation.specs import TrackerSpec, build, variant
from trackers.state import Modality

REPO = Path(__file__).resolve().parents[3]
LENGTHS = {"alpha": 8, "beta": 14, "gamma": 20}
SCORING = ScoringOptions(interval="2:10")


def spec(name: str, modality: Modality = Modality.IR) -> TrackerSpec:
    return TrackerSpec(tracker=name, modality=modality)


def evaluate_doubles(
    folder: Path,
    *names: str,
    workers: int = 1,
    options: RunOptions | None = None,
    builder: Builder = build_double,
    overwrite: bool = False,
) -> EvaluationSummary:
    return evaluate(
        read_dataset(folder / "data"),
        tuple(spec(name) for name in names),
        folder / "out",
        options or RunOptions(repetitions=1),
        SCORING,
        execute=local_executor(workers, builder),
        builder=builder,
        overwrite=overwrite,
    )


def finished(folder: Path) -> list[tuple[str, str]]:
    log = folder / "out" / "runs.jsonl"
    if not log.is_file():
        return []
    return [(entry["tracker"], entry["sequence"]) for entry in map(json.loads, log.read_text().splitlines())]


def result_texts(folder: Path) -> dict[str, str]:
    results = folder / "out" / "results"
    return {str(path.relative_to(results)): path.read_text() for path in sorted(results.rglob("*_0??.txt"))}


def test_runs_scores_reports_and_does_nothing_the_second_time(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", LENGTHS)
    first = evaluate_doubles(tmp_path, "shifting", workers=2, options=RunOptions())
    assert (first.kept, first.ran) == (0, 3)
    assert len(result_texts(tmp_path)) == 9
    assert (tmp_path / "out" / "report.html").is_file()
    scores = (tmp_path / "out" / "scores.json").read_text()
    assert set(json.loads(scores)) == {"shifting-ir"}
    second = evaluate_doubles(tmp_path, "shifting", workers=2, options=RunOptions())
    assert (second.kept, second.ran) == (3, 0)
    assert (tmp_path / "out" / "scores.json").read_text() == scores
    assert len(finished(tmp_path)) == 3


def test_a_tracker_that_raises_is_named_with_its_sequence_and_the_rest_is_kept(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", LENGTHS, bad="beta")
    with pytest.raises(RunError, match=r"raising-ir on beta: ArithmeticError: the score map is empty\n2 of 3"):
        evaluate_doubles(tmp_path, "raising")
    assert "Traceback" in (tmp_path / "out" / "errors.txt").read_text()
    assert {sequence for _, sequence in finished(tmp_path)} == {"alpha", "gamma"}
    assert not (tmp_path / "out" / "scores.json").exists()


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALUATION_TEST_MARKER", str(tmp_path / "marker"))
    write_sequences(tmp_path / "data", LENGTHS, bad="beta")
    evaluate_doubles(tmp_path, "killed-once", workers=2)
    assert (tmp_path / "marker").exists()
    assert sorted(sequence for _, sequence in finished(tmp_path)) == ["alpha", "beta", "gamma"]


def test_a_worker_that_dies_twice_is_a_failure_with_its_sequence(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", LENGTHS, bad="beta")
    with pytest.raises(RunError, match="killed-ir on beta: its worker process died \\(signal SIGKILL\\), twice"):
        evaluate_doubles(tmp_path, "killed")
    assert {sequence for _, sequence in finished(tmp_path)} == {"alpha", "gamma"}


def test_a_tracker_that_differs_runs_as_often_as_allowed(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8})
    evaluate_doubles(tmp_path, "drunken", options=RunOptions(repetitions=5))
    assert len(result_texts(tmp_path)) == 5
    numbers = json.loads((tmp_path / "out" / "scores.json").read_text())["drunken-ir"]
    assert numbers["repetitions_most"] == 5


SCRIPT = """
import sys
from pathlib import Path
from tests.trackers.evaluation.test_evaluation import evaluate_doubles
if __name__ == "__main__":
    evaluate_doubles(Path(sys.argv[1]), "slow", workers=2)
"""


def wait_for_group(number: int) -> None:
    """Wait until the orphaned workers have noticed, which they do at their next frame."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            os.killpg(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)


def test_a_killed_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    lengths = {f"s{number}": 12 + number for number in range(8)}
    write_sequences(tmp_path / "whole" / "data", lengths)
    shutil.copytree(tmp_path / "whole" / "data", tmp_path / "killed" / "data")
    evaluate_doubles(tmp_path / "whole", "slow", workers=2)

    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(finished(tmp_path / "killed")) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = finished(tmp_path / "killed")
    assert 2 <= len(before) < 8
    wait_for_group(process.pid)
    on_disk = {Path(name).parts[2] for name in result_texts(tmp_path / "killed")}

    summary = evaluate_doubles(tmp_path / "killed", "slow", workers=2)
    assert summary.kept == len(on_disk)
    after = finished(tmp_path / "killed")[len(before) :]
    assert on_disk.isdisjoint(sequence for _, sequence in after)
    assert result_texts(tmp_path / "killed") == result_texts(tmp_path / "whole")
    scores = [(tmp_path / name / "out" / "scores.json").read_bytes() for name in ("whole", "killed")]
    assert scores[0] == scores[1]


def test_results_of_other_options_or_data_are_refused_until_overwritten(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", LENGTHS)
    evaluate_doubles(tmp_path, "shifting")
    with pytest.raises(InputError, match=r"made with another options.*--overwrite"):
        evaluate_doubles(tmp_path, "shifting", options=RunOptions(repetitions=2))
    assert evaluate_doubles(tmp_path, "shifting", options=RunOptions(repetitions=2), overwrite=True).ran == 3

    truth = tmp_path / "data" / "beta" / "groundtruth.txt"
    truth.write_text(truth.read_text().replace("5,8,6", "5,8,7", 1))
    with pytest.raises(InputError, match=r"another version of the sequence beta.*--overwrite"):
        evaluate_doubles(tmp_path, "shifting", options=RunOptions(repetitions=2))

    (tmp_path / "out" / "results" / "shifting-ir" / "tracker.json").unlink()
    with pytest.raises(InputError, match="unknown origin"):
        evaluate_doubles(tmp_path, "shifting")


def command(folder: Path, *options: str) -> int:
    return run(
        [
            "evaluate",
            *("--data", str(folder / "data"), "--out", str(folder / "out"), "--interval", "2:10"),
            *("--repetitions", "1"),
            *options,
        ]
    )


def test_the_command_with_two_trackers_and_all_modalities(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8})
    assert command(tmp_path, "--trackers", "closed-static,closed-zoom") == 0
    names = {f"{tracker}-{modality}" for tracker in ("closed-static", "closed-zoom") for modality in Modality}
    assert set(json.loads((tmp_path / "out" / "scores.json").read_text())) == names
    for name in names:
        assert (tmp_path / "out" / "results" / name / "baseline" / "alpha" / "alpha_001.txt").is_file()
    assert command(tmp_path, "--trackers", "closed-static", "--protocol", "ope") == 2
    assert command(tmp_path, "--trackers", "closed-static", "--protocol", "ope", "--overwrite") == 0


def test_missing_and_unequal_channels_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sequences(tmp_path / "data", {"alpha": 8}) / "alpha"
    options = ("--trackers", "closed-static")
    extra = folder / "ir" / "00000009.png"
    cv2.imwrite(str(extra), np.zeros((24, 32), np.uint8))
    assert command(tmp_path, *options) == 2
    assert "8 lines, but the pictures are color 8, ir 9" in capsys.readouterr().err
    extra.unlink()
    (folder / "ir" / "00000004.png").unlink()
    assert command(tmp_path, *options) == 2
    assert "ir/00000004.png is missing" in capsys.readouterr().err
    shutil.rmtree(folder / "ir")
    (folder / "sequence").write_text("width=32\nheight=24\nchannels.color=color/%08d.png\n")
    assert command(tmp_path, *options) == 2
    assert "no channel 'ir', which --modalities fused needs; it has color" in capsys.readouterr().err
    assert command(tmp_path, *options, "--modalities", "rgb") == 0


def test_damaged_pictures_and_different_sizes_fail_with_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_sequences(tmp_path / "data", {"alpha": 8}) / "alpha"
    options = ("--trackers", "closed-static", "--modalities", "fused", "--overwrite")
    (folder / "color" / "00000005.png").write_bytes(b"no picture")
    assert command(tmp_path, *options) == 1
    assert "color/00000005.png is damaged" in capsys.readouterr().err
    cv2.imwrite(str(folder / "color" / "00000005.png"), np.zeros((12, 16), np.uint8))
    assert command(tmp_path, *options) == 1
    assert "32 x 24 pixels, but the visible picture has 16 x 12" in capsys.readouterr().err


def test_a_size_that_the_pictures_do_not_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sequences(tmp_path / "data", {"alpha": 8}) / "alpha"
    text = (folder / "sequence").read_text()
    (folder / "sequence").write_text(text.replace("width=32", "width=23"))
    assert command(tmp_path, "--trackers", "closed-static") == 2
    assert "width=23, height=24, but the pictures have 32 x 24" in capsys.readouterr().err


def test_an_absent_toolkit_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8})
    assert command(tmp_path, "--trackers", "closed-static", "--official", "/nowhere/python") == 2
    assert "install-vot-toolkit" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--modalities", "uv"), "'uv' is none of fused, rgb, ir"),
        (("--poolings", "median"), "'median' is none of"),
        (("--trackers", "closed-static,closed-static", "--modalities", "ir,ir"), ""),
        (("--trackers", "no-such-tracker"), "no-such-tracker"),
        (("--trackers", ""), "at least one name"),
        (("--workers", "0", "--trackers", "closed-static"), "--workers"),
        (("--set", "lr"), "--set needs NAME=VALUE"),
        (("--interval", "5", "--trackers", "closed-static"), "LOW:HIGH"),
    ],
)
def test_wrong_options(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8})
    code = command(tmp_path, *options)
    assert code == (2 if message else 0)
    assert message in capsys.readouterr().err


def test_a_closed_form_is_built_by_name() -> None:
    box_tracker = build(spec("closed-zoom"))
    assert box_tracker.form == "closed-zoom"  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Fusing:
    """Looks like a tracker that fuses features, as far as tables care."""

    fusion: object


def test_the_table_says_how_features_are_fused() -> None:
    def place(fusion: object, pooling: PoolingKind = "avg", modality: Modality = Modality.FUSED) -> tuple[str, ...]:
        found = variant(replace(spec("x", modality), pooling=pooling), Fusing(fusion))  # type: ignore[arg-type]
        return found.attention, found.pooling, found.level

    assert place(PAPER.with_pooling("max"), "max") == ("paper", "max", "feature")
    assert place(FSRPN) == ("authors", "avg", "feature")
    assert place("mean") == ("mean", "", "feature")
    assert place("adaptive") == ("adaptive", "", "response")
    assert place(PAPER, modality=Modality.IR) == ("", "", "")
    assert replace(spec("x", Modality.FUSED), strategy="authors", pooling="max").name == "x-fused-authors-max"
    assert spec("x", Modality.FUSED).name == "x-fused"


def test_at_pixel_level_the_tracker_sees_the_fused_picture() -> None:
    fuser = build_fuser("average", range_name="fixed")
    tracker = PixelFusionTracker(PixelTracker(), fuser)
    pair = PicturePair(np.full((8, 8, 3), 40, np.uint8), np.full((8, 8), 80, np.uint8))
    state = tracker.update(tracker.init(pair, Box(1, 1, 4, 4)), pair)
    assert state.box.x == pytest.approx(1.6, abs=0.02)
    assert tracker.update_all([state], pair)[0].box.x == pytest.approx(2.2, abs=0.04)
    pixel = replace(spec("x", Modality.FUSED), fuser="average")
    assert pixel.name == "x-fused-pixel-average"
    assert variant(pixel, tracker).level == "pixel"
    assert fuser_digest(fuser) != fuser_digest(build_fuser("nestfuse", range_name="fixed"))


def test_rows_of_the_main_table_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = ["--data", "x", "--out", "y", "--levels", "pixel,feature", "--poolings", "avg,max,nuclear"]
    names = [found.name for found in tracker_specs(parser.parse_args([*options, "--strategies", "paper,mean"]))]
    pixel = "siamrpn-lite-fused-pixel-nestfuse"
    assert names == [
        *(pixel, f"{pixel}-max", f"{pixel}-nuclear"),
        *("siamrpn-lite-fused-paper", "siamrpn-lite-fused-paper-max", "siamrpn-lite-fused-paper-nuclear"),
        *("siamrpn-lite-fused-mean", "siamrpn-lite-rgb", "siamrpn-lite-ir"),
    ]
    write_sequences(tmp_path / "data", {"alpha": 8})
    assert command(tmp_path, "--levels", "decision") == 2
    assert "'decision' is neither feature nor pixel" in capsys.readouterr().err
