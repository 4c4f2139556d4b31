"""``weights``: what is shipped and imported, whether it is intact, and how official checkpoints are brought in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fusion.errors import RunError

if TYPE_CHECKING:
    from fusion.weight_fetch import Origin
    from fusion.weight_store import WeightRecipe

NAME = "weights"
HELP = "list, verify, fetch and import the weights of fusion methods and trackers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|verify|fetch|import")
    actions.add_parser("list", help="methods, their weights, and where official ones come from")
    actions.add_parser("verify", help="compare every weights file with its noted digest")
    fetch = actions.add_parser(
        "fetch", help="download official weights from their public origin, verify and import them"
    )
    fetch.add_argument("name", metavar="NAME", help="method or tracker; 'weights list' shows which can be fetched")
    fetch.add_argument(
        "--url-base", metavar="URL", help="a mirror's address in place of https://raw.githubusercontent.com"
    )
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
        case "fetch":
            return _fetch(arguments.name, arguments.url_base)
        case _:
            return _import(arguments.file, arguments.name)


def _recipes() -> tuple[WeightRecipe, ...]:
    from fusion.factory import fusion_weight_recipes
    from trackers.factory import weight_recipes

    return (*fusion_weight_recipes(), *weight_recipes())


def _origins() -> tuple[Origin, ...]:
    from fusion.weight_origins import FUSION_ORIGINS
    from trackers.weight_origins import TRACKER_ORIGINS

    return (*FUSION_ORIGINS, *TRACKER_ORIGINS)


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
    print("\ncan be fetched ('weights fetch NAME'):")
    for origin in _origins():
        files = ", ".join(file.name for file in origin.files)
        print(f"{origin.name:<18} {origin.size_bytes / 1e6:6.2f} MB  {files}; licence: {origin.licence}")
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


def _fetch(name: str, url_base: str | None) -> int:
    from fusion.weight_fetch import fetch_weights

    origins = _origins()
    shown = _show_progress if sys.stderr.isatty() else None
    target = fetch_weights(name, origins, _recipes(), url_base=url_base, progress=shown)
    licence = next(origin.licence for origin in origins if origin.name == name)
    print(f"{name} now uses {target} (licence: {licence})")
    return 0


def _show_progress(file: str, done_bytes: int, size_bytes: int) -> None:
    end = "\n" if done_bytes == size_bytes else ""
    print(f"\r{file}: {done_bytes / 1e6:.2f} of {size_bytes / 1e6:.2f} MB", end=end, file=sys.stderr, flush=True)


def _import(file: Path, name: str) -> int:
    from fusion.weight_store import import_weights

    target = import_weights(file, name, _recipes())
    print(f"{name} now uses {target}")
    return 0
