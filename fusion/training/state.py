"""The checkpoint of a running training: complete, and replaced in one step so that a kill leaves the last one."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fusion.checkpoints import save_state
from fusion.errors import InputError
from fusion.training.config import FuserTrainingConfig

STATE_NAME = "training.pt"

# What may differ between the parts of a resumed run; the rest decides what is learned from what.
_FREE_FIELDS = frozenset({"out", "steps", "save_every", "threads", "resume", "images", "teacher", "feature_scale"})


@dataclass(frozen=True, slots=True)
class LossRow:
    """Mean losses by name since the row before, at the end of ``step`` (counted from 1); the first is minimised."""

    step: int
    losses: Mapping[str, float]
    seconds: float


def save_training_state(
    config: FuserTrainingConfig, module: nn.Module, optimizer: torch.optim.Optimizer, rows: list[LossRow]
) -> None:
    """Write everything that continues the run after ``rows[-1].step`` to ``config.out``, in one step."""
    state = {
        "config": _identity(config),
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rows": [(row.step, dict(row.losses), row.seconds) for row in rows],
        "rng": torch.get_rng_state(),
    }
    save_state(state, config.out / STATE_NAME)


def load_training_state(
    config: FuserTrainingConfig, module: nn.Module, optimizer: torch.optim.Optimizer
) -> list[LossRow]:
    """Restore the run in ``config.out``; its loss rows so far (none when it had not saved yet).

    Raises:
        InputError: the checkpoint is damaged or belongs to a run with other settings.
    """
    path = config.out / STATE_NAME
    if not path.is_file():
        return []
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"--resume: {path} cannot be read ({error}); remove it to start anew") from error
    expected = _identity(config)
    # A setting that the checkpoint does not name yet was not there when it was written: it had no effect.
    known = FuserTrainingConfig.__dataclass_fields__
    different = [
        name for name, value in expected.items() if state["config"].get(name, str(known[name].default)) != value
    ]
    if different:
        raise InputError(
            f"--resume: {path} was trained with another {', '.join(different)}; "
            "repeat those options or choose another --out"
        )
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return [LossRow(*row) for row in state["rows"]]


def _identity(config: FuserTrainingConfig) -> dict[str, str]:
    names = [name for name in FuserTrainingConfig.__dataclass_fields__ if name not in _FREE_FIELDS]
    return {name: str(getattr(config, name)) for name in names}
