"""The benchmark compares like with like."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from trackers.benchmark import PATHS, PlainNetwork, available_paths, benchmark_trackers, format_timings
from trackers.box import Box
from trackers.factory import tracker_config, untrained_network
from trackers.networks.interface import SiameseNetwork
from trackers.siamese_tracker import SiameseTracker


def test_plain_and_product_path_find_the_same_boxes(scene: Any) -> None:
    torch.manual_seed(0)
    network = cast("SiameseNetwork", untrained_network("nanotrack").eval())
    config = tracker_config("nanotrack")
    boxes = (Box(60, 50, 30, 20), Box(20, 10, 40, 40))
    found = []
    for each in (network, PlainNetwork(network)):
        tracker = SiameseTracker(each, config)
        states = tracker.update_all([tracker.init(scene, box) for box in boxes], scene)
        found.append([state.box.as_tuple() for state in states])
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=0.01)


def test_every_path_is_timed_and_listed() -> None:
    timings = benchmark_trackers(["nanotrack"], targets=(1, 2), repeats=1, size_wh=(64, 48))
    assert {(row.path, row.targets) for row in timings} == {
        (path, count) for path in available_paths() for count in (1, 2)
    }
    assert {"plain", "float32", "bfloat16"} <= set(available_paths()) <= set(PATHS)
    assert all(row.median_ms > 0 for row in timings)
    assert format_timings(timings).count("x\n") >= 5


def test_a_rival_takes_its_turns_beside_one_target_and_is_compared_by_name() -> None:
    seen: list[Box] = []

    def start(pair: Any, box: Box) -> Any:
        assert pair.visible_bgr.shape == (48, 64, 3)
        return lambda: seen.append(box)

    timings = benchmark_trackers(
        ["nanotrack"], targets=(1, 2), repeats=2, size_wh=(64, 48), paths=["float32"], rivals={"another": start}
    )
    assert [(row.path, row.targets) for row in timings] == [("float32", 1), ("another", 1), ("float32", 2)]
    assert len(seen) == 3
    (line,) = [line for line in format_timings(timings).splitlines() if "times another" in line]
    assert line.startswith("nanotrack float32: ")


@pytest.mark.parametrize("content", [None, b"no network"])
def test_files_that_opencv_cannot_use_end_the_script_before_anything_is_measured(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "backbone.onnx"
    if content is not None:
        path.write_bytes(content)
    script = Path(__file__).parents[2] / "benchmarks" / "bench_tracker.py"
    specification = importlib.util.spec_from_file_location("bench_tracker", script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(script), "--opencv-nano", str(path), str(path)])
    monkeypatch.setattr(module, "benchmark_trackers", lambda *_, **__: pytest.fail("measured all the same"))
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    message = capfd.readouterr().err
    assert "--opencv-nano" in message
    assert str(path) in message
    assert "Traceback" not in message
