"""How a run shares the machine's cores and memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch

_LARGEST_BLOCK_BYTES = 31 << 20


@contextmanager
def brisk_threads(live: bool) -> Iterator[None]:
    """In a live run share the cores so that no stage holds up another.

    Waiting threads have their turn after half a millisecond rather than five: a thread that computes in Python would
    otherwise slow the decoding of both cameras several times. And what is computed by several threads together leaves
    one core to the cameras and the recording (for networks OMP_NUM_THREADS can say otherwise): such threads wait for
    each other busily, so one of them without a core stops them all.
    """
    if not live:
        yield
        return
    before_s, before_threads, before_opencv = sys.getswitchinterval(), torch.get_num_threads(), cv2.getNumThreads()
    most = max(1, len(os.sched_getaffinity(0)) - 1)
    sys.setswitchinterval(0.0005)
    cv2.setNumThreads(min(before_opencv, most))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(before_threads, most))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
        cv2.setNumThreads(before_opencv)
        torch.set_num_threads(before_threads)


def keep_memory_of_pictures() -> None:
    """Let the allocator keep memory of pictures that are done with for those to come.

    The C library gives larger blocks back to the system and has them mapped and cleared anew for each picture, which
    takes 2 ms a pair of 640 x 480. It stops doing so for blocks up to the largest it has seen freed, see
    M_MMAP_THRESHOLD in mallopt(3); 32 MB is the most that it learns.
    """
    block = np.empty(_LARGEST_BLOCK_BYTES, np.uint8)
    del block
