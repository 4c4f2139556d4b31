"""All seven scores of one fused picture."""

from __future__ import annotations

from typing import Literal

from fusion.metrics.feature_information import fmi_dct, fmi_w
from fusion.metrics.fidelity import vif_paper, vif_standard
from fusion.metrics.information import (
    entropy,
    mutual_information_paper,
    mutual_information_standard,
    standard_deviation_paper,
    standard_deviation_standard,
)
from fusion.metrics.pictures import GreyPicture, check_pictures
from fusion.metrics.structure import ssima_paper, ssima_standard

ConventionName = Literal["paper", "standard"]

# The order of the columns in Table V of the NestFuse paper. More is better in each.
METRIC_NAMES = ("En", "SD", "MI", "FMI_dct", "FMI_w", "SSIMa", "VIF")


def score_picture(
    ir: GreyPicture, visible: GreyPicture, fused: GreyPicture, convention: ConventionName = "paper"
) -> dict[str, float]:
    """Seven scores of one fused picture, in the order of ``METRIC_NAMES``.

    Args:
        ir: (H, W) uint8 thermal picture.
        visible: (H, W) uint8 luma of the visible picture.
        fused: (H, W) uint8 fused picture as stored, rounded and clipped.
        convention: ``paper`` as the evaluation code of NestFuse computes them, for comparison with published
            tables; ``standard`` by the textbook.

    Raises:
        InputError: a picture is not (H, W) uint8, sizes differ, or a side is shorter than 65 pixels.
    """
    return score_conventions(ir, visible, fused, (convention,))[convention]


def score_conventions(
    ir: GreyPicture, visible: GreyPicture, fused: GreyPicture, conventions: tuple[ConventionName, ...]
) -> dict[ConventionName, dict[str, float]]:
    """Scores in several conventions, computing what they share once. See ``score_picture``."""
    check_pictures(ir, visible, fused)
    shared = {
        "En": entropy(fused),
        "FMI_dct": fmi_dct(ir, visible, fused),
        "FMI_w": fmi_w(ir, visible, fused),
    }
    scores: dict[ConventionName, dict[str, float]] = {}
    for convention in conventions:
        match convention:
            case "paper":
                own = {
                    "SD": standard_deviation_paper(fused),
                    "MI": mutual_information_paper(fused),
                    "SSIMa": ssima_paper(ir, visible, fused),
                    "VIF": vif_paper(ir, visible, fused),
                }
            case "standard":
                own = {
                    "SD": standard_deviation_standard(fused),
                    "MI": mutual_information_standard(ir, visible, fused),
                    "SSIMa": ssima_standard(ir, visible, fused),
                    "VIF": vif_standard(ir, visible, fused),
                }
        scores[convention] = {name: (shared | own)[name] for name in METRIC_NAMES}
    return scores
