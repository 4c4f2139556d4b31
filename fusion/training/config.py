"""What a training run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fusion.errors import InputError

TrainableMethod = Literal["nestfuse", "nestfuse-lite", "nestfuse-narrow", "auif", "didfuse"]
PrecisionName = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecompositionWeights:
    """Weights of the terms of the decomposition loss (:func:`fusion.training.losses.decomposition_losses`).

    Attributes:
        background: of the difference of the backgrounds, made small.
        detail: of the difference of the details, made large.
        reconstruction: of the error of both pictures.
        gradient: of the error of the visible picture's gradients.
        balance: of the mean of base plus detail in units of their spread, squared; ours, for ``auif``. Without a mean,
            the sum of two pictures' parts is no brighter than either, and neither is their average darker.
    """

    background: float = 1.0
    detail: float = 0.5
    reconstruction: float = 2.0
    gradient: float = 10.0
    balance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FuserTrainingConfig:
    """A training run of a fusion network.

    Attributes:
        method: the network. ``nestfuse-lite`` and ``nestfuse-narrow`` learn from ``nestfuse`` and from pairs; the
            latter keeps its encoder, and only the decoder learns.
        images: folders of training pictures, searched recursively. For all methods but ``nestfuse`` some must hold
            folders ``ir`` and ``vis`` with registered pairs of equal names.
        out: folder of the run: checkpoint, weights, curves and model card.
        steps: optimiser steps in total, also when resumed.
        batch_size: crops (of pairs, for ``auif`` and ``didfuse``) per step and process.
        crop_px: side of the square crops, a multiple of 8.
        learning_rate: of Adam at its highest; 100 steps of warm-up, then a cosine down to 0.
        ssim_weight: lambda of the papers; None is 100 for NestFuse on grey levels 0..255, else 5 on 0..1.
        decomposition: weights of the terms with which ``auif`` and ``didfuse`` learn.
        feature_scale: factor on the encoder's features, undone in the decoder, when the weights are written; below 1
            the spatial softmax weighs the modalities where it would choose one
            (:func:`fusion.nestfuse.rescale_features`).
        deep_supervision: outputs and losses at all three nest levels.
        precision: of the convolutions; losses and weights are always float32.
        teacher: weights of the full network that the smaller ones learn from; None takes the shipped ones.
        lessons: crops of pairs that the teacher answers, once, before the first step.
        edge_lines: probability that a crop of ``nestfuse`` and its students gets lines at its sides, as cameras leave
            them (:func:`fusion.training.images.draw_edge_lines`).
        seed: of initial weights and crops.
        save_every: steps between two checkpoints.
        threads: CPU threads of one process; 0 leaves it to PyTorch.
        resume: continue the run in ``out`` where its last checkpoint was written.

    Raises:
        InputError: a number out of its range or an unknown name.
    """

    method: TrainableMethod = "nestfuse"
    images: tuple[Path, ...]
    out: Path
    steps: int = 2000
    batch_size: int = 8
    crop_px: int = 64
    learning_rate: float = 1e-3
    ssim_weight: float | None = None
    decomposition: DecompositionWeights = DecompositionWeights()
    feature_scale: float = 1.0
    deep_supervision: bool = False
    precision: PrecisionName = "float32"
    teacher: Path | None = None
    lessons: int = 512
    edge_lines: float = 0.0
    seed: int = 0
    save_every: int = 100
    threads: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        if self.method not in get_args(TrainableMethod):
            raise InputError(f"--method {self.method}: can be trained: {', '.join(get_args(TrainableMethod))}")
        if self.precision not in get_args(PrecisionName):
            raise InputError(f"precision {self.precision!r}: choose one of {', '.join(get_args(PrecisionName))}")
        for name in ("steps", "batch_size", "save_every", "lessons"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of a training must be at least 1, not {getattr(self, name)}")
        if self.crop_px < 32 or self.crop_px % 8:
            raise InputError(f"crop_px of a training must be a multiple of 8 from 32 up, not {self.crop_px}")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"learning_rate of a training must lie between 0 and 1, not {self.learning_rate}")
        if not 0 <= self.edge_lines <= 1:
            raise InputError(f"edge_lines of a training must lie between 0 and 1, not {self.edge_lines}")
        if not self.feature_scale > 0:
            raise InputError(f"feature_scale of a training must be above 0, not {self.feature_scale}")
        if not self.images:
            raise InputError("a training needs at least one folder of pictures (--images DIR)")

    @property
    def structure_weight(self) -> float:
        """The weight of 1 - SSIM that counts."""
        if self.ssim_weight is not None:
            return self.ssim_weight
        return 5.0 if self.method in ("auif", "didfuse") else 100.0
