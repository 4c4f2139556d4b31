"""The benchmark compares like with like."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
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
