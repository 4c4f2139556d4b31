"""Between the run's threads and the server's: holds the newest result, encodes it once for all who look at it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from pipeline.control import AddTarget, Command, RunControl, RunEvent
from pipeline.frames import FramePair, StreamResult
from pipeline.overlay import Overlay
from pipeline.pair_builder import PairBuilder
from pipeline.registration_desk import Adjustment, RegistrationDesk
from pipeline.shelf import PairShelf
from pipeline.sources.profile import RegionTemperature, ThermalProfile
from pipeline.telemetry import SourceHealth, Telemetry, TelemetrySnapshot
from pipeline.thermal import PaletteName
from pipeline.thermometer import Probe, measure, target_temperatures
from pipeline.web.protocol import POOLINGS, json_text
from pipeline.web.security import without_credentials
from pipeline.web.views import (
    PALETTES,
    VIEWS,
    Look,
    encode_jpeg,
    picture_header,
    picture_message,
    render_view,
    temperature_fields,
)

_STATUS_PERIOD_S = 0.5
# Results whose time of publication is remembered, to tell the age of a picture when its viewer confirms it.
_REMEMBERED = 256
# Pairs among which a refinement finds those it looks at.
_FOR_REFINEMENT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """What viewers get.

    Attributes:
        jpeg_quality: 1..100.
        most_wide: wider pictures are scaled down to so many pixels before they are sent.
        most_viewers: WebSocket and MJPEG viewers at the same time.
    """

    jpeg_quality: int = 80
    most_wide: int = 1600
    most_viewers: int = 32


@dataclass(frozen=True, slots=True)
class Shown:
    """A published result, its serial number, and the host time (``time.monotonic``) of its capture."""

    result: StreamResult
    serial: int
    captured_s: float


class Audience(Protocol):
    """A viewer as the hub sees it; called in the server's thread."""

    def wake(self) -> None:
        """There is a new result."""
        ...

    def tell(self, text: str) -> None:
        """Send this event (JSON)."""
        ...

    def inform(self, text: str) -> None:
        """Send this status (JSON); only the newest one matters."""
        ...


