"""``train-fuser``: train a fusion network on pictures; resumable after a kill at any moment."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.options import add_configuration_options, given_options, seed_argument

NAME = "train-fuser"
HELP = "train a fusion network on folders of pictures"

_PLACES = {
    "method": "method",
    "images": "images",
    "out": "out",
    "steps": "steps",
    "seed": "seed",
    "resume": "resume",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; each one not given keeps the value of --config or its default."""
    parser.add_argument(
        "--method", metavar="NAME", help="nestfuse (default), nestfuse-lite, nestfuse-narrow, auif or didfuse"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of pictures, searched recursively; all but nestfuse need ir/ and vis/ with pairs of equal names",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for checkpoint, weights, curves and model card"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps in total, also when resumed")
    parser.add_argument("--seed", type=seed_argument, metavar="N", help="seed of weights and crops")
    parser.add_argument("--resume", action="store_true", default=None, help="continue the run in --out")
    add_configuration_options(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    from fusion.training.config import FuserTrainingConfig
    from fusion.training.loop import train_fuser
    from pipeline.configuration import load_configuration

    options = given_options(arguments, _PLACES)
    config = load_configuration(FuserTrainingConfig, arguments.config, arguments.set, options)
    train_fuser(config)
    print(f"weights, curves and model card: {Path(config.out)}")
    return 0
