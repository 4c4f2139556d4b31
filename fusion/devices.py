"""Names of devices, as the user gives them, to devices that exist; and how exactly a GPU computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from fusion.errors import InputError


def resolve_device(name: str) -> torch.device:
    """Device of ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: an unknown name, or CUDA where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise InputError(f"--device {name}: choose auto, cpu or cuda")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise InputError("--device cuda: no CUDA device can be used here; choose auto or cpu")
        if int(index or 0) >= count:
            raise InputError(f"--device {name}: this machine has {count} CUDA devices, numbered from 0")
    return torch.device(name)


@contextmanager
def gpu_convolutions(precision: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Let convolutions in float32 on a GPU round as IEEE 754 has it, or their inputs to 11 bits as ``tf32``.

    PyTorch's own setting is ``tf32``, which is faster and no more exact than float16. It holds for the whole process,
    so it is put back at the end.
    """
    backend = torch.backends.cudnn
    if hasattr(backend, "conv"):
        before = backend.conv.fp32_precision
        backend.conv.fp32_precision = precision
        try:
            yield
        finally:
            backend.conv.fp32_precision = before
        return
    # PyTorch before 2.9.
    allowed = backend.allow_tf32
    backend.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        backend.allow_tf32 = allowed
