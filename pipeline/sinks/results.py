"""results.jsonl: one line a pair, each complete on disk before the next begins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.frames import StreamResult


class ResultsWriter:
    """Appends one JSON line for each result; a partly written line is taken back.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._length = 0

    def write(self, result: StreamResult) -> None:
        """Append the line of one result."""
        if self._descriptor is None:
            raise ValueError(f"{self._path} is closed")
        data = json.dumps(result_line(result), separators=(", ", ": "), allow_nan=False).encode() + b"\n"
        try:
            # One system call a line: a kill comes before or after it, a full disk is seen as a short count.
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self._length)
            os.lseek(self._descriptor, self._length, os.SEEK_SET)
            error.filename = str(self._path)
            raise
        self._length += len(data)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def result_line(result: StreamResult) -> dict[str, Any]:
    """The fields of one line; numbers are rounded so that equal runs give equal bytes.

    Pixels to 0.001, scores to 0.0001, times to 1 microsecond.
    """
    return {
        "index": result.pair.index,
        "time_s": round(result.pair.time_s, 6),
        "dt_ms": round(result.pair.dt_s * 1e3, 3),
        "status": result.pair.status.value,
        "targets": [
            {
                "id": target,
                "box": [round(float(value), 3) for value in state.box.as_tuple()],
                "score": round(float(state.score), 4),
                "state": state.status.value,
            }
            for target, state in sorted(result.states.items())
        ],
        "stage_ms": {stage: round(duration, 3) for stage, duration in result.stage_ms.items()},
    }
