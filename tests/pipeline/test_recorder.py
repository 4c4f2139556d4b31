"""Recordings that are switched, cut, bounded, and outlived by their run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion.errors import InputError
from pipeline.frames import StreamResult
from pipeline.sinks.recorder import KeepGoing, SegmentConfig, SegmentedRecorder, segment_name
from tests.pipeline.doubles import make_pair


class ByteSink:
    """Writes a thousand bytes a result."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.closed = False

    def write(self, result: StreamResult) -> None:
        self._file.write(bytes([result.pair.index % 256]) * 1000)
        self._file.flush()

    def close(self) -> None:
        self.closed = True
        self._file.close()


def result(index: int) -> StreamResult:
    pair = make_pair(index)  # 25 a second
    return StreamResult(pair=pair, fused_bgr=pair.visible_bgr)


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def test_without_cuts_there_is_one_file(tmp_path: Path) -> None:
    recorder = SegmentedRecorder(tmp_path / "fused.mp4", ByteSink)
    for index in range(30):
        recorder.write(result(index))
    recorder.close()
    recorder.close()
    assert sizes(tmp_path) == {"fused.mp4": 30_000}


def test_a_file_ends_after_its_time(tmp_path: Path) -> None:
    recorder = SegmentedRecorder(tmp_path / "fused.mp4", ByteSink, config=SegmentConfig(segment_s=0.4))
    for index in range(25):
        recorder.write(result(index))
    recorder.close()
    assert sizes(tmp_path) == {"fused.mp4": 10_000, "fused-002.mp4": 10_000, "fused-003.mp4": 5000}


def test_a_file_ends_at_its_size_and_the_oldest_go(tmp_path: Path) -> None:
    config = SegmentConfig(segment_mb=0.005, keep_mb=0.012)
    recorder = SegmentedRecorder(tmp_path / "fused.mp4", ByteSink, config=config)
    for index in range(32):
        recorder.write(result(index))
        assert sum(sizes(tmp_path).values()) <= 12_000 + 5000
    recorder.close()
    assert list(sizes(tmp_path)) == ["fused-005.mp4", "fused-006.mp4", "fused-007.mp4"]
    assert [path.name for path in recorder.files] == list(sizes(tmp_path))


def test_recording_is_switched_on_and_off(tmp_path: Path) -> None:
    wanted = False
    recorder = SegmentedRecorder(tmp_path / "fused.mp4", ByteSink, wanted=lambda: wanted)
    for index in range(30):
        wanted = index // 10 != 1
        recorder.write(result(index))
    recorder.close()
    assert sizes(tmp_path) == {"fused.mp4": 10_000, "fused-002.mp4": 10_000}


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="segment_s"):
        SegmentConfig(segment_s=0)
    with pytest.raises(InputError, match="keep_mb"):
        SegmentConfig(keep_mb=10)


@pytest.mark.parametrize("number", [2, 10, 999, 1000])
def test_names_sort_in_order(number: int) -> None:
    assert segment_name(Path("a/fused.mp4"), number) == f"fused-{number:03d}.mp4"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_run_outlives_a_full_disk() -> None:
    class FullSink(ByteSink):
        def write(self, result: StreamResult) -> None:
            os.write(self._file.fileno(), b"x")

    sink = FullSink(Path("/dev/full"))
    failures: list[OSError] = []
    guarded = KeepGoing(sink, failures.append)
    for index in range(5):
        guarded.write(result(index))
    guarded.close()
    assert [failure.errno for failure in failures] == [28]
    assert sink.closed
