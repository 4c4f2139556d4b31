"""A real run with its page on a free port of this machine, paced like a camera, for the tests of the page."""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fusion.errors import InputError
from fusion.factory import build_fuser
from fusion.fuser import Fuser
from pipeline.control import FusionChoice, RunControl, RunState
from pipeline.frames import Frame, FramePair, PairStatus
from pipeline.interactive import InteractiveProcessor
from pipeline.pair_builder import PairBuilder
from pipeline.pairing import PairedFrames
from pipeline.progress import Progress
from pipeline.shelf import PairShelf, ShelfConfig
from pipeline.sinks.results import ResultsWriter
from pipeline.sinks.summary import RunStatistics
from pipeline.sinks.telemetry import TelemetrySink
from pipeline.sources.profile import ThermalProfile
from pipeline.stream import run_stream
from pipeline.telemetry import SourceHealth, Telemetry
from pipeline.thermal import ThermalConfig
from pipeline.web.hub import Hub, HubConfig
from pipeline.web.security import parse_address
from pipeline.web.server import WebServer
from tests.pipeline.doubles import IdentityTracker
from tests.pipeline.waiting import wait_until

SIZE_WH = (320, 240)


def moving_pairs(rate: float, ended: threading.Event, size_wh: tuple[int, int] = SIZE_WH) -> Iterator[FramePair]:
    """A bright square on a ramp, one pair every 1/rate seconds; its place tells the index of the pair."""
    width, height = size_wh
    ramp = np.broadcast_to(np.linspace(30, 120, width, dtype=np.uint8), (height, width))
    index = 0
    begin_s = time.monotonic()
    while not ended.is_set():
        visible = np.repeat(ramp[:, :, None], 3, axis=2).copy()
        thermal = np.full((height, width), 60, np.uint8)
        left = 20 + (2 * index) % (width - 80)
        visible[80:120, left : left + 40] = (200, 220, 240)
        thermal[80:120, left : left + 40] = 220
        yield FramePair(index=index, time_s=index / rate, dt_s=0.004, visible_bgr=visible, thermal=thermal)
        index += 1
        ended.wait(max(begin_s + index / rate - time.monotonic(), 0))


NATIVE_WH = (160, 120)
# Where the rig's thermal camera truly looks: thermal pixel to visible pixel. Sizes alone would tell twice and a half.
TRUE_HOMOGRAPHY = np.array([[2.2, 0.0, -14.0], [0.0, 2.2, -10.0], [0.0, 0.0, 1.0]])
CELSIUS = ThermalProfile(scale=0.01, offset=-273.15)
COLD, WARM = 29315, 31015  # 20 and 37 degrees


def unregistered_pairs(rate: float, ended: threading.Event, builder: PairBuilder) -> Iterator[FramePair]:
    """Warm plates in front of a cold wall, as a visible and a smaller 16-bit thermal camera beside it see them."""
    visible = np.full((*SIZE_WH[::-1], 3), 60, np.uint8)
    thermal = np.full(NATIVE_WH[::-1], COLD, np.uint16)
    for x, y in ((40, 30), (120, 34), (36, 90), (116, 84), (78, 58)):
        thermal[y - 7 : y + 7, x - 8 : x + 8] = WARM
        left, top = (TRUE_HOMOGRAPHY @ (x - 8, y - 7, 1))[:2]
        right, bottom = (TRUE_HOMOGRAPHY @ (x + 8, y + 7, 1))[:2]
        visible[round(top) : round(bottom), round(left) : round(right)] = (90, 190, 230)
    begin_s = time.monotonic()
    index = 0
    while not ended.is_set():
        moment: dict[str, Any] = {"time_s": index / rate, "arrival_s": index / rate, "index": index}
        yield builder.build(
            PairedFrames(
                index=index,
                visible=Frame(image=visible, **moment),
                thermal=Frame(image=thermal.copy(), **moment),
                status=PairStatus.PAIRED,
            )
        )
        index += 1
        ended.wait(max(begin_s + index / rate - time.monotonic(), 0))


