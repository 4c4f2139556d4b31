"""The training loop: one process, or several under torchrun; killed at any moment, it resumes.

Recipe of the NestFuse paper (section III-B): the encoder and decoder are trained as an autoencoder on ordinary
photographs, without fusion.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from fusion.checkpoints import load_strictly, read_state_dict, save_half
from fusion.errors import InputError, RunError
from fusion.nestfuse import LITE, NestFuse, NestFuseConfig, Unit, config_of_weights, rescale_features
from fusion.training.config import FuserTrainingConfig
from fusion.training.distillation import LESSONS_NAME, Lessons, list_pairs
from fusion.training.images import GreyCrops, list_images, read_grey
from fusion.training.losses import reconstruction_loss, structural_similarity
from fusion.training.report import write_card, write_curve
from fusion.training.state import STATE_NAME, LossRow, load_training_state, save_training_state
from fusion.weight_store import find_weights

_WARM_UP_STEPS = 100
_ROW_STEPS = 10
_HELD_OUT_EVERY = 50
_HELD_OUT_PICTURES = 16


def train_fuser(config: FuserTrainingConfig) -> None:
    """Train a fusion network and write weights, loss curve and model card to ``config.out``.

    Under torchrun every process takes part; the first writes.

    Raises:
        InputError: no pictures, or ``out`` holds a run that cannot be continued.
        RunError: the loss is no longer finite.
    """
    if (config.out / STATE_NAME).exists() and not config.resume:
        raise InputError(f"--out {config.out} holds a training already; add --resume or choose another folder")
    config.out.mkdir(parents=True, exist_ok=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    paths = list_images(config.images)
    held_out = paths[::_HELD_OUT_EVERY] if len(paths) >= 2 * _HELD_OUT_EVERY else []
    training = [path for path in paths if path not in set(held_out)]
    with _process_group() as (rank, device):
        module = initial_network(config).to(device)
        optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
        rows = load_training_state(config, module, optimizer)
        lessons = _lessons(config) if config.method == "nestfuse-lite" else None
        crops = GreyCrops(training, crop_px=config.crop_px, batch_size=config.batch_size, seed=config.seed)
        _run(config, module, optimizer, rows, (crops, lessons), (rank, device))
        if rank == 0:
            write_curve(rows, config.out)
            rescale_features(module, config.feature_scale)
            metadata = {"method": config.method, "steps": str(config.steps), "seed": str(config.seed)}
            save_half(module, config.out / f"{config.method}.safetensors", metadata)
            quality = _reconstruction_quality(module, held_out or training, device)
            write_card(config, rows, pictures=len(training), held_out=quality)


def initial_network(config: FuserTrainingConfig) -> NestFuse:
    """The network before its first step, a function of the seed.

    He initialisation keeps grey levels 0..255 at their scale through the ReLUs. Output layers start with positive
    weights: a negative one behind a ReLU is dead and would never learn.
    """
    size = LITE if config.method == "nestfuse-lite" else NestFuseConfig()
    module = NestFuse(replace(size, deep_supervision=config.deep_supervision))
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for unit in module.modules():
            if not isinstance(unit, Unit):
                continue
            nn.init.kaiming_normal_(unit.conv2d.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(unit.conv2d.bias)  # type: ignore[arg-type]
            if unit.conv2d.out_channels == 1:
                unit.conv2d.weight.abs_().div_(unit.conv2d.weight.sum())
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def learning_rate_at(step: int, config: FuserTrainingConfig) -> float:
    """Learning rate of ``step`` (from 0): linear warm-up, then a cosine that ends at 0."""
    warm_up = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return config.learning_rate * warm_up * (1 + math.cos(math.pi * step / config.steps)) / 2


def _run(
    config: FuserTrainingConfig,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: list[LossRow],
    data: tuple[GreyCrops, Lessons | None],
    place: tuple[int, torch.device],
) -> None:
    (crops, lessons), (rank, device) = data, place
    parallel = DistributedDataParallel(module) if torch.distributed.is_initialized() else module
    first = rows[-1].step if rows else 0
    began_s = time.monotonic() - (rows[-1].seconds if rows else 0.0)
    sums = torch.zeros(3, device=device)
    progress = tqdm(range(first, config.steps), initial=first, total=config.steps, disable=rank != 0, unit="step")
    since = 0
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        batch = crops.batch(step, rank)
        inputs, target = [batch], batch
        if lessons is not None:
            thermal, visible, fused = lessons.batch(step, config.batch_size, rank)
            # A picture that is both inputs is its own answer: so the student also learns to reconstruct.
            inputs, target = [torch.cat([thermal, batch]), torch.cat([visible, batch])], torch.cat([fused, batch])
        optimizer.zero_grad(set_to_none=True)
        inputs = [image.to(device, memory_format=torch.channels_last) for image in inputs]
        total, pixel, dissimilarity = _losses(parallel, inputs, target.to(device), config)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums += torch.stack([total, pixel, dissimilarity]).detach()
        since += 1
        last = step + 1 == config.steps
        saves = last or (step + 1) % config.save_every == 0
        if saves or (step + 1) % _ROW_STEPS == 0:
            means = (sums / since).tolist()
            if not all(math.isfinite(mean) for mean in means):
                raise RunError(
                    f"training diverged near step {step + 1}: the loss is not finite; lower the learning rate"
                )
            rows.append(LossRow(step + 1, means[0], means[1], means[2], time.monotonic() - began_s))
            progress.set_postfix_str(f"loss {means[0]:.2f}")
            sums.zero_()
            since = 0
        if saves and rank == 0:
            save_training_state(config, module, optimizer, rows)
            write_curve(rows, config.out)


def _losses(
    module: nn.Module, inputs: Sequence[Tensor], target: Tensor, config: FuserTrainingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    enabled = config.precision == "bfloat16"
    with torch.autocast(target.device.type, dtype=torch.bfloat16, enabled=enabled):
        outputs = module(*inputs)
    losses = [reconstruction_loss(output.float(), target, config.ssim_weight) for output in outputs]
    total, pixel, dissimilarity = (torch.stack(parts).mean() for parts in zip(*losses, strict=True))
    return total, pixel, dissimilarity


def _lessons(config: FuserTrainingConfig) -> Lessons:
    path = config.teacher or find_weights("nestfuse")
    if path is None:
        raise InputError(
            "nestfuse-lite learns from nestfuse, which has no weights here: train it, or --set teacher=FILE"
        )
    state = read_state_dict(path)
    teacher = NestFuse(config_of_weights(state))
    load_strictly(teacher, state, str(path))
    pairs = list_pairs(config.images)
    cache = config.out / LESSONS_NAME
    return Lessons(teacher, pairs, count=config.lessons, crop_px=config.crop_px, seed=config.seed, cache=cache)


@torch.no_grad()
def _reconstruction_quality(
    module: NestFuse, paths: Sequence[Path], device: torch.device, size_px: int = 160
) -> dict[str, float]:
    errors, similarities = [], []
    for path in paths[:: max(1, len(paths) // _HELD_OUT_PICTURES)][:_HELD_OUT_PICTURES]:
        grey = read_grey(path)
        top, left = (max(0, (side - size_px) // 2) for side in grey.shape)
        crop = grey[top : top + size_px, left : left + size_px]
        if min(crop.shape) < 16:
            continue
        image = torch.from_numpy(np.ascontiguousarray(crop))[None, None].float().to(device)
        output = module(image)[-1]
        errors.append(float((output - image).square().mean()))
        similarities.append(float(structural_similarity(output, image, 255.0)))
    mean_error = float(np.mean(errors))
    return {
        "mean squared error (grey levels)": mean_error,
        "PSNR (dB)": 10 * math.log10(255**2 / max(mean_error, 1e-9)),
        "SSIM": float(np.mean(similarities)),
    }


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
