"""Threads that compute alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from fusion.workers import Workers


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3])
def test_each_piece_is_done_once_by_threads_that_compute_alone(count: int) -> None:
    torch.set_num_threads(count)
    workers, seen = Workers(), []
    meet = threading.Barrier(count)

    def task(worker: int, piece: int) -> None:
        if piece < count:
            # All of them have to be there for the first pieces.
            meet.wait(timeout=30)
        seen.append((worker, piece, threading.get_ident(), torch.get_num_threads()))

    for _ in range(2):
        seen.clear()
        meet.reset()
        workers.run(task, range(20))
        assert sorted(piece for _, piece, _, _ in seen) == list(range(20))
        assert {worker for worker, _, _, _ in seen} == set(range(count))
        assert len({(worker, thread) for worker, _, thread, _ in seen}) == count
        assert {alone for _, _, _, alone in seen} == {1}
    assert workers.count == torch.get_num_threads() == count


def test_the_count_follows_that_of_torch() -> None:
    workers, seen = Workers(), set[int]()
    for count in (2, 1, 2):
        torch.set_num_threads(count)
        seen.clear()
        workers.run(lambda worker, piece: seen.add(worker), range(9))
        assert seen <= set(range(count))


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_out_and_the_next_run_is_whole(count: int) -> None:
    torch.set_num_threads(count)
    workers = Workers()

    def fail(worker: int, piece: int) -> None:
        raise ValueError(f"piece {piece}")

    with pytest.raises(ValueError, match="piece"):
        workers.run(fail, range(5))
    done: list[int] = []
    workers.run(lambda worker, piece: done.append(piece), range(5))
    assert sorted(done) == list(range(5))
