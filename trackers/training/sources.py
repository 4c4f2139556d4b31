"""Where training pairs come from: sequences with boxes, stills with boxes, plain photographs, RGBT stills.

Folders are recognised by what is in them, so that a person names folders and nothing else:

- sub-folders with ``groundtruth.txt`` (VOT layout, channels ``color`` and ``ir``, or one of them);
- ``boxes.json`` (``{file: [[x, y, w, h, label], ...]}``) beside pictures, or beside ``vis/`` and ``ir/``;
- ``vis/`` and ``ir/`` with equal names: registered stills, whose targets are random regions;
- pictures: photographs, whose targets are random regions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion.errors import InputError
from fusion.text_files import read_text
from trackers.box import Box, box_from_polygon

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_SMALLEST_SIDE_PX = 8.0


@dataclass(frozen=True, slots=True)
class Shot:
    """One moment: paths of the pictures that exist, and the boxes known in it (empty: random regions)."""

    visible: Path | None
    thermal: Path | None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Track:
    """One target through time: a shot with one box for each frame; a still is a track of one shot."""

    name: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Tracks by kind; each kind is drawn from with its own share.

    Attributes:
        sequences: real tracks of at least two frames.
        boxed: stills with boxes.
        photographs: visible stills without boxes.
        registered: registered visible and thermal stills without boxes.
    """

    sequences: tuple[Track, ...]
    boxed: tuple[Shot, ...]
    photographs: tuple[Shot, ...]
    registered: tuple[Shot, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in (self.sequences, self.boxed, self.photographs, self.registered))


def find_training_set(folders: Sequence[Path], left_out: Sequence[str] = ()) -> TrainingSet:
    """Collect the tracks below ``folders``, without sequences whose name is in ``left_out``.

    Raises:
        InputError: a folder is missing or holds nothing to train on; a left-out name does not exist.
    """
    sequences: list[Track] = []
    boxed: list[Shot] = []
    photographs: list[Shot] = []
    registered: list[Shot] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"--data {folder} is not a folder")
        before = len(sequences) + len(boxed) + len(photographs) + len(registered)
        sequences += [read_sequence(path.parent) for path in sorted(folder.glob("*/groundtruth.txt"))]
        if (folder / "vis").is_dir() and (folder / "ir").is_dir():
            found = _registered_stills(folder)
            boxed += [shot for shot in found if shot.boxes]
            registered += [shot for shot in found if not shot.boxes]
        elif not any(folder.glob("*/groundtruth.txt")):
            found = _photographs(folder)
            boxed += [shot for shot in found if shot.boxes]
            photographs += [shot for shot in found if not shot.boxes]
        if len(sequences) + len(boxed) + len(photographs) + len(registered) == before:
            raise InputError(f"--data {folder} holds neither sequences (groundtruth.txt) nor pictures")
    names = {track.name for track in sequences}
    unknown = sorted(set(left_out) - names)
    if unknown:
        raise InputError(f"--left-out {', '.join(unknown)}: no such sequence; there are {', '.join(sorted(names))}")
    kept = tuple(track for track in sequences if track.name not in left_out and len(track.shots) > 1)
    return TrainingSet(kept, tuple(boxed), tuple(photographs), tuple(registered))


def read_sequence(folder: Path) -> Track:
    """Track of a VOT-style folder; frames whose box is tiny or not a number are left out.

    Raises:
        InputError: a line of groundtruth.txt is no box, or there are more boxes than pictures.
    """
    channels = _channels(folder)
    shots = []
    lines = read_text(folder / "groundtruth.txt", "ground truth").split()
    for number, line in enumerate(lines, start=1):
        try:
            values = [float(value) for value in line.split(",")]
        except ValueError as error:
            raise InputError(f"{folder / 'groundtruth.txt'} line {number} is no box: {line!r}") from error
        if any(value != value for value in values):
            continue
        box = Box(*values) if len(values) == 4 else box_from_polygon(values)
        if min(box.w, box.h) < _SMALLEST_SIDE_PX / 2:
            continue
        visible, thermal = (
            folder / (channels[name] % number) if name in channels else None for name in ("color", "ir")
        )
        for path in (visible, thermal):
            if path is not None and not path.is_file():
                raise InputError(f"{folder}: frame {number} has a box but no picture {path}")
        shots.append(Shot(visible, thermal, (box,)))
    return Track(folder.name, tuple(shots))


def _channels(folder: Path) -> dict[str, str]:
    metadata = folder / "sequence"
    if metadata.is_file():
        pairs = (line.split("=", 1) for line in read_text(metadata, "metadata").splitlines() if "=" in line)
        found = {key.removeprefix("channels."): value for key, value in pairs if key.startswith("channels.")}
        if found:
            return found
    return {name: f"{name}/%08d.jpg" for name in ("color", "ir") if (folder / name).is_dir()}


def _registered_stills(folder: Path) -> list[Shot]:
    boxes = _read_boxes(folder)
    shots = []
    for visible in _pictures(folder / "vis"):
        thermal = folder / "ir" / visible.name
        if thermal.is_file():
            shots.append(Shot(visible, thermal, boxes.get(visible.name, ())))
    return shots


def _photographs(folder: Path) -> list[Shot]:
    boxes = _read_boxes(folder)
    return [
        Shot(path, None, boxes.get(path.relative_to(folder).as_posix(), boxes.get(path.name, ())))
        for path in _pictures(folder)
    ]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)


def _read_boxes(folder: Path) -> dict[str, tuple[Box, ...]]:
    path = folder / "boxes.json"
    if not path.is_file():
        return {}
    listed = json.loads(read_text(path, "boxes"))
    return {
        name: tuple(
            Box(*(float(value) for value in entry[:4]))
            for entry in entries
            if min(float(entry[2]), float(entry[3])) >= _SMALLEST_SIDE_PX
        )
        for name, entries in listed.items()
    }
