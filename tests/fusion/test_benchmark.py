"""The benchmark measures what it says, on pictures small enough for a test; how fast is not asked here."""

from __future__ import annotations

import json

import pytest

from fusion.benchmark import run_fusion_benchmark
from fusion.benchmark_nestfuse import NESTFUSE_MEASUREMENTS, package_missing_for
from fusion.benchmark_rows import BenchmarkRow
from fusion.errors import InputError


def test_fast_paths_agree_with_their_references() -> None:
    lines: list[str] = []
    some = ("nestfuse", "nestfuse-onnx", "nuclear-fast-attention", "nestfuse-nuclear", "nestfuse-lite-openvino-bf16")
    names = ["auif", "nuclear-pooling", *(name for name in some if not package_missing_for(name))]
    assert {*some} <= {*NESTFUSE_MEASUREMENTS}
    results = run_fusion_benchmark(size_wh=(48, 40), repeats=1, only=names, progress=lines.append)
    assert [row["name"] for row in results["rows"]] == names
    assert len(lines) == len(names)
    for row in results["rows"]:
        assert row["difference"] <= row["allowed_difference"], row
        assert row["reference_ms"] > 0
        assert row["speedup"] > 0
    assert json.loads(json.dumps(results))["machine"]["torch_threads"] >= 1


def test_a_fast_path_that_is_wrong_fails() -> None:
    row = BenchmarkRow(
        name="x",
        reference="y",
        reference_ms=100,
        reference_spread_ms=1,
        fast_ms=10,
        fast_spread_ms=1,
        speedup=10,
        target=2,
        difference=0.5,
        allowed_difference=0.1,
        unit="grey levels",
    )
    assert not row.passed


def test_unknown_measurements_are_refused() -> None:
    with pytest.raises(InputError, match="bench fusion: nets is unknown"):
        run_fusion_benchmark(only=["nets"])
    with pytest.raises(InputError, match="at least 1"):
        run_fusion_benchmark(repeats=0)
