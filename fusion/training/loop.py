"""The training loop: one process, or several under torchrun; killed at any moment, it resumes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from fusion.checkpoints import save_half
from fusion.errors import InputError, RunError
from fusion.training.autoencoder import AutoencoderTask
from fusion.training.config import FuserTrainingConfig
from fusion.training.decomposition import DecompositionTask
from fusion.training.report import write_card, write_curve
from fusion.training.state import STATE_NAME, LossRow, load_training_state, save_training_state
from fusion.training.task import TrainingTask

_WARM_UP_STEPS = 100
_ROW_STEPS = 10


def train_fuser(config: FuserTrainingConfig) -> None:
    """Train a fusion network and write weights, loss curve and model card to ``config.out``.

    Under torchrun every process takes part; the first writes.

    Raises:
        InputError: no pictures or pairs, or ``out`` holds a run that cannot be continued.
        RunError: the loss is no longer finite.
    """
    if (config.out / STATE_NAME).exists() and not config.resume:
        raise InputError(f"--out {config.out} holds a training already; add --resume or choose another folder")
    config.out.mkdir(parents=True, exist_ok=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    with _process_group() as (rank, device):
        task = _task(config)
        task.module.to(device)
        optimizer = torch.optim.Adam(task.module.parameters(), lr=config.learning_rate)
        rows = load_training_state(config, task.module, optimizer)
        _run(config, task, optimizer, rows, (rank, device))
        if rank == 0:
            write_curve(rows, config.out)
            report = task.finish(device)
            metadata = {"method": config.method, "steps": str(config.steps), "seed": str(config.seed)}
            save_half(task.network, config.out / f"{config.method}.safetensors", metadata)
            write_card(config, rows, report)


def learning_rate_at(step: int, config: FuserTrainingConfig) -> float:
    """Learning rate of ``step`` (from 0): linear warm-up, then a cosine that ends at 0."""
    warm_up = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return config.learning_rate * warm_up * (1 + math.cos(math.pi * step / config.steps)) / 2


def _task(config: FuserTrainingConfig) -> TrainingTask:
    match config.method:
        case "nestfuse" | "nestfuse-lite" | "nestfuse-narrow":
            return AutoencoderTask(config)
        case "auif" | "didfuse":
            return DecompositionTask(config)


def _run(
    config: FuserTrainingConfig,
    task: TrainingTask,
    optimizer: torch.optim.Optimizer,
    rows: list[LossRow],
    place: tuple[int, torch.device],
) -> None:
    rank, device = place
    parallel = DistributedDataParallel(task.module) if torch.distributed.is_initialized() else task.module
    first = rows[-1].step if rows else 0
    began_s = time.monotonic() - (rows[-1].seconds if rows else 0.0)
    sums: dict[str, torch.Tensor] = {}
    progress = tqdm(range(first, config.steps), initial=first, total=config.steps, disable=rank != 0, unit="step")
    since = 0
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        optimizer.zero_grad(set_to_none=True)
        losses = task.losses(parallel, step, rank, device)
        next(iter(losses.values())).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums = {name: value.detach() + sums.get(name, 0.0) for name, value in losses.items()}
        since += 1
        last = step + 1 == config.steps
        saves = last or (step + 1) % config.save_every == 0
        if saves or (step + 1) % _ROW_STEPS == 0:
            means = {name: float(value) / since for name, value in sums.items()}
            if not all(math.isfinite(mean) for mean in means.values()):
                raise RunError(
                    f"training diverged near step {step + 1}: the loss is not finite; lower the learning rate"
                )
            rows.append(LossRow(step + 1, means, time.monotonic() - began_s))
            progress.set_postfix_str(f"loss {next(iter(means.values())):.4g}")
            sums, since = {}, 0
        if saves and rank == 0:
            save_training_state(config, task.module, optimizer, rows)
            write_curve(rows, config.out)


@contextmanager
def _process_group() -> Iterator[tuple[int, torch.device]]:
    """Rank and device of this process; joins the others when started by torchrun."""
    cuda = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield 0, torch.device("cuda" if cuda else "cpu")
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield torch.distributed.get_rank(), device
    finally:
        torch.distributed.destroy_process_group()
