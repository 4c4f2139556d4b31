"""Picking points: the two pictures of a kept pair as the cameras gave them, and a preview of what points would give."""

from __future__ import annotations

import asyncio

import cv2
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fusion.errors import InputError
from pipeline.adjustment import PointPairs, parallax_note
from pipeline.calibration import Calibration
from pipeline.frames import FramePair
from pipeline.registration_desk import RegistrationDesk
from pipeline.thermal import colorize
from pipeline.tint import tint
from pipeline.web.hub import Hub
from pipeline.web.protocol import MOST_MESSAGE_BYTES, ProtocolError, parse_preview
from pipeline.web.security import RateLimit
from pipeline.web.views import encode_jpeg, picture_message

# Points are set to a pixel; artefacts of the preview's quality would show.
_POINT_QUALITY = 92
_NO_STORE = {"cache-control": "no-store"}


class BodyTooLongError(Exception):
    """A request has more bytes than any message."""


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        BodyTooLongError: it is longer than a message may be.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_MESSAGE_BYTES:
            raise BodyTooLongError(f"a message has at most {MOST_MESSAGE_BYTES} bytes")
    return body


class RegistrationRoutes:
    """What the page needs beside the stream while points are picked."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._limit = RateLimit(rate=6.0, burst=18)
        self._one = asyncio.Lock()

    def routes(self) -> list[Route]:
        """The pictures to pick on, and the preview."""
        return [
            Route("/api/registration/{role}.jpg", self._picture, methods=["GET"]),
            Route("/api/registration/preview", self._preview, methods=["POST"]),
        ]

    async def _picture(self, request: Request) -> Response:
        """One picture of the kept pair ``frame``, whole and without the other's pixels."""
        asked = request.query_params.get("frame", "")
        pair = self._hub.pair(int(asked)) if asked.isascii() and asked.isdigit() and len(asked) < 16 else None
        role, desk = request.path_params["role"], self._hub.desk
        if desk is None or role not in ("visible", "thermal"):
            return PlainTextResponse("there is no such picture", 404)
        if not self._limit.allow():
            return PlainTextResponse("too fast; wait a moment", 429)
        if pair is None:
            return PlainTextResponse("the picture of this frame is no longer kept", 410)
        picture = pair.visible_bgr
        if role == "thermal":
            native = await asyncio.to_thread(desk.native_picture, pair)
            if native is None:
                return PlainTextResponse("this frame has no thermal picture", 410)
            picture = colorize(native, self._hub.palette)
        jpeg = await asyncio.to_thread(self._encode, picture)
        return Response(jpeg, media_type="image/jpeg", headers=_NO_STORE)

    async def _preview(self, request: Request) -> Response:
        """How well points fit, as the header of a picture of the two laid over each other by them."""
        desk = self._hub.desk
        if desk is None:
            return JSONResponse({"error": "this run cannot change its registration"}, 404)
        if not self._limit.allow():
            return JSONResponse({"error": "too fast; wait a moment"}, 429)
        try:
            frame, points = parse_preview(await read_body(request))
            async with self._one:
                answer = await asyncio.to_thread(self._render, desk, frame, points)
        except BodyTooLongError as error:
            return JSONResponse({"error": str(error)}, 413)
        except ProtocolError as error:
            return JSONResponse({"error": str(error)}, 400)
        except (InputError, cv2.error) as error:
            return JSONResponse({"error": str(error)})  # that points fit nothing is an answer too
        return Response(answer, media_type="application/octet-stream", headers=_NO_STORE)

    def _render(self, desk: RegistrationDesk, frame: int, points: PointPairs) -> bytes:
        fit = desk.fit(points)
        pair = self._hub.pair(frame)
        if pair is None:
            raise InputError("the picture of this frame is no longer kept; begin anew")
        header = {
            "frame": frame,
            "rms_px": fit.calibration.rms_px,
            "errors_px": [round(error, 3) for error in fit.errors_px],
            "note": parallax_note(fit.calibration),
        }
        return picture_message(header, self._encode(self._overlaid(desk, pair, fit.calibration)))

    def _overlaid(self, desk: RegistrationDesk, pair: FramePair, calibration: Calibration) -> NDArray[np.uint8]:
        thermal = desk.registered_picture(pair, calibration)
        if thermal is None:
            raise InputError("this frame has no thermal picture")
        return tint(pair.visible_bgr, thermal, self._hub.palette)

    def _encode(self, picture: NDArray[np.uint8]) -> bytes:
        return encode_jpeg(picture, quality=_POINT_QUALITY, most_wide=self._hub.config.most_wide)
