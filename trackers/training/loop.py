"""The resumable training loop of the trackers.

A run may be killed at any moment and goes on from its last checkpoint with the same samples and the same choices:
samples are numbered and drawn from (seed, number), modes from (seed, step), so nothing but the step count and the
optimiser has to be remembered. Under ``torchrun`` every process takes its own numbers.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from fusion.checkpoints import load_strictly, read_state_dict, save_half, save_state
from fusion.devices import resolve_device
from fusion.errors import InputError
from fusion.whole_files import written_whole
from trackers.networks.lite import LiteConfig, LiteNetwork
from trackers.training.card import write_card, write_curves
from trackers.training.sampling import PairSampler, SamplingConfig
from trackers.training.sources import find_training_set
from trackers.training.step import TrainingStep, as_batch, choose_modes

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "siamrpn-lite.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerTrainingConfig:
    """What to train on, for how long, and how.

    Attributes:
        data: folders, see ``trackers.training.sources``.
        out: folder for checkpoint, curves, weights and model card.
        backbone: checkpoint with ``backbone.`` keys to start from, or None for random weights.
        left_out: names of sequences kept for validation.
        steps: optimiser steps in all.
        batch: samples a step and process.
        learning_rate: peak for the head; the backbone gets ``backbone_rate`` times as much.
        unfreeze_at: share of the steps after which the backbone's deeper blocks learn too.
        precision: ``bfloat16`` runs forward and backward under autocast.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each process takes the GPU of its own number.
    """

    data: tuple[Path, ...]
    out: Path
    backbone: Path | None = None
    left_out: tuple[str, ...] = ()
    steps: int = 12_000
    batch: int = 32
    learning_rate: float = 1.2e-3
    backbone_rate: float = 0.05
    weight_decay: float = 1e-4
    warm_up_steps: int = 300
    unfreeze_at: float = 0.6
    average_decay: float = 0.999
    checkpoint_every: int = 250
    workers: int = 1
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    resume: bool = False
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    network: LiteConfig = field(default_factory=LiteConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of a training must be at least 1, not {getattr(self, name)}")
        if self.workers < 0:
            raise InputError(f"workers of a training must be at least 0, not {self.workers}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """Progress of one step, for the caller's progress bar or log."""

    step: int
    steps: int
    loss: float
    class_loss: float
    box_loss: float
    mean_iou: float
    pairs_per_s: float


def train_tracker(config: TrackerTrainingConfig, report: Callable[[TrainingReport], None] = lambda _: None) -> Path:
    """Train ``siamrpn-lite`` and return the path of the weights (half precision, averaged over steps).

    Raises:
        InputError: data or checkpoint cannot be used, or ``out`` holds a run and ``resume`` is not given.
    """
    with _process_group(config.device) as (rank, world, device):
        return _train(config, report, rank, world, device)


