"""Pictures of failures: the frame in both channels, the ground truth, and the last box before the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.opencv_names import opencv_name
from trackers.evaluation.measures import SequenceRuns
from trackers.evaluation.report.content import Entry, GalleryPicture
from trackers.evaluation.scores import ResetScores

_GREEN_BGR = (80, 200, 60)
_ORANGE_BGR = (30, 140, 255)
_TILE_WIDTH = 320
_JPEG_QUALITY = 82


def failure_gallery(entries: Sequence[Entry], *, most: int = 12) -> tuple[GalleryPicture, ...]:
    """Up to ``most`` failures per tracker, one or two from each sequence, those with most failures first.

    Failures whose pictures are not there are left out.
    """
    pictures: list[GalleryPicture] = []
    for entry in entries:
        if isinstance(entry.scores, ResetScores):
            pictures += _of_tracker(entry.name, entry.scores.results, most)
    return tuple(pictures)


def _of_tracker(tracker: str, results: Sequence[SequenceRuns], most: int) -> list[GalleryPicture]:
    worst = sorted(results, key=lambda part: (-part.failures, part.sequence.name))
    chosen = [(part, frame) for turn in range(2) for part in worst for frame in part.runs[0].failures[turn : turn + 1]]
    pictures = []
    for part, frame in chosen[:most]:
        jpeg = _picture(part, frame)
        if jpeg is not None:
            name = part.sequence.name
            caption = f"{tracker}: {name}, frame {frame + 1} of {len(part.sequence)}"
            pictures.append(GalleryPicture(tracker=tracker, sequence=name, frame=frame, caption=caption, jpeg=jpeg))
    return pictures


def _picture(part: SequenceRuns, frame: int) -> bytes | None:
    truth = part.sequence.groundtruth.row(frame)
    last = part.runs[0].regions.row(frame - 1) if frame else ()
    tiles = []
    for channel in ("color", "ir"):
        files = part.sequence.channels.get(channel)
        tile = _tile(files[frame], truth, last) if files else None
        if tile is not None:
            tiles.append(tile)
    if not tiles:
        return None
    height = min(tile.shape[0] for tile in tiles)
    _, data = cv2.imencode(
        ".jpg", np.hstack([tile[:height] for tile in tiles]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    return data.tobytes()


def _tile(path: Path, truth: Sequence[float], last: Sequence[float]) -> NDArray[np.uint8] | None:
    picture = cv2.imread(opencv_name(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if picture is None:
        return None
    scale = _TILE_WIDTH / picture.shape[1]
    height = max(1, round(picture.shape[0] * scale))
    tile = np.asarray(cv2.resize(picture, (_TILE_WIDTH, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    for region, colour in ((last, _ORANGE_BGR), (truth, _GREEN_BGR)):
        if region:
            cv2.polylines(tile, [_outline(region, scale)], True, colour, 2, cv2.LINE_AA)
    return tile


def _outline(region: Sequence[float], scale: float) -> NDArray[np.int32]:
    if len(region) == 4:
        x, y, w, h = region
        region = (x, y, x + w, y, x + w, y + h, x, y + h)
    points = np.clip(np.asarray(region).reshape(-1, 2) * scale, -10_000, 10_000)
    return np.rint(points).astype(np.int32)
