"""What a person may ask of a run while it goes on, and the mailbox in which the run finds it between two pairs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from fusion.fuser import PoolingName
from pipeline.frames import StreamResult
from trackers.box import Box
from trackers.state import Modality

# More than anybody can ask between two pairs; what comes beyond is refused, so memory stays bounded.
_MOST_WAITING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AddTarget:
    """Follow what is in ``box`` (pixels of the visible picture) in the pair with index ``frame``."""

    frame: int
    box: Box


@dataclass(frozen=True, slots=True)
class RemoveTarget:
    """Follow target number ``target`` no longer."""

    target: int


@dataclass(frozen=True, slots=True)
class SetPaused:
    """Stop after the pair in hand, or go on."""

    paused: bool


@dataclass(frozen=True, slots=True)
class SetRecording:
    """Begin or end a recording of the fused picture."""

    recording: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionChoice:
    """A fusion method by name with its channel pooling; as a command: fuse with it from now on."""

    method: str
    pooling: PoolingName = "avg"


@dataclass(frozen=True, slots=True)
class PictureChanged:
    """Registration or thermal display are others now; a run that stands still shows its picture anew."""


Command = AddTarget | RemoveTarget | SetPaused | SetRecording | FusionChoice | PictureChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What of the run can be changed, as it is now.

    Attributes:
        fusion: the fusion at work; None when the run fuses nothing.
        switching: the fusion that is being loaded to take over.
        methods: fusion methods that can be chosen.
        tracker: name of the tracker; None when no target can be followed.
        modality: which pictures the tracker looks at.
        paused: no pair is processed.
        recording: the fused picture is being recorded; None when this run cannot switch it.
        live: pairs come in real time and may be dropped.
    """

    fusion: FusionChoice | None = None
    switching: FusionChoice | None = None
    methods: tuple[str, ...] = ()
    tracker: str | None = None
    modality: Modality = Modality.FUSED
    paused: bool = False
    recording: bool | None = None
    live: bool = False

    @property
    def title(self) -> str:
        """The methods at work, for people."""
        return run_title(None if self.fusion is None else self.fusion.method, self.tracker, self.modality)


def run_title(method: str | None, tracker: str | None, modality: Modality) -> str:
    """A fusion method and a tracker (None: there is none) in a few words, for overlays and people."""
    parts = [method or "none"]
    if tracker is not None:
        parts.append(f"{tracker} {modality.value}")
    return " + ".join(parts)


EventKind = Literal["added", "removed", "refused", "fusion", "paused", "recording", "registration", "saved", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """Something that happened, for those who watch: a kind, a sentence for people, and fields for programs."""

    kind: EventKind
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class Observer(Protocol):
    """Watches a run. Both methods are called from the run's threads and must return at once."""

    def publish(self, result: StreamResult) -> None:
        """Take a new result; a paused run may send the same pair again with other targets."""
        ...

    def announce(self, event: RunEvent) -> None:
        """Take an event."""
        ...


class RunControl:
    """Stands between a run and those who watch and steer it; safe to use from any thread.

    Args:
        state: how the run begins.
    """

    def __init__(self, state: RunState | None = None) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Command] = deque()
        self._observers: tuple[Observer, ...] = ()
        self._state = state or RunState()

    @property
    def state(self) -> RunState:
        """The run as it is now."""
        return self._state

    def update(self, **changes: Any) -> None:
        """Change fields of the state."""
        with self._changed:
            self._state = replace(self._state, **changes)
            self._changed.notify_all()

    def post(self, command: Command) -> bool:
        """Put a command into the mailbox; False when it is full."""
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                return False
            self._waiting.append(command)
            self._changed.notify_all()
        return True

    def take(self) -> list[Command]:
        """Empty the mailbox."""
        with self._changed:
            commands = list(self._waiting)
            self._waiting.clear()
        return commands

    def wait(self, timeout_s: float) -> None:
        """Wait until there is a command, at most so long."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)

    def add_observer(self, observer: Observer) -> None:
        """Let ``observer`` know of every result and event from now on."""
        with self._changed:
            self._observers = (*self._observers, observer)

    def publish(self, result: StreamResult) -> None:
        """Show a result to all observers."""
        for observer in self._observers:
            observer.publish(result)

    def announce(self, kind: EventKind, text: str, **fields: Any) -> None:
        """Tell all observers what happened."""
        event = RunEvent(kind=kind, text=text, fields=fields)
        for observer in self._observers:
            observer.announce(event)
