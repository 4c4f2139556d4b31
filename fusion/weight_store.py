"""Where weights live: those shipped with the program, and those a user imported, which come first.

Which names exist and what fits them is said by :class:`WeightRecipe` values. Every package offers its own, and the
command line puts them together, so this module knows no network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from torch import Tensor

from fusion.checkpoints import read_state_dict, save_tensors
from fusion.errors import InputError

DIRECTORY_VARIABLE = "RGBT_STREAM_WEIGHTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRecipe:
    """Weights that a method can use.

    Attributes:
        name: the method, e.g. ``nestfuse``.
        origin: where a user gets official weights, in a sentence.
        check: raises InputError when a state_dict does not fit the network; its second argument names the file.
        read: reads the official form; a plain file unless a method has another.
    """

    name: str
    origin: str
    check: Callable[[Mapping[str, Tensor], str], None]
    read: Callable[[Path], dict[str, Tensor]] = read_state_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """A weights file at hand.

    Attributes:
        name: the method.
        path: the file.
        imported: brought in by the user, not shipped.
        size_bytes: size of the file.
        sha256: digest of the file as it is now.
        expected_sha256: digest noted when it was shipped or imported; None when there is no note.
    """

    name: str
    path: Path
    imported: bool
    size_bytes: int
    sha256: str
    expected_sha256: str | None

    @property
    def intact(self) -> bool:
        """The file is the one that was shipped or imported."""
        return self.sha256 == self.expected_sha256


def weights_directory() -> Path:
    """Folder of imported weights: $RGBT_STREAM_WEIGHTS, or ~/.local/share/rgbt-stream/weights."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".local" / "share" / "rgbt-stream" / "weights"


def shipped_directory() -> Path:
    """Folder of the weights that come with the program."""
    spec = importlib.util.find_spec("weights")
    if spec is None or not spec.submodule_search_locations:
        return Path(__file__).parents[1] / "weights"
    return Path(next(iter(spec.submodule_search_locations)))


def shipped_weights(name: str) -> Path | None:
    """The shipped weights of a method, if there are any."""
    return _existing(shipped_directory() / f"{name}.safetensors")


def find_weights(name: str) -> Path | None:
    """The weights that a method uses by default: imported ones, else shipped ones, else None."""
    return _existing(weights_directory() / f"{name}.safetensors") or shipped_weights(name)


def require_weights(name: str, given: Path | None, origin: str) -> Path:
    """The file to load for a method: ``given``, or the one :func:`find_weights` finds.

    Raises:
        InputError: there is none; the message says how to get one.
    """
    path = given or find_weights(name)
    if path is None:
        raise InputError(
            f"{name} has no weights here: give --weights FILE, or import them once with "
            f"'weights import FILE --as {name}'. {origin}"
        )
    if not path.exists():
        raise InputError(f"--weights {path}: no such file")
    return path


def import_weights(path: Path, name: str, recipes: Sequence[WeightRecipe]) -> Path:
    """Check that the weights in ``path`` fit the method ``name`` and store them for later runs.

    Returns:
        The stored safetensors file. It replaces an earlier import of the same name.

    Raises:
        InputError: unknown name, unreadable or foreign file, or the folder cannot be written.
    """
    by_name = {recipe.name: recipe for recipe in recipes}
    if name not in by_name:
        near = get_close_matches(name, by_name, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--as {name}: weights are known for {', '.join(sorted(by_name))}{hint}")
    if not path.exists():
        raise InputError(f"weights import {path}: no such file")
    recipe = by_name[name]
    state = recipe.read(path)
    recipe.check(state, str(path))
    target = weights_directory() / f"{name}.safetensors"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(state, target)
        note_digest(target)
    except OSError as error:
        raise InputError(
            f"cannot write {target} ({error.strerror}); set ${DIRECTORY_VARIABLE} to another folder"
        ) from error
    return target


def note_digest(path: Path) -> None:
    """Write ``<name>.json`` with size and sha256 beside a weights file, for :func:`stored_weights` to compare."""
    note = {"file": path.name, "size_bytes": path.stat().st_size, "sha256": file_digest(path)}
    path.with_suffix(".json").write_text(json.dumps(note, indent=1) + "\n")


def stored_weights() -> list[StoredWeights]:
    """All shipped and imported weights, sorted by name, with their digests."""
    found = [
        StoredWeights(
            name=path.stem,
            path=path,
            imported=imported,
            size_bytes=path.stat().st_size,
            sha256=file_digest(path),
            expected_sha256=_noted_digest(path),
        )
        for folder, imported in ((shipped_directory(), False), (weights_directory(), True))
        for path in folder.glob("*.safetensors")
    ]
    return sorted(found, key=lambda weights: (weights.name, weights.imported))


def file_digest(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _noted_digest(path: Path) -> str | None:
    note = path.with_suffix(".json")
    if not note.is_file():
        return None
    try:
        digest = json.loads(note.read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(digest)


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
