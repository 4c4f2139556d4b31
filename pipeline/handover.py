"""A bounded queue between two threads that never leaves one of them hanging when the other fails."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class HandoverClosed(Exception):  # noqa: N818 - an ending, not an error
    """The receiver takes no more items."""


class Handover(Generic[T]):
    """Passes items from one sending to one receiving thread, in order.

    The sender ends with `finish`, with its error if it failed; the receiver gets what was sent before and then that
    error. The receiver may `close` early, with its own error; the sender's next `put` raises it.

    Args:
        capacity: items that may wait.
        latest_wins: a full queue drops its oldest item instead of making the sender wait.
        is_stale: tells an item that is dropped as well if a newer one waits when it would be received; None: there
            are none.
    """

    def __init__(
        self, capacity: int, *, latest_wins: bool = False, is_stale: Callable[[T], bool] | None = None
    ) -> None:
        self._capacity = capacity
        self._latest_wins = latest_wins
        self._is_stale = is_stale
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._sender_error: BaseException | None = None
        self._receiver_error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> None:
        """Hand over one item; waits while the queue is full.

        Raises:
            HandoverClosed: the receiver wants no more.
            BaseException: the error with which the receiver closed.
        """
        with self._changed:
            while len(self._items) >= self._capacity and not self._latest_wins and not self._closed:
                self._changed.wait()
            if self._receiver_error is not None:
                raise self._receiver_error
            if self._closed:
                raise HandoverClosed
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def finish(self, error: BaseException | None = None) -> None:
        """Say that no item will follow, and why if it is an error."""
        with self._changed:
            self._finished = True
            self._sender_error = error
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Say that no further item is wanted; waiting items are thrown away."""
        with self._changed:
            self._closed = True
            self._receiver_error = error
            self._items.clear()
            self._changed.notify_all()

    def raise_receiver_error(self) -> None:
        """Raise the error with which the receiver closed, if there is one."""
        with self._changed:
            if self._receiver_error is not None:
                raise self._receiver_error

    def get(self, stop: threading.Event | None = None) -> T | None:
        """The next item, or None at the end or as soon as ``stop`` is set.

        Raises:
            BaseException: the error with which the sender finished.
        """
        with self._changed:
            while not self._items and not self._finished:
                if stop is not None and stop.is_set():
                    return None
                # A signal handler can set the event but not notify this condition, so look at it now and then.
                self._changed.wait(None if stop is None else 0.1)
            if stop is not None and stop.is_set():
                return None
            if self._items:
                item = self._items.popleft()
                while self._is_stale is not None and self._items and self._is_stale(item):
                    item = self._items.popleft()
                    self.dropped += 1
                self._changed.notify_all()
                return item
            if self._sender_error is not None:
                raise self._sender_error
            return None

    def drain(self, stop: threading.Event | None = None) -> Iterator[T]:
        """Items until the end, or until ``stop`` is set."""
        while (item := self.get(stop)) is not None:
            yield item
