"""Names of devices, as the user gives them, to devices that exist."""

from __future__ import annotations

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
