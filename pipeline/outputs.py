"""Output folders: made when absent, never filled over by accident, checked before work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fusion.errors import InputError

# A few seconds of video; with less a run could only fail.
_LEAST_FREE_BYTES = 2 << 20


def prepare_output_folder(folder: Path, *, overwrite: bool, own_files: Sequence[str], option: str = "--out") -> None:
    """Check ``folder`` and remove ``own_files`` of an earlier run from it; anything else in it stays.

    Raises:
        InputError: as in `check_output_folder`.
    """
    check_output_folder(folder, overwrite=overwrite, option=option)
    for name in own_files:
        (folder / name).unlink(missing_ok=True)


def check_output_folder(folder: Path, *, overwrite: bool, option: str = "--out") -> None:
    """Make ``folder`` where it is absent, and see that it can be written to; what is in it stays.

    Raises:
        InputError: it cannot be made or written to, its disk is full, or it is not empty and ``overwrite`` is off.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not overwrite:
            raise InputError(f"{option} {folder}: the folder is not empty; give another one or add --overwrite")
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
        space = os.statvfs(folder)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{option} {folder}: a file is in the way; give a folder") from None
    except OSError as error:
        raise InputError(
            f"{option} {folder}: cannot be written to ({error.strerror}); give a folder with write permission and space"
        ) from error
    free_bytes = space.f_bavail * space.f_frsize
    if free_bytes <= _LEAST_FREE_BYTES:
        raise InputError(f"{option} {folder}: the disk is full ({free_bytes // 1024} KiB free); free space first")
