"""VOT-style sequence folders: channels, rate and boxes, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fusion.errors import InputError
from pipeline.sources import open_sequence
from trackers.box import Box


def make_sequence(folder: Path, channels: dict[str, str], boxes: str, *, length: int = 3, settings: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for pattern in channels.values():
        for number in range(1, length + 1):
            path = folder / (pattern % number)
            path.parent.mkdir(exist_ok=True)
            assert cv2.imwrite(str(path), np.full((24, 32), number, np.uint8))
    lines = [f"channels.{name}={pattern}" for name, pattern in channels.items()]
    (folder / "sequence").write_text("\n".join([*lines, settings]))
    (folder / "groundtruth.txt").write_text(boxes)
    return folder


BOTH = {"color": "color/%08d.png", "ir": "ir/%08d.png"}


def test_a_sequence_gives_both_channels_rate_and_boxes(tmp_path: Path) -> None:
    boxes = "1,2,3,4\nnan,nan,nan,nan\n0,0,4,0,4,2,0,2\n"
    sequence = open_sequence(make_sequence(tmp_path / "s", BOTH, boxes, settings="fps=15\nlength=3\nname=walk"))
    assert sequence.name == "walk"
    assert (sequence.fps, sequence.length, sequence.missing) == (15, 3, None)
    assert sequence.boxes == (Box(1, 2, 3, 4), None, Box(0, 0, 4, 2))
    assert sequence.first_box == Box(1, 2, 3, 4)
    assert sequence.visible is not None
    assert sequence.thermal is not None
    assert [frame.image.shape for frame in sequence.visible] == [(24, 32, 3)] * 3
    assert [frame.time_s for frame in sequence.thermal] == pytest.approx([0, 1 / 15, 2 / 15])
    assert sequence.warnings == ()


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    folder = make_sequence(tmp_path / "s", BOTH, "\ufeff1,2,3,4\n", settings="fps=15")
    (folder / "sequence").write_text("\ufeff" + (folder / "sequence").read_text())
    assert open_sequence(folder).boxes == (Box(1, 2, 3, 4),)
    assert open_sequence(folder).fps == 15


def test_channels_may_lie_in_another_folder(tmp_path: Path) -> None:
    make_sequence(tmp_path / "a", BOTH, "1,1,2,2\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "sequence").write_text("channels.color=../a/color/%08d.png\nchannels.ir=../a/ir/%08d.png\n")
    sequence = open_sequence(tmp_path / "b")
    assert sequence.length == 3
    assert sequence.boxes == ()
    assert sequence.fps == 30


@pytest.mark.parametrize(("channel", "missing"), [("color", "thermal"), ("ir", "visible")])
def test_a_missing_channel_is_reported(tmp_path: Path, channel: str, missing: str) -> None:
    sequence = open_sequence(make_sequence(tmp_path / "s", {channel: BOTH[channel]}, "1,1,2,2\n" * 3))
    assert sequence.missing == missing
    assert sequence.warnings == (f"s: no {missing} channel",)
    assert sequence.info.length == 3


def test_usual_folder_names_do_without_the_file(tmp_path: Path) -> None:
    folder = make_sequence(tmp_path / "s", {"x": "visible/%d.png", "y": "infrared/%d.png"}, "")
    (folder / "sequence").unlink()
    assert open_sequence(folder).missing is None


@pytest.mark.parametrize(
    ("settings", "boxes", "complaint"),
    [
        ("length=9", "", "missing; the file `sequence` promises 9 pictures, 3 are there"),
        ("fps=fast", "", "fps=fast is not a number above 0"),
        ("", "1,2,3\n", r"groundtruth\.txt:1: 3 numbers are no region"),
        ("", "1,2,3,4\nhello\n", r"groundtruth\.txt:2: not a region"),
        ("channels.color=color.mp4", "", "channel pattern"),
        ("channels.color=nowhere/%d.png", "", "missing"),
    ],
)
def test_what_is_wrong_with_a_sequence_is_named(tmp_path: Path, settings: str, boxes: str, complaint: str) -> None:
    folder = make_sequence(tmp_path / "s", BOTH, boxes, settings=settings)
    with pytest.raises(InputError, match=complaint):
        open_sequence(folder)


@pytest.mark.parametrize("name", ["sequence", "groundtruth.txt"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, name: str) -> None:
    folder = make_sequence(tmp_path / "s", BOTH, "1,2,3,4\n")
    (folder / name).write_bytes(b"\xff\xfe1")
    with pytest.raises(InputError, match=f"{name} cannot be read as text"):
        open_sequence(folder)


def test_folders_that_are_no_sequence_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a visible nor a thermal channel"):
        open_sequence(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        open_sequence(tmp_path / "nowhere")


def test_real_sequences_open_with_a_box_for_every_frame(shared_data: Path) -> None:
    folders = [path for path in sorted((shared_data / "rgbt_tracking").iterdir()) if path.is_dir()]
    assert len(folders) == 13
    for folder in folders:
        sequence = open_sequence(folder)
        assert sequence.missing is None
        assert len(sequence.boxes) == sequence.length
        assert sequence.warnings == ()
