"""From what the user typed to an open source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fusion.errors import InputError
from pipeline.sources.base import Role, Source, SourceOptions
from pipeline.sources.images import IMAGE_SUFFIXES, ImageListSource, open_image_folder
from pipeline.sources.synthetic import SyntheticSource
from pipeline.sources.video import VideoFileSource

UriKind = Literal["synthetic", "camera", "network", "folder", "image", "video"]

_NETWORK_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "udp", "tcp", "srt"})


def uri_kind(uri: str) -> UriKind:
    """What kind of source a URI names; existence of files is not checked, except to tell a folder from a
    file.

    Raises:
        InputError: the URI is empty or has an unknown scheme.
    """
    if not uri.strip():
        raise InputError("an empty source; give a video file, a folder of pictures, a camera or a URL")
    if uri == "synthetic" or uri.startswith("synthetic:"):
        return "synthetic"
    if uri.isdecimal() or re.fullmatch(r"/dev/video\d+", uri):
        return "camera"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    if scheme:
        if scheme[1].lower() in _NETWORK_SCHEMES:
            return "network"
        raise InputError(f"{scheme[1]}://...: unknown kind of source; known are {', '.join(sorted(_NETWORK_SCHEMES))}")
    path = Path(uri)
    if path.is_dir():
        return "folder"
    return "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"


def is_live(uri: str) -> bool:
    """Whether frames of this source come in real time (cameras and network streams)."""
    return uri_kind(uri) in ("camera", "network")


def display_name(uri: str) -> str:
    """A short name of a source for messages and overlays, never with credentials or query strings."""
    if uri_kind(uri) != "network":
        return Path(uri).name or uri
    parts = urlsplit(uri)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}{parts.path}"


def open_source(uri: str, *, role: Role, options: SourceOptions | None = None) -> Source:
    """Open a source.

    Args:
        uri: a video file, a folder of images, one image, ``synthetic[:SEED]``, a camera index,
            ``/dev/videoN``, or a network stream (``rtsp://...`` and others).
        role: which of the two streams it is; thermal sources deliver one channel, visible ones BGR.
        options: how to read it.

    Raises:
        InputError: it cannot be opened or used; the message names it and the remedy.
    """
    options = options or SourceOptions()
    match uri_kind(uri):
        case "synthetic":
            return SyntheticSource(_synthetic_seed(uri), role, options)
        case "camera" | "network":
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
