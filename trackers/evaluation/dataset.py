"""Datasets of sequences with ground truth, in VOT's layout or PySOT's JSON.

Only names, regions and sizes are read here; pictures are opened when a tracker runs. Folders of other layouts
(RGBT234, GTOT, LasHeR, VOT-RGBT2019 as unpacked) are read by ``layouts``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from fusion.errors import InputError
from fusion.opencv_names import opencv_name
from fusion.text_files import read_text
from trackers.evaluation.raster import BoolArray
from trackers.evaluation.regions import (
    Regions,
    check_one_kind,
    check_region_count,
    parse_numbers,
    read_lines,
    regions_from_rows,
)

ChannelName = Literal["color", "ir"]
CHANNELS: tuple[ChannelName, ...] = ("color", "ir")

# Files one of which every sequence folder has, in any layout.
ANNOTATIONS = ("groundtruth.txt", "visible.txt", "infrared.txt", "init.txt", "groundTruth_v.txt")

_CHANNEL_NAMES: Mapping[str, ChannelName] = {
    "color": "color",
    "rgb": "color",
    "visible": "color",
    "default": "color",
    "ir": "ir",
    "infrared": "ir",
    "thermal": "ir",
}
_DEFAULT_FPS = 30.0
_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSequence:
    """One annotated sequence of N frames.

    Attributes:
        name: its name, also the name of its result files.
        source: the file its ground truth was read from, for messages.
        groundtruth: the region of every frame.
        alternative: a second annotation (RGBT234 and GTOT annotate each channel), or None; one-pass measures take
            the better of the two in every frame.
        width: of the pictures, in pixels.
        height: of the pictures, in pixels.
        fps: pictures per second.
        tags: attribute name to (N,) booleans, one per frame.
        channels: channel name to the N picture files; empty when only the ground truth is known.
    """

    name: str
    source: Path
    groundtruth: Regions
    alternative: Regions | None = None
    width: int
    height: int
    fps: float = _DEFAULT_FPS
    tags: Mapping[str, BoolArray] = field(default_factory=dict)
    channels: Mapping[ChannelName, tuple[Path, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.groundtruth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Sequences under a common name, in the order in which the tables list them."""

    name: str
    sequences: tuple[VideoSequence, ...]

    def select(self, names: Sequence[str]) -> Dataset:
        """The dataset with the named sequences only.

        Raises:
            InputError: a name is unknown.
        """
        known = {sequence.name: sequence for sequence in self.sequences}
        for name in names:
            if name not in known:
                raise InputError(
                    f"--sequences: the dataset {self.name} has no sequence '{name}'; it has {', '.join(known)}"
                )
        return Dataset(name=self.name, sequences=tuple(known[name] for name in names))


def sequence_names(root: Path) -> list[str]:
    """Names in ``list.txt``, or of the sub-folders that hold a ground truth.

    Raises:
        InputError: the folder is missing or holds no sequence.
    """
    if not root.is_dir():
        raise InputError(f"--data {root} is not a folder")
    listing = root / "list.txt"
    if listing.is_file():
        names = [line.strip() for line in read_lines(listing, "sequence list") if line.strip()]
        for number, name in enumerate(names, start=1):
            if not (root / name).is_dir():
                raise InputError(f"{listing}, line {number}: there is no folder {root / name}")
        if len(set(names)) != len(names):
            raise InputError(f"{listing} names a sequence twice")
        return names
    names = sorted(path.name for path in root.iterdir() if any((path / name).is_file() for name in ANNOTATIONS))
    if not names:
        raise InputError(f"--data {root} holds neither list.txt nor sub-folders with {', '.join(ANNOTATIONS)}")
    return names


