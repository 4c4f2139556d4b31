"""``dataset``: check a tracking dataset, or fetch one from the server of its challenge."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NAME = "dataset"
HELP = "check a tracking dataset, or fetch one"

# As the dataset page in the source of the challenge's website (github.com/votchallenge/website) names it.
_ADDRESS = "http://data.votchallenge.net/vot2019/rgbtir/meta/description.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|fetch")
    check = actions.add_parser("check", help="verify counts, sizes and ground truth, and list all that is wrong")
    check.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder of any known layout")
    check.add_argument("--expect", choices=("vot-rgbt2019",), help="compare with what this benchmark holds")
    check.add_argument("--every-picture", action="store_true", help="decode all pictures, not three of each channel")
    fetch = actions.add_parser("fetch", help="download, resume, verify")
    fetch.add_argument("name", choices=("vot-rgbt2019",), help="which dataset")
    fetch.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    fetch.add_argument(
        "--url",
        default=_ADDRESS,
        metavar="URL",
        help="its description.json, here or on a mirror (default: %(default)s)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """0 when all is well, 1 when the dataset has errors."""
    match arguments.action:
        case "check":
            return _check(arguments)
        case _:
            return _fetch(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from trackers.evaluation.benchmarks import benchmark
    from trackers.evaluation.check import check_dataset

    expected = benchmark(arguments.expect) if arguments.expect else None
    report = check_dataset(arguments.data, every_picture=arguments.every_picture, expected=expected)
    for text in report.errors:
        print(f"error: {text}")
    for text in report.warnings:
        print(f"warning: {text}")
    print(
        f"{report.sequences} sequences, {report.frames} frames: {len(report.errors)} errors, "
        f"{len(report.warnings)} warnings"
    )
    return 1 if report.errors else 0


def _fetch(arguments: argparse.Namespace) -> int:
    from trackers.evaluation.benchmarks import benchmark
    from trackers.evaluation.fetch import fetch_dataset

    expected = benchmark(arguments.name).sequences
    summary = fetch_dataset(
        arguments.url, arguments.out, expected=expected, say=lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(
        f"{arguments.out}: {summary.kept + summary.fetched} sequences, {summary.frames} frames, every channel "
        f"complete ({summary.fetched} fetched now)"
    )
    return 0