class Hub:
    """Takes results and events from the run and hands them to the viewers; never makes the run wait.

    Args:
        control: where commands go; the hub becomes its observer.
        shelf: keeps pairs that viewers hold.
        telemetry: the numbers to show; receives the age of pictures when shown.
        health: says how the sources are doing.
        counters: says what was counted outside the results.
        host_time: the pairs' ``time_s`` is their capture on the clock of ``time.monotonic``, as live sources have it.
        overlay: draws onto the pictures of viewers that cannot do it themselves.
        builder: makes the pairs; None when their registration cannot be changed.
        profile: what the counts of the thermal camera mean; None when that is not known.
        palette: colours of the thermal picture for viewers who choose none.
        config: what viewers get.
    """

    def __init__(
        self,
        *,
        control: RunControl,
        shelf: PairShelf,
        telemetry: Telemetry,
        health: Callable[[], Sequence[SourceHealth]] = lambda: (),
        counters: Callable[[], Mapping[str, int]] = dict,
        host_time: bool = False,
        overlay: Overlay | None = None,
        builder: PairBuilder | None = None,
        profile: ThermalProfile | None = None,
        palette: PaletteName = "ironbow",
        config: HubConfig | None = None,
    ) -> None:
        self.control = control
        self.shelf = shelf
        self.telemetry = telemetry
        self._health = health
        self._counters = counters
        self._host_time = host_time
        self._first_s: float | None = None
        self.config = config or HubConfig()
        self._overlay = overlay
        self._profile = profile if profile is not None and profile.radiometric else None
        self.palette: PaletteName = palette
        self.desk: RegistrationDesk | None = None
        if builder is not None:
            self.desk = RegistrationDesk(
                builder,
                control=control,
                newest=lambda: self._latest.result.pair if self._latest else None,
                recent=lambda: shelf.latest(_FOR_REFINEMENT),
                changed=self._registration_changed,
            )
        self._lock = threading.Lock()
        self._latest: Shown | None = None
        self._captured_s: dict[int, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = False
        self._audience: set[Audience] = set()
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="jpeg")
        self._encoded: dict[tuple[Look, bool], tuple[int, asyncio.Future[bytes]]] = {}
        control.add_observer(self)

    # From the run's threads.

    def publish(self, result: StreamResult) -> None:
        """Take the newest result; older ones nobody has asked for are forgotten."""
        now_s = time.monotonic()
        if self._host_time:
            captured_s = result.pair.time_s
        else:
            # The stages after reading have passed since the pair was there.
            captured_s = now_s - sum(ms for name, ms in result.stage_ms.items() if name in ("fuse", "track")) / 1e3
        with self._lock:
            serial = self._latest.serial + 1 if self._latest else 1
            self._first_s = result.pair.time_s if self._first_s is None else self._first_s
            again = self._latest is not None and self._latest.result.pair.index == result.pair.index
            self._latest = Shown(result, serial, now_s if again else captured_s)
            self._captured_s[serial] = self._latest.captured_s
            self._captured_s.pop(serial - _REMEMBERED, None)
            loop, wake = self._loop, bool(self._audience) and not self._woken
            self._woken = self._woken or wake
        if loop is not None and wake:
            _call(loop, self._wake)

    def announce(self, event: RunEvent) -> None:
        """Take an event for all viewers."""
        loop = self._loop
        if loop is not None:
            _call(loop, self._tell_all, _event_text(event))

    # From the server's thread.

    @property
    def latest(self) -> Shown | None:
        """The newest result."""
        return self._latest

    @property
    def viewers(self) -> int:
        """How many are watching."""
        return len(self._audience)

    def join(self, viewer: Audience) -> bool:
        """Let a viewer in; False when there are too many."""
        if len(self._audience) >= self.config.most_viewers:
            return False
        self._audience.add(viewer)
        return True

    def leave(self, viewer: Audience) -> None:
        """Let a viewer go, with what it holds."""
        self._audience.discard(viewer)
        self.shelf.release(viewer)

    def command(self, command: Command | Adjustment) -> bool:
        """Pass a command on to the run; False when it has too many already.

        The pair a target starts on is kept until the run has come to it.
        """
        if isinstance(command, Adjustment):
            return self.desk is not None and self.desk.post(command)
        if isinstance(command, AddTarget):
            self.shelf.hold(command, command.frame)
        return self.control.post(command)

    def confirm(self, serial: int) -> None:
        """A viewer shows the picture with this serial number now."""
        captured_s = self._captured_s.get(serial)
        if captured_s is not None:
            self.telemetry.add_age((time.monotonic() - captured_s) * 1e3)

    async def picture(self, look: Look, shown: Shown, *, overlay: bool = False) -> bytes:
        """JPEG of one look at a result; encoded once, in a thread of its own, however many ask."""
        key = (look, overlay)
        known = self._encoded.get(key)
        if known is None or known[0] < shown.serial or known[1].cancelled():
            loop = asyncio.get_running_loop()
            known = (shown.serial, loop.run_in_executor(self._encoder, self._encode, look, shown.result, overlay))
            self._encoded[key] = known
        # One viewer's going must not cancel the picture of the others.
        return await asyncio.shield(known[1])

    async def message(self, look: Look, shown: Shown, probe: Probe | None = None) -> bytes:
        """One look at a result as a binary message with its header, and what ``probe`` measures in it."""
        jpeg = await self.picture(look, shown)
        result, celsius, measured = shown.result, None, None
        if self._profile is not None:
            celsius, measured = await self._aside(_temperatures, result, probe, self._profile)
        since_s = result.pair.time_s - (self._first_s or 0.0)
        header = picture_header(look, result, shown.serial, since_s, celsius)
        return picture_message({**header, "measured": measured}, jpeg)

    async def measured_text(self, frame: int, probe: Probe) -> str:
        """What ``probe`` measures in the pair with index ``frame``, as a message (JSON)."""
        pair, measured = self.pair(frame), None
        if pair is not None and self._profile is not None:
            measured = await self._aside(_measured_fields, pair, probe, self._profile)
        return json_text({"type": "measured", "frame": frame, "measured": measured})

    def pair(self, frame: int) -> FramePair | None:
        """The pair with this index while it is kept."""
        latest = self._latest
        if latest is not None and latest.result.pair.index == frame:
            return latest.result.pair
        return self.shelf.get(frame)

    async def _aside(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function`` in the thread that encodes."""
        return await asyncio.get_running_loop().run_in_executor(self._encoder, function, *arguments)

    async def report(self) -> None:
        """Inform all viewers of the run's numbers twice a second, until cancelled."""
        while True:
            await asyncio.sleep(_STATUS_PERIOD_S)
            self._inform_all()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server's loop runs from now on."""
        self._loop = loop

    def detach(self) -> None:
        """The server's loop ends."""
        with self._lock:
            self._loop = None
        self._encoder.shutdown(wait=False, cancel_futures=True)
        if self.desk is not None:
            self.desk.close()

    def numbers(self) -> tuple[TelemetrySnapshot, Sequence[SourceHealth]]:
        """All numbers of now, and how the sources are doing."""
        snapshot = self.telemetry.snapshot()
        return replace(snapshot, counters={**self._counters(), **snapshot.counters}), self._health()

    def status(self) -> dict[str, Any]:
        """All that the page shows beside the picture."""
        state = self.control.state
        snapshot, sources = self.numbers()
        return {
            "type": "status",
            "run": {
                "title": state.title,
                "tracker": state.tracker,
                "paused": state.paused,
                "recording": state.recording,
                "live": state.live,
                "fusion": asdict(state.fusion) if state.fusion else None,
                "switching": asdict(state.switching) if state.switching else None,
                "methods": state.methods,
                "poolings": POOLINGS,
            },
            "views": VIEWS,
            "registration": self.desk.status() if self.desk else {"ready": False},
            "thermal": {
                "palettes": PALETTES,
                "palette": self.palette,
                "celsius": [self._profile.scale, self._profile.offset] if self._profile else None,
                "display": self.desk.display_status() if self.desk else None,
            },
            "viewers": self.viewers,
            "telemetry": asdict(snapshot),
            "sources": [asdict(source) for source in sources],
        }

    def status_text(self) -> str:
        """The status as JSON, free of credentials."""
        return without_credentials(json_text(self.status()))

    def _encode(self, look: Look, result: StreamResult, overlay: bool) -> bytes:
        begin_s = time.perf_counter()
        if overlay and self._overlay is not None and look.view == "fused":
            picture = self._overlay.draw(result)
        else:
            picture = render_view(look, result)
        jpeg = encode_jpeg(picture, quality=self.config.jpeg_quality, most_wide=self.config.most_wide)
        self.telemetry.add_stage("preview", (time.perf_counter() - begin_s) * 1e3)
        return jpeg

    def _registration_changed(self) -> None:
        loop = self._loop
        if loop is not None:
            _call(loop, self._inform_all)

    def _inform_all(self) -> None:
        if self._audience:
            text = self.status_text()
            for viewer in tuple(self._audience):
                viewer.inform(text)

    def _wake(self) -> None:
        with self._lock:
            self._woken = False
        for viewer in tuple(self._audience):
            viewer.wake()

    def _tell_all(self, text: str) -> None:
        for viewer in tuple(self._audience):
            viewer.tell(text)


def _temperatures(
    result: StreamResult, probe: Probe | None, profile: ThermalProfile
) -> tuple[dict[int, RegionTemperature], dict[str, Any] | None]:
    measured = None if probe is None else _measured_fields(result.pair, probe, profile)
    return target_temperatures(result.pair, result.states, profile), measured


def _measured_fields(pair: FramePair, probe: Probe, profile: ThermalProfile) -> dict[str, Any]:
    found = measure(pair, probe, profile)
    regions = [None if region is None else temperature_fields(region) for region in found.regions]
    spot = None if found.spot is None else round(found.spot, 2)
    # The place tells a viewer whether this is what it asked for last.
    return {"spot": spot, "spot_xy": probe.spot_xy, "regions": regions}


def _event_text(event: RunEvent) -> str:
    fields = {"type": "event", "kind": event.kind, "text": event.text, **event.fields}
    return without_credentials(json_text(fields))


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return  # the loop has ended between the look and the call; nobody is watching any more
