"""What a viewer may say, checked field by field; anything else is refused with a reason.

Messages are JSON objects with a ``type``; docs/live.md lists them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from fusion.errors import InputError
from fusion.fuser import PoolingName
from pipeline.adjustment import Nudge, PointPairs, Points
from pipeline.control import AddTarget, Command, FusionChoice, RemoveTarget, SetPaused, SetRecording
from pipeline.registration_desk import Adjustment, ChangeDisplay, ChangeRegistration, RegistrationStep
from pipeline.thermal import PaletteName
from pipeline.thermometer import Probe
from pipeline.web.views import PALETTES, VIEWS, ViewName
from trackers.box import Box

Choice = TypeVar("Choice", bound=str)

POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)
MOST_MESSAGE_BYTES = 4096
MOST_POINTS = 48
MOST_REGIONS = 8

_STEPS: tuple[RegistrationStep, ...] = get_args(RegistrationStep)
_MOST_INDEX = 2**53
_MOST_PIXEL = 1e6
_MOST_NUMBER = 1e9


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
    """The viewer wants to see this from now on; no palette means the run's own."""

    view: ViewName
    palette: PaletteName | None = None


@dataclass(frozen=True, slots=True)
class HoldFrame:
    """The viewer is drawing on this frame: keep it. None ends that."""

    frame: int | None


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Save the pictures of now."""


@dataclass(frozen=True, slots=True)
class SaveCalibration:
    """Write the registration of now as a calibration file."""


@dataclass(frozen=True, slots=True)
class MeasureTemperature:
    """The viewer sees this frame and wants to know temperatures there, now and in each picture from now on."""

    frame: int
    probe: Probe


Message = (
    ShownPicture
    | SkippedPicture
    | ChooseView
    | HoldFrame
    | TakeSnapshot
    | SaveCalibration
    | MeasureTemperature
    | Adjustment
    | Command
)


def parse_message(text: str | bytes) -> Message:
    """Read one message.

    Raises:
        ProtocolError: too long, no JSON object, of unknown type, or with fields that are missing, unknown or wrong.
    """
    fields = _json_object(text)
    kind = fields.pop("type", None)
    try:
        message = _read(kind, fields)
    except InputError as error:
        raise ProtocolError(str(error)) from None
    _refuse_rest(kind, fields)
    return message


def parse_preview(text: str | bytes) -> tuple[int, PointPairs]:
    """Read what a preview is asked with: the index of a pair, and pairs of points.

    Raises:
        ProtocolError: as `parse_message`.
    """
    fields = _json_object(text)
    try:
        asked = _whole(fields, "frame"), _point_pairs(fields)
    except InputError as error:
        raise ProtocolError(str(error)) from None
    _refuse_rest("preview", fields)
    return asked


def _json_object(text: str | bytes) -> dict[str, Any]:
    if len(text) > MOST_MESSAGE_BYTES:
        raise ProtocolError(f"a message has at most {MOST_MESSAGE_BYTES} bytes")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError("a message is a JSON object") from None
    if not isinstance(fields, dict):
        raise ProtocolError("a message is a JSON object")
    return fields


def _refuse_rest(kind: object, fields: Mapping[str, Any]) -> None:
    if fields:
        raise ProtocolError(f"{kind}: unknown field {_shown(next(iter(fields)))}")


def _read(kind: object, fields: dict[str, Any]) -> Message:
    match kind:
        case "shown":
            return ShownPicture(_whole(fields, "serial"))
        case "skipped":
            return SkippedPicture(_whole(fields, "serial"))
        case "view":
            palette = None if "palette" not in fields else _choice(fields, "palette", PALETTES)
            return ChooseView(_choice(fields, "view", VIEWS), palette)
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
        case "nudge":
            return Nudge(
                shift_xy=_point(fields, "shift") if "shift" in fields else (0.0, 0.0),
                scale=_number(fields, "scale", 1.0),
                turn_deg=_number(fields, "turn_deg", 0.0),
            )
        case "register":
            return _point_pairs(fields)
        case "registration":
            return ChangeRegistration(_choice(fields, "step", _STEPS))
        case "calibration":
            return SaveCalibration()
        case "display":
            return ChangeDisplay(
                mode=_choice(fields, "mode", ("plateau", "fixed")),
                polarity=_choice(fields, "polarity", ("white-hot", "black-hot")),
                low=_optional_number(fields, "low"),
                high=_optional_number(fields, "high"),
            )
        case "measure":
            return MeasureTemperature(_whole(fields, "frame"), _probe(fields))
        case "fusion":
            method = fields.pop("method", None)
            if not isinstance(method, str) or len(method) > 64:
                raise ProtocolError("method must be the name of a fusion method")
            return FusionChoice(method=method, pooling=_choice(fields, "pooling", POOLINGS))
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


def _choice(fields: dict[str, Any], name: str, known: Sequence[Choice]) -> Choice:
    value = fields.pop(name, None)
    for choice in known:
        if value == choice:
            return choice
    raise ProtocolError(f"{name} must be one of {', '.join(known)}")


def _box(fields: dict[str, Any]) -> Box:
    return Box(*_pixels(fields, "box", 4))


def _pixels(fields: dict[str, Any], name: str, count: int) -> tuple[float, ...]:
    return _checked_pixels(fields.pop(name, None), name, count)


def _point(fields: dict[str, Any], name: str) -> tuple[float, float]:
    x, y = _pixels(fields, name, 2)
    return x, y


def _checked_pixels(value: object, name: str, count: int) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else []
    usable = (isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != count or not all(usable):
        raise ProtocolError(f"{name} must be {count} numbers{' x, y, width, height' if count == 4 else ''}")
    # No number that is not one lies within any bounds, and whole numbers may be too long for a float.
    if not all(abs(number) <= _MOST_PIXEL for number in numbers):
        raise ProtocolError(f"{name} must be {count} finite numbers in pixels")
    return tuple(float(number) for number in numbers)


def _number(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.pop(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= _MOST_NUMBER:
        raise ProtocolError(f"{name} must be a finite number")
    return float(value)


def _optional_number(fields: dict[str, Any], name: str) -> float | None:
    if fields.get(name) is None:
        fields.pop(name, None)
        return None
    return _number(fields, name, 0.0)


def _list(fields: dict[str, Any], name: str, most: int) -> list[Any]:
    value = fields.pop(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise ProtocolError(f"{name} must be a list of at most {most}")
    return value


def _points(fields: dict[str, Any], name: str) -> Points:
    return tuple((x, y) for x, y in (_checked_pixels(value, name, 2) for value in _list(fields, name, MOST_POINTS)))


def _point_pairs(fields: dict[str, Any]) -> PointPairs:
    distance_m = _optional_number(fields, "plane_distance_m")
    if distance_m is not None and not 0 < distance_m <= 1e6:
        raise ProtocolError("plane_distance_m must be above 0")
    return PointPairs(
        visible_xy=_points(fields, "visible"), thermal_xy=_points(fields, "thermal"), plane_distance_m=distance_m
    )


def _probe(fields: dict[str, Any]) -> Probe:
    spot = None
    if fields.get("spot") is not None:
        spot = _point(fields, "spot")
    fields.pop("spot", None)
    regions = (_checked_pixels(value, "regions", 4) for value in _list(fields, "regions", MOST_REGIONS))
    return Probe(spot_xy=spot, regions=tuple(Box(*region) for region in regions))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def json_text(fields: Mapping[str, Any]) -> str:
    """JSON for the wire, without spaces; not a number where a number is expected raises ValueError."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)
