"""Draws what the tracker knows onto the picture: boxes, ids, scores, states, the thermal picture, the speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.frames import PairStatus, StreamResult
from pipeline.thermal import PaletteName, colorize
from pipeline.tint import tint
from trackers.box import Box, iou
from trackers.state import TrackState, TrackStatus

Bgr = tuple[int, int, int]
Corner = Literal["top-right", "bottom-right", "bottom-left"]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_STATE_COLORS: dict[TrackStatus, Bgr] = {
    TrackStatus.TRACKING: (92, 222, 84),
    TrackStatus.UNCERTAIN: (32, 190, 255),
    TrackStatus.LOST: (80, 80, 255),
}
_TEXT: Bgr = (250, 250, 250)
_BACKING: Bgr = (20, 20, 20)
_BACKING_OPACITY = 0.62
_CORNERS: tuple[Corner, ...] = ("top-right", "bottom-right", "bottom-left")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayConfig:
    """What the overlay shows.

    Attributes:
        inset: show the thermal picture small in a corner that no target covers.
        inset_width: width of the inset as a share of the picture's width, 0.05..0.5.
        palette: colours of the inset and the tint.
        tint: draw onto the visible picture, tinted where it is warm, in place of the fused one.
        status_line: show method, tracker, time and speed at the top.
    """

    inset: bool = True
    inset_width: float = 0.22
    palette: PaletteName = "ironbow"
    tint: bool = False
    status_line: bool = True

    def __post_init__(self) -> None:
        if not 0.05 <= self.inset_width <= 0.5:
            raise InputError(f"inset_width must be between 0.05 and 0.5, not {self.inset_width}")


class Overlay:
    """Draws onto copies of the pictures of one run.

    Keeps only the corner in which the inset stands, so that it stays there until a target needs the place.

    Args:
        config: what is shown.
        title: names of the methods, shown in the status line where a result has none of its own.
    """

    def __init__(self, config: OverlayConfig, title: str) -> None:
        self._config = config
        self._title = title
        self._corner: Corner = "top-right"

    def draw(self, result: StreamResult, frames_per_s: float | None = None) -> NDArray[np.uint8]:
        """The fused (or tinted) picture with the overlay, (H, W, 3) uint8; the input is left as it was."""
        picture = self._ground(result)
        if self._config.inset:
            self._draw_inset(picture, result)
        for target, state in result.states.items():
            _draw_target(picture, target, state)
        if self._config.status_line:
            self._draw_status_line(picture, result, frames_per_s)
        return picture

    def _ground(self, result: StreamResult) -> NDArray[np.uint8]:
        if self._config.tint:
            return tint(result.pair.visible_bgr, result.pair.thermal, self._config.palette)
        return result.fused_bgr.copy()

    def _draw_inset(self, picture: NDArray[np.uint8], result: StreamResult) -> None:
        height, width = picture.shape[:2]
        inset_width = round(width * self._config.inset_width)
        inset_height = round(inset_width * height / width)
        if inset_width < 24 or inset_height < 18:
            return
        boxes = [state.box for state in result.states.values()]
        place = self._free_place(boxes, (width, height), (inset_width, inset_height))
        left, top = int(place.x), int(place.y)
        small = cv2.resize(result.pair.thermal, (inset_width, inset_height), interpolation=cv2.INTER_AREA)
        picture[top : top + inset_height, left : left + inset_width] = colorize(
            small.astype(np.uint8, copy=False), self._config.palette
        )
        corner = (left + inset_width - 1, top + inset_height - 1)
        cv2.rectangle(picture, (left, top), corner, (200, 200, 200), 1)
        size = _text_size(height) * 0.8
        _draw_label(picture, "thermal", (left + 1, top + inset_height - 1), size, _TEXT, anchor="bottom")

    def _free_place(self, boxes: Iterable[Box], size_wh: tuple[int, int], inset_wh: tuple[int, int]) -> Box:
        """Where the inset stands: the present corner, or the first one free of targets when a target enters."""
        boxes = list(boxes)
        margin = max(round(size_wh[1] * 0.015), 2)
        # Below the status line, which may reach across a narrow picture.
        top = margin + round(_text_size(size_wh[1]) * 45)
        places: dict[Corner, Box] = {
            "top-right": Box(size_wh[0] - inset_wh[0] - margin, top, *inset_wh),
            "bottom-right": Box(size_wh[0] - inset_wh[0] - margin, size_wh[1] - inset_wh[1] - margin, *inset_wh),
            "bottom-left": Box(margin, size_wh[1] - inset_wh[1] - margin, *inset_wh),
        }
        candidates = [self._corner, *(corner for corner in _CORNERS if corner != self._corner)]
        covered = {corner: sum(iou(places[corner], box) for box in boxes) for corner in candidates}
        self._corner = min(candidates, key=lambda corner: covered[corner])
        return places[self._corner]

    def _draw_status_line(self, picture: NDArray[np.uint8], result: StreamResult, frames_per_s: float | None) -> None:
        pair, size = result.pair, _text_size(picture.shape[0])
        parts = [result.title or self._title, f"{pair.time_s:.2f} s"]
        if frames_per_s is not None:
            parts.append(f"{frames_per_s:.0f} fps" if frames_per_s >= 9.5 else f"{frames_per_s:.1f} fps")
        if result.level:
            parts.append(f"degraded: level {result.level}")
        if pair.missing is not None:
            parts.append(f"no {pair.missing} picture")
        elif pair.status is not PairStatus.PAIRED:
            parts.append(pair.status.value)
        text = " | ".join(parts)
        while _extent(text, size)[0] > picture.shape[1] - 8 and len(parts) > 1:
            parts = parts[1:]
            text = " | ".join(parts)
        _draw_label(picture, text, (0, 0), size, _TEXT, anchor="top")


def _draw_target(picture: NDArray[np.uint8], target: int, state: TrackState) -> None:
    height, width = picture.shape[:2]
    color = _STATE_COLORS[state.status]
    thickness = max(round(min(height, width) / 240), 1)
    left, top = round(state.box.x), round(state.box.y)
    right, bottom = round(state.box.x + state.box.w) - 1, round(state.box.y + state.box.h) - 1
    if state.status is TrackStatus.LOST:
        _draw_corners(picture, (left, top), (right, bottom), color, thickness)
        text = f"{target} lost"
    else:
        cv2.rectangle(picture, (left, top), (right, bottom), _BACKING, thickness + 2, cv2.LINE_AA)
        cv2.rectangle(picture, (left, top), (right, bottom), color, thickness, cv2.LINE_AA)
        text = f"{target}  {state.score:.2f}"
        if state.status is TrackStatus.UNCERTAIN:
            text += "  uncertain"
    size = _text_size(height)
    label_height = _extent(text, size)[1]
    if top - thickness - 1 >= label_height:
        _draw_label(picture, text, (left - thickness, top - thickness - 1), size, color, anchor="bottom")
    elif bottom + thickness + 2 + label_height <= height:
        _draw_label(picture, text, (left - thickness, bottom + thickness + 2), size, color, anchor="top")
    else:
        _draw_label(picture, text, (left + thickness, top + thickness + 1), size, color, anchor="top")


def _draw_corners(
    picture: NDArray[np.uint8], first: tuple[int, int], last: tuple[int, int], color: Bgr, thickness: int
) -> None:
    """The corners of a box only: the target is not there for certain."""
    arm_x = max((last[0] - first[0]) // 4, 3)
    arm_y = max((last[1] - first[1]) // 4, 3)
    for line_color, line_thickness in ((_BACKING, thickness + 2), (color, thickness)):
        for x, sign_x in ((first[0], 1), (last[0], -1)):
            for y, sign_y in ((first[1], 1), (last[1], -1)):
                cv2.line(picture, (x, y), (x + sign_x * arm_x, y), line_color, line_thickness, cv2.LINE_AA)
                cv2.line(picture, (x, y), (x, y + sign_y * arm_y), line_color, line_thickness, cv2.LINE_AA)


def _text_size(picture_height: int) -> float:
    """Font scale: capitals of about 9 pixels on 240 lines and 18 on 1080."""
    return 0.30 + 0.5 * picture_height / 1080


def _extent(text: str, size: float) -> tuple[int, int]:
    """Width and height in pixels of a label with its backing."""
    (width, height), baseline = cv2.getTextSize(text, _FONT, size, _text_weight(size))
    return width + 2 * _padding(size), height + baseline + _padding(size)


def _padding(size: float) -> int:
    return max(round(size * 8), 3)


def _text_weight(size: float) -> int:
    return 1 if size < 0.7 else 2


def _draw_label(
    picture: NDArray[np.uint8],
    text: str,
    corner_xy: tuple[int, int],
    size: float,
    color: Bgr,
    *,
    anchor: Literal["top", "bottom"],
) -> None:
    """Text on a dark, half transparent backing whose top-left or bottom-left corner is ``corner_xy``.

    The label is moved, not cut, where it would leave the picture.
    """
    height, width = picture.shape[:2]
    label_width, label_height = _extent(text, size)
    left = min(max(corner_xy[0], 0), max(width - label_width, 0))
    top = corner_xy[1] if anchor == "top" else corner_xy[1] - label_height
    top = min(max(top, 0), max(height - label_height, 0))
    backed = picture[top : top + label_height, left : left + label_width]
    dark = np.full_like(backed, _BACKING)
    backed[:] = cv2.addWeighted(dark, _BACKING_OPACITY, backed, 1 - _BACKING_OPACITY, 0)
    (_, text_height), _ = cv2.getTextSize(text, _FONT, size, _text_weight(size))
    origin = (left + _padding(size), top + _padding(size) // 2 + text_height)
    cv2.putText(picture, text, origin, _FONT, size, color, _text_weight(size), cv2.LINE_AA)
