"""File names for OpenCV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast


def opencv_name(path: Path) -> str:
    """The name of a file as OpenCV's functions take it.

    They crash on a text that is no UTF-8, as names may be, and take bytes, which their types do not say.
    """
    return cast("str", os.fsencode(path))
