"""Training of NestFuse and its students.

Recipe of the NestFuse paper (section III-B): the encoder and decoder are trained as an autoencoder on ordinary
photographs, without fusion. The students learn from NestFuse besides: ``nestfuse-lite`` is small in all parts,
``nestfuse-narrow`` has the encoder of its teacher, which stays as it is, and a small decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from fusion.checkpoints import load_strictly, read_state_dict
from fusion.devices import gpu_convolutions, resolve_device
from fusion.errors import InputError
from fusion.nestfuse import LITE, NARROW, NestFuse, NestFuseConfig, Unit, config_of_weights, rescale_features
from fusion.training.config import FuserTrainingConfig
from fusion.training.distillation import LESSONS_NAME, Lessons
from fusion.training.held_out import reconstruction_measures, split_held_out
from fusion.training.images import GreyCrops, centre_crop, list_images, list_pairs, read_grey
from fusion.training.losses import reconstruction_loss
from fusion.training.task import TaskReport
from fusion.weight_store import find_weights

_HELD_OUT_EVERY = 50
_HELD_OUT_PICTURES = 16
_SIZES: Mapping[str, NestFuseConfig] = MappingProxyType({"nestfuse-lite": LITE, "nestfuse-narrow": NARROW})
_GREY = 128.0


class AutoencoderTask:
    """``nestfuse`` from pictures, or one of its students from pictures and the answers of ``nestfuse``.

    Raises:
        InputError: no pictures, or nothing for a student to learn from.
    """

    def __init__(self, config: FuserTrainingConfig) -> None:
        self._config = config
        self._training, self._held_out = split_held_out(list_images(config.images), _HELD_OUT_EVERY)
        teacher = _teacher(config) if config.method in _SIZES else None
        self._lessons = _lessons(config, teacher) if teacher else None
        self._crops = GreyCrops(
            self._training,
            crop_px=config.crop_px,
            batch_size=config.batch_size,
            seed=config.seed,
            edge_lines=config.edge_lines,
        )
        self._network = initial_network(config)
        if teacher and self._network.adapters:
            _take_encoder(self._network, teacher)

    @property
    def module(self) -> nn.Module:
        """The network itself."""
        return self._network

    @property
    def network(self) -> nn.Module:
        """The network itself."""
        return self._network

    def losses(self, module: nn.Module, step: int, rank: int, device: torch.device) -> dict[str, Tensor]:
        """Reconstruction loss of one step, mean over the outputs of deep supervision."""
        config = self._config
        batch = self._crops.batch(step, rank)
        inputs, target = [batch], batch
        if self._lessons is not None:
            thermal, visible, fused = self._lessons.batch(step, config.batch_size, rank)
            # A picture that is both inputs is its own answer: so the student also learns to reconstruct.
            inputs, target = [torch.cat([thermal, batch]), torch.cat([visible, batch])], torch.cat([fused, batch])
        inputs = [image.to(device, memory_format=torch.channels_last) for image in inputs]
        target = target.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            outputs = module(*inputs, feature_scale=config.feature_scale)
        losses = [reconstruction_loss(output.float(), target, config.structure_weight) for output in outputs]
        total, pixel, dissimilarity = (torch.stack(parts).mean() for parts in zip(*losses, strict=True))
        return {"loss": total, "pixel_mse": pixel, "one_minus_ssim": dissimilarity}

    def finish(self, device: torch.device) -> TaskReport:
        """Scale the features, and reconstruct pictures that were left out."""
        config = self._config
        rescale_features(self._network, config.feature_scale)
        kept = ", whose encoder it keeps" if self._network.adapters else ""
        goal = (
            "Autoencoder without fusion"
            if config.method == "nestfuse"
            else f"Student of nestfuse{kept}: {config.lessons} crops of pairs with its fused pictures as targets, and "
            "in every step as many single pictures with themselves as targets"
        )
        return TaskReport(
            data=f"{len(self._training)} pictures",
            goal=f"{goal}; loss = mean squared error (grey levels 0..255) + {config.structure_weight:g} * (1 - SSIM).",
            remarks=f"Features scaled by {config.feature_scale:g} when written, deep supervision "
            f"{'on' if config.deep_supervision else 'off'}.",
            held_out=f"Reconstruction of held-out pictures (every {_HELD_OUT_EVERY}th file, left out of training; "
            "centre crops)",
            quality=_reconstruction_quality(self._network, self._held_out or self._training, device),
        )


def initial_network(config: FuserTrainingConfig) -> NestFuse:
    """The network before its first step, a function of the seed.

    All inputs are positive, so a filter of negative sum is silent nearly everywhere and would hardly learn: its sign is
    turned. Of a narrow network half the channels would be lost otherwise. The ReLUs then halve nothing, so weights of
    variance 1 / inputs keep grey levels 0..255 at their scale. The output layer starts with positive weights.
    """
    size = _SIZES.get(config.method, NestFuseConfig())
    module = NestFuse(replace(size, deep_supervision=config.deep_supervision))
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for unit in module.modules():
            if not isinstance(unit, Unit):
                continue
            nn.init.kaiming_normal_(unit.conv2d.weight, nonlinearity="linear", generator=generator)
            nn.init.zeros_(unit.conv2d.bias)  # type: ignore[arg-type]
            unit.conv2d.weight *= torch.where(unit.conv2d.weight.sum((1, 2, 3), keepdim=True) < 0, -1.0, 1.0)
            if unit.conv2d.out_channels == 1:
                unit.conv2d.weight.abs_().div_(unit.conv2d.weight.sum())
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _teacher(config: FuserTrainingConfig) -> NestFuse:
    path = config.teacher or find_weights("nestfuse")
    if path is None:
        raise InputError(
            f"{config.method} learns from nestfuse, which has no weights here: train it, or --set teacher=FILE"
        )
    state = read_state_dict(path)
    teacher = NestFuse(config_of_weights(state))
    load_strictly(teacher, state, str(path))
    return teacher


def _lessons(config: FuserTrainingConfig, teacher: NestFuse) -> Lessons:
    with gpu_convolutions("ieee"):
        return Lessons(
            teacher,
            list_pairs(config.images, config.method),
            count=config.lessons,
            crop_px=config.crop_px,
            seed=config.seed,
            cache=config.out / LESSONS_NAME,
            device=resolve_device("auto"),
            edge_lines=config.edge_lines,
        )


@torch.no_grad()
def _take_encoder(network: NestFuse, teacher: NestFuse) -> None:
    """Give a network the encoder of another, for good, and bring its adapters to the scale of those features.

    Raises:
        InputError: the teacher is of another size.
    """
    sizes, wanted = ((each.config.stem_channels, *each.config.channels) for each in (teacher, network))
    if sizes != wanted:
        raise InputError(f"teacher: its encoder has {sizes} channels, not {wanted}")
    grey = torch.full((1, 1, 64, 64), _GREY)
    for adapter, features in zip(network.adapters, teacher.encode(grey), strict=True):
        adapter.conv2d.weight *= _GREY / features.mean().clamp_min(1e-6)
    for own, other in (
        (network.conv0, teacher.conv0),
        *zip(network.encoder_blocks, teacher.encoder_blocks, strict=True),
    ):
        own.load_state_dict(other.state_dict())
        own.requires_grad_(False)


@torch.no_grad()
def _reconstruction_quality(
    module: NestFuse, paths: Sequence[Path], device: torch.device, size_px: int = 160
) -> dict[str, float]:
    reconstructed = []
    for path in paths[:: max(1, len(paths) // _HELD_OUT_PICTURES)][:_HELD_OUT_PICTURES]:
        crop = centre_crop(read_grey(path), size_px)
        if min(crop.shape) < 16:
            continue
        image = torch.from_numpy(crop)[None, None].float().to(device)
        reconstructed.append((module(image)[-1], image))
    return reconstruction_measures(reconstructed, 255.0)
