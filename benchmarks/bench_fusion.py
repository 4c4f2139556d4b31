"""Speed of fusion against plain reference paths: ``python benchmarks/bench_fusion.py [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fusion.benchmark import run_fusion_benchmark
from fusion.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="640x480", help="width x height of the pictures, in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="measured turns of each path")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: as PyTorch chooses)")
    parser.add_argument("--only", nargs="*", default=[], help="names of measurements")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    try:
        width, height = (int(part) for part in arguments.size.split("x"))
    except ValueError:
        parser.error(f"--size {arguments.size}: give WIDTHxHEIGHT")
    try:
        results = run_fusion_benchmark(
            size_wh=(width, height),
            repeats=arguments.repeats,
            threads=arguments.threads,
            only=arguments.only,
            progress=lambda line: print(line, flush=True),
        )
    except InputError as error:
        parser.error(str(error))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(row["passed"] for row in results["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
