"""What a URI names, and how it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fusion.errors import InputError
from pipeline.sources.images import IMAGE_SUFFIXES

UriKind = Literal["synthetic", "camera", "network", "gstreamer", "folder", "image", "video"]

GSTREAMER_PREFIX = "gst:"

_NETWORK_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "udp", "tcp", "srt"})


def uri_kind(uri: str) -> UriKind:
    """What kind of source a URI names; existence of files is not checked, except to tell a folder from a file.

    Raises:
        InputError: the URI is empty or has an unknown scheme.
    """
    if not uri.strip():
        raise InputError("an empty source; give a video file, a folder of pictures, a camera or a URL")
    if uri == "synthetic" or uri.startswith("synthetic:"):
        return "synthetic"
    if uri.startswith(GSTREAMER_PREFIX):
        return "gstreamer"
    if camera_device(uri) is not None:
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


def camera_device(uri: str) -> str | None:
    """Device file of a camera given by index or path, or None when the URI names no camera."""
    if uri.isdecimal() and uri.isascii():
        return f"/dev/video{int(uri)}"
    return uri if re.fullmatch(r"/dev/video\d+", uri) else None


def is_live(uri: str) -> bool:
    """Whether frames of this source come in real time (cameras, network streams, GStreamer pipelines)."""
    return uri_kind(uri) in ("camera", "network", "gstreamer")


def display_name(uri: str) -> str:
    """A short name of a source for messages and overlays, never with credentials or query strings."""
    device = camera_device(uri)
    if device is not None:
        return device
    if uri.startswith(GSTREAMER_PREFIX):
        # Properties may hold an address with its password; the first element tells what it is.
        element = re.match(r"\s*[A-Za-z][A-Za-z0-9_-]*(?=\s|$)", uri.removeprefix(GSTREAMER_PREFIX))
        return GSTREAMER_PREFIX + (element[0].strip() if element else "...")
    if uri_kind(uri) != "network":
        return Path(uri).name or uri
    parts = urlsplit(uri)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}{parts.path}"
