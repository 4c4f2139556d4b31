"""What a training task offers the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """What a model card says of a task.

    Attributes:
        data: what was learned from, in a few words.
        goal: what was learned, and the loss.
        remarks: further settings.
        held_out: which data were left out, and what was measured on them.
        quality: the measures by name.
    """

    data: str
    goal: str
    remarks: str
    held_out: str
    quality: Mapping[str, float]


class TrainingTask(Protocol):
    """A network, the data it learns from, and its losses."""

    @property
    def module(self) -> nn.Module:
        """Holds all parameters; what :meth:`losses` runs."""
        ...

    @property
    def network(self) -> nn.Module:
        """The network in its published layout, whose weights are written at the end."""
        ...

    def losses(self, module: nn.Module, step: int, rank: int, device: torch.device) -> dict[str, Tensor]:
        """Losses of one step by name; the first is what is minimised.

        Args:
            module: :attr:`module`, or what wraps it on several processes.
            step: from 0.
            rank: of this process.
            device: where the module is.
        """
        ...

    def finish(self, device: torch.device) -> TaskReport:
        """Bring the network into the form that is written, and measure it."""
        ...
