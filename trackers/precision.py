"""In what arithmetic and how a tracker's network runs, when nothing else is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fusion.errors import InputError

if TYPE_CHECKING:  # settings are read before anything heavy is imported
    import torch

PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]
"""What a user can ask for; see :func:`chosen_precision`."""

PrecisionName = Literal["float32", "bfloat16", "float16"]
"""Arithmetic of a network."""

ExecutionChoice = Literal["auto", "graphs", "eager"]
"""What a user can ask for; see :func:`chosen_execution`."""

ExecutionName = Literal["graphs", "eager"]
"""How pairs are searched; see :class:`trackers.siamese_tracker.SiameseTracker`."""


def chosen_precision(
    choice: PrecisionChoice, *, engine: str, device: torch.device, on_gpu: PrecisionName
) -> PrecisionName:
    """The arithmetic of a network: ``auto`` is the tracker's own with PyTorch on a GPU, else float32.

    Raises:
        InputError: an unknown name, or float16 elsewhere, where it is slower or lacking.
    """
    runs_there = engine == "torch" and device.type == "cuda"
    match choice:
        case "auto":
            return on_gpu if runs_there else "float32"
        case "float16" if not runs_there:
            raise InputError("precision float16 is for --engine torch --device cuda; choose float32 or bfloat16")
        case "float32" | "bfloat16" | "float16":
            return choice
    raise InputError(f"unknown precision {choice!r}; there are auto, float32, bfloat16, float16")


def chosen_execution(choice: ExecutionChoice, *, engine: str, device: torch.device) -> ExecutionName:
    """How pairs are searched: ``auto`` is ``graphs`` with PyTorch on a GPU, else ``eager``.

    Raises:
        InputError: an unknown name, or ``graphs`` elsewhere.
    """
    on_gpu = engine == "torch" and device.type == "cuda"
    match choice:
        case "auto":
            return "graphs" if on_gpu else "eager"
        case "graphs" if not on_gpu:
            raise InputError("execution graphs is for --engine torch --device cuda; choose eager")
        case "graphs" | "eager":
            return choice
    raise InputError(f"unknown execution {choice!r}; there are auto, graphs, eager")
