"""The reset loop, one-pass and real-time runs, against worked examples and the official toolkit's trajectories."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError
from tests.trackers.evaluation.doubles import NoPictures
from trackers.evaluation.closed_form import CLOSED_FORMS, ClosedFormTracker
from trackers.evaluation.dataset import VideoSequence
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.overlap import overlaps
from trackers.evaluation.protocol import RunOptions, run_sequence, runs_suffice, surely_overlap
from trackers.evaluation.regions import regions_from_rows
from trackers.evaluation.results import read_trajectory, result_file, trajectory_from_rows

REPO = Path(__file__).resolve().parents[3]
TRAIN = REPO.parent / "shared" / "vot" / "train"


def sequence(rows: list[tuple[float, ...]]) -> VideoSequence:
    return VideoSequence(name="s", source=Path("s"), groundtruth=regions_from_rows(rows), width=100, height=80)


def lines(rows: list[tuple[float, ...]], options: RunOptions, form: str = "closed-static") -> list[str]:
    tracker = ClosedFormTracker(form)  # type: ignore[arg-type]
    return run_sequence(tracker, NoPictures(), sequence(rows), options).lines


HERE, THERE = (10.0, 10.0, 8.0, 8.0), (60.0, 40.0, 8.0, 8.0)


def test_a_loss_is_followed_by_four_skipped_frames_and_a_new_start() -> None:
    found = lines([HERE] * 3 + [THERE] * 7, RunOptions())
    static = "{:.4f},{:.4f},{:.4f},{:.4f}"
    assert found == ["1", *[static.format(*HERE)] * 2, "2", "0", "0", "0", "0", "1", static.format(*THERE)]


@pytest.mark.parametrize("after", [0, 1, 4, 5])
def test_a_loss_near_the_end_has_no_new_start(after: int) -> None:
    found = lines([HERE] * 3 + [THERE] * (1 + after), RunOptions())
    assert len(found) == 4 + after
    assert found[3:] == ["2", *["0"] * min(after, 4), *(["1"] if after == 5 else [])]


def test_one_pass_never_starts_anew() -> None:
    found = lines([HERE] * 3 + [THERE] * 7, RunOptions(kind="one-pass"))
    assert found.count("1") == 1
    assert "2" not in found


def test_a_polygon_starts_with_a_box_of_equal_area_or_its_hull() -> None:
    diamond = (30.0, 10.0, 50.0, 30.0, 30.0, 50.0, 10.0, 30.0)
    area = lines([diamond] * 2, RunOptions())[1]
    hull = lines([diamond] * 2, RunOptions(start="hull"))[1]
    assert hull == "10.0000,10.0000,40.0000,40.0000"
    width, height = (float(number) for number in area.split(",")[2:])
    assert width * height == pytest.approx(800, abs=0.01)


def test_three_equal_runs_suffice() -> None:
    options = RunOptions()
    assert not runs_suffice(["a", "a"], options)
    assert runs_suffice(["a", "a", "a"], options)
    assert not runs_suffice(["a", "b", "a"], options)
    assert runs_suffice(["a", "b"] * 8, options)
    assert runs_suffice(["a"], RunOptions(repetitions=1))
    assert runs_suffice(["a"], RunOptions(kind="one-pass"))


def clock(durations_s: list[float]) -> Iterator[float]:
    now = 0.0
    for duration in durations_s:
        yield now
        now += duration
        yield now


def test_in_real_time_frames_that_come_too_early_are_never_seen() -> None:
    # 10 frames a second; the start is free, the second update takes 0.25 s, the others no time.
    ticks = clock([5.0, 0.01, 0.25, 0.01, 0.01, 0.01])
    box = (10.0, 10.0, 30.0, 30.0)
    run = run_sequence(
        ClosedFormTracker("closed-shift"),
        NoPictures(),
        sequence([box] * 7),
        RunOptions(realtime_fps=10.0),
        clock=lambda: next(ticks),
    )
    xs = [None if line == "1" else float(line.split(",")[0]) for line in run.lines]
    # Frame 2 is not ready before frame 3 arrives, 3 is not seen, and 4 is seen after its answer is known.
    assert xs == [None, 11.25, 11.25, 11.25, 12.5, 13.75, 15.0]
    assert [seconds > 0 for seconds in run.seconds] == [True, True, True, False, False, True, True]


coordinate = st.integers(-100, 900).map(lambda number: number / 8)
rectangle = st.tuples(coordinate, coordinate, *[st.integers(0, 300).map(lambda number: number / 8)] * 2)


@settings(deadline=None, derandomize=True)
@given(rectangle, rectangle)
def test_the_short_cut_never_hides_a_loss(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    if surely_overlap(first, second, (100, 80)):
        both = [regions_from_rows([box]) for box in (first, second)]
        assert overlaps(*both, bounds_wh=(100, 80), rule="toolkit")[0] > 0


def test_wrong_options() -> None:
    for wrong in ({"repetitions": 0}, {"realtime_fps": 0.0}, {"realtime_fps": float("nan")}):
        with pytest.raises(InputError):
            RunOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not TRAIN.is_dir(), reason="the reference trajectories are not beside the checkout")
@pytest.mark.parametrize("name", ["syn_ws", "syn_ws2", "rgbt2019"])
def test_trajectories_of_the_official_toolkit(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(TRAIN / f"{name}.zip") as archive:
        archive.extractall(tmp_path)
    sequences = read_dataset(tmp_path / "dataset").sequences
    for form in CLOSED_FORMS:
        for part in sequences[::4] if name == "rgbt2019" else sequences:
            run = run_sequence(ClosedFormTracker(form), NoPictures(), part, RunOptions(start="hull"))
            rows = [[float(number) for number in line.split(",")] for line in run.lines]
            found = trajectory_from_rows(rows)
            path = result_file(tmp_path / "results", form.replace("-", "_"), part.name, 1)
            expected = read_trajectory(path, len(part))
            assert found.codes.tolist() == expected.codes.tolist()
            difference = np.abs(found.regions.numbers - expected.regions.numbers)
            assert np.nanmax(difference, initial=0) <= 1e-3
