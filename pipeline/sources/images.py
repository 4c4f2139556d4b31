"""Image files as frames: single pictures, sorted folders, and lists of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError, RunError
from fusion.opencv_names import opencv_name
from pipeline.frames import Frame
from pipeline.sources.base import RecordedSource, Role, SourceInfo, SourceOptions
from pipeline.sources.profile import read_profile

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".webp"})
DEFAULT_FOLDER_FPS = 30.0

# Types of file that may hold several pictures, as pages or as an animation.
_SEVERAL_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".webp"})
# What JPEG, PNG and WebP files begin with, what their block with a camera's notes does, and how far from either end of
# the file that lies.
_EXIF_MARKS = {b"\xff\xd8": b"Exif\x00\x00", b"\x89PNG": b"eXIf", b"RIFF": b"EXIF"}
_EXIF_SEARCH = 2**18

Picture = NDArray[np.uint8] | NDArray[np.uint16]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which ``img2`` comes before ``img10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder in natural order; hidden files and other kinds of file are left out.

    Raises:
        InputError: the folder cannot be read or holds no image.
    """
    try:
        files = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check the path and its rights") from error
    if not files:
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise InputError(f"{folder}: no pictures in this folder; expected files of type {kinds}")
    return sorted(files, key=lambda path: natural_key(path.name))


def read_image(path: Path, role: Role) -> tuple[Picture, str | None]:
    """Read one picture as a frame of ``role``.

    Visible pictures become (H, W, 3) uint8 BGR; thermal ones (H, W) uint8 or uint16. Palettes are resolved,
    transparency is dropped, the orientation that a camera wrote down (EXIF) is applied.

    Returns:
        The picture, and a warning that holds for all pictures of the kind, or None.

    Raises:
        InputError: the file is missing, unreadable, cut short, not a picture or several of them, or of a type that
            has no meaning for the role.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from error
    image = _decoded(data)
    if image is None:
        raise InputError(f"{path}: not a readable picture (empty, damaged or of another format); replace the file")
    count = cv2.imcount(opencv_name(path)) if path.suffix.lower() in _SEVERAL_SUFFIXES else 1
    if count > 1:
        raise InputError(f"{path}: holds {count} pictures, not one; save them as files of their own in a folder")
    return to_frame_image(image, role, str(path))


def _decoded(data: bytes) -> NDArray[Any] | None:
    """The picture in a file; None where there is none, or only a part of it."""
    # IMREAD_UNCHANGED keeps transparency, which is worth a warning, but leaves a picture lying on its side. Only
    # files that may say how they lie are read the other way. (TIFF files are turned in any case.)
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR if _has_notes(data) else cv2.IMREAD_UNCHANGED
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _has_notes(data: bytes) -> bool:
    """Whether a camera's notes (EXIF) seem to be in a picture file."""
    mark = next((mark for begin, mark in _EXIF_MARKS.items() if data.startswith(begin)), None)
    if mark is None:
        return False
    return data.find(mark, 0, _EXIF_SEARCH) >= 0 or data.find(mark, max(len(data) - _EXIF_SEARCH, _EXIF_SEARCH)) >= 0


def to_frame_image(image: NDArray[Any], role: Role, name: str) -> tuple[Picture, str | None]:
    """Turn a decoded array of 1, 2, 3 or 4 channels into a frame's picture; see ``read_image``."""
    if image.dtype.kind == "f":
        finite = bool(np.isfinite(image).all())
        what = "floating-point picture" if finite else "floating-point picture with NaN or infinite values"
        raise InputError(f"{name}: {what}; convert it to 8 or 16 bit with a fixed scale")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: pictures of type {image.dtype} are not supported; convert to 8 or 16 bit")
    warning = None
    if image.ndim == 3 and image.shape[2] in (2, 4):
        warning = "transparency is dropped"
        image = image[:, :, : image.shape[2] - 1]
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.dtype == np.uint16 and role == "visible":
        raise InputError(f"{name}: 16-bit picture where 8 bits are needed; convert it to 8 bit")
    match role:
        case "visible":
            picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        case "thermal":
            picture = image
            if image.ndim == 3:
                if image.dtype == np.uint16:
                    raise InputError(f"{name}: 16-bit thermal pictures must have one channel, not three")
                warning = colored_thermal_warning(image) or warning
                picture = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(picture), warning


def colored_thermal_warning(image_bgr: NDArray[Any]) -> str | None:
    """Warn of a thermal picture in false colors, whose order of brightness is not that of temperature.

    None for grey content within the noise of video compression.
    """
    small = image_bgr[::4, ::4].astype(np.int16)
    spread = small.max(axis=2) - small.min(axis=2)
    if float(np.mean(spread)) <= 12:
        return None
    return "thermal pictures are in false colors; their brightness is used, which is not in order of temperature"


class ImageListSource(RecordedSource):
    """A list of image files as frames at a constant rate.

    Can be iterated any number of times. A file that cannot be read is skipped (its moment stays empty) and
    the run fails after the last frame, naming the first such file.
    """

    def __init__(
        self,
        files: Sequence[Path],
        role: Role,
        options: SourceOptions | None = None,
        *,
        name: str,
    ) -> None:
        options = options or SourceOptions()
        self._files = tuple(files)
        self._role: Role = role
        self._offset_s = options.offset_s
        self._profile = read_profile(options.profile) if options.profile and role == "thermal" else None
        first, _ = self._read(self._files[0])
        super().__init__(
            SourceInfo(
                name=name,
                width=first.shape[1],
                height=first.shape[0],
                fps=options.fps or DEFAULT_FOLDER_FPS,
                length=len(self._files),
                is_thermal_16bit=first.dtype == np.uint16,
                live=False,
                rate_known=options.fps is not None,
            )
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The image files in the order of the frames."""
        return self._files

    def set_rate(self, fps: float) -> None:
        """Play at ``fps`` frames per second; for folders paired with a source of known rate."""
        self._info = replace(self._info, fps=fps, rate_known=True)

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the first file on.

        Raises:
            RunError: after the last frame, when pictures were skipped as unreadable.
        """
        skipped: list[InputError] = []
        for index, path in enumerate(self._files):
            try:
                image, warning = self._read(path)
            except InputError as error:
                skipped.append(error)
                continue
            if (image.dtype == np.uint16) != self._info.is_thermal_16bit:
                raise RunError(f"{path}: bit depth changes within the folder; keep 8-bit and 16-bit pictures apart")
            if warning:
                self.warn(f"{self._info.name}: {warning}")
            time_s = index / self._info.fps + self._offset_s
            yield Frame(image=image, time_s=time_s, arrival_s=time_s, index=index)
        if skipped:
            raise RunError(f"{len(skipped)} of {len(self._files)} pictures could not be read: {skipped[0]}")

    def _read(self, path: Path) -> tuple[Picture, str | None]:
        image, warning = read_image(path, self._role)
        if self._profile is None:
            return image, warning
        try:
            return self._profile.still(image), warning
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def open_image_folder(folder: Path, role: Role, options: SourceOptions | None = None) -> ImageListSource:
    """Open a folder of images, sorted naturally.

    Raises:
        InputError: the folder is empty or its first picture cannot be used.
    """
    return ImageListSource(list_images(folder), role, options, name=folder.name)
