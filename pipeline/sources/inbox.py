"""Where the threads of live sources leave their frames: bounded, and never blocking the sender."""

from __future__ import annotations

import threading
import time
from collections import deque

from pipeline.frames import Frame
from pipeline.sources.base import Role


class Inbox:
    """Frames of one or two streams in order of arrival; when full, the oldest is dropped and counted.

    Args:
        capacity: frames that may wait.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._frames: deque[tuple[Role, Frame]] = deque()
        self._changed = threading.Condition()
        self._woken = False
        self.dropped = 0

    def put(self, role: Role, frame: Frame) -> None:
        """Leave a frame."""
        with self._changed:
            if len(self._frames) >= self._capacity:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append((role, frame))
            self._changed.notify_all()

    def clear(self) -> None:
        """Throw away what waits, because it is old, and count from now on."""
        with self._changed:
            self._frames.clear()
            self.dropped = 0

    def wake(self) -> None:
        """Make a waiting ``get`` return, because something other than a frame has happened."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def get(self, timeout_s: float) -> tuple[Role, Frame] | None:
        """The oldest frame, or None after ``timeout_s`` seconds or a ``wake``."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not self._frames and not self._woken:
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    return None
                self._changed.wait(remaining_s)
            self._woken = False
            return self._frames.popleft() if self._frames else None
