"""``score``: the scores of existing raw results; no tracker runs and no pictures are needed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NAME = "score"
HELP = "score raw results of trackers (VOT reset-based or one-pass), with report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="dataset folder in VOT's layout (or RGBT234, GTOT, LasHeR)"
    )
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE.json", help="PySOT-style dataset file instead of --data"
    )
    parser.add_argument(
        "--results",
        type=Path,
        required=True,
        metavar="DIR",
        help="DIR/<tracker>/baseline/<sequence>/<sequence>_001.txt",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where scores.json and report.html go")
    parser.add_argument("--trackers", metavar="A,B", help="only these folders of --results; all when not given")
    parser.add_argument("--sequences", metavar="A,B", help="only these sequences; all when not given")
    add_scoring_arguments(parser)


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that ``evaluate`` and ``score`` share."""
    parser.add_argument(
        "--protocol", choices=("vot-rgbt2019", "ope"), default="vot-rgbt2019", help="reset-based, or one pass"
    )
    parser.add_argument(
        "--lineage",
        choices=("matlab", "toolkit"),
        default="matlab",
        help="whose definition the headline figures follow: MATLAB toolkit and PySOT (all published figures), or "
        "vot-toolkit 0.7.4",
    )
    parser.add_argument(
        "--interval",
        metavar="LOW:HIGH",
        default="109:322",
        help="sequence lengths of the EAO, from 1, both ends included; 'auto' derives it from the dataset",
    )
    parser.add_argument(
        "--official", metavar="PYTHON", type=Path, help="Python of scripts/install-vot-toolkit: its figures beside ours"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Score and write; 0 when every tracker was scored."""
    from fusion.errors import InputError
    from trackers.evaluation.dataset import read_pysot_dataset
    from trackers.evaluation.layouts import read_dataset
    from trackers.evaluation.results import find_trackers
    from trackers.evaluation.scoring import ScoringOptions, score_results

    if (arguments.data is None) == (arguments.ground_truth is None):
        raise InputError("give either --data DIR or --ground-truth FILE.json")
    if arguments.ground_truth is not None:
        dataset = read_pysot_dataset(arguments.ground_truth)
    else:
        dataset = read_dataset(arguments.data)
    if arguments.sequences:
        dataset = dataset.select(split_names(arguments.sequences))
    trackers = find_trackers(arguments.results)
    if arguments.trackers:
        wanted = split_names(arguments.trackers)
        unknown = [name for name in wanted if name not in trackers]
        if unknown:
            raise InputError(
                f"--trackers: {arguments.results} has no results of '{unknown[0]}'; it has {', '.join(trackers)}"
            )
        trackers = wanted
    options = ScoringOptions(
        protocol=arguments.protocol,
        lineage=arguments.lineage,
        interval=arguments.interval,
        official=arguments.official,
    )
    text = score_results(
        dataset,
        arguments.results,
        trackers,
        arguments.out,
        options,
        configuration={"command": "score", "results": str(arguments.results)},
    )
    print(text)
    print(f"scores and report: {arguments.out / 'report.html'}", file=sys.stderr)
    return 0


def split_names(text: str) -> list[str]:
    """Names separated by commas, in order, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
