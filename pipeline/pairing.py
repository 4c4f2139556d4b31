"""Which frames of two streams belong together: nearest time stamp around a reference stream.

Free of threads and clocks: the caller pushes frames, says what time it is, and gets pairs back. With
``max_wait_s`` None the decision depends on time stamps alone, so recorded streams pair the same way every time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from fusion.errors import InputError, RunError
from pipeline.frames import Frame, PairStatus
from pipeline.sources.base import Role

Unpaired = Literal["drop", "single", "hold"]

# Frames kept per stream while waiting for the other one; at 30 fps over four seconds.
MAX_BUFFERED = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PairerConfig:
    """How frames are paired.

    Attributes:
        reference: the stream whose every frame asks for a partner.
        tolerance_s: largest distance in time within a pair; None is 0.6 of the slower stream's period.
        max_wait_s: how long a reference frame may wait for a nearer partner, in host time; None decides on time
            stamps alone (recorded streams).
        reuse: a frame of the other stream may serve several reference frames (needed when it is slower).
        on_unpaired: a reference frame without partner is dropped, passed on alone, or paired with the other
            stream's last frame as long as that is at most ``hold_s`` old (then passed on alone).
        hold_s: greatest age of a held frame in seconds.
        takeover_s: when the reference stream has been silent for this long in host time, or has ended, frames
            of the other stream are passed on alone; None never does that.
    """

    reference: Role = "visible"
    tolerance_s: float | None = None
    max_wait_s: float | None = None
    reuse: bool = True
    on_unpaired: Unpaired = "single"
    hold_s: float = 0.5
    takeover_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("tolerance_s", "max_wait_s", "hold_s", "takeover_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"pairing.{name} must be a number of at least 0, not {value}")

    @property
    def other(self) -> Role:
        """The stream that is not the reference."""
        return "thermal" if self.reference == "visible" else "visible"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedFrames:
    """One decision of the pairer.

    Attributes:
        index: number of the pair, from 0.
        visible: visible frame, or None.
        thermal: thermal frame, or None; at least one is there.
        status: paired, held, or single (one is None).
    """

    index: int
    visible: Frame | None
    thermal: Frame | None
    status: PairStatus

    @property
    def dt_s(self) -> float:
        """Thermal time minus visible time in seconds; 0 for a single frame."""
        if self.visible is None or self.thermal is None:
            return 0.0
        return self.thermal.time_s - self.visible.time_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingStats:
    """Counts since the beginning.

    Every reference frame pushed is counted in exactly one of ``paired``, ``held``, ``single``, ``dropped``,
    ``out_of_order`` and ``waiting``.

    Attributes:
        visible: visible frames pushed.
        thermal: thermal frames pushed.
        paired: pairs within the tolerance.
        held: pairs with an older frame of the other stream.
        single: reference frames passed on alone.
        dropped: reference frames thrown away without a partner.
        takeover: frames of the other stream passed on alone while the reference was silent.
        reused: pairs whose other frame had already served before.
        unused: frames of the other stream that no pair used.
        out_of_order: frames of either stream thrown away because a later one of their stream had come before.
        waiting: reference frames not decided yet.
        mean_abs_dt_s: mean distance in time of the pairs within tolerance.
        max_abs_dt_s: greatest such distance.
    """

    visible: int = 0
    thermal: int = 0
    paired: int = 0
    held: int = 0
    single: int = 0
    dropped: int = 0
    takeover: int = 0
    reused: int = 0
    unused: int = 0
    out_of_order: int = 0
    waiting: int = 0
    mean_abs_dt_s: float = 0.0
    max_abs_dt_s: float = 0.0

    @property
    def unpaired(self) -> int:
        """Reference frames that found no partner within the tolerance."""
        return self.held + self.single + self.dropped


@dataclass(slots=True)
class _Stream:
    """What the pairer remembers of one stream."""

    frames: deque[Frame] = field(default_factory=deque)
    ended: bool = False
    count: int = 0
    last: Frame | None = None
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=32))
    nominal_s: float | None = None

    @property
    def period_s(self) -> float | None:
        """Typical distance of two frames: the nominal one, else the median of the last ones."""
        if self.nominal_s is not None or not self.intervals_s:
            return self.nominal_s
        return sorted(self.intervals_s)[len(self.intervals_s) // 2]

    @property
    def min_period_s(self) -> float:
        """Least distance of two frames to be expected; 0 while unknown."""
        if len(self.intervals_s) < 4:
            return 0.0
        return min(self.intervals_s)


class Pairer:
    """Pairs frames as they come.

    Args:
        config: the policy.
        visible_period_s: nominal seconds between visible frames, when known.
        thermal_period_s: the same for thermal frames.
    """

    def __init__(
        self,
        config: PairerConfig | None = None,
        *,
        visible_period_s: float | None = None,
        thermal_period_s: float | None = None,
    ) -> None:
        self._config = config or PairerConfig()
        self._streams: dict[Role, _Stream] = {
            "visible": _Stream(nominal_s=visible_period_s),
            "thermal": _Stream(nominal_s=thermal_period_s),
        }
        self._reference = self._streams[self._config.reference]
        self._other = self._streams[self._config.other]
        self._stats = PairingStats()
        self._sum_abs_dt_s = 0.0
        self._emitted = 0
        self._used: Frame | None = None
        self._last_reference_s: float | None = None

    def push(self, stream: Role, frame: Frame) -> list[PairedFrames]:
        """Take a frame of ``stream``; returns the pairs that are decided by it, in order of reference time."""
        state = self._streams[stream]
        state.count += 1
        if self._last_reference_s is None or state is self._reference:
            self._last_reference_s = frame.arrival_s
        if state.last is not None and frame.epoch == state.last.epoch:
            interval_s = frame.time_s - state.last.time_s
            if interval_s <= 0:
                self._add(out_of_order=1)
                return []
            state.intervals_s.append(interval_s)
        elif state.last is not None:
            self._start_epoch(state, frame)
        state.last = frame
        state.frames.append(frame)
        return self._decide(frame.arrival_s)

    def advance(self, now_s: float) -> list[PairedFrames]:
        """Say what time it is on the clock of ``arrival_s``; returns pairs that need wait no longer."""
        return self._decide(now_s)

    def end(self, stream: Role) -> list[PairedFrames]:
        """Say that ``stream`` has no more frames; returns the pairs that are decided by it."""
        self._streams[stream].ended = True
        return self._decide(-math.inf)

    def stats(self) -> PairingStats:
        """Counts since the beginning."""
        return replace(
            self._stats,
            visible=self._streams["visible"].count,
            thermal=self._streams["thermal"].count,
            waiting=len(self._reference.frames),
            mean_abs_dt_s=self._sum_abs_dt_s / max(1, self._stats.paired),
        )

    def tolerance_s(self) -> float:
        """Largest distance in time within a pair, as of now."""
        if self._config.tolerance_s is not None:
            return self._config.tolerance_s
        periods = [state.period_s for state in self._streams.values() if state.period_s is not None]
        return 0.6 * max(periods) if periods else 0.02

    def _start_epoch(self, state: _Stream, frame: Frame) -> None:
        state.intervals_s.clear()
        while state is self._other and state.frames and state.frames[-1].time_s >= frame.time_s:
            self._add(unused=int(state.frames.pop() is not self._used))

    def _decide(self, now_s: float) -> list[PairedFrames]:
        pairs: list[PairedFrames] = []
        while self._reference.frames:
            frame = self._reference.frames[0]
            partner = self._nearest(frame)
            if not self._is_final(frame, partner, now_s):
                break
            self._reference.frames.popleft()
            self._settle(frame, partner, pairs)
        if not self._reference.frames:
            self._take_over(now_s, pairs)
        return pairs

    def _nearest(self, frame: Frame) -> Frame | None:
        """The other stream's frame nearest in time; on a tie the earlier one."""
        candidates = [other for other in self._other.frames if self._config.reuse or other is not self._used]
        return min(candidates, key=lambda other: abs(other.time_s - frame.time_s), default=None)

    def _is_final(self, frame: Frame, partner: Frame | None, now_s: float) -> bool:
        other = self._other
        if other.ended or len(self._reference.frames) > MAX_BUFFERED:
            return True
        if other.last is not None and other.last.time_s >= frame.time_s:
            return True
        if self._config.max_wait_s is None:
            return False
        if now_s - frame.arrival_s >= self._config.max_wait_s:
            return True
        # No later frame of the other stream can be nearer than half its least period.
        return partner is not None and abs(partner.time_s - frame.time_s) <= other.min_period_s / 2

    def _settle(self, frame: Frame, partner: Frame | None, pairs: list[PairedFrames]) -> None:
        if partner is not None and abs(partner.time_s - frame.time_s) <= self.tolerance_s():
            distance_s = abs(partner.time_s - frame.time_s)
            self._sum_abs_dt_s += distance_s
            self._add(paired=1, reused=int(partner is self._used))
            self._stats = replace(self._stats, max_abs_dt_s=max(self._stats.max_abs_dt_s, distance_s))
            self._use(partner)
            pairs.append(self._pair(frame, partner, PairStatus.PAIRED))
            return
        held = self._holdable(frame)
        match self._config.on_unpaired:
            case "drop":
                self._add(dropped=1)
            case "hold" if held is not None:
                self._add(held=1, reused=int(held is self._used))
                self._use(held)
                pairs.append(self._pair(frame, held, PairStatus.HELD))
            case "single" | "hold":
                self._add(single=1)
                pairs.append(self._pair(frame, None, PairStatus.SINGLE))
        self._forget_before(frame)

    def _holdable(self, frame: Frame) -> Frame | None:
        earlier = [other for other in self._other.frames if other.time_s <= frame.time_s]
        if earlier and frame.time_s - earlier[-1].time_s <= self._config.hold_s:
            return earlier[-1]
        return None

    def _use(self, partner: Frame) -> None:
        """Forget what lies before the partner: no later reference frame is nearer to it than to the partner."""
        while self._other.frames[0] is not partner:
            self._discard_other(1)
        self._used = partner

    def _forget_before(self, frame: Frame) -> None:
        """Keep one frame up to the reference time (it may be held or be the nearest later) and all after it."""
        frames = self._other.frames
        while len(frames) > 1 and frames[1].time_s <= frame.time_s:
            self._discard_other(1)

    def _discard_other(self, count: int) -> None:
        for _ in range(count):
            frame = self._other.frames.popleft()
            self._add(unused=int(frame is not self._used))

    def _take_over(self, now_s: float, pairs: list[PairedFrames]) -> None:
        if self._config.takeover_s is None:
            if self._reference.ended:
                self._discard_other(len(self._other.frames))
            while len(self._other.frames) > MAX_BUFFERED:
                self._discard_other(1)
            return
        silent = self._last_reference_s is not None and now_s - self._last_reference_s >= self._config.takeover_s
        while self._other.frames and (self._reference.ended or silent):
            frame = self._other.frames.popleft()
            if frame is not self._used:
                self._add(takeover=1)
                pairs.append(self._pair(None, frame, PairStatus.SINGLE))
        while len(self._other.frames) > MAX_BUFFERED:
            self._discard_other(1)

    def _pair(self, reference: Frame | None, other: Frame | None, status: PairStatus) -> PairedFrames:
        visible, thermal = (reference, other) if self._config.reference == "visible" else (other, reference)
        index, self._emitted = self._emitted, self._emitted + 1
        return PairedFrames(index=index, visible=visible, thermal=thermal, status=status)

    def _add(self, **counts: int) -> None:
        self._stats = replace(
            self._stats, **{name: getattr(self._stats, name) + value for name, value in counts.items()}
        )


