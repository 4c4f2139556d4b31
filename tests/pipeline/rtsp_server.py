"""A small RTSP server (RTP over TCP, H.264) with faults that can be switched on, for tests and measurements without a
camera."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import cv2  # isort: skip  (before av)
import av
import numpy as np

_CLOCK_HZ = 90_000
_PAYLOAD = 1200

Painter = Callable[[int], np.ndarray]


@dataclass
class Faults:
    """What goes wrong; may be changed while the server runs."""

    stall: bool = False  # send nothing, keep the connection
    mute: bool = False  # accept connections, never answer
    corrupt: float = 0.0  # part of the packets whose content is damaged
    jitter_s: float = 0.0  # greatest random delay of a frame
    clock_shift_s: float = 0.0  # added to the time stamps
    size_wh: tuple[int, int] = (160, 120)
    drop: float = 0.0  # part of the frames that are not sent
    swap: float = 0.0  # part of the frames that are sent after their successor


@dataclass
class RtspServer:
    """Serves one stream at ``url`` to any number of clients; each gets frames from the moment it plays.

    Args:
        fps: frames per second.
        paint: picture (H, W, 3) BGR of a frame number; None paints a moving bar.
        skew: how much faster than the host's the clock of the time stamps runs.
        looped: encode so many pictures beforehand and send them over and over, which costs next to nothing.
    """

    fps: float = 30.0
    paint: Painter | None = None
    skew: float = 0.0
    faults: Faults = field(default_factory=Faults)
    port: int = 0
    looped: int = 0

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"rtsp://user:secret@127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        """Listen; on the same port again after ``stop``."""
        self._loop = [] if not self.looped else list(itertools.islice(self._encoded(), self.looped))
        self._running = threading.Event()
        self._running.set()
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """Break every connection and listen no more."""
        self._running.clear()
        for connection in [self._listener, *self._clients]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(2)

    def _accept(self) -> None:
        while self._running.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        playing = threading.Event()
        with contextlib.suppress(OSError):
            for method, sequence in self._requests(client):
                if self.faults.mute:
                    continue
                client.sendall(self._answer(method, sequence))
                if method == "PLAY" and not playing.is_set():
                    playing.set()
                    thread = threading.Thread(target=self._play, args=(client,), daemon=True)
                    self._threads.append(thread)
                    thread.start()
                if method == "TEARDOWN":
                    return

    def _requests(self, client: socket.socket) -> Iterator[tuple[str, str]]:
        data = b""
        while True:
            received = client.recv(4096)
            if not received:
                return
            data += received
            while data:
                if data[0] == 0x24:  # an RTCP report between the requests
                    length = 4 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else 1 << 16
                    if len(data) < length:
                        break
                    data = data[length:]
                    continue
                head, end, rest = data.partition(b"\r\n\r\n")
                if not end:
                    break
                data = rest
                lines = head.decode().split("\r\n")
                fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
                yield lines[0].split(" ")[0], fields.get("CSeq", "0")

    def _answer(self, method: str, sequence: str) -> bytes:
        fields, body = [f"CSeq: {sequence}"], ""
        match method:
            case "OPTIONS":
                fields.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
            case "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                    f"a=rtpmap:96 H264/{_CLOCK_HZ}\r\na=fmtp:96 packetization-mode=1\r\n"
                    f"a=framerate:{self.fps:g}\r\na=control:track0\r\n"
                )
                fields += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            case "SETUP":
                fields += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
            case _:
                fields.append("Session: 1")
        return ("RTSP/1.0 200 OK\r\n" + "\r\n".join(fields) + "\r\n\r\n" + body).encode()

    def _play(self, client: socket.socket) -> None:
        rng = random.Random(7)
        number, sequence, begin_s = 0, 0, time.monotonic()
        pictures = itertools.cycle(self._loop) if self._loop else self._encoded()
        waiting: list[tuple[float, list[tuple[bytes, bool]]]] = []
        with contextlib.suppress(OSError):
            while self._running.is_set():
                due_s = begin_s + number / self.fps
                time.sleep(max(0.0, due_s - time.monotonic()) + rng.uniform(0, self.faults.jitter_s))
                number += 1
                if self.faults.stall or rng.random() < self.faults.drop:
                    if self._loop:
                        next(pictures)
                    continue
                stamp_s = (due_s - begin_s) * (1 + self.skew) + self.faults.clock_shift_s
                waiting.insert(0, (stamp_s, next(pictures)))
                if len(waiting) == 1 and rng.random() < self.faults.swap:
                    continue
                sent = bytearray()
                for stamp_s, payloads in waiting:
                    for payload, last in payloads:
                        if rng.random() < self.faults.corrupt and len(payload) > 60:
                            payload = payload[:30] + bytes(20) + payload[50:]
                        stamp = round(stamp_s * _CLOCK_HZ) & 0xFFFFFFFF
                        header = struct.pack(">BBHII", 0x80, 96 | (0x80 if last else 0), sequence, stamp, 0x1234)
                        sequence = (sequence + 1) & 0xFFFF
                        sent += b"$\x00" + struct.pack(">H", len(header) + len(payload)) + header + payload
                waiting.clear()
                client.sendall(sent)

    def _encoded(self) -> Iterator[list[tuple[bytes, bool]]]:
        """The RTP payloads of one picture after the other, in the size that is asked for at the moment."""
        encoder, size = None, (0, 0)
        for number in itertools.count(1):
            if self.faults.size_wh != size:
                size = self.faults.size_wh
                encoder = _encoder(size, self.fps)
            frame = av.VideoFrame.from_ndarray(self._picture(number, size), format="bgr24")
            frame.pts = number
            packets = encoder.encode(frame)  # type: ignore[union-attr]
            yield [part for packet in packets for part in _rtp_payloads(bytes(packet))]

    def _picture(self, number: int, size_wh: tuple[int, int]) -> np.ndarray:
        if self.paint is not None:
            return cv2.resize(self.paint(number), size_wh)
        coarse = np.random.default_rng(3).integers(
            60, 120, (size_wh[1] // 4 + 1, size_wh[0] // 4 + 1, 1), dtype=np.uint8
        )
        image = coarse.repeat(4, 0).repeat(4, 1).repeat(3, 2)[: size_wh[1], : size_wh[0]].copy()
        left = 4 * number % size_wh[0]
        image[:, left : left + 12] = 220
        return image


def _encoder(size_wh: tuple[int, int], fps: float) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = size_wh
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, round(fps))
    encoder.framerate = Fraction(round(fps))
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(max(1, round(fps / 2)))}
    return encoder


def _rtp_payloads(annex_b: bytes) -> Iterator[tuple[bytes, bool]]:
    """Payloads of RFC 6184 (single units and FU-A fragments) of one picture, and which is the last."""
    units = [
        unit.rstrip(b"\x00") for unit in annex_b.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")
    ]
    units = [unit for unit in units if unit]
    for place, unit in enumerate(units):
        final = place == len(units) - 1
        if len(unit) <= _PAYLOAD:
            yield unit, final
            continue
        indicator, kind = (unit[0] & 0xE0) | 28, unit[0] & 0x1F
        parts = [unit[1:][start : start + _PAYLOAD] for start in range(0, len(unit) - 1, _PAYLOAD)]
        for number, part in enumerate(parts):
            mark = kind | (0x80 if number == 0 else 0) | (0x40 if number == len(parts) - 1 else 0)
            yield bytes([indicator, mark]) + part, final and number == len(parts) - 1
