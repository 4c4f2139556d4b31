"""The interface that every fusion method has."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

RangeName = Literal["fixed", "stretch", "smooth"]
PoolingName = Literal["avg", "max", "nuclear"]
SpatialName = Literal["softmax", "l1"]


class Fuser(Protocol):
    """Turns a registered pair into one picture.

    A fuser may carry state over time only in its range mapping (``smooth``); ``reset`` forgets it.
    """

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fuse ``visible_bgr`` (H, W, 3) uint8 and ``thermal`` (H, W) uint8 into (H, W, 3) uint8 BGR.

        Raises:
            InputError: the sizes differ, or the picture is too small for the method.
        """
        ...

    def reset(self) -> None:
        """Forget what the range mapping learned of earlier pictures."""
        ...
