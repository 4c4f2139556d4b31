"""Threads that each compute alone on their piece, where pieces are too small to be shared out operation by operation.

PyTorch shares out single operations. On pieces that fit into the cache of a core that costs more than it gains, and
the pieces leave the cache on the way.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


class Workers:
    """As many threads as PyTorch uses for an operation in the thread that asks, each with a number of its own.

    One :meth:`run` at a time; another waits for it.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._count = 1
        self._turn = threading.Lock()

    def run(self, task: Callable[[int, Piece], None], pieces: Iterable[Piece]) -> None:
        """Call ``task(worker, piece)`` for all pieces, in any order; workers are numbered from 0.

        What a piece brings about must not depend on the worker, nor on other pieces. The first error is raised again.
        """
        with self._turn:
            self._adapt()
            if self._pool is None:
                for piece in pieces:
                    task(0, piece)
                return
            waiting, lock = iter(pieces), threading.Lock()

            @torch.inference_mode()
            def work(worker: int) -> None:
                while True:
                    with lock:
                        piece = next(waiting, None)
                    if piece is None:
                        return
                    task(worker, piece)

            list(self._pool.map(work, range(self._count)))

    @property
    def count(self) -> int:
        """How many there are at the next :meth:`run`."""
        return torch.get_num_threads()

    def _adapt(self) -> None:
        if self._count == self.count:
            return
        if self._pool is not None:
            self._pool.shutdown()
        self._count = self.count
        self._pool = ThreadPoolExecutor(self._count, initializer=compute_alone) if self._count > 1 else None


def compute_alone() -> None:
    """Let PyTorch use one thread for an operation in the thread that calls this, and no other."""
    from threadpoolctl import threadpool_limits

    # The first look sets PyTorch's number of threads for this one; then OpenMP, for this one too, is held to one.
    torch.get_num_threads()
    threadpool_limits(1, user_api="openmp")
    # MKL, which multiplies matrices, has a number of its own. And once two threads have had helpers, OpenMP lets those
    # of both sleep after every operation, which doubles the time of small networks in the other one.
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if library.exists():
        limit = getattr(ctypes.CDLL(str(library)), "MKL_Set_Num_Threads_Local", None)
        if limit is not None:
            limit(1)
