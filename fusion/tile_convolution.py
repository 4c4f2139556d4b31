"""3x3 convolutions over skip features and doubled coarse ones, with a third of the multiplications.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, F(4 x 4, 3 x 3): a tile of 6x6
inputs becomes 4x4 outputs through 36 products instead of 144. Over tiles and channels these are 36 matrix products,
which is one 1x1 convolution in 36 groups.

The rows of a tile of a doubled map are ``a b b c c e``. Of them the transform makes 0 at one of its six points, so 25
of the 36 products are enough for the doubled part. They are made of the coarse features as they are, and have their
place beside those of the skip features in the same matrices.

All is done for some tiles of one row at a time, in memory that stays in the cache of a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TILE = 4
"""Rows and columns of outputs that a tile has."""

_PATCH = 6
_COARSE_PATCH = 4
_POINTS = 6
_COARSE_POINTS = 5

# At the points 0, 1, 2, -2, infinity and -1; the last is where doubled maps vanish.
_KERNEL = np.asarray([[6, 0, 0], [-4, -4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24], [-4, 4, -4]], np.float64) / 24
# What a doubled map becomes is a multiple of what _transform_coarse makes of the coarse one.
_DOUBLED = np.asarray([[1], [2], [3], [-1], [1]], np.float64)

# Values in the transformed patches of all channels at a time: beyond it a row of tiles is cut.
_VALUES_AT_ONCE = 900_000


class Convolution:
    """A convolution with bias and stride 1 on channels-last maps, its weights laid out once for the processor.

    Args:
        weight: (out, in / groups, k, k) float32.
        bias: (out,) or None.
        rectified: whether ReLU follows.
        width: of typical maps, in cells.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, rectified: bool = True, groups: int = 1, width: int = 640
    ) -> None:
        example = [1, weight.shape[1] * groups, weight.shape[2], width + weight.shape[3] - 1]
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(), [0, 0], [1, 1], [1, 1], groups, example
        )
        self.channels_in = weight.shape[1] * groups
        self._bias = bias
        self._groups = groups
        self._then = "relu" if rectified else "none"

    def __call__(self, cells: Tensor) -> Tensor:
        """(h - k + 1, w - k + 1, out) of cells (h, w, in), both contiguous."""
        maps = torch.ops.mkldnn._convolution_pointwise(
            cells.permute(2, 0, 1)[None],
            self._weight,
            self._bias,
            [0, 0],
            [1, 1],
            [1, 1],
            self._groups,
            self._then,
            [],
            "",
        )
        result: Tensor = maps[0].permute(1, 2, 0)
        return result


