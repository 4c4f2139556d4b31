"""Nuclear norms of feature maps: the sum of the singular values of each channel (H, W), exact and estimated.

The singular values are the square roots of the eigenvalues of the smaller Gram matrix. Squaring halves the digits,
hence float64: against an SVD the relative error stays below 1e-6, in float32 it would reach 1e-2.

The estimate projects a channel onto a random part of its range (Halko, Martinsson, Tropp, "Finding structure with
randomness", SIAM Review 2011): the columns, with random signs, are added up in a few buckets. The singular values that
this part shows are taken as they are. Of the rest only the sum of squares is known, from which follows the largest sum
that it can have; a fixed share of that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.polar import polar_nuclear_norm

Matrix = NDArray[np.float64]

# Eigenvalues of a Gram matrix below this share of the largest are rounding noise of float64.
_NOISE_FLOOR = 1e-14

# A sketch of so small a matrix would take as long as its exact norm, or be too rough.
_EXACT_SIDE = 64
_FEWEST_BUCKETS = 40
_COLUMNS_PER_BUCKET = 5
# As measured on features of NestFuse, where it makes the shares of two modalities most like the exact ones.
_SHARE_OF_REST = 0.8
_SEED = 2020
# Keeps a sketch of few directions invertible.
_RIDGE = 1e-10


def nuclear_norm(matrices: Tensor, offset: float = 0.0) -> Tensor:
    """Sum of the singular values of each matrix ``(..., H, W)`` plus ``offset``: float64 of shape ``(...)``.

    The gradient is U V^T on the numerical range of the matrix and 0 outside it. On a GPU and without a gradient, see
    :func:`fusion.polar.polar_nuclear_norm` for what it is worth.
    """
    if matrices.is_cpu and not matrices.requires_grad:
        return _on_threads(matrices, lambda part: _exact_norms(part, offset))
    if matrices.is_cuda and not matrices.requires_grad:
        return polar_nuclear_norm(matrices, offset).double()
    wide = matrices.to(torch.float64)
    if offset:
        wide = wide + offset
    return nuclear_norm_of_gram(wide @ wide.mT if wide.shape[-2] <= wide.shape[-1] else wide.mT @ wide)


def nuclear_norm_of_gram(gram: Tensor) -> Tensor:
    """Sum of the singular values of the matrices whose Gram matrices (..., n, n) float64 these are: (...)."""
    if gram.is_cpu and not gram.requires_grad:
        return _on_threads(gram, lambda part: _roots_of_grams(part.numpy()))
    eigenvalues = torch.linalg.eigvalsh(gram)
    counts = eigenvalues > eigenvalues.amax(-1, keepdim=True) * _NOISE_FLOOR
    # The inner where keeps the infinite slope of the root at 0 out of the gradient.
    roots = torch.where(counts, eigenvalues, 1.0).sqrt()
    return torch.where(counts, roots, 0.0).sum(-1)


def estimated_nuclear_norm(matrices: Tensor, offset: float = 0.0) -> Tensor:
    """About :func:`nuclear_norm`, in a fraction of the time and without a gradient for large matrices.

    Shares of two modalities made of estimates were within 0.01 of exact ones on average over five real pairs, single
    channels up to 0.12 off; equal input gives equal output.
    """
    if matrices.is_cuda or not sketch_pays(min(matrices.shape[-2:])):
        return nuclear_norm(matrices, offset)
    return _on_threads(matrices.detach().cpu(), lambda part: _estimates(part, offset)).to(matrices.device)


def sketch_pays(side: int) -> bool:
    """Whether the norm of a matrix with a shorter side of ``side`` is estimated; of smaller ones it is exact."""
    return side > _EXACT_SIDE


class NuclearSketch:
    """What is remembered of a matrix (H, W), H >= W, to estimate its nuclear norm; its rows may come in parts.

    Args:
        columns: W.
    """

    def __init__(self, columns: int) -> None:
        self._buckets = min(max(columns // _COLUMNS_PER_BUCKET, _FEWEST_BUCKETS), columns)
        self._turns = -(-columns // self._buckets)
        self._signs = np.random.default_rng(_SEED).choice(np.array([-1, 1], np.float32), columns)
        self._columns = columns
        self._mixed = np.zeros((self._buckets, columns), np.float32)
        self._sketch = np.zeros((self._buckets, self._buckets))
        self._squares = 0.0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Look at some rows (h, W)."""
        signed = rows * self._signs
        drawn = signed[:, : self._buckets].copy()
        for turn in range(1, self._turns):
            part = signed[:, turn * self._buckets : (turn + 1) * self._buckets]
            drawn[:, : part.shape[1]] += part
        self._mixed += drawn.T @ rows
        wide = drawn.astype(np.float64)
        self._sketch += wide.T @ wide
        self._squares += float(np.vdot(rows, rows))

    def norm(self) -> float:
        """The estimate for the rows added so far."""
        scale = float(np.trace(self._sketch)) / self._buckets
        if not scale > 0:
            return 0.0
        factor = np.linalg.cholesky(self._sketch + np.eye(self._buckets) * (scale * _RIDGE))
        mixed = np.linalg.solve(factor, self._mixed.astype(np.float64))
        squares = np.linalg.eigvalsh(mixed @ mixed.T).clip(0)
        # The rest would add up to the most, for its squares, if all of it were equal.
        rest = max(self._squares - float(squares.sum()), 0.0) * (self._columns - self._buckets)
        return float(np.sqrt(squares).sum() + _SHARE_OF_REST * np.sqrt(rest))


