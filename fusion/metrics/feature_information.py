"""Feature mutual information (FMI) of DCT and wavelet features, after Haghighat and Razian (2014).

The score asks how well each 3 x 3 window of the fused picture's features predicts the same window of a
source. A window becomes a distribution over its nine samples; the joint distribution is modelled by mixing
the independent one with the most dependent one (the Frechet bound) so that the correlation comes out right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pywt
import scipy.fft
from numpy.typing import NDArray

from fusion.metrics.pictures import GreyPicture

_SIDE = 3
_SAMPLES = _SIDE * _SIDE
# Windows handled at once: two nine by nine tables of this many stay near a core's second-level cache.
_BATCH = 768
_POSITIONS = np.arange(1.0, _SAMPLES + 1)[:, None]
# Added before a logarithm: leaves every normal value as it is and makes 0 log 0 come out as 0.
_NOTHING = 1e-300
_MEYER_TAPS = 102
_MEYER_GRID = 1 << 15


def fmi_dct(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """FMI of whole-picture orthonormal DCT-II coefficients, about 0 to 1; both conventions agree."""
    return _mean_similarity(*(_dct_features(picture) for picture in (ir, visible, fused)))


def fmi_w(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """FMI of one level of the discrete Meyer wavelet, about 0 to 1; both conventions agree."""
    return _mean_similarity(*(_wavelet_features(picture) for picture in (ir, visible, fused)))


@cache
def meyer_wavelet() -> Any:
    """The discrete Meyer wavelet with 102 taps, as a ``pywt.Wavelet``.

    Built from its definition in the frequency domain (Meyer; Daubechies, Ten Lectures, section 4.2) because the
    62 taps that PyWavelets calls ``dmey`` move FMI_w in the third digit.
    """
    frequency = 2 * np.pi * np.arange(_MEYER_GRID) / _MEYER_GRID
    folded = np.minimum(frequency, 2 * np.pi - frequency)
    rise = np.clip(3 * folded / np.pi - 1, 0, 1)
    angle = rise**4 * (35 - 84 * rise + 70 * rise**2 - 20 * rise**3)
    impulse = np.fft.ifft(np.cos(np.pi / 2 * angle)).real
    half = _MEYER_TAPS // 2 - 1
    low = np.append(np.concatenate([impulse[-half:], impulse[: half + 1]]), 0.0)
    low *= np.sqrt(2) / low.sum()
    high = low[::-1] * (-1.0) ** np.arange(_MEYER_TAPS)
    return pywt.Wavelet("meyer102", filter_bank=[low[::-1], high[::-1], low, high])


def _dct_features(picture: GreyPicture) -> NDArray[np.float64]:
    # Orthonormal scaling matters: without it the first row and column weigh differently within their windows.
    features: NDArray[np.float64] = scipy.fft.dctn(picture.astype(np.float64), type=2, norm="ortho")
    return features


def _wavelet_features(picture: GreyPicture) -> NDArray[np.float64]:
    # Windows are normalised one by one, so the published rescaling of this picture to [0, 1] changes nothing.
    approximation, (horizontal, vertical, diagonal) = pywt.dwt2(
        picture.astype(np.float64), meyer_wavelet(), mode="symmetric"
    )
    features: NDArray[np.float64] = np.block([[approximation, horizontal], [vertical, diagonal]])
    return features


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """Distributions over the nine samples of N windows; see the module's text.

    Attributes:
        samples: (9, N) raw features in column-major order.
        share: (9, N) the distribution, sums to 1.
        entropy: (N,) in bits.
        centred: (9, N) share minus its mean, 0 throughout for a constant window.
        spread: (N,) standard deviation of the position 1..9 under the distribution.
    """

    samples: NDArray[np.float64]
    share: NDArray[np.float64]
    entropy: NDArray[np.float64]
    centred: NDArray[np.float64]
    spread: NDArray[np.float64]


def _mean_similarity(ir: NDArray[np.float64], visible: NDArray[np.float64], fused: NDArray[np.float64]) -> float:
    total = 0.0
    for source_ir, source_visible, result in zip(_batches(ir), _batches(visible), _batches(fused), strict=True):
        total += float(_similarity(source_ir, result).sum() + _similarity(source_visible, result).sum())
    windows = (fused.shape[0] - _SIDE + 1) * (fused.shape[1] - _SIDE + 1)
    return float(total / (2 * windows))


def _batches(features: NDArray[np.float64]) -> Iterator[_Windows]:
    """Every 3 x 3 window that lies inside ``features``, a part of a row at a time."""
    rows, columns = features.shape[0] - _SIDE + 1, features.shape[1] - _SIDE + 1
    parts = np.array_split(np.arange(columns), -(-columns // _BATCH))
    for row in range(rows):
        for part in parts:
            first, count = int(part[0]), part.size
            yield _describe(
                np.stack(
                    [
                        features[row + down, first + right : first + right + count]
                        for right in range(_SIDE)
                        for down in range(_SIDE)
                    ]
                )
            )


def _describe(samples: NDArray[np.float64]) -> _Windows:
    low, high = samples.min(axis=0), samples.max(axis=0)
    constant = high == low
    weight = (samples - low) / np.where(constant, 1.0, high - low)
    weight[:, constant] = 1.0
    share = weight / weight.sum(axis=0)
    centred = share - 1.0 / _SAMPLES
    centred[:, constant] = 0.0
    mean = (_POSITIONS * share).sum(axis=0)
    variance = (_POSITIONS**2 * share).sum(axis=0) - mean**2
    return _Windows(
        samples=samples,
        share=share,
        entropy=-(share * np.log2(share + _NOTHING)).sum(axis=0),
        centred=centred,
        spread=np.sqrt(np.maximum(variance, 0.0)),
    )


def _similarity(source: _Windows, fused: _Windows) -> NDArray[np.float64]:
    """Normalised mutual information of each pair of windows, (N,), about 0 to 1."""
    covariance = (source.centred * fused.centred).sum(axis=0)
    energy = (source.centred**2).sum(axis=0) * (fused.centred**2).sum(axis=0)
    correlation = np.where(covariance == 0, 0.0, covariance / np.sqrt(np.where(energy > 0, energy, 1.0)))

    # The lower Frechet bound of a negative correlation is the upper one with one side read backwards.
    share = np.where(correlation < 0, source.share[::-1], source.share)
    dependent, dependent_covariance = _strongest_coupling(fused.share, share)
    # Spreads that are above 0 by rounding alone meet a covariance of 0.
    usable = (correlation != 0) & (source.spread > 0) & (fused.spread > 0) & (dependent_covariance > 0)
    mix = np.where(
        usable,
        np.abs(correlation) * source.spread * fused.spread / np.where(usable, dependent_covariance, 1.0),
        0.0,
    )

    joint = fused.share[:, None] * share[None]
    joint *= 1.0 - mix
    dependent *= mix
    joint += dependent
    # Mixing weights above 1 make some entries negative; the published measure takes their absolute value.
    logarithm = np.abs(joint, out=dependent)
    logarithm += _NOTHING
    np.log2(logarithm, out=logarithm)
    joint *= logarithm
    joint_entropy = -joint.reshape(_SAMPLES * _SAMPLES, -1).sum(axis=0)

    marginal = fused.entropy + source.entropy
    information = marginal - joint_entropy
    similarity = np.where(information == 0, 0.0, 2 * information / np.where(marginal > 0, marginal, 1.0))
    similarity[(source.samples == fused.samples).all(axis=0)] = 1.0
    return similarity


def _strongest_coupling(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The joint distribution (9, 9, N) of two (9, N) that is sorted alike in both, and its covariance (N,).

    Entry (i, j) is the overlap of the intervals that i and j take on the common scale of cumulated shares,
    which equals the second difference of min(P_i, Q_j). The sum of min(P_i, Q_j) - P_i Q_j over all i and j
    is the covariance of the positions (Hoeffding's lemma).
    """
    upper_first, upper_second = np.cumsum(first, axis=0), np.cumsum(second, axis=0)
    lower_first, lower_second = upper_first - first, upper_second - second
    coupling = np.minimum(upper_first[:, None], upper_second[None])
    independent = upper_first[:, None] * upper_second[None]
    covariance = np.subtract(coupling, independent, out=independent).reshape(_SAMPLES**2, -1).sum(axis=0)
    coupling -= np.maximum(lower_first[:, None], lower_second[None])
    np.maximum(coupling, 0.0, out=coupling)
    return coupling, covariance
