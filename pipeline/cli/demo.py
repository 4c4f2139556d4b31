"""``demo``: the main job on the built-in synthetic scene, in less than a minute on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "demo"
HELP = "fuse and track the built-in synthetic scene, and say where the video is"

_DEFAULT_FOLDER = Path("out/demo")
_SCENE = "synthetic:3"
# The small NestFuse and the tracker make some ten pairs of this size a second on two cores: ten seconds of video.
_SIZE_WH = (640, 480)
_FRAMES_PER_S = 15.0
_PAIRS = 150


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=_DEFAULT_FOLDER, metavar="DIR", help="output folder")
    parser.add_argument("--overwrite", action="store_true", help="allow a folder that is not empty")
    parser.add_argument("--pairs", type=int, default=_PAIRS, metavar="N", help="length of the scene in pairs")
    parser.add_argument("--fuser", default="nestfuse-lite", metavar="NAME", help="fusion method")
    parser.add_argument("--tracker", default="siamrpn-lite", metavar="NAME", help="tracker")


def execute(arguments: argparse.Namespace) -> int:
    """Run, and say where the results are."""
    from pipeline.configuration import load_configuration
    from pipeline.recording import record_stream, report
    from pipeline.settings import StreamSettings
    from pipeline.stream import stop_on_signals

    scene = {"length": arguments.pairs, "size_wh": _SIZE_WH, "fps": _FRAMES_PER_S}
    options = {
        "source.visible": _SCENE,
        "source.thermal": _SCENE,
        "source.visible_options": scene,
        "source.thermal_options": scene,
        "fusion.method": arguments.fuser,
        "tracking.method": arguments.tracker,
        # The scene hides its people behind a bus: look for lost targets in the whole picture.
        "tracking.overrides": {"recovery": True},
    }
    settings = load_configuration(StreamSettings, None, (), options)
    with stop_on_signals() as stop:
        summary = record_stream(settings, arguments.out, stop=stop, overwrite=arguments.overwrite)
    print(report(summary, arguments.out))
    return int(summary["exit"])
