"""Training pictures: found in folders, decoded when needed, cropped by a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.errors import InputError

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def list_images(folders: Sequence[Path]) -> list[Path]:
    """All picture files below the folders, sorted within each folder.

    Raises:
        InputError: a folder does not exist, or there is no picture in any.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"--images {folder}: no such folder")
        found += sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise InputError(f"--images {', '.join(map(str, folders))}: no pictures ({', '.join(sorted(_SUFFIXES))})")
    return found


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey levels (H, W) of a picture file.

    Raises:
        InputError: the file is not a picture.
    """
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"{path} is not a readable picture; remove it from the training folders")
    return np.asarray(image, np.uint8)


class GreyCrops:
    """Random square crops of grey pictures.

    A batch depends on seed, step and process rank alone, so a resumed run sees what an unbroken one would.
    """

    def __init__(self, paths: Sequence[Path], *, crop_px: int, batch_size: int, seed: int) -> None:
        self._paths = list(paths)
        self._crop_px = crop_px
        self._batch_size = batch_size
        self._seed = seed

    def batch(self, step: int, rank: int = 0) -> Tensor:
        """Crops of ``step``: (batch, 1, crop, crop) float32 in 0..255."""
        generator = np.random.default_rng([self._seed, rank, step])
        chosen = generator.integers(len(self._paths), size=self._batch_size)
        crops = [crop_at_random(read_grey(self._paths[index])[None], self._crop_px, generator)[0] for index in chosen]
        return torch.from_numpy(np.stack(crops))[:, None].float()


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
