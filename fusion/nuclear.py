"""Nuclear norms of feature maps: the sum of the singular values of each channel (H, W).

The singular values are the square roots of the eigenvalues of the smaller Gram matrix. Squaring halves the digits,
hence float64: against an SVD the relative error stays below 1e-6, in float32 it would reach 1e-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.nuclear_estimate import estimate_nuclear_norms, estimate_pays
from fusion.polar import polar_nuclear_norm

Matrix = NDArray[np.float64]

# Eigenvalues of a Gram matrix below this share of the largest are rounding noise of float64.
_NOISE_FLOOR = 1e-14


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

    Shares of two modalities made of estimates were within 0.01 of exact ones in every channel of the pairs looked at,
    and within 0.0015 on average; equal input gives equal output. On a GPU it is :func:`nuclear_norm`.
    """
    if matrices.is_cuda or not estimate_pays(min(matrices.shape[-2:])) or not matrices.numel():
        return nuclear_norm(matrices, offset)
    norms = estimate_nuclear_norms(matrices.detach().flatten(0, -3), offset)
    return norms.reshape(matrices.shape[:-2])


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
