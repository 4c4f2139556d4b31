"""What a published benchmark holds, so that an incomplete copy is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import yaml

from fusion.errors import InputError

_FILES = {"vot-rgbt2019": "vot_rgbt2019.yaml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark by name: its sequences and how many frames each has."""

    name: str
    sequences: Mapping[str, int]


def benchmark(name: str) -> Benchmark:
    """The facts of a benchmark, from ``configs``.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _FILES:
        raise InputError(f"unknown benchmark '{name}'; there is {', '.join(_FILES)}")
    content = yaml.safe_load(resources.files("configs").joinpath(_FILES[name]).read_text(encoding="utf-8"))
    return Benchmark(name=name, sequences=dict(content["sequences"]))
