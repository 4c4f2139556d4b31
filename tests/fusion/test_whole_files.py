"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion.whole_files import written_whole


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")
    with written_whole(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path, error: type[BaseException]) -> None:
    with written_whole(path) as partial:
        partial.write_text("ne")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_all_is_as_before(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_who_write_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"), written_whole(folder) as partial:
        partial.write_text("new")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("place", ["absent/results.json", "file/results.json", "taken"])
def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    path = tmp_path / place
    with pytest.raises(OSError, match=r"\w") as caught, written_whole(path) as partial:
        partial.write_text("new")
    assert caught.value.filename == str(path)
    assert ".partial" not in str(caught.value)


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, written_whole(tmp_path / "results.json"):
        (tmp_path / "other.json").read_text()
    assert caught.value.filename == str(tmp_path / "other.json")
