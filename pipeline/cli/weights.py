"""``weights``: what is shipped and imported, whether it is intact, and how official checkpoints are brought in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fusion.errors import RunError

if TYPE_CHECKING:
    from fusion.weight_store import WeightRecipe

NAME = "weights"
HELP = "list, verify and import the weights of fusion methods and trackers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|verify|import")
    actions.add_parser("list", help="methods, their weights, and where official ones come from")
    actions.add_parser("verify", help="compare every weights file with its noted digest")
    bring = actions.add_parser("import", help="check an official checkpoint and keep it for later runs")
    bring.add_argument(
        "file", type=Path, metavar="FILE", help="checkpoint file, or the folder of a method with several"
    )
    bring.add_argument("--as", dest="name", required=True, metavar="NAME", help="method or tracker it is for")


def execute(arguments: argparse.Namespace) -> int:
    """Do the action."""
    match arguments.action:
        case "list":
            return _list()
        case "verify":
            return _verify()
        case _:
            return _import(arguments.file, arguments.name)


def _recipes() -> tuple[WeightRecipe, ...]:
    from fusion.factory import fusion_weight_recipes
    from trackers.factory import weight_recipes

    return (*fusion_weight_recipes(), *weight_recipes())


def _list() -> int:
    from fusion.weight_store import stored_weights

    stored = stored_weights()
    for recipe in _recipes():
        mine = [weights for weights in stored if weights.name == recipe.name]
        for weights in mine:
            kind = "imported" if weights.imported else "shipped"
            print(f"{recipe.name:<18} {kind:<9} {weights.size_bytes / 1e6:6.2f} MB  {weights.path}")
        if not mine:
            print(f"{recipe.name:<18} {'absent':<9}            {recipe.origin}")
    return 0


def _verify() -> int:
    from fusion.weight_store import stored_weights

    stored = stored_weights()
    if not stored:
        raise RunError("there are no weights; install from a complete checkout, or import some")
    damaged = []
    for weights in stored:
        verdict = "ok" if weights.intact else "no note" if weights.expected_sha256 is None else "CHANGED"
        print(f"{verdict:<8} {weights.sha256[:16]}  {weights.path}")
        if weights.expected_sha256 is not None and not weights.intact:
            damaged.append(weights.path)
    if damaged:
        names = ", ".join(str(path) for path in damaged)
        raise RunError(f"{names}: not the file that was noted; restore or import it again")
    return 0


def _import(file: Path, name: str) -> int:
    from fusion.weight_store import import_weights

    target = import_weights(file, name, _recipes())
    print(f"{name} now uses {target}")
    return 0
