"""Parts of a batch side by side: in order, each operation alone, and the boxes that one thread finds."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers.box import Box
from trackers.factory import tracker_around, tracker_config
from trackers.lanes import Lanes
from trackers.siamese_tracker import SiameseTracker
from trackers.stage_graphs import CACHE_VARIABLE
from trackers.state import Modality

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=30)
@given(lanes=st.integers(1, 8), items=st.integers(1, 40))
def test_shares_hold_every_item_once_and_differ_by_one_at_most(lanes: int, items: int) -> None:
    shares = Lanes(lanes).shares(items)
    assert [item for share in shares for item in range(items)[share]] == list(range(items))
    sizes = [share.stop - share.start for share in shares]
    assert len(sizes) <= lanes
    assert max(sizes) - min(sizes) <= 1


def test_results_come_in_order_and_a_failure_comes_out() -> None:
    lanes = Lanes(3)
    meeting = threading.Barrier(3, timeout=20)

    def meet(part: int) -> int:
        meeting.wait()
        return 10 * part

    assert lanes.run(meet, [1, 2, 3]) == [10, 20, 30]
    with pytest.raises(ZeroDivisionError):
        lanes.run(lambda part: 1 // part, [1, 0, 2])


def test_several_callers_at_once_do_not_wait_for_each_other_for_ever() -> None:
    lanes = Lanes(2)

    def divided(number: int) -> list[int]:
        return lanes.alone(lambda: lanes.run(lambda part: part + number, [0, 10]))

    with ThreadPoolExecutor(4) as callers:
        found = callers.map(divided, range(40), timeout=30)
        assert list(found) == [[number, number + 10] for number in range(40)]


@pytest.mark.usefixtures("two_threads")
def test_operations_in_a_lane_are_alone_and_the_caller_keeps_its_threads() -> None:
    if torch.get_num_threads() == 1:
        pytest.skip("PyTorch has one thread here")
    assert Lanes(2).alone(torch.get_num_threads) == 1
    assert torch.get_num_threads() == 2
    # MKL counts apart.
    here, there = (
        re.search(r"mkl_get_max_threads\(\) : (\d+)", each())
        for each in (torch.__config__.parallel_info, lambda: Lanes(2).alone(torch.__config__.parallel_info))
    )
    assert here is None or (here[1], there and there[1]) == ("2", "1")


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("name", "targets"), [("nanotrack", 1), ("nanotrack", 3), ("siamrpn-lite", 3)])
def test_a_divided_batch_gives_the_boxes_of_an_undivided_one(
    lively: Any, scene: Any, name: str, targets: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.getbasetemp() / "graph_cache"))
    network, config = lively(name), tracker_config(name)
    strategy: Any = "adaptive" if name == "nanotrack" else "gate"
    boxes = (Box(60, 50, 30, 20), Box(20, 10, 40, 40), Box(150, 100, 20, 50))[:targets]

    def follow() -> np.ndarray[Any, Any]:
        tracker: SiameseTracker = tracker_around(
            network, name, config, Modality.FUSED, strategy, engine="onnx", device=CPU
        )
        states = [tracker.init(scene, box) for box in boxes]
        rows = []
        for _ in range(2):
            states = tracker.update_all(states, scene)
            rows += [(*state.box.as_tuple(), state.score) for state in states]
        return np.asarray(rows)

    divided = follow()
    torch.set_num_threads(1)
    np.testing.assert_allclose(divided, follow(), rtol=0, atol=1e-3)
