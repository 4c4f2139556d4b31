"""Waiting for what must come about, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.frames import Frame
from pipeline.sources.live import LiveSource


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come about in time"
        time.sleep(0.02)


def frames_until(source: LiveSource, wanted: Callable[[Frame], bool], timeout_s: float = 20.0) -> list[Frame]:
    """Frames up to the first that is wanted."""
    end_s, read = time.monotonic() + timeout_s, []
    while time.monotonic() < end_s:
        item = source.inbox.get(0.1)
        if item is not None:
            read.append(item[1])
            if wanted(item[1]):
                return read
    raise AssertionError(f"no such frame among {len(read)}; {source.health()}")
