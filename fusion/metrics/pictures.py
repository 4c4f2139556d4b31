"""What the metrics accept: three 8-bit grey pictures of one size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError

GreyPicture = NDArray[np.uint8]

# Below this the coarsest of VIF's four scales has no block left between its borders.
SMALLEST_SIDE = 65


def check_pictures(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> None:
    """Refuse anything but three (H, W) uint8 pictures of one size with sides of at least 65 pixels.

    Raises:
        InputError: the message names the picture and what was expected of it.
    """
    for name, picture in (("infrared", ir), ("visible", visible), ("fused", fused)):
        if picture.ndim != 2 or picture.dtype != np.uint8:
            raise InputError(
                f"{name} picture must be (height, width) uint8 to be measured, "
                f"not {picture.shape} {picture.dtype}; convert it to 8-bit grey first"
            )
        if picture.shape != fused.shape:
            raise InputError(
                f"{name} picture is {_size(picture)} but the fused picture is {_size(fused)}; "
                "metrics compare pictures of one size"
            )
    if min(fused.shape) < SMALLEST_SIDE:
        raise InputError(
            f"pictures of {_size(fused)} are too small to be measured: VIF needs at least {SMALLEST_SIDE} pixels a side"
        )


def _size(picture: GreyPicture) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
