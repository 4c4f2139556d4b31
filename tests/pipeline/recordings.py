"""Small recordings for tests, made on the spot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401  # isort: skip  (before av)
import av
import numpy as np


def picture(index: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A textured BGR picture whose mean grows with the index."""
    rng = np.random.default_rng(5)
    base = rng.integers(0, 100, (size_wh[1] // 8, size_wh[0] // 8, 3)).astype(np.uint8)
    return base.repeat(8, axis=0).repeat(8, axis=1) + np.uint8(3 * (index % 40))


def write_video(
    path: Path,
    *,
    length: int = 30,
    pts: list[int] | None = None,
    codec: str = "libx264",
    size_wh: tuple[int, int] = (64, 48),
    pictures: list[np.ndarray] | None = None,
    pixel_format: str = "yuv420p",
    picture_format: str = "bgr24",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video with a time base of 1 ms; ``pts`` defaults to 40 ms steps."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size_wh
        stream.pix_fmt = pixel_format
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(length):
            image = pictures[index] if pictures else picture(index, size_wh)
            frame = av.VideoFrame.from_ndarray(image, format=picture_format)
            frame.pts = pts[index] if pts else 40 * index
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """Write half a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for index in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            frame.pts = 1024 * index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
