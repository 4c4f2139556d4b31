"""Milliseconds a pair of NestFuse on a GPU, against the plain network in the same run.

python benchmarks/fusion_cuda.py [--size 640x512] [--repeats 50] [--only nestfuse nuclear lite] [--json FILE]

Paths, which take turns:
  plain       the network as published, each picture on its own, in PyTorch's own float32, operation by operation;
              nuclear norms by one SVD per channel (measured twice only: it takes seconds)
  eager       the product's half-precision path, one operation after the other
  graph       the same as one CUDA graph, pictures and result on the device
  whole call  the same from arrays to an array in the processor's memory

Shipped weights; differences in grey levels against the network on the processor in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusion.attention import NESTFUSE, AttentionStrategy, fuse_features
from fusion.benchmark_nestfuse import plain_nuclear_norms
from fusion.benchmark_rows import benchmark_pictures
from fusion.checkpoints import read_state_dict
from fusion.cuda_graphs import capture
from fusion.factory import load_nestfuse
from fusion.nestfuse_gpu import NestFuseGpuMethod
from fusion.nestfuse_inference import NestFuseMethod
from fusion.weight_store import find_weights

TARGETS_MS = {"nestfuse": 4.0, "nuclear": 12.0, "lite": 1.0}
_NUCLEAR = NESTFUSE.with_pooling("nuclear")
CASES = {"nestfuse": ("nestfuse", NESTFUSE), "nuclear": ("nestfuse", _NUCLEAR), "lite": ("nestfuse-lite", NESTFUSE)}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="640x512", help="width x height")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no CUDA device can be used here", file=sys.stderr)
        return 2
    width, height = (int(side) for side in options.size.split("x"))
    rows = []
    for name in options.only:
        row = measure(name, *CASES[name], (width, height), options.repeats)
        rows.append(row)
        print(json.dumps(row), flush=True)
    record = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "size": options.size, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    return 0


@torch.inference_mode()
def measure(
    name: str, weights: str, strategy: AttentionStrategy, size_wh: tuple[int, int], repeats: int
) -> dict[str, Any]:
    """Medians and spreads in milliseconds of all paths, and how far the results are apart."""
    device = torch.device("cuda")
    path = find_weights(weights)
    if path is None:
        raise SystemExit(f"{weights} has no weights here")
    network = load_nestfuse(read_state_dict(path), str(path))
    visible, thermal = benchmark_pictures(size_wh)
    arrays = [picture[0, 0].numpy().astype(np.uint8) for picture in (visible, thermal)]
    exact = NestFuseMethod(network, strategy, torch.device("cpu")).fuse_luma(*arrays)

    published = load_nestfuse(read_state_dict(path), str(path)).to(device)

    def plain(pictures: Sequence[Tensor]) -> Tensor:
        scales = zip(*(published.encode(picture) for picture in pictures), strict=True)
        pool = plain_nuclear_norms if strategy.pooling == "nuclear" else None
        fused = [fuse_features(scale, strategy, pool and pool(scale, strategy.epsilon)) for scale in scales]
        return published.decode(fused)[-1]

    product = NestFuseGpuMethod(network, strategy, device)
    pictures = [thermal.to(device), visible.to(device)]
    images = torch.cat(pictures).to(torch.uint8)
    recorded = capture(lambda: product.fuse(images))
    paths: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(pictures),
        "eager": lambda: product.fuse(images),
        "graph": recorded.replay,
        "whole call": lambda: product.fuse_luma(*arrays),
    }
    times: dict[str, list[float]] = {label: [] for label in paths}
    slow = strategy.pooling == "nuclear"
    for turn in range(repeats + 3):
        for label, run in paths.items():
            if slow and label == "plain" and turn not in (0, 3, 4):
                continue
            torch.cuda.synchronize()
            began = time.perf_counter()
            run()
            torch.cuda.synchronize()
            if turn >= 3:
                times[label].append((time.perf_counter() - began) * 1e3)
    apart = {
        "plain": _difference(plain(pictures), exact),
        "graph": _difference(recorded.replay(), exact),
        "whole call": _difference(torch.from_numpy(product.fuse_luma(*arrays))[None, None], exact),
    }
    medians = {label: statistics.median(values) for label, values in times.items()}
    return {
        "name": name,
        "median_ms": {label: round(value, 3) for label, value in medians.items()},
        "spread_ms": {label: round(_spread(values), 3) for label, values in times.items()},
        "speedup": round(medians["plain"] / medians["graph"], 2),
        "target_ms": TARGETS_MS[name],
        "passed": medians["graph"] <= TARGETS_MS[name],
        "difference_grey_levels_mean_max": apart,
    }


def _difference(result: Tensor, exact: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    apart = np.abs(result[0, 0].float().cpu().numpy() - exact)
    return [round(float(apart.mean()), 4), round(float(apart.max()), 4)]


def _spread(values: Sequence[float]) -> float:
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return quarters[2] - quarters[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
