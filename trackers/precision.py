"""In what engine and arithmetic, and how, a tracker's network runs, when nothing else is asked for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from fusion.errors import InputError

if TYPE_CHECKING:  # settings are read before anything heavy is imported
    import torch

EngineChoice = Literal["auto", "torch", "onnx", "openvino"]
"""What a user can ask for; see :func:`chosen_engine`."""

EngineName = Literal["torch", "onnx", "openvino"]
"""What computes a network; see ``trackers.factory.build_tracker``."""

PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]
"""What a user can ask for; see :func:`chosen_precision`."""

PrecisionName = Literal["float32", "bfloat16", "float16"]
"""Arithmetic of a network."""

ExecutionChoice = Literal["auto", "graphs", "eager"]
"""What a user can ask for; see :func:`chosen_execution`."""

ExecutionName = Literal["graphs", "eager"]
"""How pairs are searched; see :class:`trackers.siamese_tracker.SiameseTracker`."""


def chosen_engine(
    choice: EngineChoice, *, precision: PrecisionChoice, device: torch.device, on_cpu: EngineName
) -> EngineName:
    """What computes a network: ``auto`` is the tracker's own engine in float32 on a CPU, else PyTorch.

    Where onnxruntime, or the package that writes graphs for it, is not installed, PyTorch takes its place.

    Raises:
        InputError: an unknown name.
    """
    match choice:
        case "auto":
            is_own = device.type == "cpu" and precision in ("auto", "float32")
            if is_own and (on_cpu != "onnx" or all(map(find_spec, ("onnxruntime", "onnx")))):
                return on_cpu
            return "torch"
        case "torch" | "onnx" | "openvino":
            return choice
    raise InputError(f"unknown engine {choice!r}; there are auto, torch, onnx, openvino")


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
