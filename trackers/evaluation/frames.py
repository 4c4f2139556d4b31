"""The pictures of a sequence, read one pair at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from trackers.evaluation.dataset import ChannelName, VideoSequence, first_picture_size
from trackers.state import ImagePair, Modality

Picture = NDArray[np.uint8]

_NEEDED: dict[Modality, tuple[ChannelName, ...]] = {
    Modality.FUSED: ("color", "ir"),
    Modality.RGB: ("color",),
    Modality.IR: ("ir",),
}


@dataclass(frozen=True, slots=True)
class PicturePair:
    """Pictures of one moment: ``visible_bgr`` (H, W, 3) and ``thermal`` (H, W), uint8; black where not needed."""

    visible_bgr: Picture
    thermal: Picture


class FrameSource(Protocol):
    """Random access to the picture pairs of a sequence."""

    def __getitem__(self, index: int) -> ImagePair:
        """The pair of frame ``index``, from 0."""
        ...


def needed_channels(modality: Modality) -> tuple[ChannelName, ...]:
    """The channels that a modality looks at."""
    return _NEEDED[modality]


class SequenceFrames:
    """Reads the channels that a modality needs from the files of a sequence."""

    def __init__(self, sequence: VideoSequence, modality: Modality) -> None:
        self._name = sequence.name
        self._files = {name: sequence.channels[name] for name in _NEEDED[modality]}

    def __getitem__(self, index: int) -> PicturePair:
        """Read the pair of one frame.

        Raises:
            InputError: a picture is missing or damaged, or the channels differ in size.
        """
        visible = _read_visible(self._files["color"][index]) if "color" in self._files else None
        thermal = _read_thermal(self._files["ir"][index]) if "ir" in self._files else None
        if visible is None:
            assert thermal is not None
            visible = np.zeros((*thermal.shape, 3), dtype=np.uint8)
        if thermal is None:
            thermal = np.zeros(visible.shape[:2], dtype=np.uint8)
        if thermal.shape != visible.shape[:2]:
            raise InputError(
                f"{self._files['ir'][index]}: {thermal.shape[1]} x {thermal.shape[0]} pixels, but the visible picture "
                f"has {visible.shape[1]} x {visible.shape[0]}; the channels must be registered"
            )
        return PicturePair(visible, thermal)


def check_pictures(sequence: VideoSequence, modality: Modality) -> None:
    """Make sure that the channels a modality needs exist and have one picture per line of the ground truth.

    Raises:
        InputError: a channel is missing, the counts differ, or the pictures have another size than the sequence says:
            overlaps are cut off at its borders, so all scores would be wrong.
    """
    for name in _NEEDED[modality]:
        files = sequence.channels.get(name)
        if not files:
            raise InputError(
                f"sequence {sequence.name} ({sequence.source}) has no channel '{name}', which --modalities "
                f"{modality} needs; it has {', '.join(sequence.channels) or 'none'}"
            )
    counts = {name: count_pictures(sequence, name) for name in _NEEDED[modality]}
    for name, count in counts.items():
        if count != len(sequence):
            found = ", ".join(f"{other} {number}" for other, number in counts.items())
            files = sequence.channels[name]
            where = f"{files[count]} is missing" if count < len(files) else f"see {files[0].parent}"
            raise InputError(
                f"sequence {sequence.name}: {sequence.source} has {len(sequence)} lines, but the pictures are {found}; "
                f"{where}"
            )
    size = first_picture_size(sequence.channels)
    if size is not None and size != (sequence.width, sequence.height):
        raise InputError(
            f"{sequence.source.parent / 'sequence'}: width={sequence.width}, height={sequence.height}, but the "
            f"pictures have {size[0]} x {size[1]} pixels; correct the file"
        )


def count_pictures(sequence: VideoSequence, channel: ChannelName) -> int:
    """Pictures present: those listed up to the first gap, or all there are when the sequence has more than listed."""
    files, folder = sequence.channels[channel], sequence.source.parent
    present = _names({file.parent for file in files})
    for number, file in enumerate(files):
        if file not in present:
            return number
    if not files[0].resolve().is_relative_to(folder.resolve()):
        # A sequence may borrow the first pictures of another one.
        return len(files)
    own = [file for file in present if file.suffix == files[0].suffix and _same_form(file, files[0])]
    return max(len(files), len(own))


def _same_form(file: Path, other: Path) -> bool:
    def form(path: Path) -> str:
        return "".join("#" if letter.isdigit() else letter for letter in path.name)

    return file.parent == other.parent and form(file) == form(other)


def _names(folders: Iterable[Path]) -> set[Path]:
    return {path for folder in folders if folder.is_dir() for path in folder.iterdir()}


def _read_visible(path: Path) -> Picture:
    return np.asarray(_read(path, cv2.IMREAD_COLOR), dtype=np.uint8)


def _read_thermal(path: Path) -> Picture:
    picture = _read(path, cv2.IMREAD_UNCHANGED)
    if picture.dtype != np.uint8:
        raise InputError(f"{path}: {picture.dtype} pictures are not evaluated; map them to 8 bit first")
    if picture.ndim == 3:
        code = cv2.COLOR_BGR2GRAY if picture.shape[2] == 3 else cv2.COLOR_BGRA2GRAY
        picture = cv2.cvtColor(np.asarray(picture, dtype=np.uint8), code)
    return np.asarray(picture, dtype=np.uint8)


def _read(path: Path, how: int) -> NDArray[np.generic]:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise InputError(f"picture {path} does not exist") from error
    picture = cv2.imdecode(data, how) if len(data) else None
    if picture is None:
        raise InputError(f"picture {path} is damaged or no picture")
    return np.asarray(picture)
