"""How fast fusion is, each fast path against a plain one in the same run.

Reference and fast path take turns, after one unmeasured turn each, so that whatever else the machine does slows both.
Inputs and, where none are shipped, weights are seeded: their values do not matter for time.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from fusion.auif import Auif, load_auif
from fusion.auif_inference import collapse
from fusion.benchmark_nestfuse import NESTFUSE_MEASUREMENTS, package_missing_for
from fusion.benchmark_rows import SEED, BenchmarkRow, benchmark_pictures, compare_paths, describe_row
from fusion.checkpoints import read_merged_state_dict
from fusion.errors import InputError
from fusion.nuclear import nuclear_norm
from fusion.weight_store import find_weights


def run_fusion_benchmark(
    *,
    size_wh: tuple[int, int] = (640, 480),
    repeats: int = 5,
    threads: int = 0,
    only: Sequence[str] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure AUIF, NestFuse in every engine and with nuclear norms, and the small NestFuse, on the CPU.

    Args:
        size_wh: width and height of the pictures in pixels.
        repeats: measured turns of each path.
        threads: CPU threads; 0 leaves it to PyTorch.
        only: names of the measurements to run; when empty, all whose packages are installed.
        progress: called with a line of text after each measurement.

    Returns:
        ``{"machine": {...}, "size_wh": [...], "repeats": n, "rows": [{..., "passed": bool}]}``, ready for JSON.

    Raises:
        InputError: an unknown name in ``only``, or no repeats.
    """
    measurements: dict[str, Callable[[tuple[int, int], int], BenchmarkRow]] = {
        "auif": _auif,
        "nuclear-pooling": _nuclear,
        **NESTFUSE_MEASUREMENTS,
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
            missing = package_missing_for(name)
            if missing and not only:
                progress(f"{name}: left out, for {missing} is not installed")
                continue
            row = measure(size_wh, repeats)
            rows.append({**asdict(row), "passed": row.passed})
            progress(describe_row(row))
        return {"machine": describe_machine(), "size_wh": list(size_wh), "repeats": repeats, "rows": rows}
    finally:
        torch.set_num_threads(before)


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


def resident_mb(process: int | Literal["self"] = "self") -> float:
    """Resident memory in MB of a process by its number, or of this one (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _auif(size_wh: tuple[int, int], repeats: int) -> BenchmarkRow:
    path = find_weights("auif")
    torch.manual_seed(SEED)
    network = load_auif(read_merged_state_dict(path), str(path)) if path else Auif().eval()
    method = collapse(network)
    visible, thermal = (picture.div(255) for picture in benchmark_pictures(size_wh))
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


def _processor_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
