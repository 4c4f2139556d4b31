"""Profiles of thermal cameras: how their frames hold counts of 16 bits, and what a count means in degrees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.configuration import load_configuration
from trackers.box import Box, clip_box


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalProfile:
    """How to read a thermal camera.

    Attributes:
        input_format: pixel format asked of a V4L2 camera, such as ``yuyv422`` or ``gray16le``; None leaves the choice
            to the driver.
        size_wh: width and height asked of the camera, of the whole frame.
        counts: which part of the frame holds the counts; cameras of double frames send a picture for display in the
            other half.
        byte_order: of the two bytes of a count.
        crop_top: rows to cut off above, after taking the half; some cameras send telemetry there.
        crop_bottom: rows to cut off below.
        scale: degrees Celsius per count, or None when the camera does not measure temperatures.
        offset: degrees Celsius at count 0.
    """

    input_format: str | None = None
    size_wh: tuple[int, int] | None = None
    counts: Literal["whole", "top", "bottom"] = "whole"
    byte_order: Literal["little", "big"] = "little"
    crop_top: int = 0
    crop_bottom: int = 0
    scale: float | None = None
    offset: float = 0.0

    def __post_init__(self) -> None:
        if min(self.crop_top, self.crop_bottom) < 0:
            raise InputError("crop_top and crop_bottom must be at least 0")
        if self.scale is not None and self.scale <= 0:
            raise InputError(f"scale must be above 0 degrees per count, not {self.scale}")

    @property
    def radiometric(self) -> bool:
        """Whether counts mean temperatures."""
        return self.scale is not None

    def picture(self, frame: VideoFrame) -> NDArray[np.uint16]:
        """Counts (H, W) of a frame in a format of two bytes per pixel.

        Raises:
            InputError: the frame has another format, or is not high enough for what is cut off.
        """
        plane = frame.planes[0]
        if len(frame.planes) != 1 or plane.line_size < 2 * frame.width:
            raise InputError(
                f"thermal profile: frames come as {frame.format.name}, which has no two bytes per pixel; "
                "set input_format to one the camera offers (see `doctor`)"
            )
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : frame.height, : 2 * frame.width
        ]
        order = "<u2" if self.byte_order == "little" else ">u2"
        return np.ascontiguousarray(self._part(rows)).view(order).astype(np.uint16)

    def still(self, picture: NDArray[Any]) -> NDArray[Any]:
        """What is left of a frame (H, W) that was stored as a picture: its counts, or 8 bits without what is cut off.

        The order of bytes is that of the file's type, whatever it was in the camera.

        Raises:
            InputError: the picture holds no counts where they are asked for, or is not high enough.
        """
        if self.counts != "whole" and picture.dtype != np.uint16:
            raise InputError(
                f"thermal profile: a picture of 8 bits has no counts at the {self.counts}; "
                "give pictures of 16 bits, or leave out counts"
            )
        return np.ascontiguousarray(self._part(picture))

    def _part(self, rows: NDArray[Any]) -> NDArray[Any]:
        height = rows.shape[0]
        match self.counts:
            case "whole":
                part = rows
            case "top":
                part = rows[: height // 2]
            case "bottom":
                part = rows[height - height // 2 :]
        part = part[self.crop_top : part.shape[0] - self.crop_bottom]
        if not part.size:
            raise InputError(f"thermal profile: nothing is left of {height} rows; check crop_top, crop_bottom")
        return part

    def celsius(self, counts: NDArray[np.uint16] | float) -> NDArray[np.float32]:
        """Degrees Celsius of counts.

        Raises:
            InputError: the camera does not measure temperatures.
        """
        if self.scale is None:
            raise InputError("thermal profile: no scale, so counts are no temperatures; add scale and offset")
        return np.asarray(np.asarray(counts, np.float32) * self.scale + self.offset, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionTemperature:
    """Temperatures inside a box in degrees Celsius."""

    lowest: float
    mean: float
    highest: float


def region_temperature(
    thermal_raw: NDArray[np.uint16], box: Box, profile: ThermalProfile, covered: NDArray[np.bool_] | None = None
) -> RegionTemperature | None:
    """Temperatures inside ``box`` (pixels of the same picture); None when it holds no whole pixel.

    Pixels that are False in ``covered``, of the same shape, are left out.

    Raises:
        InputError: the camera does not measure temperatures.
    """
    inside = clip_box(box, thermal_raw.shape[1], thermal_raw.shape[0])
    left, top = round(inside.x), round(inside.y)
    place = slice(top, round(inside.y + inside.h)), slice(left, round(inside.x + inside.w))
    part = thermal_raw[place] if covered is None else thermal_raw[place][covered[place]]
    if not part.size:
        return None
    lowest, mean, highest = (float(profile.celsius(count)) for count in (part.min(), part.mean(), part.max()))
    return RegionTemperature(lowest=lowest, mean=mean, highest=highest)


def read_profile(path: Path | str) -> ThermalProfile:
    """Read a profile from YAML, strictly.

    Raises:
        InputError: the file cannot be read, or has an unknown key or a value of the wrong type.
    """
    return load_configuration(ThermalProfile, Path(path), called="thermal profile")
