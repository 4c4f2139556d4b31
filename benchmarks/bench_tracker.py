"""Milliseconds per RGBT pair of every tracker, beside the plain path and, if asked, OpenCV's TrackerNano in turns.

python benchmarks/bench_tracker.py [--trackers siamrpn-r50] [--repeats 10] [--threads 2] [--json FILE]
    [--paths plain float32 onnx] [--opencv-nano BACKBONE.onnx HEAD.onnx]
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch

from fusion.errors import InputError
from pipeline.machine import keep_memory_of_pictures
from trackers.benchmark import PATHS, PlainPair, Rival, benchmark_trackers, format_timings
from trackers.box import Box
from trackers.factory import STRATEGIES, TRACKERS
from trackers.state import ImagePair


def opencv_nano(backbone: Path, head: Path) -> Rival:
    """OpenCV's NanoTrack, which looks at the visible picture alone.

    Raises:
        InputError: it cannot use the files.
    """

    def start(pair: ImagePair, box: Box) -> Callable[[], object]:
        parameters = cv2.TrackerNano_Params()
        parameters.backbone, parameters.neckhead = str(backbone), str(head)
        tracker = cv2.TrackerNano_create(parameters)
        tracker.init(pair.visible_bgr, [round(value) for value in box.as_tuple()])
        return lambda: tracker.update(pair.visible_bgr)

    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    try:
        # Here, not when its turn comes: by then minutes of measuring would be lost.
        for path in (backbone, head):
            path.open("rb").close()
        start(PlainPair(picture, picture[:, :, 1]), Box(240, 180, 160, 120))()
    except (OSError, cv2.error) as error:
        raise InputError(
            f"--opencv-nano {backbone} {head}: OpenCV cannot use these files ({str(error).strip().splitlines()[-1]}); "
            "give nanotrack_backbone_sim.onnx and nanotrack_head_sim.onnx of NanoTrack v2"
        ) from error
    return start


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
    keep_memory_of_pictures()  # as every run does
    try:
        rivals = {"cv2.TrackerNano": opencv_nano(*options.opencv_nano)} if options.opencv_nano else {}
    except InputError as error:
        parser.error(str(error))
    timings = benchmark_trackers(
        options.trackers,
        targets=options.targets,
        repeats=options.repeats,
        paths=options.paths,
        strategy=options.strategy,
        device=options.device,
        rivals=rivals,
    )
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
