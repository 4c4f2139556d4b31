from __future__ import annotations

from pathlib import Path

import cv2

# isort: split
import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.sinks.video import VideoWriter

WIDTH, HEIGHT, COUNT = 96, 72, 24


def scene(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A textured visible picture and a thermal one with a warm square that moves right."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    texture = (128 + 60 * np.sin(columns / 3) * np.cos(rows / 5)).astype(np.uint8)
    visible = np.stack([texture, np.roll(texture, 7, axis=1), texture // 2], axis=-1)
    thermal = np.full((HEIGHT, WIDTH), 60, np.uint8)
    left = 20 + index
    thermal[30:50, left : left + 16] = 220
    visible[30:50, left : left + 16] = (40, 60, 200)
    return np.ascontiguousarray(visible), thermal


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """visible.mp4, thermal.mp4, short.mp4, audio.wav, cut.mp4; color/ and ir/ with the same pictures, empty/."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("color", "ir", "empty"):
        (folder / name).mkdir()
    writers = {name: VideoWriter(folder / f"{name}.mp4", frame_rate=25) for name in ("visible", "thermal", "short")}
    for index in range(COUNT):
        visible, thermal = scene(index)
        thermal_bgr = np.repeat(thermal[..., None], 3, axis=2)
        writers["visible"].write(visible, index / 25)
        writers["thermal"].write(thermal_bgr, index / 25)
        if index < COUNT // 2:
            writers["short"].write(thermal_bgr, index / 25)
        cv2.imwrite(str(folder / "color" / f"{index:04d}.png"), visible)
        cv2.imwrite(str(folder / "ir" / f"{index:04d}.png"), thermal)
    for writer in writers.values():
        writer.close()
    data = (folder / "visible.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    with av.open(str(folder / "audio.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder
