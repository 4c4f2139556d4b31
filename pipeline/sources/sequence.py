"""VOT-style sequence folders: two channels of pictures, their rate, and the target's box in every frame."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from fusion.errors import InputError
from fusion.text_files import read_text
from pipeline.sources.base import Role, SourceInfo, SourceOptions
from pipeline.sources.images import DEFAULT_FOLDER_FPS, ImageListSource, list_images
from trackers.box import Box, box_from_polygon

# Names of channels in `sequence` files, and of sub-folders where there is none, in order of preference.
_CHANNELS: dict[Role, tuple[str, ...]] = {
    "visible": ("color", "visible", "rgb", "vis"),
    "thermal": ("ir", "infrared", "thermal", "tir", "lwir"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFolder:
    """A sequence on disk.

    Attributes:
        name: the sequence's name.
        folder: where it is.
        visible: source of the visible pictures, or None when the sequence has none.
        thermal: source of the thermal pictures, or None when the sequence has none; never both None.
        boxes: ground truth per frame, None where the target is absent or not annotated; empty without
            annotation.
        fps: frames per second.
        warnings: what the user should know, one line each (a missing channel is one).
    """

    name: str
    folder: Path
    visible: ImageListSource | None
    thermal: ImageListSource | None
    boxes: tuple[Box | None, ...]
    fps: float
    warnings: tuple[str, ...] = ()

    @property
    def missing(self) -> Role | None:
        """The channel the sequence does not have."""
        if self.visible is None:
            return "visible"
        return "thermal" if self.thermal is None else None

    @property
    def first_box(self) -> Box | None:
        """Box of the first frame, the default target."""
        return self.boxes[0] if self.boxes else None

    @property
    def info(self) -> SourceInfo:
        """What is known of the visible source, or of the thermal one when it is the only one."""
        source = self.visible or self.thermal
        if source is None:
            raise ValueError("a sequence has at least one channel")
        return source.info

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.info.length or 0


def open_sequence(folder: Path | str, options: SourceOptions | None = None) -> SequenceFolder:
    """Open a VOT-style folder.

    The file ``sequence`` names the channels (``channels.color=color/%08d.jpg``, paths relative to the
    folder), the rate and the length; without it, sub-folders with the usual names are taken.
    ``groundtruth.txt`` holds a rectangle ``x,y,w,h`` or a polygon per line.

    Raises:
        InputError: no folder, no channel, a missing picture, or a line of ``groundtruth.txt`` that is no
            region.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give a sequence folder with color/, ir/ and groundtruth.txt")
    settings = _read_settings(folder / "sequence")
    options = options or SourceOptions()
    fps = options.fps or _number(settings, "fps", folder) or DEFAULT_FOLDER_FPS
    options = replace(options, fps=fps)
    length = _number(settings, "length", folder)
    files = {role: _channel_files(folder, settings, role, int(length) if length else None) for role in _CHANNELS}
    if not any(files.values()):
        raise InputError(f"{folder}: neither a visible nor a thermal channel; expected color/ and ir/ folders")
    warnings = [f"{folder.name}: no {role} channel" for role, found in files.items() if not found]
    name = settings.get("name", folder.name)
    visible, thermal = (
        ImageListSource(found, role, options, name=f"{name}/{role}") if found else None for role, found in files.items()
    )
    counts = {len(found) for found in files.values() if found}
    if len(counts) > 1:
        warnings.append(f"{folder.name}: the channels differ in length ({' and '.join(map(str, sorted(counts)))})")
    boxes = read_ground_truth(folder / "groundtruth.txt")
    if boxes and len(boxes) not in counts:
        warnings.append(f"{folder.name}: groundtruth.txt has {len(boxes)} lines for {max(counts)} frames")
    return SequenceFolder(
        name=name,
        folder=folder,
        visible=visible,
        thermal=thermal,
        boxes=boxes,
        fps=fps,
        warnings=tuple(warnings),
    )


def read_ground_truth(path: Path) -> tuple[Box | None, ...]:
    """Regions of a ``groundtruth.txt``: ``x,y,w,h`` or a polygon (its axis-aligned hull) per line.

    A line of NaN, a rectangle without area or a single code number means that the target is absent: None.

    Raises:
        InputError: a line cannot be read as a region; the message names it.
    """
    if not path.exists():
        return ()
    lines = read_text(path, "ground truth").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(_region(line, f"{path}:{number}") for number, line in enumerate(lines, start=1))


def _region(line: str, where: str) -> Box | None:
    try:
        numbers = [float(part) for part in re.split(r"[,\s]+", line.strip()) if part]
    except ValueError:
        raise InputError(f"{where}: not a region: {line.strip()[:60]!r}; expected x,y,w,h or a polygon") from None
    if len(numbers) == 1 or (numbers and not all(map(math.isfinite, numbers))):
        return None
    if len(numbers) == 4:
        if min(numbers[2:]) <= 0:
            return None
        return Box(*numbers)
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return box_from_polygon(numbers)
    raise InputError(f"{where}: {len(numbers)} numbers are no region; expected 4 (x,y,w,h) or an even count from 6 on")


def _read_settings(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = read_text(path, "metadata").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _number(settings: dict[str, str], key: str, folder: Path) -> float | None:
    if key not in settings:
        return None
    try:
        value = float(settings[key])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{folder / 'sequence'}: {key}={settings[key]} is not a number above 0")
    return value


def _channel_files(folder: Path, settings: dict[str, str], role: Role, length: int | None) -> list[Path]:
    for name in _CHANNELS[role]:
        pattern = settings.get(f"channels.{name}")
        if pattern is not None:
            return _numbered_files(folder, pattern, length)
    if any(key.startswith("channels.") for key in settings):
        return []
    for name in _CHANNELS[role]:
        if (folder / name).is_dir():
            return list_images(folder / name)
    return []


def _numbered_files(folder: Path, pattern: str, length: int | None) -> list[Path]:
    if not re.fullmatch(r"[^%]*%0?\d*d[^%]*", pattern):
        raise InputError(f"{folder / 'sequence'}: channel pattern {pattern!r}; expected one like color/%08d.jpg")
    first = next((start for start in (1, 0) if (folder / (pattern % start)).exists()), None)
    if first is None:
        raise InputError(f"{folder / (pattern % 1)}: missing; the file `sequence` names it as the first picture")
    files: list[Path] = []
    while (path := folder / (pattern % (first + len(files)))).exists() and (length is None or len(files) < length):
        files.append(path)
    if length is not None and len(files) < length:
        raise InputError(f"{path}: missing; the file `sequence` promises {length} pictures, {len(files)} are there")
    return files
