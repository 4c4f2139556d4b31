"""Records pictures as H.264 in an mp4 that stays playable when the process is killed."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from fractions import Fraction
from io import FileIO
from pathlib import Path

import cv2  # before av: with av first, cv2 windows hang under X11

# isort: split
import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from pipeline.frames import StreamResult
from pipeline.overlay import Overlay

# 90 kHz, the usual clock of video: 1/30 s, 1/25 s and 1/24 s are whole numbers of ticks.
_TIME_BASE = Fraction(1, 90_000)
_BT709 = 1
# Up to this size one thread encodes a picture in 2 ms; more would cost more in all, for waiting for each other.
_SMALL_PIXELS = 1_000_000
# Results over which the speed in the overlay is taken: about a second.
_SPEED_WINDOW = 30


class _CutOnFailure:
    """A file for av that, when a write fails, is cut back to its last complete fragment and left alone.

    What av writes after a failure is thrown away: the end of an mp4 rewrites its beginning, and half of that would
    make the whole recording unreadable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO = path.open("wb", buffering=0)
        self._complete = 0
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        """Append ``data``, or drop it after a failure."""
        rest = memoryview(data)
        while rest and self.failure is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                error.filename = str(self._path)
                self.failure = error
                self._file.truncate(self._complete)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move in the file; av does so to finish it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._file.tell()

    def check(self) -> None:
        """Note that the file is complete up to here.

        Raises:
            OSError: a write has failed since the last time.
        """
        if self.failure is not None:
            raise self.failure
        if not self._file.closed:
            self._complete = self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class VideoWriter:
    """Writes BGR pictures with exact, strictly increasing time stamps.

    Every frame becomes its own fragment and reaches the operating system at once, so a kill loses at
    most the frame in hand; a clean close leaves an ordinary mp4 (``hybrid_fragmented``).

    Args:
        path: the file to write.
        frame_rate: nominal pictures a second, which bounds the distance of key frames to one second.
        quality: constant rate factor of x264; lower is better and larger.

    Raises:
        OSError: the file cannot be written (on opening, on each picture, and on closing).
    """

    def __init__(self, path: Path, *, frame_rate: float = 30.0, quality: int = 21) -> None:
        self._path = path
        self._frame_rate = min(max(frame_rate, 1.0), 240.0)
        self._quality = quality
        self._file = _CutOnFailure(path)
        self._container = av.open(
            self._file,
            "w",
            format="mp4",
            options={"movflags": "hybrid_fragmented+frag_every_frame", "flush_packets": "1"},
        )
        self._stream: av.VideoStream | None = None
        self._size_wh = (0, 0)
        self._reformatter = VideoReformatter()
        self._first_time_s = 0.0
        self._last_ticks = -1
        self._closed = False
        self.frames = 0

    def write(self, picture_bgr: NDArray[np.uint8], time_s: float) -> None:
        """Append a picture (H, W, 3) uint8 shown from ``time_s`` seconds; the first one is at 0 in the file.

        A later picture of another size is fitted into the first one's size; odd sizes gain a row or column.
        """
        if self._stream is None:
            self._stream = self._add_stream(picture_bgr.shape[1], picture_bgr.shape[0])
            self._first_time_s = time_s
        height, width = picture_bgr.shape[:2]
        if (width, height) != self._size_wh:
            picture_bgr = _fit(picture_bgr, self._size_wh)
        odd_wh = (self._size_wh[0] % 2, self._size_wh[1] % 2)
        if any(odd_wh):
            padded = cv2.copyMakeBorder(picture_bgr, 0, odd_wh[1], 0, odd_wh[0], cv2.BORDER_REPLICATE)
            picture_bgr = padded.astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(picture_bgr, format="bgr24")
        frame = self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        ticks = round((time_s - self._first_time_s) / _TIME_BASE)
        frame.pts = self._last_ticks = max(ticks, self._last_ticks + 1)
        frame.time_base = _TIME_BASE
        self._container.mux(self._stream.encode(frame))
        self._file.check()
        self.frames += 1

    def close(self) -> None:
        """Finish the file. What was written before stays playable even where this fails."""
        if self._closed:
            return
        self._closed = True
        failed_before = self._file.failure is not None
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()
        finally:
            self._file.close()
        if not failed_before:
            self._file.check()

    def _add_stream(self, width: int, height: int) -> av.VideoStream:
        self._size_wh = (width, height)
        stream = self._container.add_stream("libx264", rate=Fraction(self._frame_rate).limit_denominator(1001))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = _TIME_BASE
        # zerolatency holds no picture back, so each one is on disk before the next is taken.
        stream.options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(self._quality)}
        context = stream.codec_context
        context.time_base = _TIME_BASE
        if width * height <= _SMALL_PIXELS:
            context.thread_count = 1
        context.gop_size = max(math.floor(self._frame_rate), 1)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream


def _fit(picture_bgr: NDArray[np.uint8], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture scaled into ``size_wh`` with its aspect kept, on black."""
    height, width = picture_bgr.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    new_wh = (max(round(width * scale), 1), max(round(height * scale), 1))
    canvas = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    left, top = (size_wh[0] - new_wh[0]) // 2, (size_wh[1] - new_wh[1]) // 2
    canvas[top : top + new_wh[1], left : left + new_wh[0]] = cv2.resize(
        picture_bgr, new_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    return canvas


class VideoSink:
    """Records the fused pictures of a run, with or without overlay.

    Args:
        path: the mp4 to write.
        frame_rate: nominal pictures a second of the source.
        quality: constant rate factor of x264.
        overlay: draws targets and status, or None for the bare picture.
    """

    def __init__(self, path: Path, *, frame_rate: float, quality: int, overlay: Overlay | None) -> None:
        self._writer = VideoWriter(path, frame_rate=frame_rate, quality=quality)
        self._overlay = overlay
        self._moments_s: deque[float] = deque(maxlen=_SPEED_WINDOW)

    def write(self, result: StreamResult) -> None:
        """Append one result's picture."""
        self._moments_s.append(time.monotonic())
        picture = result.fused_bgr if self._overlay is None else self._overlay.draw(result, self._speed())
        self._writer.write(picture, result.pair.time_s)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _speed(self) -> float | None:
        """Results a second over the last ones; None at the start."""
        if len(self._moments_s) < 5:
            return None
        span_s = self._moments_s[-1] - self._moments_s[0]
        return (len(self._moments_s) - 1) / span_s if span_s > 0 else None
