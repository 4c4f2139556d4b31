"""What the histograms tell: entropy (En), standard deviation (SD) and mutual information (MI).

Each takes 8-bit grey pictures (H, W). The ``paper`` convention is what the evaluation code of NestFuse
(Li, Wu, Durrani, IEEE TIM 2020) computes, quirks included; ``standard`` is the textbook definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion.metrics.pictures import GreyPicture

_LEVELS = 256


def entropy(fused: GreyPicture) -> float:
    """Shannon entropy of the 256-bin histogram in bits, 0 to 8; both conventions agree."""
    return _entropy_bits(np.bincount(fused.ravel(), minlength=_LEVELS))


def standard_deviation_paper(fused: GreyPicture) -> float:
    """Root of the *sum* of squared deviations on a [0, 1] scale: grows with the number of pixels."""
    return float(np.sqrt(fused.size) * standard_deviation_standard(fused) / 255.0)


def standard_deviation_standard(fused: GreyPicture) -> float:
    """Population standard deviation in grey levels, 0 to 127.5."""
    return float(np.std(fused, dtype=np.float64))


def mutual_information_paper(fused: GreyPicture) -> float:
    """Twice the entropy of the fused picture: the sources have no part in it.

    The original subtracts a joint entropy that its own saturation to 8 bits turns into 0, and the entropy of
    the source vanishes the same way, so H(fused) is what remains for each of the two sources.
    """
    return 2.0 * entropy(fused)


def mutual_information_standard(ir: GreyPicture, visible: GreyPicture, fused: GreyPicture) -> float:
    """I(ir; fused) + I(visible; fused) in bits, from 256 x 256 joint histograms (Qu et al., 2002)."""
    return _shared_bits(ir, fused) + _shared_bits(visible, fused)


def _shared_bits(source: GreyPicture, fused: GreyPicture) -> float:
    codes = source.ravel().astype(np.int64) * _LEVELS + fused.ravel()
    joint = np.bincount(codes, minlength=_LEVELS * _LEVELS).reshape(_LEVELS, _LEVELS) / source.size
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log2(joint[seen] / independent[seen])))


def _entropy_bits(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    # Adding zero turns the -0.0 of a constant picture into 0.0.
    return float(-np.sum(share * np.log2(share))) + 0.0
