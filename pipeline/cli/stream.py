"""``stream``: fuse and track two recorded or live streams, and record what was seen."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pipeline.cli.options import (
    add_configuration_options,
    add_engine_options,
    add_fusion_options,
    attention_options,
    box_argument,
    given_options,
    seed_argument,
    warn_of_unused_attention,
)

NAME = "stream"
HELP = "fuse and track a visible and a thermal stream into a video and a results file"

# Option (as argparse stores it) to its place in StreamSettings.
_PLACES = {
    "visible": "source.visible",
    "thermal": "source.thermal",
    "sequence": "source.sequence",
    "calibration": "source.calibration",
    "fuser": "fusion.method",
    "mode": "fusion.mode",
    "range": "fusion.range",
    "pooling": "fusion.pooling",
    "spatial": "fusion.spatial",
    "gray": "fusion.gray",
    "night": "fusion.night",
    "tint": "overlay.tint",
    "tracker": "tracking.method",
    "modality": "tracking.modality",
    "strategy": "tracking.strategy",
    "box": "tracking.boxes",
    "overlay": "recording.overlay",
    "max_pairs": "recording.max_pairs",
    "segment_seconds": "recording.segments.segment_s",
    "web": "web.address",
    "token": "web.token",
    "window": "window",
    "engine": "engine",
    "device": "device",
    "live": "live",
    "seed": "seed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; each one not given keeps the value of --config or its default."""
    source = parser.add_argument_group("what comes in")
    source.add_argument(
        "--visible",
        metavar="URI",
        help="visible stream: a video file, a folder of images, a camera index, rtsp://..., gst:PIPELINE or "
        "synthetic[:SEED]",
    )
    source.add_argument("--thermal", metavar="URI", help="thermal stream, likewise")
    source.add_argument("--sequence", metavar="DIR", help="a VOT-style folder instead of the two streams")
    source.add_argument("--calibration", metavar="FILE", help="how the thermal picture lies in the visible one")
    speed = source.add_mutually_exclusive_group()
    speed.add_argument("--live", action="store_true", default=None, help="drop pairs that come too fast")
    speed.add_argument("--offline", dest="live", action="store_false", help="use every pair (the default for files)")
    source.add_argument("--max-pairs", type=int, metavar="N", help="end after N pairs")

    target = parser.add_argument_group("what to follow")
    target.add_argument(
        "--box",
        action="append",
        type=box_argument,
        metavar="X,Y,W,H",
        help="a target in the first visible picture, in pixels; may be given several times; "
        "the default is the first box of the ground truth where there is one",
    )
    target.add_argument("--tracker", metavar="NAME", help="tracker, or none (default: siamrpn-lite)")
    target.add_argument(
        "--strategy",
        metavar="NAME",
        help="how the tracker fuses features: paper, authors, nestfuse, mean, gate or adaptive",
    )
    target.add_argument("--modality", choices=("fused", "rgb", "ir"), help="what the tracker looks at (default: fused)")

    fusion = parser.add_argument_group("how to fuse")
    fusion.add_argument("--fuser", metavar="NAME", help="fusion method, or none (default: nestfuse-lite)")
    add_fusion_options(fusion, range_default="smooth")

    output = parser.add_argument_group("what comes out")
    output.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for fused.mp4, results.jsonl, summary.json"
    )
    output.add_argument("--overwrite", action="store_true", help="allow a folder that is not empty")
    output.add_argument(
        "--no-overlay", dest="overlay", action="store_false", default=None, help="record the bare fused picture"
    )

    output.add_argument(
        "--segment-seconds", type=float, metavar="S", help="go on in a new video file after S seconds (default: never)"
    )

    page = parser.add_argument_group("who may watch")
    page.add_argument(
        "--web", metavar="HOST:PORT", help="serve the live page there, such as 127.0.0.1:8000; port 0 takes a free one"
    )
    page.add_argument(
        "--window", action="store_true", default=None, help="show the run in a window; q in it ends the run"
    )
    page.add_argument(
        "--token",
        metavar="TEXT",
        help="ask viewers for this; needed unless HOST is this machine alone (better: set RGBT_STREAM_TOKEN)",
    )

    run = parser.add_argument_group("how to run")
    run.add_argument(
        "--weights",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="weights in place of the tracker's or the fusion method's own, whichever they fit; may be given twice",
    )
    add_engine_options(run)
    run.add_argument("--seed", type=seed_argument, metavar="N", help="seed of everything random (default: 0)")
    add_configuration_options(run)


def execute(arguments: argparse.Namespace) -> int:
    """Run, and say where the results are."""
    from pipeline.configuration import load_configuration
    from pipeline.recording import record_stream, report
    from pipeline.settings import StreamSettings
    from pipeline.stream import stop_on_signals
    from pipeline.weight_choice import with_weights

    if arguments.token is None and arguments.web is not None:
        arguments.token = os.environ.get("RGBT_STREAM_TOKEN") or None
    options = given_options(arguments, _PLACES)
    settings = load_configuration(StreamSettings, arguments.config, arguments.set, options)
    for file in arguments.weights:
        settings = with_weights(settings, file)
    warn_of_unused_attention(settings.fusion.full_method, attention_options(arguments))
    with stop_on_signals() as stop:
        summary = record_stream(settings, arguments.out, stop=stop, overwrite=arguments.overwrite)
    print(report(summary, arguments.out))
    return int(summary["exit"])
