"""Compares targets with ground truth while a run goes on, where the source has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.frames import StreamResult
from trackers.box import Box, iou


class TruthSink:
    """Gathers the overlap of each target with its true box, without the first pair, in which it was given.

    Args:
        truth: the true box of each target (by id) at a pair's index; None or absent where it is not known.
    """

    def __init__(self, truth: Callable[[int], dict[int, Box | None]]) -> None:
        self._truth = truth
        self._overlaps: list[float] = []

    def write(self, result: StreamResult) -> None:
        """Compare the targets of one result."""
        if result.pair.index == 0:
            return
        for target, box in self._truth(result.pair.index).items():
            if box is not None and box.area > 0 and target in result.states:
                self._overlaps.append(iou(result.states[target].box, box))

    def close(self) -> None:
        """Nothing to close."""

    def fields(self) -> dict[str, Any] | None:
        """Mean overlap and share of boxes that touch the truth; None when nothing could be compared."""
        if not self._overlaps:
            return None
        held = sum(overlap > 0 for overlap in self._overlaps)
        return {
            "boxes": len(self._overlaps),
            "mean_iou": round(sum(self._overlaps) / len(self._overlaps), 4),
            "success_rate": round(held / len(self._overlaps), 4),
        }
