"""Registered pairs from live sources: paired as frames arrive, going on with one stream when the other is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from fusion.errors import InputError, RunError
from pipeline.assemble import PairSourceConfig, PairStream, check_stream_sizes
from pipeline.calibration import Calibration
from pipeline.frames import FramePair
from pipeline.pair_builder import PairBuilder
from pipeline.pairing import PairedFrames, Pairer, PairerConfig
from pipeline.sources import Role, Source, is_live, open_source
from pipeline.sources.inbox import Inbox
from pipeline.sources.live import LiveSource, open_live
from pipeline.sources.live_state import LiveHealth, LiveState

# The pairer must be asked at least so often whether a frame has waited long enough.
_TICK_S = 0.005
_DEFAULT_WAIT_S = 0.1
_DEFAULT_TAKEOVER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStats:
    """Counts of a live run beside those of pairing.

    Attributes:
        inbox_dropped: frames dropped before pairing because nobody took them.
        health: how each live source is.
    """

    inbox_dropped: int
    health: dict[Role, LiveHealth]


class LivePairStream(PairStream):
    """Pairs as they come; never ends by itself unless every source is gone.

    Where ``pairing`` leaves them open, a frame waits 0.1 s at most for its partner, and after a second of silence of
    the reference stream the other one is passed on alone. A recorded source beside a live one is played in real time.
    """

    def __init__(
        self,
        visible: Source | None,
        thermal: Source | None,
        *,
        pairing: PairerConfig,
        builder: PairBuilder,
        inbox: Inbox,
    ) -> None:
        super().__init__(visible, thermal, pairing=pairing, builder=builder)
        self._inbox = inbox
        self._stop = threading.Event()
        self._ended: set[Role] = set()
        self._played: dict[Role, str] = {}
        self._players: list[threading.Thread] = []

    def _make_pairer(self, pairing: PairerConfig) -> Pairer:
        # A stream alone is passed on as it comes, which is what takes over for a silent reference.
        alone = self.visible is None or self.thermal is None
        wait_s = _DEFAULT_WAIT_S if pairing.max_wait_s is None else pairing.max_wait_s
        takeover_s = _DEFAULT_TAKEOVER_S if pairing.takeover_s is None else pairing.takeover_s
        config = replace(pairing, max_wait_s=0.0 if alone else wait_s, takeover_s=takeover_s)
        return Pairer(
            config,
            visible_period_s=1 / self.visible.info.fps if self.visible else None,
            thermal_period_s=1 / self.thermal.info.fps if self.thermal else None,
        )

    @property
    def live_stats(self) -> LiveStats:
        """Counts and health since the beginning."""
        health = {role: source.health() for role, source in self._sources() if isinstance(source, LiveSource)}
        return LiveStats(inbox_dropped=self._inbox.dropped, health=health)

    def __iter__(self) -> Iterator[FramePair]:
        """Pairs until ``close``.

        Raises:
            InputError: a picture cannot be used.
            RunError: every source is gone for good.
        """
        self._inbox.clear()  # what came while the networks were loading is old
        self._start_players()
        for role in ("visible", "thermal"):
            if role not in dict(self._sources()):
                self._pairer.end(role)
        while not self._stop.is_set():
            item = self._inbox.get(_TICK_S)
            begin_s = time.perf_counter()
            frames = self._pairer.advance(time.monotonic()) if item is None else self._pairer.push(*item)
            frames += self._end_what_failed()
            for pair in self._build(frames, begin_s):
                yield pair
                begin_s = time.perf_counter()
            if self._ended >= {role for role, _ in self._sources()}:
                self._raise_if_failed()
                return

    def close(self) -> None:
        """End the threads and close the sources; safe to call twice."""
        self._stop.set()
        self._inbox.wake()
        super().close()
        for player in self._players:
            player.join(0.5)

    def _sources(self) -> list[tuple[Role, Source]]:
        sources: tuple[tuple[Role, Source | None], ...] = (("visible", self.visible), ("thermal", self.thermal))
        return [(role, source) for role, source in sources if source is not None]

    def _build(self, frames: list[PairedFrames], begin_s: float) -> Iterator[FramePair]:
        for paired in frames:
            decoded_s = time.perf_counter()
            pair = self.builder.build(paired)
            self.stage_ms = {"decode": (decoded_s - begin_s) * 1e3, **self.builder.stage_ms}
            yield pair

    def _end_what_failed(self) -> list[PairedFrames]:
        frames: list[PairedFrames] = []
        for role, source in self._sources():
            reason = self._ending(role, source)
            if reason is not None and role not in self._ended:
                self._ended.add(role)
                self._warnings += (f"{source.info.name}: {reason}; going on without it",)
                frames += self._pairer.end(role)
        return frames

    def _ending(self, role: Role, source: Source) -> str | None:
        """Why a source gives no more frames, or None while it does."""
        if not isinstance(source, LiveSource):
            return self._played.get(role)
        health = source.health()
        return f"gone for good ({health.reason})" if health.state is LiveState.FAILED else None

    def _raise_if_failed(self) -> None:
        gone = [source for _, source in self._sources() if isinstance(source, LiveSource)]
        names = " and ".join(f"{source.info.name} ({source.health().reason})" for source in gone)
        if any(source.health().state is LiveState.FAILED for source in gone):
            raise RunError(f"no source is left: {names}; what came before is recorded")

    def _start_players(self) -> None:
        for role, source in self._sources():
            if not isinstance(source, LiveSource):
                player = threading.Thread(target=self._play, args=(role, source), name=f"play {role}", daemon=True)
                self._players.append(player)
                player.start()

    def _play(self, role: Role, source: Source) -> None:
        """Deliver a recorded source in real time."""
        begin_s = time.monotonic()
        ending = "at its end"
        try:
            for frame in source:
                due_s = begin_s + frame.time_s
                if self._stop.wait(max(0.0, due_s - time.monotonic())):
                    return
                self._inbox.put(role, replace(frame, time_s=due_s, arrival_s=time.monotonic()))
        except (InputError, RunError) as error:
            ending = str(error)
        self._played[role] = ending
        self._inbox.wake()


def open_live_pairs(config: PairSourceConfig, builder: PairBuilder, calibration: Calibration | None) -> LivePairStream:
    """Open sources of which at least one is live.

    Raises:
        InputError: a source gives no picture, or its size cannot be used.
    """
    inbox = Inbox()
    roles: tuple[tuple[Role, str | None], ...] = (("visible", config.visible), ("thermal", config.thermal))
    opened: dict[Role, Source] = {}
    with ExitStack() as closing:
        for role, uri in roles:
            if uri is None:
                continue
            options = config.visible_options if role == "visible" else config.thermal_options
            if is_live(uri):
                opened[role] = open_live(uri, role=role, options=options, config=config.patience, inbox=inbox)
            else:
                opened[role] = open_source(uri, role=role, options=options)
            closing.callback(opened[role].close)
        stream = LivePairStream(
            opened.get("visible"), opened.get("thermal"), pairing=config.pairing, builder=builder, inbox=inbox
        )
        check_stream_sizes(stream, calibration)
        closing.pop_all()
    return stream
