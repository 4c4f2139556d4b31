"""The pictures that can be looked at, and what goes over the wire with each."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.frames import StreamResult
from pipeline.sources.profile import RegionTemperature
from pipeline.thermal import PaletteName, colorize
from pipeline.tint import tint

ViewName = Literal["fused", "visible", "thermal", "side", "tint"]
VIEWS: tuple[ViewName, ...] = get_args(ViewName)
PALETTES: tuple[PaletteName, ...] = get_args(PaletteName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What somebody looks at: a view, and the colours of the thermal picture in it."""

    view: ViewName = "fused"
    palette: PaletteName = "ironbow"


def render_view(look: Look, result: StreamResult) -> NDArray[np.uint8]:
    """The picture (H, W, 3) uint8 BGR of one view; (H, 2 W, 3) side by side, visible left. No overlay."""
    pair = result.pair
    match look.view:
        case "fused":
            return result.fused_bgr
        case "visible":
            return pair.visible_bgr
        case "thermal":
            return colorize(pair.thermal, look.palette)
        case "side":
            return np.hstack((pair.visible_bgr, colorize(pair.thermal, look.palette)))
        case "tint":
            return tint(pair.visible_bgr, pair.thermal, look.palette)


def encode_jpeg(picture_bgr: NDArray[np.uint8], *, quality: int, most_wide: int) -> bytes:
    """JPEG of a picture, scaled down where it is wider than ``most_wide`` pixels."""
    height, width = picture_bgr.shape[:2]
    if width > most_wide:
        size = (most_wide, max(round(height * most_wide / width), 1))
        picture_bgr = np.asarray(cv2.resize(picture_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"no JPEG of a picture of {width} x {height}")
    return data.tobytes()


def picture_header(
    look: Look,
    result: StreamResult,
    serial: int,
    since_s: float,
    celsius: Mapping[int, RegionTemperature] | None = None,
) -> dict[str, Any]:
    """What a viewer must know of a picture: which one it is, its true size, and the targets in it.

    ``since_s`` is the time of the pair in seconds since the run's first one. Width and height are those of the
    visible picture, in whose pixels the boxes are; ``panels`` such pictures lie side by side. ``celsius`` are the
    temperatures of the targets.
    """
    pair = result.pair
    height, width = pair.visible_bgr.shape[:2]
    return {
        "serial": serial,
        "frame": pair.index,
        "time_s": round(pair.time_s, 4),
        "since_s": round(since_s, 3),
        "dt_ms": round(pair.dt_s * 1e3, 2),
        "status": pair.status.value,
        "missing": pair.missing,
        "view": look.view,
        "palette": look.palette,
        "width": width,
        "height": height,
        "panels": 2 if look.view == "side" else 1,
        "targets": [
            {
                "id": target,
                "box": [round(float(value), 2) for value in state.box.as_tuple()],
                "score": round(float(state.score), 3),
                "state": state.status.value,
                **({"celsius": temperature_fields(celsius[target])} if celsius and target in celsius else {}),
            }
            for target, state in sorted(result.states.items())
        ],
    }


def temperature_fields(temperature: RegionTemperature) -> dict[str, float]:
    """Temperatures for the wire, in degrees Celsius to the hundredth."""
    return {name: round(value, 2) for name, value in asdict(temperature).items()}


def picture_message(header: dict[str, Any], jpeg: bytes) -> bytes:
    """A picture as one binary message: length of the header (4 bytes, big end first), header (JSON), JPEG."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return struct.pack(">I", len(text)) + text + jpeg
