"""Crops for training: where a crop lies in its picture, and the target's box inside it.

A crop is an affine map of the picture, so shift, scale, rotation, aspect and mirror cost one interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trackers.box import Box

TEMPLATE_SIZE = 127
SEARCH_SIZE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CropJitter:
    """How a crop departs from the one the tracker would take.

    Attributes:
        shift_xy: displacement of the target from the crop's centre, in crop pixels.
        scale: target size in the crop relative to the regular one.
        aspect: extra horizontal stretch of the picture (vertical is its inverse).
        angle_degrees: rotation of the picture about the target.
        mirror: left and right exchanged.
    """

    shift_xy: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    aspect: float = 1.0
    angle_degrees: float = 0.0
    mirror: bool = False


def context_size(box: Box) -> float:
    """Side in picture pixels of the region that becomes a 127 x 127 template (context amount 0.5, SiamFC)."""
    padding = (box.w + box.h) / 2
    return max(math.sqrt((box.w + padding) * (box.h + padding)), 1.0)


def crop_transform(box: Box, size: int, jitter: CropJitter) -> NDArray[np.float64]:
    """Affine map (2, 3) from picture pixels to pixels of a ``size`` x ``size`` crop around ``box``."""
    scale = TEMPLATE_SIZE / context_size(box) * jitter.scale
    angle = math.radians(jitter.angle_degrees)
    stretch = np.diag([scale * jitter.aspect * (-1.0 if jitter.mirror else 1.0), scale / jitter.aspect])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ stretch
    center = np.array(box.center_xy) - 0.5  # array index of the continuous centre
    target = np.array([(size - 1) / 2 + jitter.shift_xy[0], (size - 1) / 2 + jitter.shift_xy[1]])
    return np.hstack([linear, (target - linear @ center)[:, None]])


def warp_crop(image: NDArray[np.uint8], transform: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The crop (size, size, 3) of a BGR picture; outside it the picture's mean colour."""
    mean = cv2.mean(image)[:3]
    return np.asarray(
        cv2.warpAffine(
            image, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=mean
        ),
        dtype=np.uint8,
    )


def box_in_crop(box: Box, transform: NDArray[np.float64], size: int) -> tuple[float, float, float, float]:
    """The target after the map: centre x, y relative to the crop's centre, width and height, in crop pixels.

    A turned box is taken as the hull of its inscribed ellipse, which follows rounded objects better than the hull
    of the four corners.
    """
    linear = transform[:, :2]
    center = linear @ (np.array(box.center_xy) - 0.5) + transform[:, 2] - (size - 1) / 2
    half = np.array([box.w / 2, box.h / 2])
    extent = 2 * np.sqrt(((linear * half) ** 2).sum(axis=1))
    return float(center[0]), float(center[1]), float(extent[0]), float(extent[1])
