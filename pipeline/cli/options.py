"""Options that several commands share, and the conversion of their texts."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_LARGEST_SEED = 2**63 - 1


def box_argument(text: str) -> list[float]:
    """Four finite numbers ``x,y,w,h`` with a size above 0, for ``--box``.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no box; write four numbers x,y,width,height, such as 10,20,64,48"
        )
    if numbers[2] <= 0 or numbers[3] <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} has no area; width and height must be above 0")
    return numbers


def seed_argument(text: str) -> int:
    """A whole number that every generator of random numbers takes, for ``--seed``.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    if not text.isdecimal() or int(text) > _LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 to {_LARGEST_SEED}")
    return int(text)


def add_attention_options(group: argparse._ActionsContainer) -> None:
    """Declare ``--mode``, ``--pooling`` and ``--spatial``; not given, they are None."""
    group.add_argument(
        "--mode",
        metavar="NAME",
        help="how auif and didfuse (sum, average, l1), densefuse (addition, l1) and ifcnn (max, mean, sum) combine "
        "features (default: the first)",
    )
    group.add_argument(
        "--pooling",
        choices=("avg", "max", "nuclear", "nuclear-fast"),
        help="channel pooling of the attention (default: avg)",
    )
    group.add_argument("--spatial", choices=("softmax", "l1"), help="spatial form of the attention (default: softmax)")


def attention_options(arguments: argparse.Namespace) -> list[str]:
    """``--pooling`` and ``--spatial``, where they were given."""
    return [f"--{name}" for name in ("pooling", "spatial") if getattr(arguments, name) is not None]


def warn_of_unused_attention(method: str, given: Sequence[str]) -> None:
    """Say on standard error that options of the attention change nothing where the method has none.

    Args:
        method: name of a fusion method, or ``none``; an unknown one, which is refused elsewhere, is passed over.
        given: the options, as the user wrote them.
    """
    if not given:
        return
    from fusion.factory import ATTENTION_METHODS, FUSION_METHODS  # only runs that fuse pay for it

    if method in ("none", *FUSION_METHODS) and method not in ATTENTION_METHODS:
        print(
            f"warning: {' and '.join(given)} not used: the fusion method {method} has no attention "
            f"({', '.join(ATTENTION_METHODS)} have)",
            file=sys.stderr,
            flush=True,
        )


def add_fusion_options(group: argparse._ActionsContainer, *, range_default: str) -> None:
    """Declare ``--mode``, those of the attention, ``--range``, ``--tint`` and ``--gray``; not given, they are None."""
    add_attention_options(group)
    group.add_argument(
        "--range",
        choices=("fixed", "stretch", "smooth"),
        help=f"how the network's output becomes 8 bits (default: {range_default})",
    )
    group.add_argument(
        "--night",
        choices=("auto", "on", "off"),
        help="lift what is dark: auto (the default) where the visible picture has colour and is dark, but not with "
        "--range fixed",
    )
    group.add_argument(
        "--tint",
        action="store_true",
        default=None,
        help="show the visible picture, tinted in colour where it is warm, in place of the fused one",
    )
    group.add_argument("--gray", action="store_true", default=None, help="leave out the colour of the visible picture")


def add_engine_options(group: argparse._ActionsContainer) -> None:
    """Declare ``--engine`` and ``--device``; not given, they are None."""
    group.add_argument(
        "--engine",
        choices=("auto", "torch", "onnx", "openvino", "openvino-bf16"),
        help="what runs the networks (default: auto: torch, and for some trackers onnx); see docs/usage.md",
    )
    group.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")


def given_options(arguments: argparse.Namespace, places: Mapping[str, str]) -> dict[str, object]:
    """The options that were given, by their place in the configuration."""
    return {
        place: getattr(arguments, option) for option, place in places.items() if getattr(arguments, option) is not None
    }


def add_configuration_options(parser: argparse._ActionsContainer) -> None:
    """Declare ``--config`` and ``--set``."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with the fields of the configuration")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="override any field of the configuration"
    )