def has_laid_out_convolutions() -> bool:
    """Whether this PyTorch has what :class:`Convolution` needs."""
    known: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return known and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def tiles_at_once(width: int, channels: int) -> int:
    """Tiles of a row ``width`` cells wide to convolve at a time, of so many input channels."""
    tiles = -(-width // TILE)
    return -(-tiles // -(-tiles * _POINTS**2 * channels // _VALUES_AT_ONCE))


class TileMemory:
    """What a worker holds of some tiles on their way through a :class:`TileConvolution`.

    Tensors are (cells or tiles, point across, point down, channels), as far as they have these axes. Lists are views
    of them, made once: they would cost as much as the arithmetic.
    """

    def __init__(self, tiles: int, fine: int, coarse: int, half: int) -> None:
        empty, points = torch.empty, range(_POINTS)
        self.tiles = tiles
        self.rows = empty(TILE * tiles + 2, _POINTS, fine)
        self.row_points = [self.rows[:, point] for point in points]
        self.row_spares = [empty(TILE * tiles + 2, fine) for _ in range(4)]
        self.row_taps = [self.rows[tap : tap + TILE * tiles - 3 : TILE] for tap in range(_PATCH)]
        # The coarse part of the last point down stays 0.
        self.patches = torch.zeros(tiles, _COARSE_POINTS, _POINTS, fine + coarse)
        self.last_patches = empty(tiles, _POINTS, fine)
        self.patch_points = [*self.patches[..., :fine].unbind(1), self.last_patches]
        self.patch_spares = [empty(tiles, _POINTS, fine) for _ in range(4)]

        self.coarse_rows = empty(2 * tiles + 2, _COARSE_POINTS, coarse)
        self.coarse_row_points = [self.coarse_rows[:, point] for point in range(_COARSE_POINTS)]
        self.coarse_row_spares = [empty(2 * tiles + 2, coarse) for _ in range(2)]
        self.coarse_taps = [self.coarse_rows[tap : tap + 2 * tiles - 1 : 2] for tap in range(_COARSE_PATCH)]
        self.coarse_patch_points = list(self.patches[:, :, :_COARSE_POINTS, fine:].unbind(1))
        self.coarse_patch_spares = [empty(tiles, _COARSE_POINTS, coarse) for _ in range(2)]

        self.columns = empty(tiles, TILE, _POINTS, half)
        self.column_cells = list(self.columns.unbind(1))
        self.column_spares = [empty(tiles, _POINTS, half) for _ in range(4)]
        self.column_points = list(self.columns.unbind(2))
        self.cells = empty(TILE, tiles, TILE, half)
        self.cell_rows = list(self.cells.unbind(0))
        self.cell_spares = [empty(tiles, TILE, half) for _ in range(4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Cells of an axis that tiles need, as far as there are any.

    Attributes:
        start, stop: what there is of them.
        before, after: how many are missing at the ends.
    """

    start: int
    stop: int
    before: int
    after: int


class TileConvolution:
    """A 3x3 convolution with mirrored border over ``cat(fine, doubled coarse)``, and ReLU.

    Args:
        fine: (half, fine channels, 3, 3) kernel on the features of this scale.
        coarse: (half, coarse channels, 3, 3) kernel on the doubled features of the next.
        bias: (half,).
    """

    def __init__(self, fine: Tensor, coarse: Tensor, bias: Tensor) -> None:
        half, self._fine, self._coarse = len(fine), fine.shape[1], coarse.shape[1]
        # (point across, point down, half, channels)
        of_fine, of_coarse = _transformed(fine, _KERNEL), _transformed(coarse, _KERNEL[:_COARSE_POINTS] * _DOUBLED)
        weight = torch.zeros(_COARSE_POINTS, _POINTS, half, self._fine + self._coarse)
        weight[..., : self._fine] = of_fine[:_COARSE_POINTS]
        weight[:, :_COARSE_POINTS, :, self._fine :] = of_coarse
        # Every output has the product at the point 1 once.
        everywhere = torch.zeros(_COARSE_POINTS, _POINTS, half)
        everywhere[1, 1] = bias
        self._half = half
        self._products = _grouped(weight, everywhere.flatten())
        self._last_products = _grouped(of_fine[_COARSE_POINTS:], None)

    def memory(self, width: int) -> TileMemory:
        """What a worker needs for maps of a width."""
        return TileMemory(tiles_at_once(width, self._fine + self._coarse), self._fine, self._coarse, self._half)

    def __call__(self, memory: TileMemory, fine: Tensor, coarse: Tensor, row: int, column: int) -> Tensor:
        """(4, 4 * tiles, half) at a row and column of tiles; cells that lie beyond the map mean nothing.

        Args:
            memory: overwritten; the result lies in it.
            fine: (H, W, fine channels), at least 2x2.
            coarse: (H // 2, W // 2, coarse channels).
            row, column: of the first tile.
        """
        self._look_at_fine(memory, fine, TILE * row - 1, TILE * column - 1)
        self._look_at_coarse(memory, coarse, 2 * row - 1, 2 * column - 1)
        tiles = memory.tiles
        products = self._products(memory.patches.view(1, tiles, -1)).view(tiles, _COARSE_POINTS, _POINTS, -1)
        last_products = self._last_products(memory.last_patches.view(1, tiles, -1)).view(tiles, _POINTS, -1)
        _transform_products([*products.unbind(1), last_products], memory.column_cells, memory.column_spares)
        _transform_products(memory.column_points, memory.cell_rows, memory.cell_spares)
        return memory.cells.relu_().view(TILE, TILE * tiles, -1)

    def _look_at_fine(self, memory: TileMemory, fine: Tensor, top: int, left: int) -> None:
        height, width = fine.shape[:2]
        wanted = TILE * memory.tiles + 2
        span = _span(left, wanted, width)
        taps = [fine[_mirrored(top + tap, height), span.start : span.stop] for tap in range(_PATCH)]
        inside = slice(span.before, wanted - span.after)
        _transform_taps(taps, [row[inside] for row in memory.row_points], [row[inside] for row in memory.row_spares])
        if span.before:
            memory.rows[0] = memory.rows[2]
        if span.after:
            memory.rows[-span.after] = memory.rows[-span.after - 2]
            memory.rows[wanted - span.after + 1 :] = 0
        _transform_taps(memory.row_taps, memory.patch_points, memory.patch_spares)

    def _look_at_coarse(self, memory: TileMemory, coarse: Tensor, top: int, left: int) -> None:
        height, width = coarse.shape[:2]
        wanted = 2 * memory.tiles + 2
        span = _span(left, wanted, width)
        taps = [coarse[min(max(top + tap, 0), height - 1), span.start : span.stop] for tap in range(_COARSE_PATCH)]
        inside = slice(span.before, wanted - span.after)
        _transform_coarse(
            taps,
            [row[inside] for row in memory.coarse_row_points],
            [row[inside] for row in memory.coarse_row_spares],
        )
        if span.before:
            memory.coarse_rows[0] = memory.coarse_rows[1]
        if span.after:
            memory.coarse_rows[-span.after :] = memory.coarse_rows[-span.after - 1]
        _transform_coarse(memory.coarse_taps, memory.coarse_patch_points, memory.coarse_patch_spares)


def _transformed(kernel: Tensor, points: np.ndarray) -> Tensor:
    """(point across, point down, out, in) of a kernel (out, in, 3, 3)."""
    matrix = torch.from_numpy(points)
    return torch.einsum("da,xb,ncab->xdnc", matrix, matrix, kernel.double()).float()


def _grouped(weight: Tensor, bias: Tensor | None) -> Convolution:
    """A matrix product for each point across and down, of weights (across, down, out, in)."""
    flat = weight.flatten(0, 2)[:, :, None, None]
    return Convolution(flat, bias, rectified=False, groups=weight.shape[0] * weight.shape[1], width=80)


def _span(first: int, wanted: int, there: int) -> Span:
    start, stop = max(first, 0), min(first + wanted, there)
    return Span(start=start, stop=stop, before=start - first, after=first + wanted - stop)


def _mirrored(index: int, count: int) -> int:
    """The index that a mirrored border shows; beyond it any, for there only cells are made that mean nothing."""
    index = abs(index)
    return index if index < count else max(2 * (count - 1) - index, 0)


def _transform_taps(taps: Sequence[Tensor], points: Sequence[Tensor], spares: Sequence[Tensor]) -> None:
    """Six taps of a tile along an axis, at the six points."""
    t0, t1, t2, t3, t4, t5 = taps
    a, b, even, odd = spares
    torch.sub(t4, t2, out=even)
    torch.sub(t3, t1, out=odd)
    torch.add(even, odd, alpha=2, out=points[2])
    torch.sub(even, odd, alpha=2, out=points[3])
    torch.sub(t4, t2, alpha=4, out=a)
    torch.sub(t3, t1, alpha=4, out=b)
    torch.add(a, b, out=points[1])
    torch.sub(a, b, out=points[5])
    torch.sub(t0, t2, out=a)
    torch.add(even, a, alpha=4, out=points[0])
    torch.sub(t5, t3, out=b)
    torch.sub(b, odd, alpha=4, out=points[4])


def _transform_coarse(taps: Sequence[Tensor], points: Sequence[Tensor], spares: Sequence[Tensor]) -> None:
    """Four taps of a coarse map along an axis, at the first five points of the doubled one."""
    t0, t1, t2, t3 = taps
    other, step = spares[0], points[2]
    torch.sub(t2, t1, out=step)
    points[3].copy_(step)
    torch.sub(step, t1, alpha=3, out=points[1])
    torch.sub(t0, t1, out=other)
    torch.add(step, other, alpha=4, out=points[0])
    torch.sub(t3, t2, out=other)
    torch.sub(other, step, alpha=4, out=points[4])


def _transform_products(products: Sequence[Tensor], cells: Sequence[Tensor], spares: Sequence[Tensor]) -> None:
    """Products at the six points to four outputs along an axis."""
    at_0, at_1, at_2, at_minus_2, at_infinity, at_minus_1 = products
    even, odd, even_2, odd_2 = spares
    torch.add(at_1, at_minus_1, out=even)
    torch.sub(at_1, at_minus_1, out=odd)
    torch.add(at_2, at_minus_2, out=even_2)
    torch.sub(at_2, at_minus_2, out=odd_2)
    torch.add(odd, odd_2, alpha=2, out=cells[1])
    torch.add(even, even_2, alpha=4, out=cells[2])
    even.add_(even_2)
    torch.add(even, at_0, out=cells[0])
    odd.add_(odd_2, alpha=8)
    torch.add(odd, at_infinity, out=cells[3])
