"""Keeps the last pairs at hand, so that a target can start on the very picture a person saw."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from pipeline.frames import FramePair


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfConfig:
    """How much is kept.

    Attributes:
        pairs: pairs kept while nobody holds one.
        held_pairs: pairs kept while somebody holds one, so that a tracker can follow from there to now.
        most_bytes: memory of all kept pictures; the oldest go first.
        hold_s: a hold ends after so many seconds.
    """

    pairs: int = 32
    held_pairs: int = 128
    most_bytes: int = 96 << 20
    hold_s: float = 60.0


class PairShelf:
    """The last pairs by index; a person who is drawing on one can hold it. Safe to use from any thread."""

    def __init__(self, config: ShelfConfig | None = None) -> None:
        self._config = config or ShelfConfig()
        self._lock = threading.Lock()
        self._pairs: dict[int, FramePair] = {}
        self._bytes = 0
        self._holds: dict[object, tuple[int, float]] = {}

    def put(self, pair: FramePair) -> None:
        """Keep the newest pair and let old ones go."""
        with self._lock:
            self._drop(pair.index)
            self._pairs[pair.index] = pair
            self._bytes += _size_bytes(pair)
            self._trim()

    def get(self, index: int) -> FramePair | None:
        """The pair with this index, or None when it is gone."""
        with self._lock:
            return self._pairs.get(index)

    def since(self, index: int) -> list[FramePair]:
        """The kept pairs that came after the one with this index, in order."""
        with self._lock:
            return [self._pairs[number] for number in sorted(self._pairs) if number > index]

    def latest(self, count: int) -> list[FramePair]:
        """Up to ``count`` of the newest pairs, in order."""
        with self._lock:
            return [self._pairs[number] for number in sorted(self._pairs)[-count:]]

    def hold(self, who: object, index: int) -> bool:
        """Keep the pair with this index until ``who`` releases it or holds another; False when it is gone."""
        with self._lock:
            if index not in self._pairs:
                return False
            self._holds[who] = (index, time.monotonic() + self._config.hold_s)
            return True

    def release(self, who: object) -> None:
        """End the hold of ``who``, if there is one."""
        with self._lock:
            self._holds.pop(who, None)

    def __len__(self) -> int:
        return len(self._pairs)

    def _trim(self) -> None:
        now_s = time.monotonic()
        self._holds = {who: hold for who, hold in self._holds.items() if hold[1] > now_s}
        held = {index for index, _ in self._holds.values()}
        most = self._config.held_pairs if held else self._config.pairs
        for index in sorted(self._pairs)[:-1]:
            if len(self._pairs) <= most and self._bytes <= self._config.most_bytes:
                break
            if index not in held:
                self._drop(index)

    def _drop(self, index: int) -> None:
        pair = self._pairs.pop(index, None)
        if pair is not None:
            self._bytes -= _size_bytes(pair)


def _size_bytes(pair: FramePair) -> int:
    pictures = (pair.visible_bgr, pair.thermal, pair.thermal_raw, pair.thermal_native)
    # One array may stand in several places.
    return sum({id(picture): picture.nbytes for picture in pictures if picture is not None}.values())
