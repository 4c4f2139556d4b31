"""Fusion methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from fusion.attention import NESTFUSE, AttentionStrategy, PoolingKind, SpatialKind
from fusion.auif import load_auif, read_auif_weights
from fusion.auif_inference import collapse
from fusion.checkpoints import load_strictly, read_state_dict
from fusion.devices import resolve_device
from fusion.errors import InputError
from fusion.fuser import Fuser, PoolingName, RangeName, SpatialName
from fusion.nestfuse import NestFuse, config_of_weights
from fusion.nestfuse_inference import NestFuseMethod
from fusion.picture_fuser import AverageMethod, LumaMethod, PictureFuser
from fusion.ranges import build_range
from fusion.weight_store import WeightRecipe, require_weights

FUSION_METHODS: tuple[str, ...] = ("average", "nestfuse", "nestfuse-lite", "auif")
"""Names that :func:`build_fuser` knows."""

_ORIGINS: Mapping[str, str] = {
    "nestfuse": "Official models: github.com/hli1221/imagefusion-nestfuse, models/nestfuse_1e2.model.",
    "nestfuse-lite": "It is trained here: 'train-fuser --method nestfuse-lite'.",
    "auif": "Official models: github.com/Zhaozixiang1228/IVIF-AUIF-Net, folder Models (three files; give the folder).",
}


def build_fuser(
    name: str,
    *,
    weights: Path | None = None,
    pooling: PoolingName = "avg",
    spatial: SpatialName = "softmax",
    range_name: RangeName = "stretch",
    engine: str = "torch",
    device: str = "cpu",
    gray: bool = False,
) -> Fuser:
    """Build the fusion method ``name``.

    Args:
        name: one of :data:`FUSION_METHODS`.
        weights: a file (for AUIF also a folder) instead of the imported or shipped weights.
        pooling: channel pooling of the attention methods.
        spatial: spatial attention of the attention methods.
        range_name: how the output becomes 8 bit; ``smooth`` for video, ``stretch`` or ``fixed`` for stills.
        engine: ``torch``.
        device: ``auto``, ``cpu`` or ``cuda``. AUIF runs on the CPU in any case, where it is fast.
        gray: grey output even where the visible picture has colour.

    Raises:
        InputError: an unknown name or choice, or a method without weights.
    """
    if name not in FUSION_METHODS:
        near = get_close_matches(name, FUSION_METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"fusion method {name!r} is unknown: choose {', '.join(FUSION_METHODS)}{hint}")
    if engine != "torch":
        raise InputError(f"--engine {engine}: fusion runs on torch here")
    range_mapping = build_range(range_name)
    strategy = attention_strategy(pooling, spatial)
    return PictureFuser(_build_method(name, weights, strategy, resolve_device(device)), range_mapping, gray=gray)


def attention_strategy(pooling: str, spatial: str) -> AttentionStrategy:
    """The NestFuse strategy with a pooling and a spatial form by name.

    Raises:
        InputError: an unknown name.
    """
    poolings: dict[str, PoolingKind] = {kind: kind for kind in get_args(PoolingName)}
    spatials: dict[str, SpatialKind] = {kind: kind for kind in get_args(SpatialName)}
    for option, value, choices in (("--pooling", pooling, poolings), ("--spatial", spatial, spatials)):
        if value not in choices:
            raise InputError(f"{option} {value}: choose {', '.join(choices)}")
    return AttentionStrategy(
        spatial=spatials[spatial],
        channel=NESTFUSE.channel,
        pooling=poolings[pooling],
        epsilon=NESTFUSE.epsilon,
    )


def fusion_weight_recipes() -> tuple[WeightRecipe, ...]:
    """What ``weights import`` can bring in for fusion."""
    return (
        WeightRecipe(name="nestfuse", origin=_ORIGINS["nestfuse"], check=_check_nestfuse),
        WeightRecipe(name="nestfuse-lite", origin=_ORIGINS["nestfuse-lite"], check=_check_nestfuse),
        WeightRecipe(name="auif", origin=_ORIGINS["auif"], check=_check_auif, read=read_auif_weights),
    )


def load_nestfuse(state: Mapping[str, Tensor], source: str) -> NestFuse:
    """The network of the size that the weights have, in evaluation mode; strict.

    Raises:
        InputError: the weights do not fit.
    """
    network = NestFuse(config_of_weights(state))
    load_strictly(network, state, source)
    return network.eval()


def _build_method(name: str, weights: Path | None, strategy: AttentionStrategy, device: torch.device) -> LumaMethod:
    match name:
        case "nestfuse" | "nestfuse-lite":
            path = require_weights(name, weights, _ORIGINS[name])
            return NestFuseMethod(load_nestfuse(read_state_dict(path), str(path)), strategy, device)
        case "auif":
            path = require_weights(name, weights, _ORIGINS[name])
            return collapse(load_auif(read_auif_weights(path), str(path)))
        case _:
            if weights is not None:
                raise InputError(f"--weights {weights}: the method {name} has none")
            return AverageMethod()


def _check_nestfuse(state: Mapping[str, Tensor], source: str) -> None:
    load_nestfuse(state, source)


def _check_auif(state: Mapping[str, Tensor], source: str) -> None:
    load_auif(state, source)
