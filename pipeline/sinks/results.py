"""results.jsonl: one line a pair, each complete on disk before the next begins."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion.whole_files import written_whole
from pipeline.frames import StreamResult
from trackers.state import Modality, TrackState

# Lines that a target added on an earlier pair may still be written into: at 30 pairs a second half a minute.
_AMENDABLE = 1024
_COPIED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRecord:
    """What is written of a result, without its pictures, so that many can wait for a slow disk.

    Attributes:
        index: number of the pair.
        line: the line of JSON with its end.
        backdated: states to write into the lines of earlier pairs.
    """

    index: int
    line: bytes
    backdated: Mapping[int, Mapping[int, TrackState]]

    @classmethod
    def of(cls, result: StreamResult) -> ResultRecord:
        """The record of a result."""
        return cls(index=result.pair.index, line=_encoded(result_line(result)), backdated=result.backdated)


class ResultsWriter:
    """Appends one JSON line for each result; a partly written line is taken back.

    A target that was added on an earlier pair is written into the line of that pair too: in a new file that takes the
    place of the old one, so the file is whole at every moment, and who follows it has to open it again then.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._length = 0
        self._places: deque[tuple[int, int]] = deque(maxlen=_AMENDABLE)

    def write(self, result: StreamResult) -> None:
        """Append the line of one result, after amending earlier lines where it says so."""
        self.append(ResultRecord.of(result))

    def append(self, record: ResultRecord) -> None:
        """The same for what is to be written of a result."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        if record.backdated:
            self._amend(self._descriptor, record.backdated)
        self._places.append((record.index, self._length))
        self._put(self._descriptor, record.line)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _put(self, descriptor: int, line: bytes) -> None:
        try:
            # One system call a line: a kill comes before or after it, a full disk is seen as a short count.
            written = os.pwrite(descriptor, line, self._length)
            while written < len(line):
                written += os.pwrite(descriptor, line[written:], self._length + written)
        except OSError as error:
            os.ftruncate(descriptor, self._length)
            error.filename = str(self.path)
            raise
        self._length += len(line)

    def _amend(self, descriptor: int, backdated: Mapping[int, Mapping[int, TrackState]]) -> None:
        """Put a file in the place of this one that differs in the lines that change.

        Written over, those and all after them would be half of the old and half of the new for whoever reads or kills
        the program meanwhile.
        """
        begin = next((place for index, place in self._places if index in backdated), None)
        if begin is None:
            return
        lines = []
        places: dict[int, int] = {}
        length = begin
        for text in os.pread(descriptor, self._length - begin, begin).splitlines():
            line = json.loads(text)
            added = backdated.get(line["index"], {})
            line["targets"] = sorted([*line["targets"], *_target_fields(added)], key=lambda target: target["id"])
            data = _encoded(line)
            places[line["index"]] = length
            length += len(data)
            lines.append(data)
        try:
            with written_whole(self.path) as partial:
                with partial.open("wb") as file:
                    for place in range(0, begin, _COPIED_BYTES):
                        file.write(os.pread(descriptor, min(_COPIED_BYTES, begin - place), place))
                    file.writelines(lines)
                amended = os.open(partial, os.O_RDWR)
        except OSError as error:
            error.filename = str(self.path)
            raise
        os.close(descriptor)
        self._descriptor, self._length = amended, length
        self._places = deque(((index, places.get(index, place)) for index, place in self._places), maxlen=_AMENDABLE)


def result_line(result: StreamResult) -> dict[str, Any]:
    """The fields of one line; numbers are rounded so that equal runs give equal bytes.

    Pixels to 0.001, scores to 0.0001, times to 1 microsecond.
    """
    return {
        "index": result.pair.index,
        "time_s": round(result.pair.time_s, 6),
        "dt_ms": round(result.pair.dt_s * 1e3, 3),
        "status": result.pair.status.value,
        **({"level": result.level} if result.level else {}),
        "targets": _target_fields(result.states),
        "stage_ms": {stage: round(duration, 3) for stage, duration in result.stage_ms.items()},
    }


def _target_fields(states: Mapping[int, TrackState]) -> list[dict[str, Any]]:
    return [
        {
            "id": target,
            "box": [round(float(value), 3) for value in state.box.as_tuple()],
            "score": round(float(state.score), 4),
            "state": state.status.value,
            # Said where one eye alone was used: asked for, or because the other is missing, dark, frozen or saturated.
            **({} if state.seen_in is Modality.FUSED else {"seen_in": state.seen_in.value}),
            **({"near": list(state.near)} if state.near else {}),
        }
        for target, state in sorted(states.items())
    ]


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(", ", ": "), allow_nan=False).encode() + b"\n"
