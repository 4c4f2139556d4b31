"""The published weights of the trackers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fusion.weight_store import import_weights
from trackers.factory import weight_recipes
from trackers.weight_origins import TRACKER_ORIGINS

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "weights" / "nanotrack"


@pytest.mark.parametrize("origin", TRACKER_ORIGINS, ids=lambda origin: origin.name)
def test_the_published_file_has_the_noted_digest_and_can_be_imported(
    origin: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chosen,) = (each for each in TRACKER_ORIGINS if each is origin)
    (file,) = chosen.files
    path = SHARED / file.name
    if not path.is_file():
        pytest.skip("the official weights are not here")
    assert path.stat().st_size == file.size_bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path))
    assert import_weights(path, chosen.name, weight_recipes()).is_file()
