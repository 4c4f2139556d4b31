"""``evaluate-fusion``: seven metrics of fused stills with contact sheets, or the flicker of fused videos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fusion.errors import InputError
from pipeline.cli.options import warn_of_unused_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.fuser import Fuser, PoolingName, RangeName, SpatialName
    from pipeline.fusion_evaluation import StillPair
    from pipeline.progress import Progress

NAME = "evaluate-fusion"
HELP = "measure fusion methods on stills (seven metrics, contact sheets) or on a video (flicker)"

_OWN_FILES = ("scores.json", "scores.csv", "table.md", "report.html")
_PICTURES = "fused"
_DEFAULT_SHEETS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is measured, how, and where the results go."""
    parser.add_argument("--data", type=Path, help="folder with stills IR{n}.*, VIS{n}.*, or ir/ and vis/")
    parser.add_argument("--video-visible", metavar="URI", help="measure flicker instead: the visible video, and ...")
    parser.add_argument("--video-thermal", metavar="URI", help="... the thermal one")
    parser.add_argument(
        "--methods",
        default="",
        help="fusion methods, comma-separated; options follow a colon, as in nestfuse:pooling=max,spatial=l1 or "
        "didfuse:mode=l1",
    )
    parser.add_argument(
        "--fused",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="score pictures made elsewhere, {n}.* for pair n, under the folder's name; may be repeated",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for scores.json, table.md, report.html")
    parser.add_argument(
        "--convention",
        choices=("paper", "standard", "both"),
        default="paper",
        help="paper: as the NestFuse authors compute them, comparable with published tables; standard: by the textbook",
    )
    parser.add_argument(
        "--range",
        dest="range_name",
        choices=("fixed", "stretch", "smooth"),
        help="how fused levels become 8 bit: stretch for stills when not given, as the paper's pictures are; "
        "smooth for videos; a method may have its own as in nestfuse:range=fixed",
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="[METHOD=]PATH",
        help="weights in place of a method's own; name the method when there are several",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that measure; 0 is one per core")
    parser.add_argument("--sheets", type=int, default=_DEFAULT_SHEETS, help="most contact sheets in the report")
    parser.add_argument("--max-pairs", type=int, help="measure the first pairs only")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")


def execute(arguments: argparse.Namespace) -> int:
    """Fuse, measure, write; returns 0."""
    for option, least in (("workers", 0), ("sheets", 0), ("max_pairs", 1)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise InputError(f"--{option.replace('_', '-')} {value}: give a whole number of at least {least}")
    videos = (arguments.video_visible, arguments.video_thermal)
    if arguments.data is None and videos == (None, None):
        raise InputError(
            "nothing to measure on; give --data DIR with IR{n}.* and VIS{n}.*, or --video-visible and --video-thermal"
        )
    if arguments.data is None:
        return _measure_video(arguments)
    if videos != (None, None):
        raise InputError("--data and --video-... are two different measurements; give one of them")
    return _measure_stills(arguments)


def split_methods(text: str) -> list[str]:
    """Methods of a comma-separated list; ``name=value`` parts belong to the method before them.

    ``average,nestfuse:pooling=max,spatial=l1`` is two methods.
    """
    methods: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if "=" in part and ":" not in part and methods and ":" in methods[-1]:
            methods[-1] += f",{part}"
        elif part:
            methods.append(part)
    return methods


def split_options(method: str) -> dict[str, str]:
    """Options of ``name:key=value,key=value``.

    Raises:
        InputError: a part is not ``key=value``.
    """
    _, colon, text = method.partition(":")
    options = {}
    for part in text.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise InputError(f"--methods {method}: {part!r} is not name=value, as in nestfuse:pooling=max")
        options[key] = value
    return options


def split_weights(given: Sequence[str], methods: Sequence[str]) -> dict[str, Path]:
    """Method -> weights path, from ``METHOD=PATH``, or from a bare PATH when there is one method.

    Raises:
        InputError: a bare path leaves open which method it is for, or the named method is not measured.
    """
    bases = list(dict.fromkeys(_base_name(method) for method in methods))
    weights: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            if len(bases) != 1:
                raise InputError(f"--weights {text}: say which method they are for, as in --weights nestfuse={text}")
            name, path = bases[0], text
        if name not in bases:
            raise InputError(f"--weights {text}: {name} is not among --methods ({', '.join(bases) or 'none given'})")
        weights[name] = Path(path)
    return weights


def _measure_stills(arguments: argparse.Namespace) -> int:
    from pipeline.fusion_evaluation import (
        available_cores,
        check_pictures,
        find_fused,
        find_pairs,
        score_methods,
        write_scores,
    )
    from pipeline.fusion_report import write_report
    from pipeline.progress import Progress

    methods = split_methods(arguments.methods)
    names = [folder.resolve().name for folder in arguments.fused]
    _check_names([*methods, *names])
    pairs = find_pairs(arguments.data)[: arguments.max_pairs]
    elsewhere = {name: find_fused(folder, pairs) for name, folder in zip(names, arguments.fused, strict=True)}
    check_pictures(pairs, elsewhere.values())
    fusers = _build_all(methods, arguments, default_range="stretch")
    names = [f"{_PICTURES}/{_folder_name(method)}/{pair.name}.png" for method in methods for pair in pairs]
    data: Path = arguments.data
    _prepare_output(arguments, names, inputs=[data, data / "ir", data / "vis", *arguments.fused])

    with Progress("pictures fused", len(pairs) * len(methods)) as progress:
        made = {
            method: _fuse_all(fuser, pairs, arguments.out / _PICTURES / _folder_name(method), progress)
            for method, fuser in fusers.items()
        }
    fused = made | elsewhere
    with Progress("pictures measured", len(pairs) * len(fused)) as progress:
        results = score_methods(
            fused,
            pairs,
            arguments.convention,
            workers=arguments.workers or available_cores(),
            on_picture=progress.step,
        )
    write_scores(arguments.out, results)
    write_report(
        arguments.out / "report.html",
        title=arguments.data.resolve().name,
        pairs=pairs,
        fused=fused,
        results=results,
        most_sheets=arguments.sheets,
    )
    print((arguments.out / "table.md").read_text(encoding="utf-8"), end="")
    print(f"report: {arguments.out / 'report.html'}")
    return 0


def _measure_video(arguments: argparse.Namespace) -> int:
    from pipeline.assemble import PairSourceConfig, open_pairs
    from pipeline.flicker_evaluation import measure_video, write_video_scores
    from pipeline.progress import Progress
    from pipeline.sources import display_name

    for option, value in (
        ("--video-visible", arguments.video_visible),
        ("--video-thermal", arguments.video_thermal),
    ):
        if value is None:
            raise InputError(f"{option} is missing; flicker needs the visible and the thermal video")
    if arguments.fused:
        raise InputError("--fused is for stills; flicker is measured of --methods")
    methods = split_methods(arguments.methods)
    _check_names(methods)
    source = PairSourceConfig(visible=arguments.video_visible, thermal=arguments.video_thermal)
    with open_pairs(source) as stream:
        fusers = _build_all(methods, arguments, default_range="smooth")
        _prepare_output(arguments, [], inputs=[Path(arguments.video_visible), Path(arguments.video_thermal)])
        lengths = [count for count in (stream.info.length, arguments.max_pairs) if count is not None]
        try:
            with Progress("pairs", min(lengths, default=None)) as progress:
                results = measure_video(stream, fusers, most_pairs=arguments.max_pairs, on_pair=progress.step)
        finally:
            for warning in stream.warnings:
                print(f"warning: {warning}", file=sys.stderr, flush=True)
    write_video_scores(arguments.out, results, display_name(arguments.video_visible))
    print((arguments.out / "table.md").read_text(encoding="utf-8"), end="")
    return 0


def _prepare_output(arguments: argparse.Namespace, pictures: Sequence[str], *, inputs: Sequence[Path]) -> None:
    """Check the folder, and remove from it what an earlier measurement wrote, lest it be taken for this one's."""
    from pipeline.listed_pictures import replace_listed
    from pipeline.outputs import check_output_folder

    check_output_folder(arguments.out, overwrite=arguments.overwrite)
    replace_listed(arguments.out, pictures, inputs=inputs)
    for name in _OWN_FILES:
        (arguments.out / name).unlink(missing_ok=True)


def _base_name(method: str) -> str:
    return method.partition(":")[0]


def _folder_name(method: str) -> str:
    """A folder name for the method's pictures, free of characters that some file systems refuse."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in method)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise InputError("nothing to measure; give --methods a,b,c or --fused DIR")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{twice[0]} is named twice in --methods and --fused; each needs a name of its own")


def _build_all(methods: Sequence[str], arguments: argparse.Namespace, *, default_range: str) -> dict[str, Fuser]:
    weights = split_weights(arguments.weights, methods)
    defaults = {
        "range": arguments.range_name or default_range,
        "pooling": "avg",
        "spatial": "softmax",
        "engine": "torch",
    }
    options = {method: defaults | split_options(method) for method in methods}
    known = (*defaults, "mode")
    for method, chosen in options.items():
        unknown = sorted(chosen.keys() - {*known})
        if unknown:
            raise InputError(f"--methods {method}: no option {unknown[0]!r}; there are {', '.join(known)}")

    from fusion.factory import build_fuser

    fusers: dict[str, Fuser] = {
        method: build_fuser(
            _base_name(method),
            mode=chosen.get("mode"),
            weights=weights.get(_base_name(method)),
            # The factory refuses what is not among these.
            pooling=cast("PoolingName", chosen["pooling"]),
            spatial=cast("SpatialName", chosen["spatial"]),
            range_name=cast("RangeName", chosen["range"]),
            engine=chosen["engine"],
            device=arguments.device,
            gray=True,
        )
        for method, chosen in options.items()
    }
    for method in methods:
        own = [f"{key}={value}" for key, value in split_options(method).items() if key in ("pooling", "spatial")]
        warn_of_unused_attention(_base_name(method), own)
    return fusers


def _fuse_all(fuser: Fuser, pairs: Sequence[StillPair], folder: Path, progress: Progress) -> list[Path]:
    """Fuse every pair into ``folder`` as {n}.png, the 8 bits that are then measured."""
    from pipeline.fusion_evaluation import read_grey, read_visible, write_grey

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for pair in pairs:
        fuser.reset()
        fused_bgr = fuser(read_visible(pair.visible), read_grey(pair.ir))
        paths.append(folder / f"{pair.name}.png")
        write_grey(paths[-1], fused_bgr)
        progress.step()
    return paths
