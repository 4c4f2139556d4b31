"""Where results go: the recorded video, the lines of results.jsonl, the summary.

A sink takes each result in order and is closed once. Windows and web pages are sinks too.
"""

from __future__ import annotations

from typing import Protocol

from pipeline.frames import StreamResult


class Sink(Protocol):
    """Receives every result of a run, in order, from one thread."""

    def write(self, result: StreamResult) -> None:
        """Take one result.

        Raises:
            OSError: it could not be stored (a full disk, for example).
        """
        ...

    def close(self) -> None:
        """Make everything written so far complete and readable. May be called twice."""
        ...
