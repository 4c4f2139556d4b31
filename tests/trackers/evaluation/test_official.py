"""Against the real vot-toolkit 0.7.4: its analysis beside ours, and our trackers driven by it over TraX."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fusion.errors import InputError, RunError
from tests.trackers.evaluation.doubles import NoPictures, PixelTracker
from trackers.evaluation.closed_form import ClosedFormTracker
from trackers.evaluation.frames import SequenceFrames
from trackers.evaluation.interval import Interval
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.official import check_toolkit, run_evaluation, write_workspace
from trackers.evaluation.protocol import RunOptions, run_sequence
from trackers.evaluation.results import read_trajectory
from trackers.evaluation.scoring import ScoringOptions, score_results
from trackers.evaluation.specs import TrackerSpec
from trackers.evaluation.trax import trax_command
from trackers.state import Modality

REPO = Path(__file__).resolve().parents[3]
TOOLKIT = Path(os.environ.get("VOT_TOOLKIT_PYTHON", REPO / ".vot-toolkit" / "bin" / "python"))
needs_toolkit = pytest.mark.skipif(
    not TOOLKIT.exists(), reason="no official toolkit; make it with scripts/install-vot-toolkit"
)
INTERVAL = Interval(low=8, high=25)


def rotated(center: tuple[float, float], size: tuple[float, float], angle: float) -> list[float]:
    cos, sin = np.cos(angle), np.sin(angle)
    points = []
    for side_x, side_y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x, y = side_x * size[0] / 2, side_y * size[1] / 2
        points += [center[0] + cos * x - sin * y, center[1] + sin * x + cos * y]
    return points


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three sequences: drifting rectangles, rotating polygons, and a target that jumps."""
    random = np.random.default_rng(8)
    root = tmp_path / "data"
    for name, length in (("drift", 24), ("turn", 31), ("jump", 40)):
        folder = root / name
        for channel in ("color", "ir"):
            (folder / channel).mkdir(parents=True)
            for frame in range(length):
                picture = random.integers(0, 256, (48, 64), dtype=np.uint8)
                cv2.imwrite(str(folder / channel / f"{frame + 1:08d}.png"), picture)
        lines = []
        for frame in range(length):
            match name:
                case "drift":
                    region = [8 + 0.7 * frame, 10 + 0.3 * frame, 14.5, 11.25]
                case "turn":
                    region = rotated((30 + 0.3 * frame, 24), (18, 11), 0.1 * frame)
                case _:
                    region = [(6, 44)[frame % 26 > 12] + 0.2 * frame, 12, 12, 16]
            lines.append(",".join(f"{value:.3f}" for value in region))
        (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
        (folder / "sequence").write_text(
            f"name={name}\nfps=20\nformat=default\nwidth=64\nheight=48\nlength={length}\n"
            "channels.color=color/%08d.png\nchannels.ir=ir/%08d.png\n"
        )
    (root / "list.txt").write_text("drift\nturn\njump\n")
    return root


def write_random_results(data: Path, results: Path, repetitions: int) -> None:
    """Runs of a tracker that differs from time to time and fails now and then."""
    random = np.random.default_rng(5)
    for sequence in read_dataset(data).sequences:
        for repetition in range(1, repetitions + 1):
            lines: list[str] = []
            while len(lines) < len(sequence):
                if not lines or lines[-5:] == ["2", "0", "0", "0", "0"]:
                    lines.append("1")
                elif random.random() < 0.06:
                    lines += ["2", "0", "0", "0", "0"]
                else:
                    region = np.array(sequence.groundtruth.row(len(lines)))
                    noisy = region + random.normal(scale=1.2, size=len(region))
                    lines.append(",".join(f"{value:.4f}" for value in np.abs(noisy)))
            path = results / "noisy-fused" / "baseline" / sequence.name / f"{sequence.name}_{repetition:03d}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines[: len(sequence)]) + "\n")


def test_an_interpreter_without_the_toolkit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vot-toolkit; run scripts/install-vot-toolkit"):
        check_toolkit(Path(sys.executable))
    with pytest.raises(InputError, match="cannot be run"):
        check_toolkit(tmp_path / "python")


@needs_toolkit
@pytest.mark.slow
def test_the_toolkit_analyses_as_we_do(data: Path, tmp_path: Path) -> None:
    write_random_results(data, tmp_path / "results", repetitions=15)
    text = score_results(
        read_dataset(data),
        tmp_path / "results",
        ["noisy-fused"],
        tmp_path / "out",
        ScoringOptions(interval=str(INTERVAL), official=TOOLKIT),
        configuration={},
    )
    lines = [line for line in text.splitlines() if "official" in line]
    assert len(lines) == 4
    for line in lines:
        assert abs(float(line.rsplit(" ", 1)[1])) <= (1e-12 if "failures" in line else 1e-6)
    assert "Beside the official toolkit" in (tmp_path / "out" / "report.html").read_text()


@needs_toolkit
@pytest.mark.slow
@pytest.mark.parametrize("start", ["area", "hull"])
def test_a_tracker_runs_the_same_under_the_toolkit_and_here(
    data: Path, tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    spec = TrackerSpec(tracker="closed-zoom", modality=Modality.RGB)
    options = RunOptions(start=start)  # type: ignore[arg-type]
    workspace = tmp_path / "workspace"
    command = trax_command(Path(sys.executable), spec, options.start)
    write_workspace(workspace, data, {"ours": command}, INTERVAL)
    folder = run_evaluation(TOOLKIT, workspace, "ours", timeout_s=240)
    for sequence in read_dataset(data).sequences:
        run = run_sequence(ClosedFormTracker("closed-zoom"), NoPictures(), sequence, options)
        compare_runs(run.lines, folder / sequence.name / f"{sequence.name}_001.txt", tmp_path)


def compare_runs(lines: list[str], official: Path, scratch: Path) -> None:
    own = scratch / "own.txt"
    own.write_text("\n".join(lines) + "\n")
    ours, theirs = read_trajectory(own, len(lines)), read_trajectory(official, len(lines))
    assert ours.codes.tolist() == theirs.codes.tolist()
    assert np.nanmax(np.abs(ours.regions.numbers - theirs.regions.numbers), initial=0) <= 1e-3


SERVER = """
import sys
from tests.trackers.evaluation.doubles import PixelTracker
from trackers.evaluation.trax import serve
from trackers.state import Modality

serve(PixelTracker(), "pixels", Modality.FUSED, "area", sys.stdin, sys.stdout)
"""


@needs_toolkit
@pytest.mark.slow
def test_both_channels_reach_the_tracker(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    (tmp_path / "server.py").write_text(SERVER)
    workspace = tmp_path / "workspace"
    (data / "list.txt").write_text("drift\n")
    write_workspace(workspace, data, {"pixels": f"{sys.executable} {tmp_path / 'server.py'}"}, INTERVAL)
    folder = run_evaluation(TOOLKIT, workspace, "pixels", timeout_s=240)
    (sequence,) = read_dataset(data).sequences
    run = run_sequence(PixelTracker(), SequenceFrames(sequence, Modality.FUSED), sequence, RunOptions())
    assert len(set(run.lines)) > 5
    compare_runs(run.lines, folder / "drift" / "drift_001.txt", tmp_path)


@needs_toolkit
@pytest.mark.slow
def test_a_tracker_that_crashes_under_the_toolkit_is_a_failure(data: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    write_workspace(workspace, data, {"broken": f"{sys.executable} -c pass"}, INTERVAL)
    with pytest.raises(RunError, match="did not finish with broken"):
        run_evaluation(TOOLKIT, workspace, "broken", timeout_s=240)
