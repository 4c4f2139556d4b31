"""Sends a file that may still be growing: exactly as long as it was when it was asked for."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipeline.web.files import OutputFile

_CHUNK_BYTES = 128 * 1024


class DownloadResponse(Response):
    """A file, or the one part of it that the request names (RFC 9110, section 14), as players ask for when seeking.

    Args:
        path: the file.
        file: its name, length and type.
    """

    def __init__(self, path: Path, file: OutputFile) -> None:
        super().__init__()
        self._path = path
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a reader that stops makes only this task wait."""
        length = self._file.size_bytes
        asked = dict(scope["headers"]).get(b"range")
        part = None if asked is None else _part(asked.decode("latin-1"), length)
        begin, end = part or (0, length)
        headers = [
            (b"content-type", self._file.media_type.encode()),
            (b"content-length", str(end - begin).encode()),
            (b"content-disposition", f"attachment; filename*=utf-8''{quote(self._file.name)}".encode()),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"no-store"),
        ]
        if part is not None:
            headers.append((b"content-range", f"bytes {begin}-{end - 1}/{length}".encode()))
        await send({"type": "http.response.start", "status": 200 if part is None else 206, "headers": headers})
        with self._path.open("rb") as file:
            file.seek(begin)
            while begin < end:
                data = await asyncio.to_thread(file.read, min(_CHUNK_BYTES, end - begin))
                if not data:
                    return  # it was cut; the length that was promised cannot be kept
                begin += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(asked: str, length: int) -> tuple[int, int] | None:
    """Begin and end (behind the last byte) of a single range; None for all else, which means the whole file."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        begin, end = max(length - int(match[2]), 0), length
    else:
        begin, end = int(match[1]), min(int(match[2]) + 1, length) if match[2] else length
    return (begin, end) if begin < end else None
