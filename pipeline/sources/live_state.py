"""What a live source is doing, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fusion.errors import InputError


class LiveState(StrEnum):
    """What a live source is doing."""

    OPENING = "opening"
    LIVE = "live"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """How patient a live source is.

    Attributes:
        watchdog_s: without a frame for this long a source counts as stalled.
        open_timeout_s: longest wait for a connection.
        read_timeout_s: longest wait for data; the source is reopened after about twice that.
        backoff_s: wait before the first attempt to reconnect; doubles each time.
        backoff_limit_s: longest such wait.
        give_up_s: without a frame for this long the source has failed for good.
    """

    watchdog_s: float = 2.0
    open_timeout_s: float = 3.0
    read_timeout_s: float = 1.0
    backoff_s: float = 0.25
    backoff_limit_s: float = 4.0
    give_up_s: float = 30.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 < getattr(self, name) <= 86_400:
                raise InputError(f"live.{name} must be above 0 and at most a day, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveHealth:
    """How a live source is.

    Attributes:
        state: what it is doing.
        frames: frames delivered.
        suspect: frames whose decoder reported damage.
        reconnects: times it was opened again.
        epoch: reconnects and jumps of its time stamps.
        age_s: time since the last frame, or since the start before the first.
        reason: why it was last reopened or gave up; never with credentials.
    """

    state: LiveState
    frames: int
    suspect: int
    reconnects: int
    epoch: int
    age_s: float
    reason: str
