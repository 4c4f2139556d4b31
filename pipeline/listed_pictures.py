"""Pictures that a command leaves in its output folder, listed there so that its next run can tell them from others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from fusion.whole_files import written_whole

LIST_NAME = "pictures.json"


def replace_listed(folder: Path, names: Sequence[str], *, inputs: Sequence[Path] = ()) -> None:
    """Remove the pictures that an earlier run listed in ``folder``, and list those that this one is about to write.

    Sub-folders go when nothing else is in them. What is not on the list stays, and so do inputs of this run.

    Args:
        folder: the output folder, which must be there.
        names: of the pictures to come, as ``fused/METHOD/name.png`` below ``folder``.
        inputs: files, and folders whose files, this run reads.

    Raises:
        OSError: a picture cannot be removed, or the list cannot be written.
    """
    used = {path.resolve() for path in inputs}
    kept = []
    for name in _listed(folder):
        path = folder / name
        if path.resolve() in used or path.parent.resolve() in used:
            kept.append(name)
        elif path.is_file():
            path.unlink()
        with suppress(OSError):  # not empty
            path.parent.rmdir()
            path.parent.parent.rmdir()
    listed = sorted({*kept, *names})
    if not listed:
        (folder / LIST_NAME).unlink(missing_ok=True)
        return
    with written_whole(folder / LIST_NAME) as partial:
        partial.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def _listed(folder: Path) -> list[str]:
    """What the list names; nothing where there is none, and nothing but pictures below the folder."""
    try:
        names = json.loads((folder / LIST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if _is_below(name)] if isinstance(names, list) else []


def _is_below(name: object) -> bool:
    if not isinstance(name, str):
        return False
    path = PurePath(name)
    return len(path.parts) == 3 and ".." not in path.parts and not path.is_absolute() and path.suffix == ".png"
