"""Visual information fidelity (VIF) of the fused picture, after Sheikh and Bovik (2006).

Each source is the reference and the fused picture what became of it; the score is the mean over the sources of
the share of information that survives. It exceeds 1 where fusion raises contrast.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.metrics.pictures import GreyPicture

Plane = NDArray[np.float64]

_LEVELS = 4
_BLOCK = 3
# The two of six orientations that the original uses.
_ORIENTATIONS = (0, 3)
_PAPER_NOISE = 0.4
_PAPER_TOLERANCE = 1e-15
_PIXEL_NOISE = 2.0
_PIXEL_TOLERANCE = 1e-10
# Patch covariance is inverted on the directions that stand out of rounding.
_RANK_TOLERANCE = 1e-14


def vif_paper(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """Wavelet-domain VIF with the vector Gaussian scale mixture, mean over both sources, 0 and up.

    The paper's code calls it on [0, 1] pictures although its noise variance of 0.4 is meant for 0 to 255,
    which nearly doubles some scores; kept, for it is what the published tables hold.
    """
    fused_bands = _bands(fused)
    return (_vector_fidelity(_bands(ir), fused_bands) + _vector_fidelity(_bands(visible), fused_bands)) / 2


def vif_standard(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """Pixel-domain VIF over four scales on 0 to 255, mean over both sources, 0 and up."""
    return (_pixel_fidelity(ir, fused) + _pixel_fidelity(visible, fused)) / 2


@cache
def _filters() -> dict[str, NDArray[np.float64]]:
    """Filters of the steerable pyramid ``sp5`` (pyrtools, MIT; see the licence beside the file)."""
    with (
        resources.files("fusion.metrics").joinpath("sp5_filters.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        return {name: archive[name] for name in archive.files}


def _bands(picture: GreyPicture) -> list[list[Plane]]:
    """Sub-bands of the steerable pyramid of the picture on [0, 1]: four levels of two orientations."""
    filters = _filters()
    low = _correlate(picture / 255.0, filters["low_initial"])
    levels = []
    for _ in range(_LEVELS):
        bands = [_correlate(low, filters[f"band_{orientation}"]) for orientation in _ORIENTATIONS]
        levels.append([_crop_to_blocks(band) for band in bands])
        low = np.ascontiguousarray(_correlate(low, filters["low"])[::2, ::2])
    return levels


def _correlate(plane: Plane, kernel: Plane) -> Plane:
    return np.asarray(cv2.filter2D(plane, cv2.CV_64F, kernel, borderType=cv2.BORDER_REFLECT_101), dtype=np.float64)


def _crop_to_blocks(band: Plane) -> Plane:
    rows, columns = (side - side % _BLOCK for side in band.shape)
    return np.ascontiguousarray(band[:rows, :columns])


def _vector_fidelity(reference: list[list[Plane]], fused: list[list[Plane]]) -> float:
    kept = 0.0
    present = 0.0
    for level, (reference_bands, fused_bands) in enumerate(zip(reference, fused, strict=True), start=1):
        window = 2 ** (_LEVELS + 1 - level) + 1
        border = -(-((window - 1) // 2) // _BLOCK)
        for reference_band, fused_band in zip(reference_bands, fused_bands, strict=True):
            gain, noise = _distortion(reference_band, fused_band, window)
            energy, variances = _scale_mixture(reference_band)
            inside = np.s_[border : gain.shape[0] - border, border : gain.shape[1] - border]
            signal = energy[inside][..., None] * variances
            ratio = (gain[inside] ** 2 / (noise[inside] + _PAPER_NOISE))[..., None]
            kept += float(np.log2(1 + ratio * signal).sum())
            present += float(np.log2(1 + signal / _PAPER_NOISE).sum())
    return _share(kept, present)


def _distortion(reference: Plane, fused: Plane, window: int) -> tuple[Plane, Plane]:
    """Gain and noise variance of the channel reference -> fused, one value per 3 x 3 block."""
    count = window * window
    mean_reference = _block_sums(reference, window) / count
    mean_fused = _block_sums(fused, window) / count
    shared = _block_sums(reference * fused, window) - count * mean_reference * mean_fused
    power = np.maximum(_block_sums(reference**2, window) - count * mean_reference**2, 0.0)
    power_fused = np.maximum(_block_sums(fused**2, window) - count * mean_fused**2, 0.0)
    gain = shared / (power + _PAPER_TOLERANCE)
    noise = (power_fused - gain * shared) / count
    # The order of these corrections is the original's; the noise they set is not divided by the window.
    flat = power < _PAPER_TOLERANCE
    gain[flat] = 0.0
    noise[flat] = power_fused[flat]
    empty = power_fused < _PAPER_TOLERANCE
    gain[empty] = 0.0
    noise[empty] = 0.0
    inverted = gain < 0
    noise[inverted] = power_fused[inverted]
    gain[inverted] = 0.0
    return gain, np.maximum(noise, _PAPER_TOLERANCE)


def _block_sums(plane: Plane, window: int) -> Plane:
    """Sums over window x window pixels around the centre of every 3 x 3 block."""
    # A running sum (cv2.boxFilter) would carry rounding from bright into flat places: 3e-7 of the score.
    ones = np.ones(window)
    sums = cv2.sepFilter2D(plane, cv2.CV_64F, ones, ones, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(sums[1::_BLOCK, 1::_BLOCK], dtype=np.float64)


def _scale_mixture(reference: Plane) -> tuple[Plane, NDArray[np.float64]]:
    """Local energy per 3 x 3 block (h, w) and the nine variances of the overlapping 3 x 3 patches."""
    rows, columns = reference.shape[0] - _BLOCK + 1, reference.shape[1] - _BLOCK + 1
    overlapping = np.stack(
        [
            reference[down : down + rows, right : right + columns].ravel()
            for down in range(_BLOCK)
            for right in range(_BLOCK)
        ]
    )
    variances, directions = np.linalg.eigh(np.cov(overlapping, bias=True))
    variances = np.maximum(variances, 0.0)
    seen = variances > _RANK_TOLERANCE * variances[-1]
    blocks = reference.reshape(reference.shape[0] // _BLOCK, _BLOCK, reference.shape[1] // _BLOCK, _BLOCK)
    patches = blocks.transpose(0, 2, 1, 3).reshape(blocks.shape[0], blocks.shape[2], _BLOCK * _BLOCK)
    whitened = (patches @ directions[:, seen]) / np.sqrt(variances[seen])
    return (whitened**2).sum(axis=-1) / (_BLOCK * _BLOCK), variances


def _pixel_fidelity(source: GreyPicture, fused: GreyPicture) -> float:
    reference, result = source.astype(np.float64), fused.astype(np.float64)
    kept = 0.0
    present = 0.0
    for level in range(1, _LEVELS + 1):
        size = 2 ** (_LEVELS + 1 - level) + 1
        if level > 1:
            reference = np.ascontiguousarray(_local_mean(reference, size)[::2, ::2])
            result = np.ascontiguousarray(_local_mean(result, size)[::2, ::2])
        mean_reference, mean_result = _local_mean(reference, size), _local_mean(result, size)
        power = np.maximum(_local_mean(reference**2, size) - mean_reference**2, 0.0)
        power_result = np.maximum(_local_mean(result**2, size) - mean_result**2, 0.0)
        shared = _local_mean(reference * result, size) - mean_reference * mean_result
        gain = shared / (power + _PIXEL_TOLERANCE)
        noise = power_result - gain * shared
        flat = power < _PIXEL_TOLERANCE
        gain[flat] = 0.0
        noise[flat] = power_result[flat]
        power[flat] = 0.0
        empty = power_result < _PIXEL_TOLERANCE
        gain[empty] = 0.0
        noise[empty] = 0.0
        inverted = gain < 0
        noise[inverted] = power_result[inverted]
        gain[inverted] = 0.0
        noise = np.maximum(noise, _PIXEL_TOLERANCE)
        kept += float(np.log10(1 + gain**2 * power / (noise + _PIXEL_NOISE)).sum())
        present += float(np.log10(1 + power / _PIXEL_NOISE).sum())
    return _share(kept, present)


def _local_mean(plane: Plane, size: int) -> Plane:
    """Gaussian-weighted mean (sigma = size / 5) of every size x size window that lies inside."""
    offsets = np.arange(size) - size // 2
    kernel = np.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    kernel /= kernel.sum()
    border = size // 2
    smooth = cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth[border : -border or None, border : -border or None], dtype=np.float64)


def _share(kept: float, present: float) -> float:
    # A source without any detail has nothing to lose.
    return kept / present if present > 0 else 1.0
