"""What a viewer may say, checked field by field; anything else is refused with a reason.

Messages are JSON objects with a ``type``; docs/live.md lists them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from fusion.errors import InputError
from fusion.fuser import PoolingName
from pipeline.control import AddTarget, Command, FusionChoice, RemoveTarget, SetPaused, SetRecording
from pipeline.web.views import VIEWS, ViewName
from trackers.box import Box

POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)
MOST_MESSAGE_BYTES = 4096

_MOST_INDEX = 2**53
_MOST_PIXEL = 1e6


class ProtocolError(ValueError):
    """A message that is none of ours; the text says why."""


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """The viewer shows the picture with this serial number and may be sent another."""

    serial: int


@dataclass(frozen=True, slots=True)
class SkippedPicture:
    """The viewer threw the picture with this serial number away and may be sent another."""

    serial: int


@dataclass(frozen=True, slots=True)
class ChooseView:
    """The viewer wants to see this from now on."""

    view: ViewName


@dataclass(frozen=True, slots=True)
class HoldFrame:
    """The viewer is drawing on this frame: keep it. None ends that."""

    frame: int | None


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Save the pictures of now."""


Message = ShownPicture | SkippedPicture | ChooseView | HoldFrame | TakeSnapshot | Command


def parse_message(text: str | bytes) -> Message:
    """Read one message.

    Raises:
        ProtocolError: too long, no JSON object, of unknown type, or with fields that are missing, unknown or wrong.
    """
    if len(text) > MOST_MESSAGE_BYTES:
        raise ProtocolError(f"a message has at most {MOST_MESSAGE_BYTES} bytes")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError("a message is a JSON object") from None
    if not isinstance(fields, dict):
        raise ProtocolError("a message is a JSON object")
    kind = fields.pop("type", None)
    try:
        message = _read(kind, fields)
    except InputError as error:
        raise ProtocolError(str(error)) from None
    if fields:
        raise ProtocolError(f"{kind}: unknown field {_shown(next(iter(fields)))}")
    return message


def _read(kind: object, fields: dict[str, Any]) -> Message:
    match kind:
        case "shown":
            return ShownPicture(_whole(fields, "serial"))
        case "skipped":
            return SkippedPicture(_whole(fields, "serial"))
        case "view":
            view = fields.pop("view", None)
            for known in VIEWS:
                if view == known:
                    return ChooseView(known)
            raise ProtocolError(f"view must be one of {', '.join(VIEWS)}")
        case "hold":
            if "frame" in fields and fields["frame"] is None:
                del fields["frame"]
                return HoldFrame(None)
            return HoldFrame(_whole(fields, "frame"))
        case "add":
            return AddTarget(frame=_whole(fields, "frame"), box=_box(fields))
        case "remove":
            return RemoveTarget(_whole(fields, "target"))
        case "pause":
            return SetPaused(_switch(fields))
        case "record":
            return SetRecording(_switch(fields))
        case "snapshot":
            return TakeSnapshot()
        case "fusion":
            method, pooling = fields.pop("method", None), fields.pop("pooling", None)
            if not isinstance(method, str) or len(method) > 64:
                raise ProtocolError("method must be the name of a fusion method")
            for known_pooling in POOLINGS:
                if pooling == known_pooling:
                    return FusionChoice(method=method, pooling=known_pooling)
            raise ProtocolError(f"pooling must be one of {', '.join(POOLINGS)}")
        case _:
            raise ProtocolError(f"unknown type of message {_shown(kind)}")


def _whole(fields: dict[str, Any], name: str) -> int:
    value = fields.pop(name, None)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST_INDEX:
        raise ProtocolError(f"{name} must be a whole number of at least 0")
    return value


def _switch(fields: dict[str, Any]) -> bool:
    value = fields.pop("on", None)
    if not isinstance(value, bool):
        raise ProtocolError("on must be true or false")
    return value


def _box(fields: dict[str, Any]) -> Box:
    value = fields.pop("box", None)
    numbers = value if isinstance(value, list) else []
    usable = (isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != 4 or not all(usable):
        raise ProtocolError("box must be four numbers x, y, width, height")
    if not all(math.isfinite(number) and abs(number) <= _MOST_PIXEL for number in numbers):
        raise ProtocolError("box must be four finite numbers in pixels")
    return Box(*(float(number) for number in numbers))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def json_text(fields: Mapping[str, Any]) -> str:
    """JSON for the wire, without spaces; not a number where a number is expected raises ValueError."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)
