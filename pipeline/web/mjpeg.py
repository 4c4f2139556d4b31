"""Motion JPEG: the picture for viewers without JavaScript, in an ordinary image element."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.web.hub import Hub
from pipeline.web.views import Look

_BOUNDARY = "rgbt-stream-picture"
# A viewer that takes longer than this for one picture has stopped reading.
_PATIENCE_S = 10.0


class MjpegResponse(Response):
    """Sends the newest picture again and again; one that takes long skips those in between."""

    def __init__(self, hub: Hub, look: Look) -> None:
        super().__init__()
        self._hub = hub
        self._look = look
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """There is a new result."""
        self._changed.set()

    def tell(self, text: str) -> None:
        """Events cannot be shown in a picture."""

    def inform(self, text: str) -> None:
        """Nor can the status."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the viewer goes or stops reading."""
        if not self._hub.join(self):
            await Response("too many viewers", 503, {"retry-after": "10"})(scope, receive, send)
            return
        sender = asyncio.create_task(self._send(send))
        goodbye = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((sender, goodbye), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(self)
            sender.cancel()
            goodbye.cancel()
            await asyncio.gather(sender, goodbye, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        headers = [
            (b"content-type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}".encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sent = 0
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            shown = self._hub.latest
            if shown is None or shown.serial == sent:
                continue
            sent = shown.serial
            jpeg = await self._hub.picture(self._look, shown, overlay=True)
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            part = {"type": "http.response.body", "body": head + jpeg + b"\r\n", "more_body": True}
            await asyncio.wait_for(send(part), _PATIENCE_S)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
