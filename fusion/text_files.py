"""Text files that people made, with whatever editor."""

from __future__ import annotations

from pathlib import Path

from fusion.errors import InputError


def read_text(path: Path, what: str) -> str:
    """A text file, without the byte order mark that some editors put before it.

    Args:
        path: the file.
        what: what it is, or the option it was given with, for the message.

    Raises:
        InputError: the file is missing, cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{what} {path} does not exist") from error
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror}); check the path and its rights") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} cannot be read as text (byte {error.start}); save it as UTF-8") from error
