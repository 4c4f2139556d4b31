"""The ``fuse`` command's work: two stills, two folders of stills, or two videos into fused pictures."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError, RunError
from fusion.fuser import Fuser
from fusion.whole_files import written_whole
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.calibration import Calibration
from pipeline.frames import Frame, PairStatus
from pipeline.pair_builder import PairBuilder, check_size
from pipeline.pairing import PairedFrames
from pipeline.progress import Progress
from pipeline.sinks.summary import RunStatistics
from pipeline.sinks.video import VideoSink
from pipeline.sources.base import Role
from pipeline.sources.images import list_images, read_image
from pipeline.stream import PairProcessor, run_stream

Say = Callable[[str], None]

# File types that a fused still can be written as.
_WRITABLE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov"})
_VIDEO_QUALITY = 18


@dataclass(frozen=True, slots=True)
class StillPair:
    """Two pictures that belong together, and the name of the picture made of them."""

    visible: Path
    thermal: Path
    name: str


def fuse_stills(
    pairs: Sequence[StillPair],
    outputs: Sequence[Path],
    fuser: Fuser,
    *,
    calibration: Calibration | None,
    say: Say,
) -> int:
    """Fuse each pair of files into its output file.

    Each picture is mapped on its own (nothing is carried over to the next one). A grey visible picture gives a grey
    file.

    Returns:
        The number of pictures written.

    Raises:
        InputError: a picture cannot be read or used; those before it are written.
    """
    said: set[str] = set()
    with Progress("pictures", len(pairs), quiet=len(pairs) == 1) as progress:
        for pair, output in zip(pairs, outputs, strict=True):
            builder = PairBuilder(calibration)
            visible, thermal = (_read(path, role, said, say) for path, role in _roles(pair))
            frames = PairedFrames(index=0, visible=visible, thermal=thermal, status=PairStatus.PAIRED)
            registered = builder.build(frames)
            for warning in builder.warnings:
                _say_once(f"warning: {warning}", said, say)
            fuser.reset()
            fused_bgr = fuser(registered.visible_bgr, registered.thermal)
            write_still(output, fused_bgr, gray=_is_gray(registered.visible_bgr) and _is_gray(fused_bgr))
            progress.step()
    return len(pairs)


def fuse_videos(
    visible: str,
    thermal: str,
    output: Path,
    fuser: Fuser,
    *,
    calibration: str | None,
    stop: threading.Event,
    say: Say,
) -> int:
    """Fuse two videos, paired by their time stamps, into an mp4 with a picture for every visible one.

    Returns:
        The number of pictures written.

    Raises:
        InputError: a video or the calibration cannot be used.
        RunError: there was not one pair, or a video delivers less than it promises.
    """
    if output.suffix.lower() not in _VIDEO_SUFFIXES:
        raise InputError(f"--out {output}: name an mp4 file for the fused video")
    with open_pairs(PairSourceConfig(visible=visible, thermal=thermal, calibration=calibration)) as pairs:
        output.parent.mkdir(parents=True, exist_ok=True)
        statistics = RunStatistics()
        sink = VideoSink(output, frame_rate=pairs.info.fps, quality=_VIDEO_QUALITY, overlay=None)
        try:
            with Progress("pairs", pairs.info.length) as progress:
                processor = PairProcessor(fuser=fuser, tracker=None)
                run_stream(pairs, processor, [sink], statistics=statistics, stop=stop, progress=progress)
        finally:
            sink.close()
            for warning in pairs.warnings:
                say(f"warning: {warning}")
    if not statistics.pairs and not stop.is_set():
        raise RunError("the two videos gave no pair; check that both have pictures")
    return statistics.pairs


def pair_folders(visible: Path, thermal: Path, *, say: Say) -> list[StillPair]:
    """Pairs of the pictures in two folders: by name, else by order when counts agree.

    One folder given twice may hold ``VIS{name}`` and ``IR{name}`` side by side, as fusion benchmarks do; the fused
    picture is then called ``{name}``. Thermal pictures that no visible one has the name of are not used; ``say`` is
    told.

    Raises:
        InputError: visible pictures without partner, or several of one name.
    """
    if visible.resolve() == thermal.resolve():
        return _pairs_in_one_folder(visible)
    visible_files, thermal_files = list_images(visible), list_images(thermal)
    visible_by_name = _one_of_each_name(visible, [(path.stem, path) for path in visible_files])
    thermal_names = {path.stem for path in thermal_files}
    alone = [path.name for path in visible_files if path.stem not in thermal_names]
    if not alone:
        thermal_by_name = _one_of_each_name(thermal, [(path.stem, path) for path in thermal_files])
        unused = [path.name for name, path in thermal_by_name.items() if name not in visible_by_name]
        if unused:
            say(
                f"warning: --visible {visible}: no partner for {len(unused)} of {len(thermal_files)} thermal pictures "
                f"({_first_names(unused)}); they are not used"
            )
        return [StillPair(path, thermal_by_name[name], name) for name, path in visible_by_name.items()]
    if len(alone) < len(visible_files):
        raise InputError(
            f"--thermal {thermal}: no partner for {len(alone)} of {len(visible_files)} visible pictures "
            f"({_first_names(alone)}); the folders are paired by file name"
        )
    if len(visible_files) != len(thermal_files):
        raise InputError(
            f"--thermal {thermal}: {len(thermal_files)} pictures for {len(visible_files)} visible ones and no equal "
            "names; rename them alike, or give as many of each"
        )
    return [StillPair(*both, both[0].stem) for both in zip(visible_files, thermal_files, strict=True)]


def write_still(path: Path, picture_bgr: NDArray[np.uint8], *, gray: bool) -> None:
    """Write a fused picture (H, W, 3) uint8 in one step; ``gray`` writes one channel.

    Raises:
        InputError: the suffix names no type that can be written.
        OSError: the file cannot be written.
    """
    check_still_name(path)
    picture = np.ascontiguousarray(picture_bgr[:, :, 0]) if gray else picture_bgr
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(path.suffix, picture, parameters)
    if not done:
        raise RunError(f"{path}: the picture could not be encoded; choose another file type")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_bytes(data.tobytes())


def check_still_name(path: Path) -> None:
    """Refuse an output file that cannot be written as a picture.

    Raises:
        InputError: its suffix is none of the known ones.
    """
    if path.suffix.lower() not in _WRITABLE_SUFFIXES:
        kinds = ", ".join(sorted(_WRITABLE_SUFFIXES))
        raise InputError(f"--out {path}: end the name of the fused picture in one of {kinds}")


def _pairs_in_one_folder(folder: Path) -> list[StillPair]:
    named: dict[str, list[tuple[str, Path]]] = {"VIS": [], "IR": []}
    for path in list_images(folder):
        match = re.fullmatch(r"(VIS|IR)[-_ ]?(.+)", path.stem, flags=re.IGNORECASE)
        if match:
            named[match[1].upper()].append((match[2], path))
    visible, thermal = (_one_of_each_name(folder, named[kind]) for kind in ("VIS", "IR"))
    alone = sorted(visible.keys() ^ thermal.keys())
    if not visible or alone:
        what = f"no partner for {_first_names(alone)}" if alone else "no pictures named VIS... and IR..."
        raise InputError(f"--visible {folder}: {what}; both folders are the same, so names must begin with VIS and IR")
    return [StillPair(path, thermal[name], name) for name, path in visible.items()]


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _one_of_each_name(folder: Path, named: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    # The fused picture takes the name: the second one would replace that of the first.
    found: dict[str, Path] = {}
    for name, path in named:
        if name in found:
            raise InputError(f"{folder}: {found[name].name} and {path.name} are the same picture by name; keep one")
        found[name] = path
    return found


def _roles(pair: StillPair) -> tuple[tuple[Path, Role], tuple[Path, Role]]:
    return (pair.visible, "visible"), (pair.thermal, "thermal")


def _read(path: Path, role: Role, said: set[str], say: Say) -> Frame:
    image, warning = read_image(path, role)
    if warning:
        _say_once(f"warning: {path}: {warning}", said, say)
    try:
        check_size(role, image.shape[1], image.shape[0])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Frame(image=image, time_s=0.0, arrival_s=0.0, index=0)


def _say_once(text: str, said: set[str], say: Say) -> None:
    if text not in said:
        said.add(text)
        say(text)


def _is_gray(picture_bgr: NDArray[np.uint8]) -> bool:
    blue, green, red = cv2.split(picture_bgr)
    return bool(np.array_equal(blue, green) and np.array_equal(green, red))
