"""Strict, safe loading of weights: safetensors, or PyTorch files without arbitrary code.

A file that does not fit the network is refused with the keys that are missing, unexpected or of another shape.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from fusion.errors import InputError
from fusion.whole_files import written_whole

_LISTED_KEYS = 2
_CHECKPOINT_SUFFIXES = frozenset({".ckpt", ".model", ".pkl", ".pt", ".pth", ".safetensors"})

# Training checkpoints keep NumPy numbers in their optimizer state (NanoTrack's do); building a number runs no code.
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)),
]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint file by name, on the CPU.

    Understands safetensors and ``torch.save`` files: a bare state_dict, one under ``state_dict`` (PySOT) or
    ``weight`` (DIDFuse), with or without the ``module.`` prefix of data-parallel training.

    Raises:
        InputError: the file is missing, damaged, needs code to load, or holds no tensors.
    """
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist; see 'weights list' for what is available")
    try:
        if path.suffix == ".safetensors":
            loaded: object = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals(_NUMPY_NUMBERS), warnings.catch_warnings():
                # Of damaged files torch also complains in warnings; the error says enough.
                warnings.simplefilter("ignore")
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"weights file {path} {_refusal(error)}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise almost anything: IndexError, struct.error, ...
        raise InputError(f"weights file {path} cannot be read: {_first_line(error)}") from error
    for key in ("state_dict", "weight"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()) or not loaded:
        raise InputError(f"weights file {path} holds no state_dict (a mapping of names to tensors)")
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}


def read_merged_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint file, or of all checkpoint files of a folder together.

    Some methods publish a network in several files (encoder, decoder) whose tensor names do not collide.

    Raises:
        InputError: unreadable, a folder without checkpoints, or one where a name occurs twice.
    """
    if not path.is_dir():
        return read_state_dict(path)
    files = sorted(file for file in path.iterdir() if file.suffix in _CHECKPOINT_SUFFIXES)
    if not files:
        raise InputError(f"weights folder {path} holds no checkpoint ({', '.join(sorted(_CHECKPOINT_SUFFIXES))})")
    merged: dict[str, Tensor] = {}
    for file in files:
        state = read_state_dict(file)
        twice = merged.keys() & state.keys()
        if twice:
            raise InputError(f"weights folder {path}: {min(twice)} occurs in two files; keep one set of files there")
        merged |= state
    return merged


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``module``; every key and shape must agree. Half-precision tensors are widened.

    ``num_batches_tracked`` counters of batch norm may be absent: they have no part in inference and old
    PyTorch versions did not write them.

    Raises:
        InputError: keys or shapes differ; the message lists the first of them.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what}: {_listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    ]
    if problems:
        raise InputError(f"weights {source} do not fit {type(module).__name__}: {'; '.join(problems)}")
    bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(f"weights {source} hold values that are not finite: {_listed(bad)}")
    module.load_state_dict({**expected, **state})


def save_half(module: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights of ``module`` as safetensors in half precision, replacing ``path`` in one step."""
    state = {
        name: value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype)
        for name, value in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(state, path, metadata)


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write what a program needs to go on, in PyTorch's format, replacing ``path`` in one step.

    It is on the disk when this returns. A failed write is told as one, not as PyTorch's RuntimeError.

    Raises:
        OSError: it cannot be written.
    """
    with written_whole(path) as partial, partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def save_tensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name as safetensors, replacing ``path`` in one step.

    Raises:
        OSError: it cannot be written.
    """
    content = safetensors.torch.save(
        {name: value.contiguous() for name, value in state.items()}, None if metadata is None else dict(metadata)
    )
    with written_whole(path) as partial:
        # Not by save_file, which would let nobody but its writer read the file.
        partial.write_bytes(content)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED_KEYS} more" if len(names) > _LISTED_KEYS else ""
    return ", ".join(names[:_LISTED_KEYS]) + more


def _refusal(error: pickle.UnpicklingError) -> str:
    # PyTorch's own text advises to load the file with code and all, which a name on the command line must never do.
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if foreign:
        return f"holds objects other than tensors ({foreign[1]}) and is not loaded; re-save its state_dict alone"
    return "is no checkpoint; give a safetensors file, or a state_dict saved by torch.save"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