def read_vot_sequence(folder: Path, name: str) -> VideoSequence:
    """Read one sequence folder: ``groundtruth.txt``, ``sequence`` (key=value) and ``*.tag``.

    Raises:
        InputError: a file is missing or wrong; file and line are named.
    """
    source = folder / "groundtruth.txt"
    groundtruth = read_groundtruth(source)
    metadata = _read_metadata(folder / "sequence")
    length = _whole_number(metadata, "length", folder / "sequence")
    if length is not None and length != len(groundtruth):
        raise InputError(f"{source}: {len(groundtruth)} lines, but {folder / 'sequence'} says length={length}")
    channels = _channel_files(folder, metadata, len(groundtruth))
    width = _whole_number(metadata, "width", folder / "sequence")
    height = _whole_number(metadata, "height", folder / "sequence")
    if width is None or height is None:
        width, height = picture_size(folder, channels)
    return VideoSequence(
        name=name,
        source=source,
        groundtruth=groundtruth,
        width=width,
        height=height,
        fps=_frames_per_second(metadata, folder / "sequence"),
        tags=read_tags(folder, len(groundtruth)),
        channels=channels,
    )


def read_groundtruth(path: Path) -> Regions:
    """Read one region per line.

    Raises:
        InputError: a line is no region, holds NaN, or rectangles and polygons are mixed.
    """
    rows = []
    for number, line in enumerate(read_lines(path, "ground truth"), start=1):
        where = f"{path}, line {number}"
        values = parse_numbers(line, where)
        check_region_count(values, where)
        rows.append(values)
    check_one_kind([len(row) for row in rows], path)
    return regions_from_rows(rows)


def read_tags(folder: Path, length: int) -> dict[str, BoolArray]:
    """Read ``<name>.tag`` files: one 0 or 1 per frame; frames beyond the end of a file have no tag.

    Raises:
        InputError: a file is no text, a line is neither 0 nor 1, or there are more lines than frames.
    """
    tags = {}
    for path in sorted(folder.glob("*.tag")):
        values = np.zeros(length, dtype=np.bool_)
        lines = read_text(path, "tag file").split()
        if len(lines) > length:
            raise InputError(f"{path}, line {length + 1}: more lines than the {length} frames of the sequence")
        for number, text in enumerate(lines):
            if text not in ("0", "1"):
                raise InputError(f"{path}, line {number + 1}: a tag is 0 or 1, not '{text[:60]}'")
            values[number] = text == "1"
        tags[path.stem] = values
    return tags


def picture_size(source: Path, channels: Mapping[ChannelName, tuple[Path, ...]]) -> tuple[int, int]:
    """Width and height of the first picture of the first channel that has pictures.

    Raises:
        InputError: there is none that can be read.
    """
    size = first_picture_size(channels)
    if size is None:
        raise InputError(
            f"{source}: the size of the pictures is unknown; write width= and height= into the file 'sequence'"
        )
    return size


def first_picture_size(channels: Mapping[ChannelName, tuple[Path, ...]]) -> tuple[int, int] | None:
    """Width and height of the first picture of the first channel that begins with a readable one, else None."""
    for files in channels.values():
        if not files or not files[0].is_file():
            continue
        picture = cv2.imread(opencv_name(files[0]), cv2.IMREAD_UNCHANGED)
        if picture is not None:
            return picture.shape[1], picture.shape[0]
    return None


def _read_metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    metadata = {}
    for number, line in enumerate(read_text(path, "metadata").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise InputError(f"{path}, line {number}: expected key=value, not '{line.strip()[:60]}'")
        metadata[key.strip()] = value.strip()
    return metadata


def _whole_number(metadata: Mapping[str, str], key: str, path: Path) -> int | None:
    if key not in metadata:
        return None
    if not re.fullmatch(r"[1-9]\d*", metadata[key]):
        raise InputError(f"{path}: {key}={metadata[key]} is not a whole number above 0")
    return int(metadata[key])


def _frames_per_second(metadata: Mapping[str, str], path: Path) -> float:
    text = metadata.get("fps", str(_DEFAULT_FPS))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"{path}: fps={text} is not a number above 0")
    return value


