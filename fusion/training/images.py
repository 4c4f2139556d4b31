"""Training pictures: found in folders, decoded when needed, cropped by a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.errors import InputError

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_KEPT_PAIRS = 256
_KEPT_PICTURES = 4096


def list_images(folders: Sequence[Path]) -> list[Path]:
    """All picture files below the folders, sorted within each folder.

    Raises:
        InputError: a folder does not exist, or there is no picture in any.
    """
    found: list[Path] = []
    for folder in _existing(folders):
        found += sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise InputError(f"--images {', '.join(map(str, folders))}: no pictures ({', '.join(sorted(_SUFFIXES))})")
    return found


def list_pairs(folders: Sequence[Path], learner: str) -> list[tuple[Path, Path]]:
    """Thermal and visible files of equal names in the ``ir`` and ``vis`` folders below the given ones.

    Args:
        folders: where to look.
        learner: the method that needs pairs, for the error.

    Raises:
        InputError: a folder does not exist, or there is no pair in any.
    """
    pairs: list[tuple[Path, Path]] = []
    for folder in _existing(folders):
        for thermal_folder in sorted({folder / "ir", *folder.rglob("ir")}):
            visible_folder = thermal_folder.with_name("vis")
            if not thermal_folder.is_dir() or not visible_folder.is_dir():
                continue
            visible = {path.stem: path for path in visible_folder.iterdir()}
            thermal = sorted(thermal_folder.iterdir())
            pairs += [(path, visible[path.stem]) for path in thermal if path.stem in visible]
    if not pairs:
        raise InputError(
            f"--images {', '.join(map(str, folders))}: {learner} learns from pairs; "
            "give at least one folder with sub-folders ir/ and vis/ that hold files of the same names"
        )
    return pairs


def _existing(folders: Sequence[Path]) -> Sequence[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"--images {folder}: no such folder")
    return folders


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey levels (H, W) of a picture file.

    Raises:
        InputError: the file is not a picture.
    """
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"{path} is not a readable picture; remove it from the training folders")
    return np.asarray(image, np.uint8)


def read_pair(paths: tuple[Path, Path]) -> NDArray[np.uint8]:
    """Grey levels (2, H, W) of a pair of picture files of one size.

    Raises:
        InputError: a file is not a picture, or the sizes differ.
    """
    pictures = [read_grey(path) for path in paths]
    if pictures[0].shape != pictures[1].shape:
        raise InputError(f"{paths[0]} and {paths[1]} differ in size; register the pair first")
    return np.stack(pictures)


class GreyCrops:
    """Random square crops of grey pictures; decoded pictures are kept as far as memory allows.

    A batch depends on seed, step and process rank alone, so a resumed run sees what an unbroken one would. Of the crops
    ``edge_lines`` (0 to 1) get lines at their sides.
    """

    def __init__(
        self, paths: Sequence[Path], *, crop_px: int, batch_size: int, seed: int, edge_lines: float = 0.0
    ) -> None:
        self._paths = list(paths)
        self._crop_px = crop_px
        self._batch_size = batch_size
        self._seed = seed
        self._edge_lines = edge_lines
        self._read = lru_cache(_KEPT_PICTURES)(read_grey)

    def batch(self, step: int, rank: int = 0) -> Tensor:
        """Crops of ``step``: (batch, 1, crop, crop) float32 in 0..255."""
        generator = np.random.default_rng([self._seed, rank, step])
        chosen = generator.integers(len(self._paths), size=self._batch_size)
        crops = [crop_at_random(self._read(self._paths[index])[None], self._crop_px, generator) for index in chosen]
        crops = [draw_edge_lines(crop, self._edge_lines, generator) for crop in crops]
        return torch.from_numpy(np.stack(crops)).float()


def centre_crop(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The square of at most ``size`` in the middle of pictures (..., H, W)."""
    top, left = (max(0, (side - size) // 2) for side in pictures.shape[-2:])
    return np.ascontiguousarray(pictures[..., top : top + size, left : left + size])


class PairCrops:
    """Random square crops of pairs, alike in both pictures; decoded pairs are kept as far as memory allows.

    A batch depends on seed, step and process rank alone, as with :class:`GreyCrops`.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], *, crop_px: int, batch_size: int, seed: int) -> None:
        self._pairs = list(pairs)
        self._crop_px = crop_px
        self._batch_size = batch_size
        self._seed = seed
        self._read = lru_cache(_KEPT_PAIRS)(read_pair)

    def batch(self, step: int, rank: int = 0) -> Tensor:
        """Crops of ``step``: (batch, 2, crop, crop) float32 in 0..1, thermal first."""
        generator = np.random.default_rng([self._seed, 3, rank, step])
        chosen = generator.integers(len(self._pairs), size=self._batch_size)
        crops = [crop_at_random(self._read(self._pairs[index]), self._crop_px, generator) for index in chosen]
        return torch.from_numpy(np.stack(crops)).float() / 255


def crop_at_random(pictures: NDArray[np.uint8], size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """The same random square of pictures (K, H, W) of one size, mirrored left to right in half of the cases."""
    # Pictures smaller than a crop are mirrored up to its size.
    missing = [(0, max(0, size - side)) for side in pictures.shape[1:]]
    pictures = np.pad(pictures, [(0, 0), *missing], mode="symmetric")
    top, left = (int(generator.integers(side - size + 1)) for side in pictures.shape[1:])
    crops = pictures[:, top : top + size, left : left + size]
    if generator.random() < 0.5:
        crops = crops[..., ::-1]
    return np.ascontiguousarray(crops)


def draw_edge_lines(pictures: NDArray[np.uint8], share: float, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Pictures (K, H, W) that get lines at one or more sides, each with the probability ``share``.

    Cameras, digitizers and registration leave such lines: one to three pixels of one dark or bright level. They are the
    darkest or brightest of a picture, so they decide how it is stretched, and ordinary pictures do not have them.
    """
    if not share:
        # No number is drawn for nothing: runs without lines keep the crops they always had.
        return pictures
    pictures = pictures.copy()
    for picture in pictures:
        if generator.random() >= share:
            continue
        level = int(generator.integers(32)) if generator.random() < 0.75 else int(generator.integers(224, 256))
        for side in generator.permutation(4)[: generator.integers(1, 5)]:
            turned = np.rot90(picture, side)
            turned[: generator.integers(1, 4)] = level
    return pictures
