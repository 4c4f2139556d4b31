"""Datasets in the folder layouts of their publishers, read directly.

Facts of the published folders, one sequence each:

* VOT: ``groundtruth.txt``, and ``sequence`` or the channels ``color`` and ``ir``; as unpacked from the challenge
  VOT-RGBT2019 names its pictures ``color/00001v.jpg`` and ``ir/00001i.jpg``.
* RGBT234, RGBT210 and LasHeR: ``visible/``, ``infrared/``, and ``visible.txt``, ``infrared.txt`` or ``init.txt``.
* GTOT: ``v/``, ``i/``, ``groundTruth_v.txt``, ``groundTruth_i.txt`` with two opposite corners per line.
"""

from __future__ import annotations

from pathlib import Path

from fusion.errors import InputError
from trackers.evaluation.dataset import (
    ChannelName,
    Dataset,
    VideoSequence,
    list_pictures,
    picture_size,
    read_groundtruth,
    read_tags,
    read_vot_sequence,
    sequence_names,
)
from trackers.evaluation.regions import Regions, check_region_count, parse_numbers, read_lines, regions_from_rows


def read_dataset(root: Path) -> Dataset:
    """Read a dataset folder; every sequence may have any of the known layouts.

    Raises:
        InputError: the folder is missing, of no known layout, or a sequence is wrong.
    """
    names = sequence_names(root)
    return Dataset(name=root.resolve().name, sequences=tuple(read_sequence(root / name, name) for name in names))


def read_sequence(folder: Path, name: str) -> VideoSequence:
    """Read one sequence folder of any known layout.

    Raises:
        InputError: the layout is unknown, or a file is missing or wrong.
    """
    if (folder / "groundtruth.txt").is_file():
        return read_vot_sequence(folder, name)
    if (folder / "groundTruth_v.txt").is_file():
        return _read_two_annotations(folder, name, ("v", "i"), ("groundTruth_v.txt", "groundTruth_i.txt"), corners=True)
    if any((folder / file).is_file() for file in ("visible.txt", "infrared.txt", "init.txt")):
        return _read_two_annotations(folder, name, ("visible", "infrared"), ("visible.txt", "infrared.txt"))
    raise InputError(
        f"{folder} is no sequence: it has none of groundtruth.txt (VOT), visible.txt or init.txt (RGBT234, LasHeR), "
        "groundTruth_v.txt (GTOT)"
    )


def _read_two_annotations(
    folder: Path, name: str, pictures: tuple[str, str], annotations: tuple[str, str], *, corners: bool = False
) -> VideoSequence:
    sources = [folder / file for file in annotations if (folder / file).is_file()] or [folder / "init.txt"]
    regions = [_read_corners(path) if corners else read_groundtruth(path) for path in sources]
    if len(regions) == 2 and len(regions[0]) != len(regions[1]):
        raise InputError(
            f"{sources[1]}: {len(regions[1])} lines, but {sources[0]} has {len(regions[0])}; each frame needs "
            "one in both"
        )
    channels: dict[ChannelName, tuple[Path, ...]] = {}
    for channel, part in (("color", pictures[0]), ("ir", pictures[1])):
        files = list_pictures(folder / part)
        if files:
            channels["color" if channel == "color" else "ir"] = files
    width, height = picture_size(folder, channels)
    return VideoSequence(
        name=name,
        source=sources[0],
        groundtruth=regions[0],
        alternative=regions[1] if len(regions) == 2 else None,
        width=width,
        height=height,
        tags=read_tags(folder, len(regions[0])),
        channels=channels,
    )


def _read_corners(path: Path) -> Regions:
    """GTOT's lines: two opposite corners, in either order."""
    rows = []
    for number, line in enumerate(read_lines(path, "ground truth"), start=1):
        where = f"{path}, line {number}"
        values = parse_numbers(line, where)
        check_region_count(values, where)
        if len(values) != 4:
            raise InputError(f"{where}: two corners (4 numbers) are needed, not {len(values)} numbers")
        left, right = sorted(values[0::2])
        top, bottom = sorted(values[1::2])
        rows.append((left, top, right - left, bottom - top))
    return regions_from_rows(rows)