def pair_offline(
    visible_frames: Iterable[Frame],
    thermal_frames: Iterable[Frame],
    config: PairerConfig | None = None,
    *,
    pairer: Pairer | None = None,
) -> Iterator[PairedFrames]:
    """Pair two recorded streams; memory stays bounded as each stream is read only as far as the other needs.

    Args:
        visible_frames: frames in order of time.
        thermal_frames: frames in order of time.
        config: the policy; ``max_wait_s`` is taken as None.
        pairer: use this one instead of a new one, to read its ``stats`` afterwards; ``config`` is then ignored.

    Yields:
        One decision per reference frame (none for dropped ones), in order.

    Raises:
        RunError: a stream broke; raised after the last pair, for the other stream is followed to its end.
    """
    pairer = pairer or Pairer(replace(config or PairerConfig(), max_wait_s=None))
    streams: dict[Role, Iterator[Frame]] = {"visible": iter(visible_frames), "thermal": iter(thermal_frames)}
    latest_s: dict[Role, float] = {"visible": -math.inf, "thermal": -math.inf}
    failure: RunError | None = None
    while streams:
        # The stream that lags behind is read next; on a tie the visible one, so the order is always the same.
        role = min(streams, key=lambda name: latest_s[name])
        try:
            frame = next(streams[role], None)
        except RunError as error:
            failure, frame = failure or error, None
        if frame is None:
            del streams[role]
            yield from pairer.end(role)
            continue
        latest_s[role] = frame.time_s
        yield from pairer.push(role, frame)
    if failure is not None:
        raise failure
