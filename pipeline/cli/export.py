"""``export``: a fusion network or a tracker as ONNX files, checked against torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from fusion.errors import InputError
from pipeline.cli.options import add_attention_options, attention_options, warn_of_unused_attention

NAME = "export"
HELP = "write a fusion network or a tracker as ONNX files, checked against torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--fuser", metavar="NAME", help="fusion network; free height and width")
    what.add_argument(
        "--tracker", metavar="NAME", help="tracker: graphs for template and search, for one crop and fused"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights in place of the imported or shipped ones")
    add_attention_options(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Export, and print how far each file is from torch."""
    if arguments.fuser is not None:
        return _export_fuser(arguments)
    for option in ("mode", "pooling", "spatial"):
        if getattr(arguments, option) is not None:
            raise InputError(f"--{option} says how pictures are fused; give it with --fuser, not with --tracker")
    return _export_tracker(arguments.tracker, arguments.out, arguments.weights)


def _export_fuser(arguments: argparse.Namespace) -> int:
    from fusion.export import export_fuser

    report = export_fuser(
        arguments.fuser,
        arguments.out,
        arguments.weights,
        mode=arguments.mode,
        pooling=arguments.pooling or "avg",
        spatial=arguments.spatial or "softmax",
    )
    sizes = ", ".join(f"{width}x{height}" for height, width in report.checked_sizes)
    warn_of_unused_attention(arguments.fuser, attention_options(arguments))
    print(f"{', '.join(map(str, report.paths))} ({report.size_bytes / 1e6:.2f} MB)")
    print(f"largest difference from torch: {report.largest_difference:.3g} grey levels (at {sizes})")
    return 0


def _export_tracker(name: str, out: Path, weights: Path | None) -> int:
    from trackers.export import export_tracker

    for report in export_tracker(name, out, weights):
        print(f"{report.template_path}\n{report.search_path} (together {report.size_bytes / 1e6:.2f} MB)")
        print(
            f"largest difference from torch: score {report.score_difference:.3g}, box {report.box_difference_px:.3g} px"
            f" (with {' and '.join(map(str, report.checked_targets))} targets)"
        )
    return 0
