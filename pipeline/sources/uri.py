"""From what the user typed to an open source."""

from __future__ import annotations

from pathlib import Path

from fusion.errors import InputError
from pipeline.sources.base import Role, Source, SourceOptions
from pipeline.sources.images import ImageListSource, open_image_folder
from pipeline.sources.synthetic import SyntheticSource
from pipeline.sources.uri_names import uri_kind
from pipeline.sources.video import VideoFileSource


def open_source(uri: str, *, role: Role, options: SourceOptions | None = None) -> Source:
    """Open a source.

    Args:
        uri: a video file, a folder of images, one image, ``synthetic[:SEED]``, a camera index,
            ``/dev/videoN``, a network stream (``rtsp://...`` and others), or ``gst:`` and a GStreamer pipeline.
        role: which of the two streams it is; thermal sources deliver one channel, visible ones BGR.
        options: how to read it.

    Raises:
        InputError: it cannot be opened or used; the message names it and the remedy.
    """
    options = options or SourceOptions()
    match uri_kind(uri):
        case "synthetic":
            return SyntheticSource(_synthetic_seed(uri), role, options)
        case "camera" | "network" | "gstreamer":
            from pipeline.sources.live import open_live  # only live runs pay for it

            return open_live(uri, role=role, options=options)
        case "folder":
            return open_image_folder(Path(uri), role, options)
        case "image":
            path = _existing(uri)
            return ImageListSource([path], role, options, name=path.name)
        case "video":
            return VideoFileSource(_existing(uri), role, options)


def _existing(uri: str) -> Path:
    path = Path(uri)
    if not path.exists():
        raise InputError(f"{uri}: no such file or folder; check the path")
    return path


def _synthetic_seed(uri: str) -> int:
    _, _, seed = uri.partition(":")
    if seed and not seed.isdecimal():
        raise InputError(f"{uri}: the seed must be a whole number of at least 0, as in synthetic:7")
    return int(seed or 0)