def _estimates(matrices: Tensor, offset: float) -> Matrix:
    norms = []
    for matrix in _planes(matrices):
        plane = np.asarray(matrix, np.float32) + np.float32(offset)
        plane = plane if plane.shape[0] >= plane.shape[1] else plane.T
        sketch = NuclearSketch(plane.shape[1])
        sketch.add(plane)
        norms.append(sketch.norm())
    return np.array(norms)


def _exact_norms(matrices: Tensor, offset: float) -> Matrix:
    side = min(matrices.shape[-2:])
    grams = np.empty((len(matrices), side, side))
    for matrix, gram in zip(_planes(matrices), grams, strict=True):
        wide = np.asarray(matrix, np.float64) + offset
        # Of a matrix and its own transpose, NumPy computes one half and mirrors it.
        np.matmul(wide, wide.T, out=gram) if wide.shape[0] == side else np.matmul(wide.T, wide, out=gram)
    return _roots_of_grams(grams)


def _planes(matrices: Tensor) -> Iterable[NDArray[np.floating]]:
    # bfloat16 is unknown to NumPy.
    return (matrix.float().numpy() if matrix.dtype == torch.bfloat16 else matrix.numpy() for matrix in matrices)


def _roots_of_grams(grams: Matrix) -> Matrix:
    eigenvalues = np.linalg.eigvalsh(grams)
    counts = eigenvalues > eigenvalues.max(-1, keepdims=True) * _NOISE_FLOOR
    norms: Matrix = np.sqrt(np.where(counts, eigenvalues, 0)).sum(-1)
    return norms


def _on_threads(matrices: Tensor, norms: Callable[[Tensor], Matrix]) -> Tensor:
    """``norms`` of matrices (..., m, n), shape (...).

    NumPy's LAPACK took two thirds of the time of PyTorch's for one matrix where both were measured. A matrix of some
    hundred rows is too small to be worth several threads, so each thread takes matrices of its own.
    """
    flat = matrices.detach().reshape(-1, *matrices.shape[-2:])
    if not len(flat):
        return torch.zeros(matrices.shape[:-2], dtype=torch.float64)
    workers = min(torch.get_num_threads(), len(flat))
    from threadpoolctl import threadpool_limits  # all else here, and all trackers, do without the package

    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(norms, flat.tensor_split(workers)))
    return torch.from_numpy(np.concatenate(parts)).reshape(matrices.shape[:-2])