def _train(
    config: TrackerTrainingConfig,
    report: Callable[[TrainingReport], None],
    rank: int,
    world: int,
    device: torch.device,
) -> Path:
    data = find_training_set(config.data, config.left_out)
    torch.manual_seed(config.seed)
    network = LiteNetwork(config.network)
    if config.backbone is not None:
        _load_backbone(network, config.backbone)
    average = LiteNetwork(config.network)
    average.load_state_dict(network.state_dict())
    network.to(device)
    average.to(device)
    optimizer = torch.optim.AdamW(
        [
            {"params": _head_parameters(network), "rate": 1.0},
            {"params": list(network.backbone.features[4:].parameters()), "rate": config.backbone_rate},
        ],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    first = _restore(config, network, average, optimizer, device)
    step_module = TrainingStep(network)
    runner: nn.Module = DistributedDataParallel(step_module, find_unused_parameters=True) if world > 1 else step_module
    history = _read_history(config.out / "losses.csv", first)
    started, began_at = time.monotonic(), first
    for step, samples in zip(range(first, config.steps), _batches(config, data, first, rank, world), strict=False):
        _set_phase(step_module, step >= config.unfreeze_at * config.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * _learning_rate(config, step)
        modes = choose_modes(samples["sees"], np.random.default_rng((config.seed, step, rank)))
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = runner(as_batch(samples, modes, device))
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        if torch.isfinite(norm):
            optimizer.step()
            _average(average, network, min(config.average_decay, (1 + step) / (10 + step)))
        done = step + 1
        history.append((done, float(loss.total.detach()), float(loss.classes), float(loss.boxes), float(loss.mean_iou)))
        if rank == 0:
            report(_as_report(config, history[-1], (done - began_at) * config.batch * world, started))
            if done % config.checkpoint_every == 0 or done == config.steps:
                _save(config, network, average, optimizer, done)
                _write_history(config.out / "losses.csv", history)
    if rank == 0:
        write_curves(config.out, history)
        save_half(average, config.out / WEIGHTS, {"tracker": "siamrpn-lite", "steps": str(config.steps)})
        write_card(config.out / "siamrpn-lite.md", asdict(config), data, history)
    return config.out / WEIGHTS


@contextmanager
def _process_group(device_name: str) -> Iterator[tuple[int, int, torch.device]]:
    """Rank of this process, how many there are, and its device; joins the others when started by torchrun."""
    device = resolve_device(device_name)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world <= 1:
        yield 0, 1, device
        return
    if device.type == "cuda":
        # One GPU for each process: NCCL refuses two on the same.
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield torch.distributed.get_rank(), world, device
    finally:
        torch.distributed.destroy_process_group()


def _load_backbone(network: LiteNetwork, path: Path) -> None:
    state = {
        name.removeprefix("backbone."): value
        for name, value in read_state_dict(path).items()
        if name.startswith("backbone.")
    }
    if not state:
        raise InputError(f"--backbone {path} has no keys that start with 'backbone.'")
    load_strictly(network.backbone, state, str(path))


def _head_parameters(network: LiteNetwork) -> list[nn.Parameter]:
    return [value for name, value in network.named_parameters() if not name.startswith("backbone.")]


def _set_phase(module: TrainingStep, train_backbone: bool) -> None:
    module.train()
    # Batch statistics of augmented crops would wash out what the backbone was trained with.
    module.network.backbone.eval()
    module.train_backbone = train_backbone
    for index, block in enumerate(module.network.backbone.features):
        block.requires_grad_(train_backbone and index >= 4)


def _learning_rate(config: TrackerTrainingConfig, step: int) -> float:
    if step < config.warm_up_steps:
        return config.learning_rate * (step + 1) / config.warm_up_steps
    progress = (step - config.warm_up_steps) / max(config.steps - config.warm_up_steps, 1)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def _batches(
    config: TrackerTrainingConfig, data: Any, first: int, rank: int, world: int
) -> Iterator[dict[str, Tensor]]:
    start = (first * world + rank * (config.steps - first)) * config.batch
    sampler = PairSampler(
        data, config.sampling, seed=config.seed, start=start, count=(config.steps - first) * config.batch
    )
    loader = DataLoader(
        sampler,
        batch_size=config.batch,
        num_workers=config.workers,
        worker_init_fn=_calm_worker,
        pin_memory=resolve_device(config.device).type == "cuda",
        prefetch_factor=4 if config.workers else None,
        persistent_workers=False,
    )
    return iter(loader)


def _calm_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    with torch.no_grad():
        # In one call: a GPU would spend more time on starting several hundred than on computing them.
        torch._foreach_lerp_([kept for kept, _ in numbers], [new for _, new in numbers], 1 - decay)
        for kept, new in pairs:
            if not kept.is_floating_point():
                kept.copy_(new)


def _restore(
    config: TrackerTrainingConfig,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> int:
    path = config.out / CHECKPOINT
    if not path.exists():
        return 0
    if not config.resume:
        raise InputError(f"--out {config.out} holds a training run; add --resume to go on, or choose another folder")
    saved = torch.load(path, map_location=device, weights_only=True)
    network.load_state_dict(saved["network"])
    average.load_state_dict(saved["average"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _save(
    config: TrackerTrainingConfig,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    save_state(state, config.out / CHECKPOINT)


History = list[tuple[int, float, float, float, float]]


def _read_history(path: Path, steps: int) -> History:
    if not path.exists() or steps == 0:
        return []
    with path.open() as file:
        rows = list(csv.reader(file))[1:]
    return [
        (int(row[0]), float(row[1]), float(row[2]), float(row[3]), float(row[4]))
        for row in rows
        if int(row[0]) <= steps
    ]


def _write_history(path: Path, history: History) -> None:
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "class_loss", "box_loss", "mean_iou"])
        writer.writerows((row[0], *(f"{value:.5f}" for value in row[1:])) for row in history)


def _as_report(
    config: TrackerTrainingConfig, row: tuple[int, float, float, float, float], pairs: int, started: float
) -> TrainingReport:
    return TrainingReport(
        step=row[0],
        steps=config.steps,
        loss=row[1],
        class_loss=row[2],
        box_loss=row[3],
        mean_iou=row[4],
        pairs_per_s=pairs / max(time.monotonic() - started, 1e-9),
    )
