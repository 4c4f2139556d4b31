"""Shipped and imported weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fusion.checkpoints import read_state_dict, save_half
from fusion.errors import InputError
from fusion.factory import build_fuser, fusion_weight_recipes
from fusion.nestfuse import NestFuse, NestFuseConfig
from fusion.weight_store import (
    find_weights,
    import_weights,
    note_digest,
    shipped_directory,
    stored_weights,
    weights_directory,
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "store"))
    return weights_directory()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "official.model"
    network = NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4))
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    return path


def test_imported_weights_come_first_and_are_used(store: Path, checkpoint: Path) -> None:
    stored = import_weights(checkpoint, "nestfuse", fusion_weight_recipes())
    assert stored.parent == store
    assert find_weights("nestfuse") == stored
    original, copied = read_state_dict(checkpoint), read_state_dict(stored)
    assert all(torch.equal(original[key], copied[key]) for key in original)
    build_fuser("nestfuse")
    (listed,) = (weights for weights in stored_weights() if weights.imported)
    assert (listed.name, listed.intact) == ("nestfuse", True)
    stored.write_bytes(stored.read_bytes() + b" ")
    assert not next(weights for weights in stored_weights() if weights.imported).intact


def test_written_weights_may_be_read_by_whom_other_files_may(store: Path, checkpoint: Path, tmp_path: Path) -> None:
    stored = import_weights(checkpoint, "nestfuse", fusion_weight_recipes())
    save_half(torch.nn.Linear(2, 2), tmp_path / "trained.safetensors", {"method": "none"})
    (tmp_path / "plain").write_text("")
    for path in (stored, tmp_path / "trained.safetensors"):
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert read_state_dict(tmp_path / "trained.safetensors")["weight"].dtype == torch.float16


def test_foreign_or_missing_files_are_refused_and_nothing_is_stored(store: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pt"
    torch.save({"conv.weight": torch.zeros(3)}, foreign)
    recipes = fusion_weight_recipes()
    for path, name, message in (
        (foreign, "nestfuse", "do not fit NestFuse"),
        (foreign, "nestfus", "did you mean nestfuse"),
        (tmp_path / "none.pt", "nestfuse", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            import_weights(path, name, recipes)
    assert not store.exists()


def test_a_store_that_cannot_be_written_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot write"):
        import_weights(checkpoint, "nestfuse", fusion_weight_recipes())


def test_shipped_weights_are_what_was_noted() -> None:
    shipped = [weights for weights in stored_weights() if not weights.imported]
    assert len(shipped) == len(list(shipped_directory().glob("*.safetensors")))
    assert all(weights.intact for weights in shipped), [weights.name for weights in shipped if not weights.intact]


def test_a_note_holds_size_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"abc")
    note_digest(path)
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" in path.with_suffix(".json").read_text()


def test_without_the_variable_the_store_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RGBT_STREAM_WEIGHTS", raising=False)
    assert weights_directory() == Path.home() / ".local/share/rgbt-stream/weights"
