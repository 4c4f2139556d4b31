"""What every source of frames offers, and the options all kinds of source share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from fusion.errors import InputError
from pipeline.frames import Frame

Role = Literal["visible", "thermal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What is known of a source before its first frame is read.

    Attributes:
        name: short name for messages and overlays; never contains credentials.
        width: width of the first picture in pixels.
        height: height of the first picture in pixels.
        fps: nominal frames per second (the mean rate of a file with variable rate).
        length: number of frames, or None when unknown or endless.
        is_thermal_16bit: frames are (H, W) uint16 raw thermal counts.
        live: frames arrive in real time and cannot be read again.
        rate_known: the rate comes from the source itself, not from a default.
    """

    name: str
    width: int
    height: int
    fps: float
    length: int | None
    is_thermal_16bit: bool
    live: bool
    rate_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        fps: frames per second of image folders (None: 30, or the rate of the other source of a pair); also
            the rate asked of a camera.
        offset_s: added to every time stamp, in seconds, to correct a constant shift between two streams.
        size_wh: width and height of the synthetic scene, or asked of a camera; None takes the default.
        length: number of frames of the synthetic scene.
        thermal_16bit: the synthetic thermal camera delivers 16-bit counts.
        profile: YAML file with a thermal camera's device profile, for it and for what it recorded.
    """

    fps: float | None = None
    offset_s: float = 0.0
    size_wh: tuple[int, int] | None = None
    length: int = 300
    thermal_16bit: bool = False
    profile: str | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"fps must be above 0 and at most 1000, not {self.fps}")
        if abs(self.offset_s) > 86_400 or self.offset_s != self.offset_s:
            raise InputError(f"offset_s must be within a day, not {self.offset_s}")
        if self.size_wh is not None and min(self.size_wh) < 32:
            raise InputError(f"size_wh must be at least 32 x 32, not {self.size_wh[0]} x {self.size_wh[1]}")
        if self.length < 1:
            raise InputError(f"length must be at least 1, not {self.length}")


class Source(Protocol):
    """One stream of frames, opened on construction and closed on leaving the ``with`` block.

    Iteration yields frames in order of time, ``time_s`` strictly rising within an epoch. A recorded source
    that delivers fewer frames than its file promises raises ``RunError`` after the last one; damage that
    costs no frame goes to ``warnings``.
    """

    @property
    def info(self) -> SourceInfo:
        """What was known on opening."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, one line each; grows while reading."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the beginning (recorded) or from now on (live)."""
        ...

    def close(self) -> None:
        """Release files and devices; safe to call twice."""
        ...

    def __enter__(self) -> Self:
        """Nothing to do: a source is open from construction."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        ...


class Closing:
    """Context management of what is open from construction: leaving the block closes it."""

    def close(self) -> None:
        """Release files and devices; safe to call twice."""

    def __enter__(self) -> Self:
        """Nothing to do: it is open from construction."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class RecordedSource(Closing):
    """Base of sources that read files: what was known on opening, and the list of warnings."""

    def __init__(self, info: SourceInfo) -> None:
        self._info = info
        self._warnings: list[str] = []

    @property
    def info(self) -> SourceInfo:
        """What was known on opening."""
        return self._info

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, one line each; grows while reading."""
        return tuple(self._warnings)

    def warn(self, message: str) -> None:
        """Record a warning once."""
        if message not in self._warnings:
            self._warnings.append(message)
