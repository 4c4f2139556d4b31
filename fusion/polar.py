"""Nuclear norms on a GPU: through the polar factor, which takes matrix products alone.

The nuclear norm of A is the largest inner product of A with a matrix of singular values up to 1, and its polar factor
U V^T reaches it. An odd polynomial of a matrix acts on its singular values; a chain of quintic ones, each the best on
the interval that the one before leaves, brings them near 1 in few steps (Amsel, Persson, Musco, Gower, "The Polar
Express", 2025; Higham, "Functions of Matrices", SIAM 2008, chapter 8). What is left of the distance from orthogonality
is paid back to first order.

Singular values below :data:`LEAST_SHARE` of the matrix's Frobenius norm come out short. Of features of NestFuse the
sums were within 0.4 % of exact ones, the shares of two modalities made of them within about 1e-4.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_SHARE = 1e-3
"""Singular values from this share of the Frobenius norm on are counted whole."""

# The best odd quintics a x + b x^3 + c x^5 for 1 on [0.001, 1], and then on what the one before makes of it, by linear
# programming over a fine grid.
_STEPS = (
    (8.47032948, -25.10807862, 18.62927881),
    (4.18283425, -3.10870127, 0.58060672),
    (3.96185654, -2.95406331, 0.56297609),
    (3.28658415, -2.46471867, 0.50735754),
    (2.27374824, -1.64465877, 0.41619075),
    (1.88871604, -1.26515705, 0.37651891),
    (1.87490806, -1.24981518, 0.37490713),
)
# Rounding may lift a singular value beyond the interval, where the quintics grow fast: all but the last leave room.
_ROOM = 1.02
_SMALLEST_NORM = 1e-20


def polar_nuclear_norm(matrices: Tensor, offset: float = 0.0, product_dtype: torch.dtype = torch.float16) -> Tensor:
    """About the sum of the singular values of each matrix ``(..., H, W)`` plus ``offset``: float32 ``(...)``.

    No gradient. Products are computed in ``product_dtype``, which rounds to eleven bits by default.
    """
    sides = matrices.shape[-2:]
    # In rows, one matrix after the other: of channels-last features every product would make a copy first.
    wide = matrices.detach().reshape(-1, *sides).to(torch.float32, memory_format=torch.contiguous_format) + offset
    wide = wide if sides[0] <= sides[1] else wide.mT.contiguous()
    norm = torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True).clamp_min(_SMALLEST_NORM) * _ROOM
    unit = (wide / norm).to(product_dtype)
    factor = unit
    for number, step in enumerate(_STEPS):
        room = 1.0 if number == len(_STEPS) - 1 else _ROOM
        a, b, c = (value / room**power for value, power in zip(step, (1, 3, 5), strict=True))
        square = torch.bmm(factor, factor.mT)
        factor = torch.baddbmm(factor, torch.baddbmm(square, square, square, beta=b, alpha=c), factor, beta=a)
    inner, square = (torch.bmm(factor, other.mT).float() for other in (unit, factor))
    total = 1.5 * inner.diagonal(dim1=1, dim2=2).sum(-1) - 0.5 * (square * inner.mT).sum((1, 2))
    norms: Tensor = (total * norm[:, 0, 0]).reshape(matrices.shape[:-2])
    return norms
