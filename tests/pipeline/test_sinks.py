from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.frames import StreamResult
from pipeline.sinks.results import ResultsWriter
from pipeline.sinks.summary import RunStatistics, percentiles, timing_fields, write_json
from pipeline.sinks.video import VideoWriter
from tests.pipeline.doubles import make_pair
from trackers.box import Box
from trackers.state import Modality, TrackState, TrackStatus


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("size_wh", [(64, 48), (63, 47), (1, 1), (320, 17)])
def test_every_picture_arrives_with_its_time(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path, frame_rate=25)
    picture = np.full((size_wh[1], size_wh[0], 3), (40, 160, 220), np.uint8)
    times_s = [Fraction(index, 30) + Fraction(index % 3, 300) for index in range(40)]
    for time_s in times_s:
        writer.write(picture, 7.5 + float(time_s))
    writer.close()
    frames = decode(path)
    assert len(frames) == writer.frames == 40
    assert all(
        abs(float(frame.pts * frame.time_base) - time_s) < 1e-4 for frame, time_s in zip(frames, times_s, strict=True)
    )
    shown = frames[0].to_ndarray(format="bgr24")
    assert shown.shape == (size_wh[1] + size_wh[1] % 2, size_wh[0] + size_wh[0] % 2, 3)
    assert np.abs(shown.astype(int) - (40, 160, 220)).max() <= 4
    assert frames[0].colorspace == 1  # BT.709, as tagged
    keys = [index for index, frame in enumerate(frames) if frame.key_frame]
    assert keys[0] == 0
    assert max(np.diff([*keys, 40])) <= 25


def test_times_that_stand_still_or_jump_back_stay_in_order(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    for time_s in (3.0, 3.0, 1.0, 4.0):
        writer.write(np.zeros((16, 16, 3), np.uint8), time_s)
    writer.close()
    times = [frame.pts for frame in decode(tmp_path / "a.mp4")]
    assert times == sorted(set(times))
    assert len(times) == 4


def test_a_new_size_is_fitted_into_the_first(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", quality=1)
    writer.write(np.full((40, 80, 3), 200, np.uint8), 0.0)
    writer.write(np.full((100, 100, 3), 200, np.uint8), 1.0)
    writer.close()
    second = decode(tmp_path / "a.mp4")[1].to_ndarray(format="bgr24")
    assert second.shape == (40, 80, 3)
    assert second[:, 25:55].min() > 190
    assert second[:, :15].max() < 20


def test_a_copy_taken_while_recording_plays(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path)
    for index in range(30):
        writer.write(np.full((48, 64, 3), index * 8, np.uint8), index / 30)
    (tmp_path / "killed.mp4").write_bytes(path.read_bytes())
    writer.close()
    writer.close()
    assert len(decode(tmp_path / "killed.mp4")) >= 29


def result(index: int, **fields: object) -> StreamResult:
    state = TrackState(box=Box(1.23456, 2.0, 3.0, 4.0), score=0.98768, status=TrackStatus.UNCERTAIN, template=None)
    pair = make_pair(index)
    return StreamResult(
        pair=pair,
        fused_bgr=pair.visible_bgr,
        states={2: state, 1: state},
        stage_ms={"decode": 1.23456, "fuse": 2.0, "track": 0.5},
    )


def test_a_line_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "r.jsonl")
    writer.write(result(3))
    line = json.loads((tmp_path / "r.jsonl").read_text())  # readable before closing
    writer.close()
    assert list(line) == ["index", "time_s", "dt_ms", "status", "targets", "stage_ms"]
    assert line["index"] == 3
    assert line["time_s"] == 0.12
    assert line["status"] == "paired"
    assert line["targets"][0] == {"id": 1, "box": [1.235, 2.0, 3.0, 4.0], "score": 0.9877, "state": "uncertain"}
    assert [target["id"] for target in line["targets"]] == [1, 2]
    assert line["stage_ms"] == {"decode": 1.235, "fuse": 2.0, "track": 0.5}


def test_a_line_says_which_eye_alone_found_a_target(tmp_path: Path) -> None:
    whole = result(0)
    alone = replace(whole, states={1: replace(whole.states[1], seen_in=Modality.IR), 2: whole.states[2]})
    writer = ResultsWriter(tmp_path / "r.jsonl")
    writer.write(alone)
    writer.close()
    targets = json.loads((tmp_path / "r.jsonl").read_text())["targets"]
    assert [target.get("seen_in") for target in targets] == ["ir", None]


def test_percentiles_of_nothing_are_nothing() -> None:
    assert percentiles([], (50, 95)) == {"p50": None, "p95": None}
    assert percentiles([1.0, 2.0, 3.0], (50,)) == {"p50": 2.0}


def test_statistics_count_pairs_and_stages() -> None:
    statistics = RunStatistics()
    for index in range(4):
        statistics.add(result(index), latency_ms=10.0 * index)
    fields = timing_fields(statistics, elapsed_s=2.0)
    assert fields["pairs"] == 4
    assert fields["fps"] == 2.0
    assert fields["latency_ms"]["p50"] == 15.0
    assert set(fields["stage_ms"]) == {"decode", "fuse", "track"}
    assert timing_fields(RunStatistics(), elapsed_s=0.0)["fps"] is None


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.nan})
    assert json.loads(path.read_text()) == {"a": 1}


def test_opening_in_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        VideoWriter(tmp_path / "absent" / "a.mp4")
