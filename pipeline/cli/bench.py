"""``bench``: how fast fusion, trackers and the pipeline are here, each beside a plain reference in the same run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

NAME = "bench"
HELP = "measure fusion, trackers or the pipeline beside plain reference paths"

_DEFAULT_TRACKERS = ["siamrpn-lite", "siamrpn-r50"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("fusion", "tracker", "stream"), help="what to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file as well")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="measured turns of each path")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as PyTorch chooses)")
    parser.add_argument("--trackers", nargs="+", default=_DEFAULT_TRACKERS, metavar="NAME", help="trackers to measure")


def execute(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the numbers."""
    import torch

    from fusion.benchmark import describe_machine

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    code = 0
    match arguments.what:
        case "fusion":
            from fusion.benchmark import run_fusion_benchmark

            report = run_fusion_benchmark(
                repeats=arguments.repeats,
                threads=arguments.threads or 0,
                progress=lambda line: print(line, flush=True),
            )
            code = 0 if all(row["passed"] for row in report["rows"]) else 1
        case "tracker":
            report = _bench_tracker(arguments.trackers, arguments.repeats, describe_machine())
        case _:
            report = _bench_stream(arguments.repeats, describe_machine())
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return code


def _bench_tracker(names: list[str], repeats: int, machine: dict[str, Any]) -> dict[str, Any]:
    from pipeline.machine import keep_memory_of_pictures
    from trackers.benchmark import benchmark_trackers, format_timings

    keep_memory_of_pictures()  # as every run does
    timings = benchmark_trackers(names, repeats=repeats)
    print(format_timings(timings))
    return {"machine": machine, "timings": [asdict(timing) for timing in timings]}


def _bench_stream(repeats: int, machine: dict[str, Any]) -> dict[str, Any]:
    from pipeline.benchmark import benchmark_stream, format_stream_timings

    timings = benchmark_stream(repeats=repeats)
    print(format_stream_timings(timings))
    return {"machine": machine, "timings": [asdict(timing) for timing in timings]}