def _channel_files(folder: Path, metadata: Mapping[str, str], length: int) -> dict[ChannelName, tuple[Path, ...]]:
    patterns = {key.partition(".")[2]: value for key, value in metadata.items() if key.startswith("channels.")}
    if not patterns:
        patterns = {name: f"{name}/%08d.jpg" for name in _CHANNEL_NAMES if (folder / name).is_dir()}
    channels: dict[ChannelName, tuple[Path, ...]] = {}
    for key, pattern in patterns.items():
        name = _CHANNEL_NAMES.get(key.lower())
        if name is None:
            continue
        files = _files_of_pattern(folder, pattern, length)
        if files is None:
            raise InputError(
                f"{folder / 'sequence'}: channels.{key}={pattern} is no folder and has no frame number like %08d in it"
            )
        if files:
            channels[name] = files
    return channels


def _files_of_pattern(folder: Path, pattern: str, length: int) -> tuple[Path, ...] | None:
    """Picture files of a pattern like ``color/%08d.jpg`` or a folder; None when it is neither.

    A folder with other names than the pattern says (``00001v.jpg``, as unpacked from the challenge) is taken as it is.
    """
    if re.search(r"%0?\d*d", pattern):
        files = tuple(folder / (pattern % number) for number in range(1, length + 1))
        return files if files[0].is_file() else list_pictures(files[0].parent) or files
    if pattern.endswith(("/", "\\")) or (folder / pattern).is_dir():
        return list_pictures(folder / pattern)
    return None


def list_pictures(folder: Path) -> tuple[Path, ...]:
    """Picture files of a folder in the order of the numbers in their names; none when there is no folder."""
    if not folder.is_dir():
        return ()
    files = (path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
    return tuple(sorted(files, key=lambda path: (_last_number(path.stem), path.name)))


def _last_number(stem: str) -> int:
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else -1


def read_pysot_dataset(path: Path) -> Dataset:
    """Read a PySOT-style JSON file: sequence name to ``gt_rect``, ``width``, ``height`` and per-frame tags.

    Raises:
        InputError: the file is missing, no JSON, or a sequence is wrong.
    """
    try:
        content = json.loads(read_text(path, "--ground-truth"))
    except json.JSONDecodeError as error:
        raise InputError(f"--ground-truth {path} is no JSON file: {error}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"--ground-truth {path} must map sequence names to their ground truth")
    return Dataset(
        name=path.stem, sequences=tuple(_pysot_sequence(path, name, entry) for name, entry in content.items())
    )


def _pysot_sequence(path: Path, name: str, entry: object) -> VideoSequence:
    where = f"{path}, sequence {name}"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected gt_rect, width and height")
    rows = next((entry[key] for key in ("gt_rect", "infrared_gt", "groundtruth") if key in entry), None)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{where}: gt_rect (one region per frame) is missing")
    regions = []
    for number, row in enumerate(rows, start=1):
        place = f"{where}, frame {number}"
        if not isinstance(row, list):
            raise InputError(f"{place}: a region is a list of numbers")
        values = parse_numbers(",".join(str(value) for value in row), place)
        check_region_count(values, place)
        regions.append(values)
    if len({len(values) == 4 for values in regions}) > 1:
        raise InputError(f"{where}: rectangles and polygons are mixed")
    size = []
    for key in ("width", "height"):
        value = entry.get(key)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{where}: {key} (pixels) is missing")
        size.append(value)
    return VideoSequence(
        name=name,
        source=path,
        groundtruth=regions_from_rows(regions),
        width=size[0],
        height=size[1],
        tags=_pysot_tags(entry, len(regions)),
    )


def _pysot_tags(entry: Mapping[str, object], length: int) -> dict[str, BoolArray]:
    """Lists of 0 and 1 with at most one number per frame are tags."""
    tags = {}
    for key, values in entry.items():
        if isinstance(values, list) and values and all(value in (0, 1) for value in values):
            tag = np.zeros(length, dtype=np.bool_)
            tag[: len(values)] = np.array(values[:length], dtype=np.bool_)
            tags[key] = tag
    return tags
