"""Recording that can be switched, cut into segments and kept within a size, and that does not take the run with it
when the disk is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusion.errors import InputError
from pipeline.frames import StreamResult
from pipeline.sinks import Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConfig:
    """How a recording is cut.

    Attributes:
        segment_s: begin a new file after so many seconds of video; None never does.
        segment_mb: begin a new file when one has so many megabytes; None never does.
        keep_mb: delete the oldest files when all together have more megabytes than this; None keeps all.
    """

    segment_s: float | None = None
    segment_mb: float | None = None
    keep_mb: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise InputError(f"recording.segments.{name} must be above 0, not {value}")
        if self.keep_mb is not None and self.segment_s is None and self.segment_mb is None:
            raise InputError("recording.segments.keep_mb needs segment_s or segment_mb: only whole files can go")


class SegmentedRecorder:
    """Records into ``path``, and after a cut or a pause into numbered files beside it.

    Args:
        path: the first file, such as ``fused.mp4``; the next one is ``fused-002.mp4``.
        open_file: opens the sink of one file.
        wanted: whether to record, asked at each result.
        config: when to cut.

    Raises:
        OSError: a file cannot be written (on construction where recording is wanted, and on each result).
    """

    def __init__(
        self,
        path: Path,
        open_file: Callable[[Path], Sink],
        *,
        wanted: Callable[[], bool] = lambda: True,
        config: SegmentConfig | None = None,
    ) -> None:
        self._path = path
        self._open_file = open_file
        self._wanted = wanted
        self._config = config or SegmentConfig()
        self._files: list[Path] = []
        self._opened = 0
        self._sink: Sink | None = None
        self._begin_s: float | None = None
        if wanted():
            self._begin()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were begun and not deleted, in order."""
        return tuple(self._files)

    def write(self, result: StreamResult) -> None:
        """Record one result, or not, and cut where it is time."""
        wanted = self._wanted()
        if self._sink is not None and (not wanted or self._is_full(result.pair.time_s)):
            self.close()
        if not wanted:
            return
        if self._sink is None:
            self._begin()
        if self._begin_s is None:
            self._begin_s = result.pair.time_s
        assert self._sink is not None
        self._sink.write(result)

    def close(self) -> None:
        """Finish the open file."""
        sink, self._sink, self._begin_s = self._sink, None, None
        if sink is not None:
            sink.close()

    def _begin(self) -> None:
        self._make_room()
        self._opened += 1
        name = self._path.name if self._opened == 1 else segment_name(self._path, self._opened)
        path = self._path.with_name(name)
        self._sink = self._open_file(path)
        self._files.append(path)

    def _is_full(self, time_s: float) -> bool:
        config = self._config
        if config.segment_s is not None and self._begin_s is not None and time_s - self._begin_s >= config.segment_s:
            return True
        return config.segment_mb is not None and _size_mb(self._files[-1]) >= config.segment_mb

    def _make_room(self) -> None:
        if self._config.keep_mb is None:
            return
        while self._files and sum(_size_mb(path) for path in self._files) > self._config.keep_mb:
            self._files.pop(0).unlink(missing_ok=True)


class KeepGoing:
    """Lets a run go on when a sink fails, a full disk for example: the sink is closed and gets no more results.

    Args:
        sink: what may fail.
        on_failure: told once.
    """

    def __init__(self, sink: Sink, on_failure: Callable[[OSError], None]) -> None:
        self._sink: Sink | None = sink
        self._on_failure = on_failure

    def write(self, result: StreamResult) -> None:
        """Pass one result on while the sink works."""
        if self._sink is None:
            return
        try:
            self._sink.write(result)
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Close the sink."""
        if self._sink is None:
            return
        try:
            self._sink.close()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        sink, self._sink = self._sink, None
        self._on_failure(error)
        if sink is not None:
            try:
                sink.close()
            except OSError:
                return  # said already; what was complete before stays readable


def segment_name(path: Path, number: int) -> str:
    """``fused-002.mp4`` for ``fused.mp4`` and 2."""
    return f"{path.stem}-{number:03d}{path.suffix}"


def _size_mb(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except FileNotFoundError:
        return 0.0
