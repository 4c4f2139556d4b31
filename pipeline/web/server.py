"""The server in a thread of the run: its routes, its limits, and how it starts and ends."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from fusion.errors import InputError
from pipeline.telemetry import prometheus_text
from pipeline.web.connections import LimitedProtocol
from pipeline.web.download import DownloadResponse
from pipeline.web.files import OutputFolder
from pipeline.web.hub import Hub
from pipeline.web.mjpeg import MjpegResponse
from pipeline.web.protocol import (
    MOST_MESSAGE_BYTES,
    ChooseView,
    HoldFrame,
    MeasureTemperature,
    ProtocolError,
    SaveCalibration,
    ShownPicture,
    SkippedPicture,
    TakeSnapshot,
    json_text,
    parse_message,
)
from pipeline.web.registering import BodyTooLongError, RegistrationRoutes, read_body
from pipeline.web.security import Address, Gate, RateLimit
from pipeline.web.viewer import CREDIT, Viewer
from pipeline.web.views import PALETTES, VIEWS, Look

_STATIC = Path(__file__).parent / "static"
_PAGE_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_STALE_S = 10.0
_CLOSE_GRACE_S = 4.0


class WebServer:
    """Serves the live page of one run from a daemon thread.

    Args:
        address: where to listen, see `parse_address`.
        hub: where pictures and numbers come from.
        folder: the run's output folder.
        token: asked of everybody when given.

    Raises:
        InputError: the port is taken, or the host is none of this machine's.
    """

    def __init__(self, address: Address, *, hub: Hub, folder: Path, token: str | None = None) -> None:
        self._hub = hub
        self._folder = OutputFolder(folder)
        self._commands = RateLimit(rate=8.0, burst=24)
        self._page = _page_files()
        version = hashlib.sha256(b"".join(data for data, _ in self._page.values())).hexdigest()[:12]
        self._hello = json_text({"type": "hello", "version": version, "credit": CREDIT, "views": VIEWS})
        self._socket = _listen(address)
        self.port: int = self._socket.getsockname()[1]
        self.url = address.url(self.port)
        config = uvicorn.Config(
            Gate(self._application(), address=address, token=token),
            http=LimitedProtocol,
            ws="websockets-sansio",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_max_size=4 * MOST_MESSAGE_BYTES,
            ws_ping_interval=10.0,
            ws_ping_timeout=10.0,
            ws_per_message_deflate=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16 * 1024,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say goodbye to the viewers and end; waits a few seconds at most. May be called twice."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_GRACE_S)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def _application(self) -> Starlette:
        page = [Route(path, self._static, methods=["GET"]) for path in self._page]
        return Starlette(
            routes=[
                *page,
                Route("/healthz", self._healthz, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                Route("/stream.mjpg", self._mjpeg, methods=["GET"]),
                Route("/picture.jpg", self._picture, methods=["GET"]),
                Route("/api/status", self._status, methods=["GET"]),
                Route("/api/recordings", self._recordings, methods=["GET"]),
                Route("/api/command", self._command, methods=["POST"]),
                Route("/recordings/{name}", self._recording, methods=["GET"]),
                *RegistrationRoutes(self._hub).routes(),
                WebSocketRoute("/ws", self._websocket),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._hub.attach(asyncio.get_running_loop())
        reporter = asyncio.create_task(self._hub.report())
        try:
            yield
        finally:
            reporter.cancel()
            self._hub.detach()

    async def _static(self, request: Request) -> Response:
        data, media_type = self._page[request.url.path]
        return Response(data, media_type=media_type, headers={"cache-control": "no-cache"})

    async def _healthz(self, _request: Request) -> Response:
        """200 while results come (or are paused on purpose), 503 when none came for long."""
        snapshot = self._hub.telemetry.snapshot()
        paused = self._hub.control.state.paused
        if not snapshot.pairs:
            return JSONResponse({"status": "starting"}, 503)
        fresh = paused or (snapshot.idle_s or 0.0) <= _STALE_S
        status = "paused" if paused else "ok" if fresh else "stalled"
        return JSONResponse({"status": status}, 200 if fresh else 503)

    async def _metrics(self, _request: Request) -> Response:
        telemetry = self._hub.telemetry
        snapshot, sources = self._hub.numbers()
        text = prometheus_text(snapshot, telemetry.totals(), sources, {"viewers": float(self._hub.viewers)})
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _status(self, _request: Request) -> Response:
        return Response(self._hub.status_text(), media_type="application/json", headers={"cache-control": "no-store"})

    async def _mjpeg(self, request: Request) -> Response:
        look = self._asked_look(request)
        return look if isinstance(look, Response) else MjpegResponse(self._hub, look)

    async def _picture(self, request: Request) -> Response:
        look, shown = self._asked_look(request), self._hub.latest
        if isinstance(look, Response):
            return look
        if shown is None:
            return PlainTextResponse("no picture yet", 503)
        jpeg = await self._hub.picture(look, shown, overlay=True)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "no-store"})

    def _asked_look(self, request: Request) -> Look | Response:
        """What a request wants to see, or the answer that there is no such thing."""
        asked_view = request.query_params.get("view", "fused")
        asked_palette = request.query_params.get("palette", self._hub.palette)
        view = next((name for name in VIEWS if name == asked_view), None)
        palette = next((name for name in PALETTES if name == asked_palette), None)
        if view is None:
            return PlainTextResponse(f"view must be one of {', '.join(VIEWS)}", 400)
        if palette is None:
            return PlainTextResponse(f"palette must be one of {', '.join(PALETTES)}", 400)
        return Look(view=view, palette=palette)

    async def _recordings(self, _request: Request) -> Response:
        files = await asyncio.to_thread(self._folder.files)
        return JSONResponse([asdict(file) for file in files], headers={"cache-control": "no-store"})

    async def _recording(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._folder.find, request.path_params["name"])
        if found is None:
            return PlainTextResponse("no such recording", 404)
        path, file = found
        return DownloadResponse(path, file)

    async def _command(self, request: Request) -> Response:
        if not self._commands.allow():
            return JSONResponse({"error": "too fast; wait a moment"}, 429)
        try:
            message = parse_message(await read_body(request))
        except BodyTooLongError as error:
            return JSONResponse({"error": str(error)}, 413)
        except ProtocolError as error:
            return JSONResponse({"error": str(error)}, 400)
        match message:
            case ShownPicture() | SkippedPicture() | ChooseView() | HoldFrame() | MeasureTemperature():
                return JSONResponse({"error": "only for WebSockets"}, 400)
            case TakeSnapshot():
                self._folder.save_snapshot_soon(self._hub)
            case SaveCalibration():
                self._folder.save_calibration_soon(self._hub)
            case command:
                if not self._hub.command(command):
                    return JSONResponse({"error": "the run is busy; try again"}, 503)
        return JSONResponse({"accepted": True}, 202)

    async def _websocket(self, socket: WebSocket) -> None:
        await Viewer(socket, self._hub, self._folder, self._hello).serve()


def _page_files() -> dict[str, tuple[bytes, str]]:
    """The page's own files by the path they are served under, each with its media type."""
    files = {f"/{file.name}": file for file in sorted(_STATIC.iterdir()) if file.suffix in _PAGE_TYPES}
    files["/"] = files.pop("/index.html")
    return {path: (file.read_bytes(), f"{_PAGE_TYPES[file.suffix]}; charset=utf-8") for path, file in files.items()}


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(
            f"--web {address.host}:{address.port}: cannot listen there ({error.strerror}); "
            "give another port, or 0 for a free one"
        ) from error
    return listener
