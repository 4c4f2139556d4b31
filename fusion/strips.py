"""Large pictures in bounded memory: overlapping strips across the longer side, fused one after the other.

A network with a limited reach computes inside a strip what it computes inside the whole picture, as long as the strip
goes on for that reach on both sides. What only the overlap holds is thrown away, so there is no seam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion.errors import InputError
from fusion.picture_fuser import LumaMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A part of one side of a picture.

    Attributes:
        inner: rows (or columns) that this strip is responsible for; those of all strips are the whole side.
        outer: rows that it needs to see for that.
    """

    inner: slice
    outer: slice

    @property
    def kept(self) -> slice:
        """``inner``, counted from the start of ``outer``."""
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)

    def kept_at_scale(self, factor: int) -> slice:
        """``kept`` on a grid that is ``factor`` times coarser, whose last cell may be missing at an odd end."""
        offset = self.outer.start // factor
        return slice(self.inner.start // factor - offset, self.inner.stop // factor - offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripLayout:
    """How a picture is cut.

    Attributes:
        axis: 0 when the strips are cut along the height, 1 along the width.
        strips: in order; a single one is the whole picture.
    """

    axis: int
    strips: tuple[Strip, ...]

    def index(self, part: slice) -> tuple[slice, slice]:
        """``part`` of the cut side and all of the other one, rows first."""
        return (part, slice(None)) if self.axis == 0 else (slice(None), part)


def cut_strips(height: int, width: int, *, strip_px: int, reach_px: int, grid_px: int = 1) -> StripLayout:
    """Cut a picture into strips that span its shorter side.

    Args:
        height: of the picture.
        width: of the picture.
        strip_px: a picture of so many pixels or fewer stays whole; a strip has, with its overlap, no more than that
            where the reach allows it (its own part is never narrower than the reach).
        reach_px: how far from a pixel its result depends on others.
        grid_px: strips begin at a multiple of this, the cells of the coarsest scale.

    Raises:
        InputError: ``strip_px`` is not positive.
    """
    if strip_px < 1:
        raise InputError(f"a strip needs a number of pixels above 0, not {strip_px}")
    axis = 0 if height >= width else 1
    length, across = (height, width) if axis == 0 else (width, height)
    if height * width <= strip_px:
        whole = slice(0, length)
        return StripLayout(axis=axis, strips=(Strip(inner=whole, outer=whole),))
    overlap = _round_up(reach_px, grid_px)
    step = max((strip_px // across - 2 * overlap) // grid_px * grid_px, _round_up(max(overlap, 16), grid_px))
    return StripLayout(axis=axis, strips=tuple(_strips(length, step, overlap)))


class LocalStrips:
    """A :class:`fusion.picture_fuser.LumaMethod` of limited reach, strip by strip where the picture is large.

    Args:
        method: fuses a strip.
        reach_px: how far from a pixel its result depends on others; beyond the border of a strip ``method`` may
            assume what it likes.
        strip_px: see :func:`cut_strips`.
    """

    def __init__(self, method: LumaMethod, *, reach_px: int, strip_px: int) -> None:
        self._method = method
        self._reach_px = reach_px
        self._strip_px = strip_px

    @property
    def minimum_size_px(self) -> int:
        """Smallest height and width."""
        return self._method.minimum_size_px

    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W), grey levels about 0..255."""
        layout = cut_strips(*visible.shape, strip_px=self._strip_px, reach_px=self._reach_px)
        if len(layout.strips) == 1:
            return self._method.fuse_luma(visible, thermal)
        fused = np.empty(visible.shape, np.float32)
        for strip in layout.strips:
            seen = layout.index(strip.outer)
            part = self._method.fuse_luma(np.ascontiguousarray(visible[seen]), np.ascontiguousarray(thermal[seen]))
            fused[layout.index(strip.inner)] = part[layout.index(strip.kept)]
        return fused


def _strips(length: int, step: int, overlap: int) -> Iterator[Strip]:
    starts = list(range(0, length, step))
    if len(starts) > 1 and length - starts[-1] < overlap:
        # A sliver at the end would be all overlap, and too small for a network of several scales.
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], length], strict=True):
        yield Strip(
            inner=slice(start, stop),
            outer=slice(max(start - overlap, 0), min(stop + overlap, length)),
        )


def _round_up(value: int, grid: int) -> int:
    return -(-value // grid) * grid
