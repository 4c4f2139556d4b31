from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError
from pipeline.configuration import as_tree, build, load_configuration
from trackers.state import Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    width: int = 3
    gain: float = 1.0
    kind: Literal["avg", "max"] = "avg"
    limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.gain < 0:
            raise InputError(f"gain must be at least 0, not {self.gain}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    modality: Modality = Modality.FUSED
    file: Path | None = None
    size_wh: tuple[int, int] = (4, 5)
    names: tuple[str, ...] = ()
    flag: bool = False


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_fills_every_kind_of_field(tmp_path: Path) -> None:
    text = """
    inner: {gain: 2, kind: max, limit_s: 0.5}
    modality: ir
    file: a/b.txt
    size_wh: [7, 8]
    names: [x, y]
    flag: true
    """
    loaded = load_configuration(Outer, write(tmp_path, text))
    assert loaded == Outer(
        inner=Inner(gain=2.0, kind="max", limit_s=0.5),
        modality=Modality.IR,
        file=Path("a/b.txt"),
        size_wh=(7, 8),
        names=("x", "y"),
        flag=True,
    )
    assert isinstance(loaded.inner.gain, float)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "inner: {gain: 2}")
    loaded = load_configuration(Outer, path, ["inner.gain=3.5", "inner.limit_s=null", "flag=true", "size_wh=[1, 2]"])
    assert (loaded.inner.gain, loaded.inner.limit_s, loaded.flag, loaded.size_wh) == (3.5, None, True, (1, 2))


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "+1e-4", ".1e-3", "0.1e-3", "100e-6", "1.0e-04"])
def test_a_number_may_have_an_exponent(tmp_path: Path, number: str) -> None:
    assert load_configuration(Outer, write(tmp_path, f"inner: {{gain: {number}}}")).inner.gain == 1e-4
    assert load_configuration(Outer, None, [f"inner.gain={number}"]).inner.gain == 1e-4


@pytest.mark.parametrize("text", ["e4", "1e", "1e-", "fire-1e4", "1e4x"])
def test_text_that_looks_like_a_number_stays_text(text: str) -> None:
    assert load_configuration(Outer, None, [f"file={text}"]).file == Path(text)


def test_no_file_gives_the_defaults() -> None:
    assert load_configuration(Outer, None) == Outer()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iner: {}", ["iner", "did you mean inner"]),
        ("inner: {gian: 1}", ["inner.gian", "did you mean gain"]),
        ("inner: {gain: fast}", ["inner.gain", "a number", "'fast'"]),
        ("inner: {width: 1.5}", ["inner.width", "whole number"]),
        ("inner: {width: true}", ["inner.width", "whole number"]),
        ("inner: {kind: mx}", ["inner.kind", "avg, max", "did you mean max"]),
        ("inner: {gain: -1}", ["inner", "gain must be at least 0"]),
        ("inner: 3", ["inner", "mapping"]),
        ("modality: both", ["modality", "fused, rgb, ir"]),
        ("size_wh: [1]", ["size_wh", "2 values"]),
        ("names: [1]", ["names[0]", "text"]),
        ("flag: 1", ["flag", "true or false"]),
        ("- 1", ["mapping"]),
        ("a: [", ["no YAML"]),
        ("inner: {gain: 1}\ninner: {width: 2}", ["inner stands twice"]),
        ("inner: {gain: 1, gain: 2}", ["gain stands twice"]),
    ],
)
def test_a_mistake_names_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_configuration(Outer, path)
    message = str(caught.value)
    assert str(path) in message
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("override", ["inner", "=3", "inner..gain=1", "flag=[", "flag.x=1", "inner.gian=1"])
def test_a_wrong_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError):
        load_configuration(Outer, write(tmp_path, "flag: true"), [override])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load_configuration(Outer, Path("nowhere.yaml"))


@settings(deadline=None)
@given(
    gain=st.floats(0, 1e6),
    width=st.integers(),
    kind=st.sampled_from(["avg", "max"]),
    modality=st.sampled_from(list(Modality)),
    names=st.lists(st.text(), max_size=3),
    flag=st.booleans(),
)
def test_what_is_written_out_reads_back_equal(
    gain: float, width: int, kind: Literal["avg", "max"], modality: Modality, names: list[str], flag: bool
) -> None:
    value = Outer(inner=Inner(gain=gain, width=width, kind=kind), modality=modality, names=tuple(names), flag=flag)
    assert build(Outer, as_tree(value), "test") == value
