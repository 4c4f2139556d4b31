"""Sinks of a live run that write in a thread of their own, so that a slow disk holds up nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pipeline.frames import StreamResult
from pipeline.handover import Handover

T = TypeVar("T")


class QueuedSink(Generic[T]):
    """Puts what is to be stored of each result into a bounded queue; when that is full the oldest item is left out.

    Args:
        prepare: what is to be stored of a result, called by ``write``; None stores nothing.
        store: stores one item; called in the sink's thread.
        close: called once, when everything that waited is stored.
        capacity: items that may wait.
        on_drop: told how many items were left out, each time it is more.
        on_stored: told how long storing an item took, in milliseconds.
        name: of the thread.
    """

    def __init__(
        self,
        prepare: Callable[[StreamResult], T | None],
        store: Callable[[T], None],
        close: Callable[[], None],
        *,
        capacity: int,
        on_drop: Callable[[int], None] = lambda count: None,
        on_stored: Callable[[float], None] = lambda duration_ms: None,
        name: str = "sink",
    ) -> None:
        self._prepare = prepare
        self._store = store
        self._close = close
        self._on_drop = on_drop
        self._on_stored = on_stored
        self._told = 0
        self._closed = False
        self._items: Handover[T] = Handover(capacity, latest_wins=True)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def write(self, result: StreamResult) -> None:
        """Take one result; never waits.

        Raises:
            OSError: an earlier one could not be stored.
        """
        item = self._prepare(result)
        if item is None:
            return
        self._items.put(item)
        if self._items.dropped > self._told:
            self._told = self._items.dropped
            self._on_drop(self._told)

    def close(self) -> None:
        """Store what waits, and close; safe to call twice.

        Raises:
            OSError: something could not be stored.
        """
        if self._closed:
            return
        self._closed = True
        self._items.finish()
        self._thread.join()
        self._close()
        self._items.raise_receiver_error()

    def _run(self) -> None:
        try:
            for item in self._items.drain():
                begin_s = time.perf_counter()
                self._store(item)
                self._on_stored((time.perf_counter() - begin_s) * 1e3)
        except BaseException as error:  # raised again in the thread that gives the results
            self._items.close(error)
