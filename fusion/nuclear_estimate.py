"""Nuclear norms of large feature maps, the sums of their singular values, estimated to about a percent.

The sum of the singular values of A is the trace of the square root of ``G = A^T A``, and G is known by what it does to
a few vectors. Some tens of directions that G stretches most are found by applying it to random ones (Halko, Martinsson,
Tropp, "Finding structure with randomness", SIAM Review 2011); what A does within them is taken as it is. Of the rest,
whose singular values are many and alike, the trace is estimated from random vectors ("Hutch++", Meyer, Musco, Musco,
Woodruff, SOSA 2021): a few steps of Lanczos's method, for all of them as one vector, give two quadratures of the
square root, Gauss's, which is too large, and Radau's with a node at 0, which is too small (Golub, Meurant, "Matrices,
Moments and Quadrature", 2010). Their mean is taken. The trace of the rest of G itself is known; how far the estimate of
that is off tells how far that of the root is.

Products are computed in bfloat16 where the processor does: its rounding is small beside the chance of the vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fusion.workers import Workers

_DIRECTIONS = 48
_VECTORS = 16
RANGE_PASSES = 2
_LANCZOS_STEPS = 6
PASSES = RANGE_PASSES + _LANCZOS_STEPS
"""How many times a matrix is looked at; from the pass RANGE_PASSES on, at the rest of it."""

_SEED = 2020
# Squares of lengths below this share of all are rounding.
_LEAST_SQUARE = 1e-13
# Less than this share of a vector left by a step of Lanczos's method is rounding; what comes after it means nothing.
_LEAST_STEP = 1e-5
_TINY = 1e-30

# Values of the matrices to look at together; more would leave the caches.
_VALUES_AT_ONCE = 2_500_000

# Up to this shorter side, the exact norm takes little longer.
_EXACT_SIDE = 150


class NuclearEstimate:
    """Nuclear norms of matrices (B, rows, columns), which are looked at :data:`PASSES` times, in parts of their rows.

    In every pass each part is given to :meth:`add` once, after the first :data:`RANGE_PASSES` the :meth:`rest` of it;
    then comes :meth:`finish_pass`.
    """

    def __init__(self, count: int, columns: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(_SEED)
        self._vectors = _signs(columns, _VECTORS, generator).to(device).expand(count, -1, -1)
        self._block = _signs(columns, _DIRECTIONS, generator).to(device).expand(count, -1, -1)
        self._product = torch.zeros(count, columns, _DIRECTIONS, device=device)
        self._range: Tensor | None = None
        self._within = torch.zeros(count, _DIRECTIONS, _DIRECTIONS, device=device)
        self._rest_squares = torch.zeros(count, device=device)
        self._passes = 0
        self._before: Tensor | None = None
        self._total = torch.zeros(count, device=device)
        self._diagonal: list[Tensor] = []
        self._beside: list[Tensor] = []

    def rest(self, rows: Tensor) -> Tensor:
        """Take out of rows (B, h, columns) what lies in the directions of most stretch, in place."""
        assert self._range is not None
        directions = self._range.to(rows.dtype)
        along = rows @ directions
        if self._passes == RANGE_PASSES:
            exact = along.float()
            self._within += exact.mT @ exact
        # The product is quick where the result lies row by row.
        if rows.is_contiguous():
            rows.baddbmm_(along, directions.mT, alpha=-1)
        else:
            rows.mT.baddbmm_(directions, along.mT, alpha=-1)
        return rows

    def add(self, rows: Tensor) -> None:
        """Look at some rows (B, h, columns)."""
        self._product += rows.mT @ (rows @ self._block.to(rows.dtype))
        if self._passes == RANGE_PASSES:
            self._rest_squares += torch.linalg.vector_norm(rows, dim=(1, 2)).float().square()

    def finish_pass(self) -> None:
        """All rows have been looked at."""
        self._passes += 1
        if self._range is not None:
            self._step()
        elif self._passes < RANGE_PASSES:
            self._block = _orthonormal(self._product)
        else:
            self._range = _orthonormal(self._product)
            start = self._vectors - self._range @ (self._range.mT @ self._vectors)
            self._total = start.square().sum((1, 2))
            self._block = start / self._total.sqrt().clamp_min(_TINY)[:, None, None]
        self._product = torch.zeros_like(self._block)

    def norms(self) -> Tensor:
        """The estimates, float64 (B,) on the CPU, after all passes."""
        within = torch.linalg.eigvalsh(self._within.cpu().double()).clamp_min(0).sqrt().sum(-1)
        diagonal, beside = (torch.stack(each, 1).cpu().double() for each in (self._diagonal, self._beside))
        total, rest_squares = self._total.cpu().double(), self._rest_squares.cpu().double()
        gauss = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
        radau = gauss.clone()
        radau[:, -1, -1] = _last_of_radau(gauss, beside[:, -1])
        roots = (_root_quadrature(gauss) + _root_quadrature(radau)) / 2
        # Both the trace of the rest and its estimate; their ratio is that of squares.
        seen = total * diagonal[:, 0] / _VECTORS
        correction = ((rest_squares + _TINY) / (seen + _TINY)).sqrt().clamp(0.5, 2)
        norms: Tensor = within + roots * total / _VECTORS * correction.sqrt()
        return norms

    def _step(self) -> None:
        """One of Lanczos's method, with the inner product of whole blocks."""
        now, new = self._block, self._product
        length = (new * now).sum((1, 2))
        self._diagonal.append(length.clamp_min(0))
        if len(self._diagonal) == _LANCZOS_STEPS:
            return
        new = new - length[:, None, None] * now
        if self._before is not None:
            new = new - self._beside[-1][:, None, None] * self._before
        left = new.square().sum((1, 2)).sqrt()
        left = torch.where(left > _LEAST_STEP * self._diagonal[0], left, 0.0)
        self._beside.append(left)
        self._before = now
        self._block = torch.where(left > 0, 1 / left.clamp_min(_TINY), 0.0)[:, None, None] * new


