"""One viewer on a WebSocket: pictures as fast as it shows them, never more than two on the way."""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pipeline.thermometer import Probe
from pipeline.web.files import OutputFolder
from pipeline.web.hub import Hub
from pipeline.web.protocol import (
    ChooseView,
    HoldFrame,
    MeasureTemperature,
    Message,
    ProtocolError,
    SaveCalibration,
    ShownPicture,
    SkippedPicture,
    TakeSnapshot,
    json_text,
    parse_message,
)
from pipeline.web.security import RateLimit
from pipeline.web.views import Look

CREDIT = 2
_MOST_EVENTS = 32
# A viewer at 60 pictures a second confirms each; beyond this it is no viewer.
_MESSAGES_A_SECOND = 120.0
_COMMANDS_A_SECOND = 8.0
_MOST_BAD = 5

_CLOSE_POLICY = 1008
_CLOSE_BAD_DATA = 1007
_CLOSE_TRY_LATER = 1013


class Viewer:
    """Serves one WebSocket until it closes; slowness harms only itself.

    Args:
        socket: accepted by `serve`.
        hub: where pictures come from.
        folder: where snapshots go.
        hello: first message (JSON).
    """

    def __init__(self, socket: WebSocket, hub: Hub, folder: OutputFolder, hello: str) -> None:
        self._socket = socket
        self._hub = hub
        self._folder = folder
        self._hello = hello
        self._look = Look(palette=hub.palette)
        self._probe: Probe | None = None
        self._asked: tuple[int, Probe] | None = None
        self._credit = CREDIT
        self._on_the_way: deque[int] = deque()
        self._sent: tuple[int, Look] | None = None
        self._events: deque[str] = deque(maxlen=_MOST_EVENTS)
        self._status: str | None = None
        self._changed = asyncio.Event()
        self._messages = RateLimit(_MESSAGES_A_SECOND, burst=240)
        self._commands = RateLimit(_COMMANDS_A_SECOND, burst=24)
        self._bad = 0

    def wake(self) -> None:
        """There is a new result."""
        self._changed.set()

    def tell(self, text: str) -> None:
        """Queue an event; the oldest goes when this viewer does not read them."""
        self._events.append(text)
        self._changed.set()

    def inform(self, text: str) -> None:
        """Replace the status that waits to be sent."""
        self._status = text
        self._changed.set()

    async def serve(self) -> None:
        """Accept, send and receive until either side ends."""
        await self._socket.accept()
        if not self._hub.join(self):
            await self._socket.close(_CLOSE_TRY_LATER, "too many viewers")
            return
        sender = asyncio.create_task(self._send())
        try:
            await self._socket.send_text(self._hello)
            await self._socket.send_text(self._hub.status_text())
            self._changed.set()
            await self._receive()
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone; there is nobody left to tell
        finally:
            self._hub.leave(self)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._events:
                await self._socket.send_text(self._events.popleft())
            if self._status is not None:
                status, self._status = self._status, None
                await self._socket.send_text(status)
            if self._asked is not None:
                (frame, probe), self._asked = self._asked, None
                await self._socket.send_text(await self._hub.measured_text(frame, probe))
            shown, look = self._hub.latest, self._look
            if shown is None or not self._credit or self._sent == (shown.serial, look):
                continue
            message = await self._hub.message(look, shown, self._probe)
            self._sent = (shown.serial, look)
            self._credit -= 1
            self._on_the_way.append(shown.serial)
            await self._socket.send_bytes(message)

    async def _receive(self) -> None:
        while True:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                return
            if not self._messages.allow():
                await self._close(_CLOSE_POLICY, "too many messages")
                return
            text = received.get("text")
            try:
                if text is None:
                    raise ProtocolError("messages are text")
                self._obey(parse_message(text))
            except ProtocolError as error:
                self._bad += 1
                if self._bad >= _MOST_BAD:
                    await self._close(_CLOSE_BAD_DATA, "too many malformed messages")
                    return
                self.tell(json_text({"type": "event", "kind": "refused", "text": str(error)}))

    def _obey(self, message: Message) -> None:
        match message:
            case ShownPicture(serial=serial):
                if self._take_back(serial):
                    self._hub.confirm(serial)
            case SkippedPicture(serial=serial):
                self._take_back(serial)
            case ChooseView(view=view, palette=palette):
                self._look = Look(view=view, palette=palette or self._hub.palette)
                self._changed.set()
            case MeasureTemperature(frame=frame, probe=probe):
                self._probe = probe if probe.spot_xy or probe.regions else None
                self._asked = (frame, probe)
                self._changed.set()
            case HoldFrame(frame=frame):
                if frame is None:
                    self._hub.shelf.release(self)
                else:
                    self._hub.shelf.hold(self, frame)
            case _ if not self._commands.allow():
                self.tell(json_text({"type": "event", "kind": "refused", "text": "too fast; wait a moment"}))
            case TakeSnapshot():
                self._folder.save_snapshot_soon(self._hub)
            case SaveCalibration():
                self._folder.save_calibration_soon(self._hub)
            case command:
                if not self._hub.command(command):
                    self.tell(json_text({"type": "event", "kind": "refused", "text": "the run is busy; try again"}))

    def _take_back(self, serial: int) -> bool:
        """Take credit back for a picture that was sent; False for one that was not."""
        if serial not in self._on_the_way:
            return False
        while self._on_the_way:
            self._credit += 1
            if self._on_the_way.popleft() == serial:
                break
        self._changed.set()
        return True

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            await self._socket.close(code, reason)
