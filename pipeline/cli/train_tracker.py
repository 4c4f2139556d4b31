"""``train-tracker``: train a tracker on sequences and stills; resumable after a kill at any moment."""

from __future__ import annotations

import argparse

from fusion.errors import InputError
from pipeline.cli.options import add_configuration_options, given_options, seed_argument

NAME = "train-tracker"
HELP = "train a tracker on sequences, boxes and photographs"

_PLACES = {
    "data": "data",
    "out": "out",
    "steps": "steps",
    "seed": "seed",
    "resume": "resume",
    "backbone": "backbone",
    "left_out": "left_out",
    "device": "device",
}
_TRAINABLE = "siamrpn-lite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; each one not given keeps the value of --config or its default."""
    parser.add_argument("--tracker", default=_TRAINABLE, metavar="NAME", help="tracker to train")
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="DIR", help="VOT-style folders, boxes, RGBT stills or photographs"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for checkpoint, weights, curves and model card"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps in total, also when resumed")
    parser.add_argument("--seed", type=seed_argument, metavar="N", help="seed of weights and samples")
    parser.add_argument("--resume", action="store_true", default=None, help="continue the run in --out")
    parser.add_argument("--backbone", metavar="FILE", help="checkpoint of the backbone to start from")
    parser.add_argument("--left-out", nargs="+", metavar="NAME", help="sequences kept out of training")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: cpu)")
    add_configuration_options(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Train, and say where the weights are."""
    from pipeline.configuration import load_configuration
    from pipeline.progress import Progress
    from trackers.training.loop import TrackerTrainingConfig, train_tracker

    if arguments.tracker != _TRAINABLE:
        raise InputError(f"--tracker {arguments.tracker}: only {_TRAINABLE} can be trained here")
    options = given_options(arguments, _PLACES)
    config = load_configuration(TrackerTrainingConfig, arguments.config, arguments.set, options)
    with Progress("steps", config.steps) as progress:
        weights = train_tracker(config, report=lambda state: progress.step(state.step - progress.done))
    print(f"weights: {weights}")
    return 0
