"""Reading datasets and raw results: what is read, and that every wrong file is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusion.errors import InputError
from trackers.evaluation.dataset import read_pysot_dataset
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.results import Code, find_trackers, format_line, read_sequence_runs, read_trajectory

RECTANGLES = "1,2,30,40\n2,2,30,40\n3,2,30,40\n"


def make_sequence(
    root: Path, name: str, groundtruth: str = RECTANGLES, metadata: str = "width=64\nheight=48\n"
) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "groundtruth.txt").write_text(groundtruth)
    (folder / "sequence").write_text(metadata)
    return folder


def test_reads_list_sizes_regions_channels_and_tags(tmp_path: Path) -> None:
    make_sequence(tmp_path, "b", metadata="width=64\nheight=48\nlength=3\nfps=25\nchannels.color=color/%04d.png\n")
    folder = make_sequence(tmp_path, "a")
    (folder / "occlusion.tag").write_text("0\n1\n")
    (tmp_path / "list.txt").write_text("b\na\n")
    dataset = read_dataset(tmp_path)
    assert [sequence.name for sequence in dataset.sequences] == ["b", "a"]
    first, second = dataset.sequences
    assert (first.width, first.height, first.fps, len(first)) == (64, 48, 25, 3)
    assert first.channels["color"] == tuple(tmp_path / "b" / f"color/000{k}.png" for k in (1, 2, 3))
    assert second.tags["occlusion"].tolist() == [False, True, False]
    assert dataset.select(["a"]).sequences == (second,)


def test_without_a_list_the_folders_are_taken_in_order(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        make_sequence(tmp_path, name)
    (tmp_path / "notes").mkdir()
    assert [sequence.name for sequence in read_dataset(tmp_path).sequences] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("groundtruth", "message"),
    [
        ("1,2,30,40\nnan,2,30,40\n", r"groundtruth\.txt, line 2: .*not finite"),
        ("1,2,30,40\n1,2,30,x\n", r"groundtruth\.txt, line 2: .*not a list of numbers"),
        ("1,2,30,40\n1,2,30\n", r"groundtruth\.txt, line 2: .*not 3 numbers"),
        ("1,2,30,40\n\n1,2,30,40\n", r"groundtruth\.txt, line 2: the line is empty"),
        ("1,2,30,40\n1,1,9,1,9,9,1,9\n", r"groundtruth\.txt, line 2: 8 numbers, but line 1 has 4"),
        ("", r"groundtruth\.txt is empty"),
    ],
)
def test_wrong_ground_truth_names_file_and_line(tmp_path: Path, groundtruth: str, message: str) -> None:
    make_sequence(tmp_path, "a", groundtruth)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("width=64\nheight=48\nlength=9\n", "3 lines, but .*length=9"),
        ("width=64\nheight=0\n", "height=0"),
        ("width 64\n", "sequence, line 1: expected key=value"),
        ("width=64\nheight=48\nfps=no\n", "fps=no"),
        ("fps=20\n", "size of the pictures is unknown"),
        ("width=64\nheight=48\nchannels.ir=ir.mp4\n", "no frame number"),
    ],
)
def test_wrong_metadata(tmp_path: Path, metadata: str, message: str) -> None:
    make_sequence(tmp_path, "a", metadata=metadata)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["sequence", "groundtruth.txt", "x.tag", "../list.txt"])
def test_files_that_are_no_text_are_named(tmp_path: Path, name: str) -> None:
    folder = make_sequence(tmp_path, "a")
    (folder / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=f"{Path(name).name} cannot be read"):
        read_dataset(tmp_path)


def test_wrong_tags_lists_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(InputError, match=r"neither list\.txt nor"):
        read_dataset(tmp_path)
    folder = make_sequence(tmp_path, "a")
    (folder / "x.tag").write_text("0\n2\n")
    with pytest.raises(InputError, match=r"x\.tag, line 2"):
        read_dataset(tmp_path)
    (folder / "x.tag").write_text("0\n" * 4)
    with pytest.raises(InputError, match=r"x\.tag, line 4"):
        read_dataset(tmp_path)
    (folder / "x.tag").unlink()
    (tmp_path / "list.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"list\.txt, line 2"):
        read_dataset(tmp_path)
    (tmp_path / "list.txt").write_text("a\n")
    with pytest.raises(InputError, match="no sequence 'z'"):
        read_dataset(tmp_path).select(["z"])


def test_pysot_json(tmp_path: Path) -> None:
    path = tmp_path / "VOT2018.json"
    rows = [[1, 1, 9, 1, 9, 9, 1, 9]] * 3
    path.write_text(json.dumps({"ants": {"gt_rect": rows, "width": 64, "height": 48, "occlusion": [0, 1]}}))
    (sequence,) = read_pysot_dataset(path).sequences
    assert (sequence.width, len(sequence), sequence.groundtruth.row(2)) == (64, 3, tuple(rows[0]))
    assert sequence.tags["occlusion"].tolist() == [False, True, False]
    for content, message in (
        ("{", "no JSON"),
        ("[]", "must map"),
        ('{"a": {"width": 3, "height": 3}}', "gt_rect"),
        ('{"a": {"gt_rect": [[1,2,3,4]], "width": 3}}', "height"),
        ('{"a": {"gt_rect": [[1,2,3,4],[1,2,NaN,4]], "width": 3, "height": 3}}', "sequence a, frame 2"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_pysot_dataset(path)


def test_pysot_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text('\ufeff{"a": {"gt_rect": [[1, 2, 3, 4]], "width": 64, "height": 48}}', encoding="utf-8")
    assert read_pysot_dataset(path).sequences[0].name == "a"


def write_result(results: Path, text: str, name: str = "a_001.txt") -> Path:
    folder = results / "mine" / "baseline" / "a"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_reads_codes_and_regions(tmp_path: Path) -> None:
    path = write_result(tmp_path, "1\n1,2,3,4\n2\n0\n0\n0\n0\n1\n5,6,7,8\n")
    trajectory = read_trajectory(path, 9)
    assert trajectory.starts == (0, 7)
    assert trajectory.failures == (2,)
    assert trajectory.regions.row(8) == (5, 6, 7, 8)
    assert trajectory.regions.row(3) == ()


def test_repetitions_are_found_without_their_companions(tmp_path: Path) -> None:
    write_result(tmp_path, "1\n1,2,3,4\n")
    write_result(tmp_path, "1\n1,2,3,5\n", "a_002.txt")
    write_result(tmp_path, "0.1\n0.1\n", "a_001_time.value")
    write_result(tmp_path, "0.1\n0.1\n", "a_time.txt")
    runs = read_sequence_runs(tmp_path, "mine", "a", 2)
    assert [run.regions.row(1)[3] for run in runs] == [4, 5]
    assert find_trackers(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a_001\.txt is empty"),
        ("1\n1,2,3,4\n1,2,x,4\n", r"a_001\.txt, line 3"),
        ("1\n1,2,3,4\nnan,2,3,4\n", r"a_001\.txt, line 3: .*not finite"),
        ("1\n1,2,3,4\n1,1,9,1,9,9,1,9\n", r"a_001\.txt, line 3: 8 numbers, but line 2 has 4"),
        ("1\n7\n1,2,3,4\n", r"a_001\.txt, line 2: 7 is no code"),
        ("1,2,3,4\n1,2,3,4\n1,2,3,4\n", r"line 1: a reset-based run begins with the code 1.*--protocol ope"),
        ("1\n1,2,3,4\n", r"a_001\.txt, line 2: 2 lines, but the sequence has 3 frames"),
        ("1\n" + "1,2,3,4\n" * 5, r"a_001\.txt, line 4: 6 lines, .*another dataset"),
    ],
)
def test_wrong_result_files_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = write_result(tmp_path, text)
    with pytest.raises(InputError, match=message):
        read_trajectory(path, 3)


def test_results_of_another_dataset(tmp_path: Path) -> None:
    write_result(tmp_path, "1\n1,2,3,4\n")
    with pytest.raises(InputError, match="lack the sequence other"):
        read_sequence_runs(tmp_path, "mine", "other", 2)
    with pytest.raises(InputError, match="holds no results"):
        find_trackers(tmp_path / "mine")


def test_lines_are_written_as_they_are_read(tmp_path: Path) -> None:
    lines = [format_line(Code.START), format_line((1, 2.00004, 3.25, 4))]
    assert lines == ["1", "1.0000,2.0000,3.2500,4.0000"]
    assert read_trajectory(write_result(tmp_path, "\n".join(lines) + "\n"), 2).regions.row(1)[2] == 3.25
