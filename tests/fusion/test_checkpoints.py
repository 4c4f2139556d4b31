"""Weights files that are no weights: always an InputError, whatever their bytes."""

import io
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.checkpoints import read_state_dict
from fusion.errors import InputError


def saved(*, as_zip: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, buffer, _use_new_zipfile_serialization=as_zip)
    return buffer.getvalue()


def whole_module() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), buffer)
    return buffer.getvalue()


def attempt(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        state = read_state_dict(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_by_name(tmp_path: Path, suffix: str, data: bytes) -> None:
    attempt(tmp_path / f"weights{suffix}", data)


@pytest.mark.parametrize("as_zip", [True, False])
@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000) | st.none())
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_weights_are_refused_by_name(
    tmp_path: Path, as_zip: bool, position: int, value: int, cut: int | None
) -> None:
    data = bytearray(saved(as_zip=as_zip))
    data[position % len(data)] = value
    attempt(tmp_path / "weights.pt", bytes(data[:cut]))


def test_whole_weights_are_read(tmp_path: Path) -> None:
    for as_zip in (True, False):
        (tmp_path / "weights.pt").write_bytes(saved(as_zip=as_zip))
        assert torch.equal(read_state_dict(tmp_path / "weights.pt")["weight"], torch.ones(3))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is no checkpoint"),
        (pickle.dumps([1, 2]), "is no checkpoint"),
        (whole_module(), "other than tensors (torch.nn.modules.linear.Linear)"),
    ],
)
def test_the_refusal_says_what_the_file_is_and_gives_no_dangerous_advice(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        read_state_dict(path)
    text = str(refused.value)
    assert words in text
    assert "weights_only" not in text
    assert text.isprintable()
