"""What the pipeline itself costs: reading, pairing, average fusion, overlay and recording, without any network.

The reference path does the same work for the same files in one plain loop, so the difference is what the three threads
and their queues give or take.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.factory import build_fuser
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.machine import keep_memory_of_pictures
from pipeline.overlay import Overlay, OverlayConfig
from pipeline.progress import Progress
from pipeline.sinks.results import ResultsWriter
from pipeline.sinks.summary import RunStatistics
from pipeline.sinks.video import VideoSink, VideoWriter
from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from pipeline.stream import PairProcessor, run_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTiming:
    """How fast one way of running was.

    Attributes:
        path: ``plain`` (one loop) or ``threads`` (what the product does).
        pairs_per_s: median over the repeats.
        cpu_ms: processor time for a pair, all threads together, median over the repeats.
    """

    path: str
    pairs_per_s: float
    cpu_ms: float


def benchmark_stream(
    *, pairs: int = 150, repeats: int = 3, size_wh: tuple[int, int] = (640, 480)
) -> list[StreamTiming]:
    """Time the plain loop and the product's on two generated videos, in turns.

    Args:
        pairs: length of the videos.
        repeats: turns, of which the median is reported.
        size_wh: picture size.
    """
    runs: dict[str, list[tuple[float, float]]] = {"plain": [], "threads": []}
    keep_memory_of_pictures()  # as every run does
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write_videos(folder, pairs, size_wh)
        ways: dict[str, Callable[[Path], None]] = {"plain": _run_plain, "threads": _run_threads}
        for _ in range(repeats):
            for path, way in ways.items():
                begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
                way(folder)
                runs[path].append((time.perf_counter() - begin_s, time.process_time() - begin_cpu_s))
    return [
        StreamTiming(
            path=path,
            pairs_per_s=pairs / float(np.median([wall_s for wall_s, _ in spans])),
            cpu_ms=float(np.median([cpu_s for _, cpu_s in spans])) / pairs * 1e3,
        )
        for path, spans in runs.items()
    ]


def format_stream_timings(timings: list[StreamTiming]) -> str:
    """A line for each way."""
    return "\n".join(
        f"{timing.path:<8} {timing.pairs_per_s:7.1f} pairs/s  {timing.cpu_ms:6.2f} ms CPU a pair" for timing in timings
    )


def _write_videos(folder: Path, pairs: int, size_wh: tuple[int, int]) -> None:
    # A few moments there and back: drawing the scene costs more than all that is measured.
    scene = SyntheticScene(SyntheticConfig(size_wh=size_wh, length=16))
    moments = [(scene.visible(index), scene.thermal(index)) for index in range(16)]
    writers = [VideoWriter(folder / name, frame_rate=30) for name in ("visible.mp4", "thermal.mp4")]
    for index in range(pairs):
        visible, thermal = moments[min(index % 30, 30 - index % 30)]
        writers[0].write(visible, index / 30)
        writers[1].write(np.repeat(thermal[..., None], 3, axis=2), index / 30)
    for writer in writers:
        writer.close()


def _parts(folder: Path) -> tuple[PairSourceConfig, PairProcessor, VideoSink, ResultsWriter]:
    config = PairSourceConfig(visible=str(folder / "visible.mp4"), thermal=str(folder / "thermal.mp4"))
    processor = PairProcessor(fuser=build_fuser("average", range_name="smooth"), tracker=None)
    overlay = Overlay(OverlayConfig(), "average")
    video = VideoSink(folder / "fused.mp4", frame_rate=30, quality=21, overlay=overlay)
    return config, processor, video, ResultsWriter(folder / "results.jsonl")


def _run_plain(folder: Path) -> None:
    config, processor, video, results = _parts(folder)
    with open_pairs(config) as pairs:
        for pair in pairs:
            result = processor.process(pair)
            video.write(result)
            results.write(result)
    video.close()
    results.close()


def _run_threads(folder: Path) -> None:
    config, processor, video, results = _parts(folder)
    with open_pairs(config) as pairs:
        run_stream(
            pairs,
            processor,
            [video, results],
            statistics=RunStatistics(),
            stop=threading.Event(),
            progress=Progress("pairs", quiet=True),
        )
    video.close()
    results.close()
