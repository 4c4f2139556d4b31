"""Live sources: cameras and network streams."""

from __future__ import annotations

from fusion.errors import InputError
from pipeline.sources.base import Role, Source, SourceOptions


def open_live(uri: str, *, role: Role, options: SourceOptions) -> Source:
    """Open a camera or a network stream.

    Raises:
        InputError: it cannot be opened.
    """
    raise InputError(f"the {role} source is live; live sources are not available yet, record it to a file first")
