"""Tells a person or a program how far a run is: a bar on a terminal, else JSON lines, on stderr."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

_LINE_EVERY_S = 2.0


class Progress:
    """Counts steps of a run; use as a context manager.

    On a terminal a tqdm bar; elsewhere a JSON line ``{"progress": name, "done": n, "total": m, "per_s": x}``
    every two seconds, for logs and programs.

    Args:
        name: what is counted, such as ``pairs``.
        total: how many there will be, or None when nobody knows.
        stream: where it is shown (stderr by default).
        quiet: show nothing.
    """

    def __init__(
        self, name: str, total: int | None = None, *, stream: TextIO | None = None, quiet: bool = False
    ) -> None:
        self._name = name
        self._total = total
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._bar: Any = None
        if not quiet and self._stream.isatty():
            self._bar = tqdm(total=total, unit=f" {name}", file=self._stream, dynamic_ncols=True, leave=False)
        self._started_s = self._shown_s = time.monotonic()
        self.done = 0

    def step(self, count: int = 1) -> None:
        """Count ``count`` more."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self._quiet and time.monotonic() - self._shown_s >= _LINE_EVERY_S:
            self._line()

    def __enter__(self) -> Self:
        """Start showing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing; the bar leaves the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self) -> None:
        self._shown_s = time.monotonic()
        rate = self.done / max(self._shown_s - self._started_s, 1e-9)
        line = {"progress": self._name, "done": self.done, "total": self._total, "per_s": round(rate, 2)}
        print(json.dumps(line), file=self._stream, flush=True)
