"""Refine a calibration on the pictures themselves: the outlines that both cameras see are brought to agree.

Brightness says little across the two kinds of picture (warm is not bright), outlines say more: enhanced correlation
(Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", PAMI
2008) is run on the logarithm of the gradient's magnitude, coarse to fine. The result is taken only when it is sane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from pipeline.calibration import Calibration

Matrix = NDArray[np.float64]
Array = NDArray[np.float32]

_SCALES = (0.5, 1.0)
_ITERATIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementConfig:
    """When a refinement is believed.

    Attributes:
        min_score: least correlation of the outlines, -1..1.
        min_gain: least growth of that correlation.
        max_shift: greatest shift of a corner of the picture, as a part of its diagonal.
        max_distortion: greatest change of any side's length, as a part of it.
    """

    min_score: float = 0.15
    min_gain: float = 0.005
    max_shift: float = 0.06
    max_distortion: float = 0.08


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refinement:
    """What a refinement found.

    Attributes:
        calibration: the refined calibration, or the one before when it was not accepted.
        accepted: whether it is sane and better.
        reason: why it was not accepted, empty otherwise.
        score_before: correlation of the outlines with the calibration before.
        score: correlation of the outlines after.
        shift_px: greatest shift of a corner of the visible picture.
    """

    calibration: Calibration
    accepted: bool
    reason: str
    score_before: float
    score: float
    shift_px: float


def refine(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[Any]]],
    calibration: Calibration,
    config: RefinementConfig | None = None,
) -> Refinement:
    """Refine the homography of a calibration on pictures of a still or slow scene.

    Args:
        pairs: visible (H, W, 3) uint8 and thermal (h, w) uint8 or uint16 pictures, as the cameras give them;
            outlines are averaged over all of them.
        calibration: where to start; lens distortion is left out of account.
        config: when to believe the result.

    Raises:
        InputError: no pair, or pictures of another size than the calibration's.
    """
    config = config or RefinementConfig()
    if not pairs:
        raise InputError("refining a calibration needs at least one pair of pictures")
    for visible, thermal in pairs:
        calibration.check_sizes((visible.shape[1], visible.shape[0]), (thermal.shape[1], thermal.shape[0]))
    fixed = _mean_outlines([visible for visible, _ in pairs])
    moving, covered = _warped_outlines([thermal for _, thermal in pairs], calibration)
    before = _correlation(fixed, moving, covered)
    change: Array = np.eye(3, dtype=np.float32)
    try:
        for scale in _SCALES:
            change = _align(fixed, moving, covered, change, scale)
    except cv2.error:
        return _rejected(calibration, before, before, 0.0, "the outlines do not converge")
    # ECC gives visible to moving pixels; the homography that is refined goes the other way.
    correction = np.linalg.inv(change.astype(np.float64))
    refined = replace(calibration, homography=correction @ calibration.homography, rms_px=None)
    moving, covered = _warped_outlines([thermal for _, thermal in pairs], refined)
    after = _correlation(fixed, moving, covered)
    shift_px, distortion = _corner_motion(correction, calibration.visible_wh)
    diagonal = float(np.hypot(*calibration.visible_wh))
    reason = ""
    if not np.isfinite(shift_px) or shift_px > config.max_shift * diagonal:
        reason = f"a corner would move by {shift_px:.1f} px"
    elif distortion > config.max_distortion:
        reason = f"the picture would be distorted by {100 * distortion:.0f} %"
    elif after < config.min_score:
        reason = f"the outlines agree too little ({after:.2f})"
    elif after < before + config.min_gain:
        reason = f"the outlines agree no better than before ({before:.2f})"
    if reason:
        return _rejected(calibration, before, after, shift_px, reason)
    return Refinement(
        calibration=refined, accepted=True, reason="", score_before=before, score=after, shift_px=shift_px
    )


def outlines(picture: NDArray[Any]) -> Array:
    """Logarithm of the gradient's magnitude, (H, W), relative to the picture's own mean gradient."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
    smooth = cv2.GaussianBlur(np.asarray(gray, np.float32), (0, 0), 1.2)
    magnitude = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return np.asarray(np.log1p(magnitude / (float(magnitude.mean()) + 1e-6)), np.float32)


def _mean_outlines(pictures: Sequence[NDArray[Any]]) -> Array:
    total = sum(outlines(picture) for picture in pictures)
    return np.asarray(total / len(pictures), np.float32)


def _warped_outlines(thermals: Sequence[NDArray[Any]], calibration: Calibration) -> tuple[Array, NDArray[np.uint8]]:
    edges, size = _mean_outlines(thermals), calibration.visible_wh
    # The border of the picture is no outline of anything.
    inside = np.zeros(edges.shape, np.uint8)
    inside[3:-3, 3:-3] = 255
    covered = cv2.warpPerspective(inside, calibration.homography, size, flags=cv2.INTER_NEAREST)
    warped = cv2.warpPerspective(edges, calibration.homography, size)
    return np.asarray(warped, np.float32), np.asarray(covered, np.uint8)


def _align(fixed: Array, moving: Array, covered: NDArray[np.uint8], change: Array, scale: float) -> Array:
    size = (round(fixed.shape[1] * scale), round(fixed.shape[0] * scale))
    scaling = np.diag([scale, scale, 1.0]).astype(np.float32)
    start = scaling @ change @ np.linalg.inv(scaling).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, 1e-5)
    small = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (fixed, moving))
    mask = cv2.resize(covered, size, interpolation=cv2.INTER_NEAREST)
    blurred = [cv2.GaussianBlur(image, (0, 0), 1.5 / scale) for image in small]
    # Affine: outlines are too few to tell perspective, which the calibration has from better measurements.
    _, found = cv2.findTransformECC(
        blurred[0], blurred[1], start[:2].astype(np.float32), cv2.MOTION_AFFINE, criteria, mask, 5
    )
    result = np.linalg.inv(scaling) @ np.vstack([found, [0, 0, 1]]) @ scaling
    return np.asarray(result, np.float32)


def _correlation(fixed: Array, moving: Array, covered: NDArray[np.uint8]) -> float:
    inside = covered > 0
    if inside.sum() < 256:
        return 0.0
    first, second = (cv2.GaussianBlur(image, (0, 0), 1.5)[inside] for image in (fixed, moving))
    if min(first.std(), second.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _corner_motion(correction: Matrix, size_wh: tuple[int, int]) -> tuple[float, float]:
    """Greatest shift of a corner in pixels, and greatest relative change of a side's length."""
    width, height = size_wh
    corners = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float64)
    moved = cv2.perspectiveTransform(corners, correction)
    shift = float(np.linalg.norm(moved - corners, axis=2).max())
    sides = [np.linalg.norm(np.roll(points, 1, axis=0) - points, axis=2) for points in (corners, moved)]
    return shift, float(np.abs(sides[1] / sides[0] - 1).max())


def _rejected(calibration: Calibration, before: float, after: float, shift_px: float, reason: str) -> Refinement:
    return Refinement(
        calibration=calibration, accepted=False, reason=reason, score_before=before, score=after, shift_px=shift_px
    )
