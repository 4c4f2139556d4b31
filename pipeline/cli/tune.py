"""``tune``: search the constants of a tracker on a dataset; resumable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.cli.evaluate import (
    add_run_arguments,
    add_tracker_arguments,
    executor,
    read_data,
    run_options,
    tracker_specs,
)
from pipeline.cli.options import seed_argument

NAME = "tune"
HELP = "search window influence, penalty and learning rate of a tracker; resumes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    parser.add_argument("--trackers", default="siamrpn-lite", metavar="NAME", help="one tracker by name")
    parser.add_argument("--modalities", default="fused", metavar="NAME", help="one of fused, rgb, ir")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="trials.jsonl, best.yaml, results")
    parser.add_argument("--sequences", metavar="A,B", help="only these sequences; all when not given")
    parser.add_argument(
        "--protocol", choices=("vot-rgbt2019", "ope"), default="ope", help="what is maximised: success, or EAO"
    )
    parser.add_argument("--interval", metavar="LOW:HIGH", default="auto", help="sequence lengths of the EAO")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many in all; trial 0 is the preset")
    parser.add_argument("--seed", type=seed_argument, default=0, metavar="N", help="of the draws")
    add_tracker_arguments(parser)
    add_run_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Search; 0 when all trials are done."""
    from fusion.errors import InputError
    from trackers.evaluation.tune import tune

    specs = tracker_specs(arguments)
    if len(specs) != 1:
        raise InputError("tune takes one tracker, modality, strategy and pooling at a time")
    trials = tune(
        read_data(arguments),
        specs[0],
        arguments.out,
        run_options(arguments),
        trials=arguments.trials,
        seed=arguments.seed,
        interval=arguments.interval,
        execute=executor(arguments),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    for trial in trials[:5]:
        print(f"{trial.objective:.4f}  trial {trial.number}  {dict(trial.settings) or 'preset'}")
    print(f"best: {arguments.out / 'best.yaml'}", file=sys.stderr)
    return 0
