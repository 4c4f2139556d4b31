"""``fuse``: two stills, two folders or two videos into fused pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fusion.errors import InputError
from pipeline.cli.options import (
    add_engine_options,
    add_fusion_options,
    attention_options,
    warn_of_unused_attention,
)

if TYPE_CHECKING:
    from fusion.fuser import Fuser, RangeName

NAME = "fuse"
HELP = "fuse two stills, two folders of stills or two videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--visible", required=True, type=Path, metavar="PATH", help="visible still, folder of stills, or video"
    )
    parser.add_argument("--thermal", required=True, type=Path, metavar="PATH", help="thermal one, of the same kind")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PATH", help="fused still, folder, or mp4; of the visible size"
    )
    parser.add_argument("--method", default="nestfuse", metavar="NAME", help="fusion method")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights in place of the method's own")
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="how the thermal picture lies in the visible")
    parser.add_argument(
        "--strip-pixels",
        type=int,
        metavar="N",
        help="larger pictures are fused in strips of about so many pixels, with the same result in less memory "
        "(default: by method, for 2 to 3 GB)",
    )
    add_fusion_options(parser, range_default="stretch for stills, smooth for videos")
    add_engine_options(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Fuse, and say what was written."""
    visible: Path = arguments.visible
    thermal: Path = arguments.thermal
    for option, path in (("--visible", visible), ("--thermal", thermal)):
        if not path.exists():
            raise InputError(f"{option} {path}: there is no such file or folder")
    kinds = {_kind(visible), _kind(thermal)}
    if len(kinds) > 1:
        raise InputError(f"--visible is a {_kind(visible)}, --thermal a {_kind(thermal)}; give two of the same kind")
    if kinds == {"video"}:
        return _fuse_videos(arguments)
    return _fuse_stills(arguments, folders=kinds == {"folder"})


def _fuse_stills(arguments: argparse.Namespace, *, folders: bool) -> int:
    from pipeline.calibration import read_calibration
    from pipeline.fusing import StillPair, check_still_name, fuse_stills, pair_folders
    from pipeline.outputs import check_output_folder

    out: Path = arguments.out
    if folders:
        pairs = pair_folders(arguments.visible, arguments.thermal, say=_say)
        _check_output_folder(out, (arguments.visible, arguments.thermal))
        outputs = [out / f"{pair.name}.png" for pair in pairs]
    else:
        pairs = [StillPair(arguments.visible, arguments.thermal, arguments.visible.stem)]
        outputs = [out / f"{pairs[0].name}.png" if out.is_dir() else out]
        check_still_name(outputs[0])
        if outputs[0].resolve() in (arguments.visible.resolve(), arguments.thermal.resolve()):
            raise InputError(f"--out {out}: this would overwrite an input; give another name")
    calibration = read_calibration(arguments.calibration) if arguments.calibration else None
    fuser = _fuser(arguments, range_default="stretch")
    # Large pictures take minutes; a place that cannot be written to must not be found out after them.
    check_output_folder(outputs[0].parent, overwrite=True)
    count = fuse_stills(pairs, outputs, fuser, calibration=calibration, say=_say)
    print(f"{count} fused pictures in {out}" if folders else f"fused picture: {outputs[0]}")
    return 0


def _fuse_videos(arguments: argparse.Namespace) -> int:
    from pipeline.fusing import fuse_videos
    from pipeline.stream import stop_on_signals

    out: Path = arguments.out
    if out.is_dir():
        out = out / "fused.mp4"
    if out.resolve() in (arguments.visible.resolve(), arguments.thermal.resolve()):
        raise InputError(f"--out {out}: this would overwrite an input; give another name")
    with stop_on_signals() as stop:
        count = fuse_videos(
            str(arguments.visible),
            str(arguments.thermal),
            out,
            _fuser(arguments, range_default="smooth"),
            calibration=None if arguments.calibration is None else str(arguments.calibration),
            stop=stop,
            say=_say,
        )
    print(f"fused video of {count} pictures: {out}")
    return 130 if stop.is_set() else 0


def _fuser(arguments: argparse.Namespace, *, range_default: RangeName) -> Fuser:
    from fusion.factory import build_fuser, known_method
    from fusion.fuser import chosen_engine
    from pipeline.tint import TintFuser

    method = known_method(arguments.method, arguments.mode)
    if arguments.strip_pixels is not None and arguments.strip_pixels < 1:
        raise InputError(f"--strip-pixels {arguments.strip_pixels}: give a number of pixels above 0")
    if arguments.tint:
        if arguments.gray:
            raise InputError("--tint shows what is warm in colour; leave out --gray")
        return TintFuser()
    fuser = build_fuser(
        method,
        weights=arguments.weights,
        pooling=arguments.pooling or "avg",
        spatial=arguments.spatial or "softmax",
        range_name=arguments.range or range_default,
        engine=chosen_engine(arguments.engine or "auto"),
        device=arguments.device or "auto",
        night=arguments.night or "auto",
        gray=bool(arguments.gray),
        strip_px=arguments.strip_pixels,
    )
    warn_of_unused_attention(method, attention_options(arguments))
    return fuser


def _check_output_folder(out: Path, inputs: tuple[Path, ...]) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: a file is in the way; give a folder for the fused pictures")
    if any(out.resolve() == path.resolve() for path in inputs):
        raise InputError(f"--out {out}: this is an input folder; give another one")


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    from pipeline.sources.images import IMAGE_SUFFIXES

    return "still" if path.suffix.lower() in IMAGE_SUFFIXES else "video"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
