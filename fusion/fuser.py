"""The interface that every fusion method has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError

RangeName = Literal["fixed", "stretch", "smooth"]
NightName = Literal["auto", "on", "off"]
PoolingName = Literal["avg", "max", "nuclear", "nuclear-fast"]
SpatialName = Literal["softmax", "l1"]
EngineName = Literal["torch", "onnx", "openvino", "openvino-bf16"]
EngineChoice = Literal["auto", EngineName]

FUSION_MODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "auif": ("sum", "average", "l1"),
        "didfuse": ("sum", "average", "l1"),
        "densefuse": ("addition", "l1"),
        "ifcnn": ("max", "mean", "sum"),
    }
)
"""How the features are combined, for the networks that offer several ways; the first is the published setting."""


def chosen_engine(choice: EngineChoice) -> EngineName:
    """What runs a fusion network; ``auto`` is torch, which needs no extra package."""
    return "torch" if choice == "auto" else choice


def method_in_mode(method: str, mode: str | None) -> str:
    """Name of the method that ``method`` is in ``mode``: ``didfuse`` in mode l1 is ``didfuse-l1``.

    None and the published mode are the method itself.

    Raises:
        InputError: the method has no such mode.
    """
    if mode is None:
        return method
    modes = FUSION_MODES.get(method)
    if modes is None:
        raise InputError(f"mode {mode}: the fusion method {method} has no modes; {', '.join(FUSION_MODES)} have")
    if mode not in modes:
        raise InputError(f"mode {mode}: the fusion method {method} has {', '.join(modes)}")
    return method if mode == modes[0] else f"{method}-{mode}"


class Fuser(Protocol):
    """Turns a registered pair into one picture.

    A fuser may carry state over time only in its range mapping (``smooth``); ``reset`` forgets it.
    """

    def __call__(self, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fuse ``visible_bgr`` (H, W, 3) uint8 and ``thermal`` (H, W) uint8 into (H, W, 3) uint8 BGR.

        Raises:
            InputError: the sizes differ, or the picture is too small for the method.
        """
        ...

    def reset(self) -> None:
        """Forget what the range mapping learned of earlier pictures."""
        ...
