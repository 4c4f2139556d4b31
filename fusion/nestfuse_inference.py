"""NestFuse on pictures, faster than the plain network and equal to it.

Nearly all work is in the 3x3 convolutions of the decoder over ``cat(skip features, doubled coarse features)``. A
convolution is linear in its input channels, so the doubled part is evaluated where it has information, at low
resolution: under nearest doubling the nine taps of an output pixel fall on four coarse pixels, on other ones for each
of the four positions in a 2x2 cell. That is one 2x2 convolution with four times the outputs instead of a 3x3 one at
twice the resolution. Mirroring the doubled picture at its border equals repeating the edge of the coarse one, also
where an odd size adds a row or column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fusion.attention import AttentionStrategy, fuse_rectified
from fusion.nestfuse import MINIMUM_SIZE_PX, Block, NestFuse, Unit

DecoderBlock = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Features (B, out, H, W) of skip features (B, c, H, W) and coarse features (B, c, H // 2, W // 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestBlock:
    """A decoder block, its first convolution split by the resolution of its inputs.

    Attributes:
        fine: (half, fine channels, 3, 3) kernel on the skip features.
        coarse: (4 * half, coarse channels, 2, 2) kernels on the coarse features, for the positions (0, 0), (0, 1),
            (1, 0) and (1, 1) of a 2x2 cell.
        bias: of the first convolution.
        mix: (out, half, 1, 1) second convolution, and ``mix_bias``.
    """

    fine: Tensor
    coarse: Tensor
    bias: Tensor
    mix: Tensor
    mix_bias: Tensor

    def __call__(self, fine: Sequence[Tensor], coarse: Tensor) -> Tensor:
        """(B, out, H, W) of skip features (B, c, H, W) and coarse features (B, c, H // 2, W // 2)."""
        result = functional.conv2d(mirrored_cat(fine), self.fine, self.bias)
        edged = functional.pad(coarse, (1, 1, 1, 1), mode="replicate")
        phases = functional.conv2d(edged, self.coarse).chunk(4, 1)
        height, width = result.shape[2:]
        for row in (0, 1):
            for column in (0, 1):
                cells = result[:, :, row::2, column::2]
                last_row, last_column = row + (height - row + 1) // 2, column + (width - column + 1) // 2
                cells += phases[2 * row + column][:, :, row:last_row, column:last_column]
        return pointwise(result.relu_(), self.mix, self.mix_bias).relu_()


class NestFuseMethod:
    """Fuses grey pictures with a trained network; both modalities pass the encoder as one batch.

    With ``bfloat16`` the decoder rounds features to eight bits: about twice as fast on processors that compute in it.
    The encoder and the attention stay in float32, since the attention would turn rounding into choices.
    """

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(
        self,
        network: NestFuse,
        strategy: AttentionStrategy,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        network = network.eval()
        self._strategy = strategy
        self._device = device
        first, *others = (block.units for block in network.encoder_blocks)
        self._encoder = [[self._prepared(unit) for unit in units] for units in ((network.conv0, *first), *others)]
        self._decoder = PhaseDecoder(network, device, dtype)

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        images = torch.from_numpy(np.stack([thermal, visible])[:, None])
        return self.fuse(images)[0, 0].cpu().numpy()

    @torch.inference_mode()
    def fuse(self, images: Tensor) -> Tensor:
        """Fuse the K pictures (K, 1, H, W) in 0..255 into one (1, 1, H, W) float32."""
        return self.decode([fuse_rectified(scale, self._strategy) for scale in self.encode(images)])

    @property
    def strategy(self) -> AttentionStrategy:
        """How the features are fused."""
        return self._strategy

    def encode(self, images: Tensor, scales: int = 4) -> list[Tensor]:
        """Features of the finest ``scales`` of pictures (K, 1, H, W) in 0..255.

        As :meth:`fusion.nestfuse.NestFuse.encode`, which gives all four.
        """
        features = images.to(self._device).to(torch.float32, memory_format=torch.channels_last)
        encoded: list[Tensor] = []
        for units in self._encoder[:scales]:
            if encoded:
                features = functional.max_pool2d(features, 2)
            for weight, bias in units:
                if weight.shape[2] == 3:
                    features = mirrored_cat([features])
                features = functional.conv2d(features, weight, bias).relu_()
            encoded.append(features)
        return encoded

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Last picture (1, 1, H, W) float32 of four scales, as :meth:`fusion.nestfuse.NestFuse.decode`."""
        return self._decoder(features)

    def _prepared(self, unit: Unit) -> tuple[Tensor, Tensor]:
        return _placed(unit, self._device, torch.float32)


class PhaseDecoder:
    """The decoder, doubled features convolved at their own size.

    Args:
        network: as trained.
        device: where it runs.
        dtype: of the convolutions; the last, which makes the picture, is in float32 always.
    """

    def __init__(self, network: NestFuse, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype
        self._adapters = [_placed(unit, device, dtype) for unit in network.adapters]
        self._blocks = {
            name: split_block(block, fine_channels, device, dtype)
            for name, (block, fine_channels) in network.decoder_blocks().items()
        }
        self._output = _placed(network.last_output, device, torch.float32)

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        """Last picture (B, 1, H, W) float32 of fused features (B, C, h, w) of four scales."""
        maps = [scale.to(self._dtype) for scale in features]
        if self._adapters:
            pairs = zip(maps, self._adapters, strict=True)
            maps = [pointwise(scale, weight, bias).relu_() for scale, (weight, bias) in pairs]
        weight, bias = self._output
        return functional.conv2d(last_map(self._blocks, maps).float(), weight, bias).relu_()


def last_map(blocks: Mapping[str, DecoderBlock], features: Sequence[Tensor]) -> Tensor:
    """What the output is made of, by the blocks of the nest and the fused features of four scales."""
    f1, f2, f3, f4 = features
    x31 = blocks["DB3_1"]([f3], f4)
    x21 = blocks["DB2_1"]([f2], f3)
    x22 = blocks["DB2_2"]([f2, x21], x31)
    x11 = blocks["DB1_1"]([f1], f2)
    x12 = blocks["DB1_2"]([f1, x11], x21)
    return blocks["DB1_3"]([f1, x11, x12], x22)


def split_block(block: Block, channels: int, device: torch.device, dtype: torch.dtype) -> NestBlock:
    """Split the first convolution of a decoder block after its first ``channels`` inputs, which are not doubled."""
    (weight, bias), (mix, mix_bias) = (unit.weights() for unit in block.units)
    fine, coarse = weight[:, :channels], weight[:, channels:]
    return NestBlock(
        fine=_kernel(fine, device, dtype),
        coarse=_kernel(phase_kernels(coarse), device, dtype),
        bias=bias.to(device, dtype),
        mix=_kernel(mix, device, dtype),
        mix_bias=mix_bias.to(device, dtype),
    )


def phase_kernels(kernel: Tensor) -> Tensor:
    """2x2 kernels (4 * out, in, 2, 2) that do on coarse features what ``kernel`` (out, in, 3, 3) does on doubled.

    At an even row the taps -1, 0, 1 fall on the coarse rows before, same, same; at an odd row on same, same, next.
    """

    def fold(taps: Tensor, axis: int, odd: int) -> Tensor:
        before, middle, after = taps.unbind(axis)
        return torch.stack([before + middle, after] if odd else [before, middle + after], axis)

    folded = [fold(fold(kernel, 2, row), 3, column) for row in (0, 1) for column in (0, 1)]
    return torch.cat(folded)


def pointwise(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The 1x1 convolution (out, in, 1, 1) of channels-last features, as the matrix product that it is.

    As a convolution, PyTorch would lay the features out anew on a CPU.
    """
    return functional.linear(features.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)


def mirrored_cat(parts: Sequence[Tensor], doubled: Tensor | None = None) -> Tensor:
    """Channels of all parts (B, c, H, W) side by side, with one mirrored pixel around: (B, sum c, H + 2, W + 2).

    After them come those of ``doubled`` (B, c, H // 2, W // 2) at twice their size, as of
    :func:`fusion.nestfuse.upsample_to`.
    """
    first = parts[0]
    batch, _, height, width = first.shape
    every = parts if doubled is None else [*parts, doubled]
    result = torch.empty(
        (batch, sum(part.shape[1] for part in every), height + 2, width + 2),
        dtype=first.dtype,
        device=first.device,
        memory_format=torch.channels_last,
    )
    start = 0
    for part in parts:
        copy_cells(part, result[:, start : start + part.shape[1], 1:-1, 1:-1])
        start += part.shape[1]
    if doubled is not None:
        odd = height % 2 or width % 2
        edged = functional.pad(doubled, (0, width % 2, 0, height % 2), mode="replicate") if odd else doubled
        for row in (0, 1):
            for column in (0, 1):
                places = result[:, start:, 1 + row : -1 : 2, 1 + column : -1 : 2]
                copy_cells(edged[:, :, : places.shape[2], : places.shape[3]], places)
    mirror_border(result.permute(0, 2, 3, 1))
    return result


def mirror_border(cells: Tensor) -> None:
    """Set the border of (K, h + 2, w + 2, C) to the mirrored inside."""
    cells[:, 0] = cells[:, 2]
    cells[:, -1] = cells[:, -3]
    cells[:, :, 0] = cells[:, :, 2]
    cells[:, :, -1] = cells[:, :, -3]


def copy_cells(source: Tensor, target: Tensor) -> None:
    """Copy features (B, c, H, W) to another place; on a GPU a cell's channels 16 or 8 bytes at a time where they can.

    A GPU's copy between strided places moves an element at a time, and in half precision eight fit into what it could.
    """
    if source.is_cuda:
        for dtype in (torch.complex128, torch.complex64):
            if all(_fits(each, dtype) for each in (source, target)):
                wide, place = (each.permute(0, 2, 3, 1).view(dtype) for each in (source, target))
                place.copy_(wide)
                return
    target.copy_(source)


def _fits(features: Tensor, dtype: torch.dtype) -> bool:
    """Whether the channels of a cell lie together, in whole elements of ``dtype`` from an address that has such."""
    share = dtype.itemsize // features.element_size()
    steps = [features.stride(dimension) for dimension in (0, 2, 3)]
    counts = (features.shape[1], features.storage_offset(), *steps)
    return features.stride(1) == 1 and all(count % share == 0 for count in counts)


def _placed(unit: Unit, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight, bias = unit.weights()
    return _kernel(weight, device, dtype), bias.to(device, dtype)


def _kernel(weight: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
