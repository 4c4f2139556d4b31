"""What a benchmark of fusion consists of: two functions that take turns, and what they took and gave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

SEED = 2020


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One fast path against its plain reference.

    Attributes:
        name: what was measured.
        reference: what it was measured against.
        reference_ms, fast_ms: median duration of one pair (or one call), in milliseconds.
        reference_spread_ms, fast_spread_ms: distance between the first and third quartile.
        speedup: ratio of the medians.
        target: speed-up asked for.
        target_ms: duration asked for instead of a speed-up, if any.
        difference: largest difference of the two results, in ``unit``.
        allowed_difference: how much it may be.
        unit: of the differences.
    """

    name: str
    reference: str
    reference_ms: float
    reference_spread_ms: float
    fast_ms: float
    fast_spread_ms: float
    speedup: float
    target: float
    difference: float
    allowed_difference: float
    unit: str
    target_ms: float | None = None

    @property
    def passed(self) -> bool:
        """Fast enough and close enough."""
        fast_enough = self.speedup >= self.target if self.target_ms is None else self.fast_ms <= self.target_ms
        return fast_enough and self.difference <= self.allowed_difference


def describe_row(row: BenchmarkRow) -> str:
    """One line for people."""
    verdict = "reached" if row.passed else "MISSED"
    target = f"{row.target:g}" if row.target_ms is None else f"{row.target_ms:g} ms"
    return (
        f"{row.name}: {row.fast_ms:.1f} ms (spread {row.fast_spread_ms:.1f}) against {row.reference_ms:.1f} ms "
        f"(spread {row.reference_spread_ms:.1f}) of {row.reference}: {row.speedup:.2f} times, "
        f"target {target} {verdict}; difference {row.difference:.2g} {row.unit} "
        f"(allowed {row.allowed_difference:g})"
    )


def compare_paths(
    name: str,
    reference: tuple[str, Callable[[], Tensor]],
    fast: Callable[[], Tensor],
    *,
    repeats: int,
    target: float,
    allowed_difference: float,
    unit: str,
    difference: Callable[[Tensor, Tensor], float] | None = None,
    target_ms: float | None = None,
) -> BenchmarkRow:
    """Time two functions in turn and compare what they return (largest absolute difference by default)."""
    plain_result, fast_result = reference[1](), fast()
    durations: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, taken in zip((reference[1], fast), durations, strict=True):
            began_s = time.perf_counter()
            function()
            taken.append((time.perf_counter() - began_s) * 1000)
    (low, middle, high), (fast_low, fast_middle, fast_high) = (np.percentile(d, [25, 50, 75]) for d in durations)
    worst = difference or (lambda plain, quick: float((plain - quick).abs().max()))
    return BenchmarkRow(
        name=name,
        reference=reference[0],
        reference_ms=float(middle),
        reference_spread_ms=float(high - low),
        fast_ms=float(fast_middle),
        fast_spread_ms=float(fast_high - fast_low),
        speedup=float(middle / fast_middle),
        target=target,
        difference=worst(plain_result, fast_result),
        allowed_difference=allowed_difference,
        unit=unit,
        target_ms=target_ms,
    )


def benchmark_pictures(size_wh: tuple[int, int]) -> list[Tensor]:
    """Two smooth grey pictures (1, 1, H, W) in 0..255, as whole numbers."""
    generator = np.random.default_rng(SEED)
    pictures = []
    for _ in range(2):
        coarse = generator.integers(0, 256, (17, 23), dtype=np.uint8)
        picture = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        picture = np.clip(picture + generator.normal(0, 4, picture.shape), 0, 255).round()
        pictures.append(torch.from_numpy(picture.astype(np.float32))[None, None])
    return pictures
