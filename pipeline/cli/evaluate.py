"""``evaluate``: run trackers over a dataset, go on where an earlier run stopped, score and report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.score import add_scoring_arguments, split_names

if TYPE_CHECKING:
    from trackers.evaluation.dataset import Dataset
    from trackers.evaluation.evaluation import Executor
    from trackers.evaluation.protocol import RunOptions
    from trackers.evaluation.scoring import ScoringOptions
    from trackers.evaluation.specs import TrackerSpec

NAME = "evaluate"
HELP = "run trackers over a dataset (VOT reset-based or one-pass), score and report; resumes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    parser.add_argument("--trackers", default="siamrpn-lite", metavar="A,B", help="trackers by name")
    parser.add_argument("--modalities", default="fused,rgb,ir", metavar="A,B", help="of fused, rgb, ir")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results, scores.json, report.html")
    parser.add_argument("--sequences", metavar="A,B", help="only these sequences; all when not given")
    add_scoring_arguments(parser)
    add_tracker_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace results made by something else")


def add_tracker_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what a tracker is made of."""
    parser.add_argument(
        "--strategies", metavar="A,B", help="how features of two modalities are fused; what suits the tracker best"
    )
    parser.add_argument("--levels", default="feature", metavar="A,B", help="where to fuse: feature, pixel, or both")
    parser.add_argument("--fuser", default="nestfuse", metavar="NAME", help="method that fuses at pixel level")
    parser.add_argument("--poolings", default="avg", metavar="A,B", help="of avg, max, nuclear, nuclear-fast")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights in place of the tracker's own")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="a setting of the tracker"
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say how trackers are run."""
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one thread each")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster instead (optional extra 'ray')")
    parser.add_argument(
        "--repetitions", type=int, default=15, metavar="N", help="most runs over a sequence; three equal ones suffice"
    )
    parser.add_argument(
        "--realtime", type=float, metavar="FPS", help="skip frames that arrive while the tracker is busy"
    )
    parser.add_argument(
        "--start", choices=("area", "hull"), default="area", help="box for a polygon: of equal area, or min/max"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run, score and report; 0 when every tracker went through every sequence."""
    from trackers.evaluation.evaluation import evaluate

    dataset = read_data(arguments)
    specs = tracker_specs(arguments)
    summary = evaluate(
        dataset,
        specs,
        arguments.out,
        run_options(arguments),
        scoring_options(arguments),
        execute=executor(arguments),
        overwrite=arguments.overwrite,
        configuration={"command": "evaluate", "trackers": ", ".join(spec.name for spec in specs)},
    )
    print(summary.table)
    print(f"scores and report: {arguments.out / 'report.html'}", file=sys.stderr)
    return 0


def read_data(arguments: argparse.Namespace) -> Dataset:
    """The dataset of ``--data``, cut down to ``--sequences``."""
    from trackers.evaluation.layouts import read_dataset

    dataset = read_dataset(arguments.data)
    return dataset.select(split_names(arguments.sequences)) if arguments.sequences else dataset


def tracker_specs(arguments: argparse.Namespace) -> tuple[TrackerSpec, ...]:
    """Every tracker in every modality; the fused ones with every strategy and pooling."""
    from dataclasses import replace
    from typing import get_args

    from fusion.attention import PoolingKind
    from fusion.errors import InputError
    from trackers.evaluation.specs import TrackerSpec
    from trackers.state import Modality

    modalities = []
    for name in split_names(arguments.modalities):
        if name not in list(Modality):
            raise InputError(f"--modalities: '{name}' is none of {', '.join(Modality)}")
        modalities.append(Modality(name))
    poolings = split_names(arguments.poolings)
    for name in poolings:
        if name not in get_args(PoolingKind):
            raise InputError(f"--poolings: '{name}' is none of {', '.join(get_args(PoolingKind))}")
    names = split_names(arguments.trackers)
    if not names or not modalities:
        raise InputError("--trackers and --modalities need at least one name each")
    levels = split_names(arguments.levels)
    for level in levels:
        if level not in ("feature", "pixel"):
            raise InputError(f"--levels: '{level}' is neither feature nor pixel")
    overrides = tuple(_setting(text) for text in arguments.settings)
    specs = []
    for name in names:
        for modality in modalities:
            plain = TrackerSpec(
                tracker=name,
                modality=modality,
                weights=arguments.weights,
                overrides=overrides,
                device=arguments.device,
            )
            if modality is not Modality.FUSED:
                specs.append(plain)
                continue
            if "pixel" in levels:
                pooled = poolings if arguments.fuser.startswith("nestfuse") else ["avg"]
                specs += [replace(plain, fuser=arguments.fuser, pooling=pooling) for pooling in pooled]  # type: ignore[arg-type]
            if "feature" in levels:
                for strategy in split_names(arguments.strategies or "") or [""]:
                    pooled = ["avg"] if strategy in ("mean", "gate", "adaptive") else poolings
                    specs += [replace(plain, strategy=strategy, pooling=pooling) for pooling in pooled]  # type: ignore[arg-type]
    return tuple(specs)


def _setting(text: str) -> tuple[str, float | int | bool]:
    from fusion.errors import InputError
    from pipeline.configuration import parse_yaml

    name, separator, value = text.partition("=")
    parsed = parse_yaml(value) if separator else None
    if not isinstance(parsed, (int, float, bool)):
        raise InputError(f"--set needs NAME=VALUE with a number, true or false, not '{text}'")
    return name.strip(), parsed


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """How to run, from the command line."""
    from trackers.evaluation.protocol import RunOptions

    return RunOptions(
        kind="one-pass" if arguments.protocol == "ope" else "resets",
        start=arguments.start,
        realtime_fps=arguments.realtime,
        repetitions=arguments.repetitions,
    )


def scoring_options(arguments: argparse.Namespace) -> ScoringOptions:
    """How to score, from the command line."""
    from trackers.evaluation.scoring import ScoringOptions

    return ScoringOptions(
        protocol=arguments.protocol,
        lineage=arguments.lineage,
        interval=arguments.interval,
        official=arguments.official,
    )


def executor(arguments: argparse.Namespace) -> Executor:
    """Where the jobs run."""
    from trackers.evaluation.evaluation import local_executor

    if arguments.ray:
        from trackers.evaluation.cluster import ray_executor

        return ray_executor(arguments.ray)
    return local_executor(arguments.workers)