def unregistered_rig(folder: Path) -> Rig:
    """A rig with a thermal camera of its own, whose registration and display can be changed."""
    # Two even temperatures give an equalised picture hardly any contrast.
    display = ThermalConfig(mode="fixed", low=COLD, high=COLD + 2550)
    return Rig(folder, builder=PairBuilder(display=display))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Rig:
    """A run in a thread and its server; both end on leaving the ``with`` block."""

    def __init__(
        self,
        folder: Path,
        *,
        web: str = "127.0.0.1:0",
        token: str | None = None,
        rate: float = 30.0,
        most_viewers: int = 32,
        sources: tuple[SourceHealth, ...] = (),
        shelf: ShelfConfig | None = None,
        size_wh: tuple[int, int] = SIZE_WH,
        builder: PairBuilder | None = None,
    ) -> None:
        self.folder = folder
        self.token = token
        state = RunState(
            fusion=FusionChoice(method="average"),
            methods=("average", "black", "without weights"),
            tracker="identity",
            recording=False,
            live=True,
        )
        self.control = RunControl(state)
        self.shelf = PairShelf(shelf)
        self.telemetry = Telemetry()
        self.hub = Hub(
            control=self.control,
            shelf=self.shelf,
            telemetry=self.telemetry,
            health=lambda: sources,
            builder=builder,
            profile=None if builder is None else CELSIUS,
            config=HubConfig(most_viewers=most_viewers),
        )
        self.server = WebServer(parse_address(web, token), hub=self.hub, folder=folder, token=token)
        self.statistics = RunStatistics()
        self.ended = threading.Event()
        self._stop = threading.Event()
        self.results = ResultsWriter(folder / "results.jsonl")
        if builder is None:
            pairs = moving_pairs(rate, self.ended, size_wh)
        else:
            pairs = unregistered_pairs(rate, self.ended, builder)
        self._rebuild = None if builder is None else builder.rebuild
        self._run = threading.Thread(target=self._process, args=(pairs,), daemon=True)

    def __enter__(self) -> Self:
        self._run.start()
        wait_until(lambda: self.telemetry.snapshot().pairs > 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.ended.set()
        self._stop.set()
        self._run.join(10)
        self.server.close()
        self.results.close()

    def _process(self, pairs: Iterator[FramePair]) -> None:
        processor = InteractiveProcessor(
            fuser=_build(FusionChoice(method="average")),
            tracker=IdentityTracker(),
            control=self.control,
            shelf=self.shelf,
            stop=self._stop,
            build_fuser=_build,
            rebuild=self._rebuild,
        )
        with Progress("pairs", None, quiet=True) as progress:
            run_stream(
                pairs,
                processor,
                [TelemetrySink(self.telemetry), self.results],
                statistics=self.statistics,
                stop=self._stop,
                progress=progress,
                live=True,
            )

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def homography(self) -> NDArray[np.float64]:
        """What registers the pictures now."""
        assert self.hub.desk is not None
        return self.hub.desk.calibration.homography

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    @contextmanager
    def watch(self, **options: Any) -> Iterator[Watcher]:
        with connect(f"ws://{self.host}/ws", max_queue=None, **options) as socket:
            yield Watcher(socket)

    def lines(self) -> list[dict[str, Any]]:
        """The results so far, without a line that is just being written."""
        whole, _, _ = (self.folder / "results.jsonl").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]


class BlackFuser:
    """Takes a while to load and shows nothing, so that it cannot be mistaken."""

    def __init__(self) -> None:
        time.sleep(0.2)

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.zeros_like(visible_bgr)

    def reset(self) -> None: ...


def _build(choice: FusionChoice) -> Fuser:
    match choice.method:
        case "black":
            return BlackFuser()
        case "without weights":
            raise InputError("no weights for it")
        case method:
            return build_fuser(method, pooling=choice.pooling, range_name="fixed")


@dataclass(frozen=True, slots=True)
class Picture:
    header: dict[str, Any]
    jpeg: bytes

    @classmethod
    def of(cls, data: bytes) -> Picture:
        """Unpack a binary message."""
        (length,) = struct.unpack(">I", data[:4])
        return cls(json.loads(data[4 : 4 + length]), data[4 + length :])


class Watcher:
    """A viewer's end of a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self, timeout_s: float = 10.0) -> dict[str, Any] | Picture:
        data = self.socket.recv(timeout_s)
        if isinstance(data, str):
            message: dict[str, Any] = json.loads(data)
            return message
        return Picture.of(data)

    def picture(self, *, confirm: bool = True, like: Callable[[Picture], bool] = lambda _: True) -> Picture:
        """The next picture that is ``like`` this; those before it are confirmed too."""
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            heard = self.hear()
            if isinstance(heard, Picture):
                if confirm:
                    self.say(type="shown", serial=heard.header["serial"])
                if like(heard):
                    return heard
        raise AssertionError("no such picture came")

    def closing_code(self) -> int | None:
        """Read until the server closes; its code, or None where the connection just ended."""
        try:
            while True:
                self.hear()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def pause(self) -> None:
        """Pause the run; on return the pair that was being processed meanwhile is published, and no other comes."""
        self.say(type="pause", on=True)
        assert self.event("paused")["paused"] is True
        # The pause may have been obeyed just before a pair was processed; the next command is obeyed after it.
        self.say(type="remove", target=999)
        self.event("refused")

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; pictures before it are confirmed."""
        others: list[dict[str, Any]] = []
        end_s = time.monotonic() + 30
        while time.monotonic() < end_s:
            heard = self.hear()
            if isinstance(heard, Picture):
                self.say(type="shown", serial=heard.header["serial"])
            elif heard["type"] == "event" and heard["kind"] == kind:
                return heard
            elif heard["type"] == "event":
                others.append(heard)
        raise AssertionError(f"no event {kind!r} came, but {others}")
