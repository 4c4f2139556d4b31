"""Files that are there whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A hidden name beside ``path`` to write the file to, which takes its place at the end.

    So no reader and no kill meets half of it, and of several who write it at once one wins. After an error the file is
    as it was before.

    Raises:
        OSError: the file cannot be written or put in its place; it names ``path``, not the hidden name.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):  # what came first is what is told
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(partial):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
