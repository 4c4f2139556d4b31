"""Photometric changes of training crops: light, colour, noise, thermal look, and blinding of one eye.

All functions take and return (H, W, 3) uint8 BGR pictures; randomness comes from the generator handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class ThermalLook:
    """How a visible picture is made to look thermal: a grey mix, a response curve and softness.

    Attributes:
        mix: weights of blue, green and red.
        curve: (256,) uint8 table from grey to thermal brightness; may fall (cold bright objects).
        blur_px: standard deviation of the softness.
        glow: brightness added to the target, which is often warmer (or colder) than what is around it.
    """

    mix: tuple[float, float, float]
    curve: NDArray[np.uint8]
    blur_px: float
    glow: float


def change_light(picture: Picture, generator: Generator, strength: float = 1.0) -> Picture:
    """Random brightness, contrast, gamma and colour balance."""
    curve = np.arange(256) / 255
    if generator.random() < 0.5:
        curve = np.power(curve, float(np.exp(generator.normal(0, 0.35 * strength))))
    gain = np.exp(generator.normal(0, 0.2 * strength)) * np.exp(generator.normal(0, 0.08 * strength, 3))
    # Whatever happens to a pixel depends on its value alone, so that 256 values a channel are all there is to compute.
    mean = float(cv2.calcHist([picture.reshape(-1, 1)], [0], None, [256], [0, 256]).ravel() @ curve) / picture.size
    contrast = np.exp(generator.normal(0, 0.2 * strength))
    values = ((curve[:, None] - mean) * contrast + mean) * gain + generator.normal(0, 0.06 * strength)
    return np.asarray(cv2.LUT(picture, _to_bytes(values * 255)[None]), dtype=np.uint8)


def soften(picture: Picture, generator: Generator) -> Picture:
    """Random defocus, motion blur or low resolution."""
    match generator.integers(3):
        case 0:
            return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(generator.uniform(0.6, 2.5))), dtype=np.uint8)
        case 1:
            length = int(generator.integers(3, 13))
            kernel = np.zeros((length, length), np.float32)
            angle = generator.uniform(0, np.pi)
            center = (length - 1) / 2
            for step in np.linspace(-center, center, 2 * length):
                row, column = round(center + step * np.sin(angle)), round(center + step * np.cos(angle))
                kernel[row, column] = 1
            return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), dtype=np.uint8)
        case _:
            height, width = picture.shape[:2]
            factor = generator.uniform(0.25, 0.7)
            small = cv2.resize(picture, (max(int(width * factor), 8), max(int(height * factor), 8)))
            return np.asarray(cv2.resize(small, (width, height)), dtype=np.uint8)


def add_noise(picture: Picture, generator: Generator) -> Picture:
    """Sensor noise of random strength, alike in the three channels or not."""
    channels = 1 if generator.random() < 0.5 else 3
    return _to_bytes(picture + _noise(generator, generator.uniform(2, 14), (*picture.shape[:2], channels)))


def to_grey(picture: Picture) -> Picture:
    """The luma of a picture in three equal channels."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def random_thermal_look(generator: Generator) -> ThermalLook:
    """A look for one sample, the same for its template and its search picture."""
    mix = generator.dirichlet(np.ones(3))
    knots = np.sort(generator.random(5)) if generator.random() < 0.6 else generator.random(5)
    if generator.random() < 0.4:
        knots = knots[::-1]
    low, high = sorted(generator.uniform(0, 1, 2))
    high = max(high, low + 0.35)
    curve = np.interp(np.arange(256), np.linspace(0, 255, 5), low + (high - low) * knots) * 255
    glow = generator.normal(20, 40) if generator.random() < 0.3 else 0.0
    return ThermalLook(
        mix=(float(mix[0]), float(mix[1]), float(mix[2])),
        curve=np.clip(curve, 0, 255).astype(np.uint8),
        blur_px=float(generator.uniform(0, 2.0)),
        glow=float(glow),
    )


def apply_thermal_look(
    picture: Picture, look: ThermalLook, target: tuple[float, float, float, float] | None
) -> Picture:
    """Make a crop look thermal; ``target`` is the box cx, cy, w, h from the crop's centre that glows."""
    grey = picture.astype(np.float32) @ np.asarray(look.mix, np.float32)
    values = look.curve[np.clip(grey, 0, 255).astype(np.uint8)].astype(np.float32)
    if target is not None and look.glow:
        height, width = grey.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        radius = ((x - (width - 1) / 2 - target[0]) / max(target[2] / 2, 1)) ** 2
        radius += ((y - (height - 1) / 2 - target[1]) / max(target[3] / 2, 1)) ** 2
        values += look.glow * np.clip((1.15 - radius) / 0.3, 0, 1)
    if look.blur_px > 0.3:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), look.blur_px))
    return np.repeat(_to_bytes(values)[:, :, None], 3, axis=2)


def blind(picture: Picture, generator: Generator, other: Picture) -> Picture:
    """What an eye shows that sees nothing of the target: dark, washed out, smoke, noise, or another place.

    ``other`` is an unrelated picture of the same shape.
    """
    match generator.integers(6):
        case 0:
            level = float(generator.choice([0.0, 255.0, generator.uniform(0, 255)]))
            return _to_bytes(level + _noise(generator, 3, picture.shape))
        case 1:
            dark = picture.astype(np.float32) * generator.uniform(0.02, 0.12)
            return _to_bytes(dark + _noise(generator, generator.uniform(1, 6), picture.shape))
        case 2 | 3:
            return _smoke(picture, generator)
        case 4:
            mean = picture.mean(axis=(0, 1))
            faint = (picture.astype(np.float32) - mean) * generator.uniform(0.03, 0.15) + mean
            return _to_bytes(faint + _noise(generator, generator.uniform(1, 5), picture.shape))
        case _:
            return other


def _smoke(picture: Picture, generator: Generator) -> Picture:
    height, width = picture.shape[:2]
    cells = int(generator.integers(3, 9))
    density = cv2.resize(generator.random((cells, cells)).astype(np.float32), (width, height), interpolation=2)
    density = np.clip(density * 0.5 + generator.uniform(0.45, 0.9), 0, 1)[:, :, None]
    tint = generator.uniform(90, 255) * np.exp(generator.normal(0, 0.12, 3))
    shade = cv2.resize(generator.normal(0, 14, (cells, cells)).astype(np.float32), (width, height))[:, :, None]
    return _to_bytes(picture * (1 - density) + (tint + shade) * density)


def _noise(generator: Generator, deviation: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return generator.standard_normal(shape, np.float32) * np.float32(deviation)


def _to_bytes(values: NDArray[np.floating]) -> Picture:
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)
