"""Milliseconds per RGBT pair of every tracker, beside the plain path and, if asked, OpenCV's TrackerNano.

python benchmarks/bench_tracker.py [--trackers siamrpn-r50] [--repeats 10] [--threads 2] [--json FILE]
    [--paths plain float32 onnx] [--opencv-nano BACKBONE.onnx HEAD.onnx]
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch

from trackers.benchmark import PATHS, Timing, benchmark_trackers, format_timings, time_in_turns, timing_of
from trackers.factory import STRATEGIES, TRACKERS


def time_opencv_nano(backbone: Path, head: Path, repeats: int) -> Timing:
    """OpenCV's NanoTrack on one visible picture of 640 x 480, for comparison."""
    parameters = cv2.TrackerNano_Params()
    parameters.backbone, parameters.neckhead = str(backbone), str(head)
    tracker = cv2.TrackerNano_create(parameters)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    tracker.init(picture, (240, 180, 160, 120))
    spans = time_in_turns({"visible": lambda: tracker.update(picture)}, repeats)
    return timing_of("cv2.TrackerNano", "visible", 1, spans["visible"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trackers", nargs="+", choices=TRACKERS, default=list(TRACKERS))
    parser.add_argument("--targets", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--paths", nargs="+", choices=PATHS, help="default: all whose engine is installed")
    parser.add_argument("--strategy", choices=STRATEGIES, help="default: what suits each tracker best")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--opencv-nano", nargs=2, type=Path, metavar=("BACKBONE", "HEAD"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    timings = benchmark_trackers(
        options.trackers,
        targets=options.targets,
        repeats=options.repeats,
        paths=options.paths,
        strategy=options.strategy,
        device=options.device,
    )
    if options.opencv_nano:
        timings.append(time_opencv_nano(*options.opencv_nano, options.repeats))
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
    }
    print(machine)
    print(format_timings(timings))
    if options.json:
        report = {"machine": machine, "timings": [asdict(row) for row in timings]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
