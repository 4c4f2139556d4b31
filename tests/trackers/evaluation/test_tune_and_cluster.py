"""The search of a tracker's constants, and jobs on a Ray cluster of two local nodes."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion.errors import InputError, RunError
from pipeline.cli.main import run
from tests.trackers.evaluation.doubles import build_double, write_sequences
from trackers.evaluation.cluster import ray_executor
from trackers.evaluation.evaluation import evaluate, local_executor
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.protocol import RunOptions
from trackers.evaluation.scoring import ScoringOptions
from trackers.evaluation.specs import TrackerSpec
from trackers.evaluation.tune import SEARCH_SPACE, Trial, trial_settings, tune
from trackers.state import Modality

REPO = Path(__file__).resolve().parents[3]
SPEC = TrackerSpec(tracker="shifting", modality=Modality.IR)
has_ray = importlib.util.find_spec("ray") is not None


def search(folder: Path, trials: int, seed: int = 1) -> list[Trial]:
    return tune(
        read_dataset(folder / "data"),
        SPEC,
        folder / "out",
        RunOptions(repetitions=1),
        trials=trials,
        seed=seed,
        interval="2:8",
        execute=local_executor(1, build_double),
        builder=build_double,
    )


def test_settings_depend_on_seed_and_number_alone() -> None:
    assert trial_settings(0, 5) == {}
    assert trial_settings(3, 5) == trial_settings(3, 5) != trial_settings(3, 6)
    for name, value in trial_settings(7, 0).items():
        low, high = SEARCH_SPACE[name]
        assert low <= value <= high


def test_a_search_goes_on_and_keeps_its_best(tmp_path: Path) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8})
    assert len(search(tmp_path, 2)) == 2
    lines = (tmp_path / "out" / "trials.jsonl").read_text()
    found = search(tmp_path, 3)
    assert (tmp_path / "out" / "trials.jsonl").read_text().startswith(lines)
    assert len(found) == 3
    # Equal objectives: the earliest, the preset, is the best.
    assert found[0].number == 0
    assert (tmp_path / "out" / "best.yaml").read_text().endswith("{}\n")
    with pytest.raises(InputError, match="--seed 1"):
        search(tmp_path, 3, seed=2)
    with pytest.raises(InputError, match="--trials"):
        search(tmp_path, 0)


def test_objectives_of_another_search_are_not_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8, "beta": 9})
    line = ["tune", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--trials", "1"]
    line += ["--trackers", "closed-static", "--modalities", "ir"]
    assert run([*line, "--sequences", "alpha"]) == 0
    before = (tmp_path / "out" / "best.yaml").read_text()
    for other in (
        ("--sequences", "beta"),
        ("--sequences", "alpha", "--modalities", "rgb"),
        ("--sequences", "alpha", "--trackers", "closed-zoom"),
        ("--sequences", "alpha", "--protocol", "vot-rgbt2019", "--interval", "2:8"),
    ):
        assert run([*line, *other]) == 2
        assert "trials.jsonl, line 1: a search of another" in capsys.readouterr().err
    assert (tmp_path / "out" / "best.yaml").read_text() == before
    assert run([*line, "--sequences", "alpha", "--trials", "2"]) == 0


def test_the_command_takes_one_tracker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sequences(tmp_path / "data", {"alpha": 8})
    arguments = ["tune", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--trials", "1"]
    assert run([*arguments, "--trackers", "closed-static,closed-zoom"]) == 2
    assert run([*arguments, "--trackers", "closed-static"]) == 0
    assert "trial 0  preset" in capsys.readouterr().out


@pytest.mark.skipif(has_ray, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rgbt-stream\[ray\]"):
        ray_executor("auto")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Two ``ray start`` processes on the loopback: the head without cores, and a second node with one."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    address = f"127.0.0.1:{free_port()}"
    nodes: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", *options]
        log = (tmp_path / f"node{len(nodes)}.log").open("wb")
        with log:
            nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))

    start("--head", f"--port={address.split(':')[1]}", "--num-cpus=1", "--include-dashboard=false")
    time.sleep(8)
    start(f"--address={address}", "--num-cpus=1")
    time.sleep(8)
    yield address, nodes[1]
    for node in reversed(nodes):
        if node.poll() is None:
            node.terminate()
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, 9)
                node.wait()


@pytest.mark.skipif(not has_ray, reason="Ray, an optional extra, is not installed")
@pytest.mark.slow
# Ray leaves sockets and files open at exit; that is its own affair.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_run_on_two_nodes_survives_the_death_of_one(
    tmp_path: Path, cluster: tuple[str, subprocess.Popen[bytes]]
) -> None:
    address, second = cluster
    lengths = {f"s{number}": 30 + number for number in range(12)}
    write_sequences(tmp_path / "data", lengths)
    dataset = read_dataset(tmp_path / "data")
    log = tmp_path / "out" / "runs.jsonl"

    def kill_when_half_done() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if log.is_file() and len(log.read_text().splitlines()) >= 3:
                os.killpg(second.pid, 9)
                second.wait()
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_when_half_done)
    killer.start()
    specs = (TrackerSpec(tracker="slow", modality=Modality.IR),)
    evaluate(
        dataset,
        specs,
        tmp_path / "out",
        RunOptions(),
        ScoringOptions(interval="2:10"),
        execute=ray_executor(address, build_double),
        builder=build_double,
    )
    killer.join()
    assert second.poll() is not None
    done = [json.loads(line)["sequence"] for line in log.read_text().splitlines()]
    assert sorted(done) == sorted(lengths)

    # The other node is enough for a tracker that raises, too.
    write_sequences(tmp_path / "bad", {"alpha": 8}, bad="alpha")
    with pytest.raises(RunError, match="raising-ir on alpha: ArithmeticError"):
        evaluate(
            read_dataset(tmp_path / "bad"),
            (TrackerSpec(tracker="raising", modality=Modality.IR),),
            tmp_path / "out2",
            RunOptions(),
            ScoringOptions(interval="2:10"),
            execute=ray_executor(address, build_double),
            builder=build_double,
        )