def estimate_nuclear_norms(matrices: Tensor, offset: float) -> Tensor:
    """Nuclear norm of each matrix (B, H, W) plus ``offset``, estimated: float64 (B,)."""
    matrices = matrices if matrices.shape[1] > matrices.shape[2] else matrices.mT
    at_once = max(_VALUES_AT_ONCE // (matrices.shape[1] * matrices.shape[2]), 1)
    norms = torch.empty(len(matrices), dtype=torch.float64)

    def estimate_some(worker: int, start: int) -> None:
        rows = factors(matrices[start : start + at_once], offset)
        estimate = NuclearEstimate(len(rows), rows.shape[2], rows.device)
        for number in range(PASSES):
            if number == RANGE_PASSES:
                rows = estimate.rest(rows)
            estimate.add(rows)
            estimate.finish_pass()
        norms[start : start + at_once] = estimate.norms()

    Workers().run(estimate_some, range(0, len(matrices), at_once))
    return norms


def estimate_pays(side: int) -> bool:
    """Whether the norm of a matrix with a shorter side of ``side`` is estimated; that of smaller ones is as quick."""
    return side > _EXACT_SIDE


def factors(matrices: Tensor, offset: float) -> Tensor:
    """A copy of matrices plus ``offset`` in the type that the processor multiplies fastest, of bfloat16 and float32."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    half = matrices.is_cuda or any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return matrices.to(torch.bfloat16 if half else torch.float32, copy=True).add_(offset)


def _signs(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (rows, columns), generator=generator).float() * 2 - 1


def _orthonormal(vectors: Tensor) -> Tensor:
    """Orthonormal columns (B, n, r) that span those of (B, n, r); near 0 for those that the others span."""
    wide = vectors.double()
    squares = wide.mT @ wide
    ridge = squares.diagonal(dim1=1, dim2=2).sum(1) * _LEAST_SQUARE + _TINY
    factor, _ = torch.linalg.cholesky_ex(squares + torch.diag_embed(ridge[:, None].expand(-1, wide.shape[2])))
    columns: Tensor = torch.linalg.solve_triangular(factor.mT, wide, upper=True, left=False)
    return columns.float()


def _last_of_radau(gauss: Tensor, beside: Tensor) -> Tensor:
    """Last diagonal value that makes 0 an eigenvalue of the tridiagonal matrices (B, k, k)."""
    above = gauss[:, :-1, :-1]
    size = above.shape[-1]
    # Where the method ended early, the matrix is singular and what comes out counts nothing.
    above = (
        above
        + torch.eye(size, dtype=above.dtype) * (above.diagonal(dim1=1, dim2=2).amax(1) * 1e-12 + _TINY)[:, None, None]
    )
    ends = torch.zeros(len(gauss), size, 1, dtype=gauss.dtype)
    ends[:, -1] = 1
    last = torch.linalg.solve_ex(above, ends).result[:, -1, 0]
    return torch.where(beside > 0, beside.square() * last, 0.0)


def _root_quadrature(tridiagonal: Tensor) -> Tensor:
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    total: Tensor = (vectors[:, 0].square() * nodes.clamp_min(0).sqrt()).sum(-1)
    return total
