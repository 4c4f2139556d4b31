"""How fast fusion is, each fast path against a plain one in the same run.

Reference and fast path take turns, after one unmeasured turn each, so that whatever else the machine does slows both.
Inputs and, where none are shipped, weights are seeded: their values do not matter for time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fusion.attention import NESTFUSE
from fusion.auif import Auif, load_auif
from fusion.auif_inference import collapse
from fusion.checkpoints import read_merged_state_dict, read_state_dict
from fusion.errors import InputError
from fusion.factory import load_nestfuse
from fusion.nestfuse import NestFuse
from fusion.nestfuse_inference import NestFuseMethod
from fusion.nuclear import nuclear_norm
from fusion.weight_store import find_weights

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

    @property
    def passed(self) -> bool:
        """Fast enough and close enough."""
        return self.speedup >= self.target and self.difference <= self.allowed_difference


def run_fusion_benchmark(
    *,
    size_wh: tuple[int, int] = (640, 480),
    repeats: int = 5,
    threads: int = 0,
    only: Sequence[str] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure AUIF, NestFuse (float32 and bfloat16) and nuclear pooling on the CPU.

    Args:
        size_wh: width and height of the pictures in pixels.
        repeats: measured turns of each path.
        threads: CPU threads; 0 leaves it to PyTorch.
        only: names of the measurements to run; all when empty.
        progress: called with a line of text after each measurement.

    Returns:
        ``{"machine": {...}, "size_wh": [...], "repeats": n, "rows": [{..., "passed": bool}]}``, ready for JSON.

    Raises:
        InputError: an unknown name in ``only``, or no repeats.
    """
    measurements: dict[str, Callable[[tuple[int, int], int], BenchmarkRow]] = {
        "auif": _auif,
        "nestfuse": lambda size, count: _nestfuse(size, count, torch.float32),
        "nestfuse-bf16": lambda size, count: _nestfuse(size, count, torch.bfloat16),
        "nuclear-pooling": _nuclear,
    }
    unknown = [name for name in only if name not in measurements]
    if unknown:
        raise InputError(f"bench fusion: {unknown[0]} is unknown; choose {', '.join(measurements)}")
    if repeats < 1:
        raise InputError(f"bench fusion: repeats must be at least 1, not {repeats}")
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    rows = []
    try:
        for name, measure in measurements.items():
            if only and name not in only:
                continue
            row = measure(size_wh, repeats)
            rows.append({**asdict(row), "passed": row.passed})
            progress(describe_row(row))
        return {"machine": describe_machine(), "size_wh": list(size_wh), "repeats": repeats, "rows": rows}
    finally:
        torch.set_num_threads(before)


def describe_row(row: BenchmarkRow) -> str:
    """One line for people."""
    verdict = "reached" if row.passed else "MISSED"
    return (
        f"{row.name}: {row.fast_ms:.1f} ms (spread {row.fast_spread_ms:.1f}) against {row.reference_ms:.1f} ms "
        f"(spread {row.reference_spread_ms:.1f}) of {row.reference}: {row.speedup:.2f} times, "
        f"target {row.target:g} {verdict}; difference {row.difference:.2g} {row.unit} "
        f"(allowed {row.allowed_difference:g})"
    )


def describe_machine() -> dict[str, Any]:
    """Processor, threads, versions and load of the machine, for the record of a benchmark."""
    return {
        "processor": _processor_name(),
        "logical_processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


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
    )


def _auif(size_wh: tuple[int, int], repeats: int) -> BenchmarkRow:
    path = find_weights("auif")
    torch.manual_seed(SEED)
    network = load_auif(read_merged_state_dict(path), str(path)) if path else Auif().eval()
    method = collapse(network)
    visible, thermal = (picture.div(255) for picture in _pictures(size_wh))
    planes = [np.ascontiguousarray(picture[0, 0].numpy(), np.float32) for picture in (thermal, visible)]

    @torch.inference_mode()
    def plain() -> Tensor:
        return network.fuse(thermal, visible)[0, 0]

    return compare_paths(
        "auif",
        ("two convolutions per layer", plain),
        lambda: torch.from_numpy(method.fuse_planes(planes[0], planes[1])),
        repeats=repeats,
        target=30,
        allowed_difference=1e-5,
        unit="of full range",
    )


def _nestfuse(size_wh: tuple[int, int], repeats: int, dtype: torch.dtype) -> BenchmarkRow:
    path = find_weights("nestfuse")
    torch.manual_seed(SEED)
    network = load_nestfuse(read_state_dict(path), str(path)) if path else NestFuse().eval()
    visible, thermal = _pictures(size_wh)
    images = torch.cat([thermal, visible])
    exact = dtype == torch.float32
    method = NestFuseMethod(network, NESTFUSE, torch.device("cpu"), dtype)
    # The fast path keeps its weights channels-last; the plain one gets its own, as PyTorch makes them by default.
    plain_network = NestFuse(network.config).eval()
    plain_network.load_state_dict(network.state_dict())

    @torch.inference_mode()
    def plain() -> Tensor:
        return plain_network.fuse([thermal, visible])[-1]

    return compare_paths(
        "nestfuse" if exact else "nestfuse-bf16",
        ("two encoder passes in eager torch, float32", plain),
        lambda: method.fuse(images),
        repeats=repeats,
        target=1.5 if exact else 3.0,
        allowed_difference=0.01 if exact else 1.0,
        unit="grey levels",
    )


def _nuclear(size_wh: tuple[int, int], repeats: int) -> BenchmarkRow:
    generator = torch.Generator().manual_seed(SEED)
    features = torch.rand((1, 64, size_wh[1], size_wh[0]), generator=generator)

    def plain() -> Tensor:
        return torch.stack([torch.linalg.svdvals(channel).sum() for channel in features[0]])

    return compare_paths(
        "nuclear-pooling",
        ("a loop of SVDs over 64 channels", plain),
        lambda: nuclear_norm(features)[0],
        repeats=repeats,
        target=1.6,
        allowed_difference=1e-4,
        unit="relative",
        difference=lambda exact, quick: float(((exact - quick) / exact).abs().max()),
    )


def _pictures(size_wh: tuple[int, int]) -> list[Tensor]:
    """Two smooth grey pictures (1, 1, H, W) in 0..255, as whole numbers."""
    generator = np.random.default_rng(SEED)
    pictures = []
    for _ in range(2):
        coarse = generator.integers(0, 256, (17, 23), dtype=np.uint8)
        picture = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        picture = np.clip(picture + generator.normal(0, 4, picture.shape), 0, 255).round()
        pictures.append(torch.from_numpy(picture.astype(np.float32))[None, None])
    return pictures


def _processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
