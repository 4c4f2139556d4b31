"""Nuclear norms by polar factors against singular values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.polar import polar_nuclear_norm


def spectrum(height: int, width: int, fall: float, seed: int) -> torch.Tensor:
    """A matrix whose singular values fall by a power."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(side, side, generator=generator))[0] for side in (height, width))
    count = min(height, width)
    values = torch.arange(1, count + 1, dtype=torch.float32) ** -fall
    return left[:, :count] * values @ right[:, :count].T


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    fall=st.floats(0, 1.5),
    scale=st.floats(-4, 4),
    seed=st.integers(0, 99),
)
def test_near_the_sum_of_singular_values(height: int, width: int, fall: float, scale: float, seed: int) -> None:
    matrix = spectrum(height, width, fall, seed) * 10**scale
    exact = torch.linalg.svdvals(matrix.double()).sum()
    assert float(polar_nuclear_norm(matrix, product_dtype=torch.float32) / exact) == pytest.approx(1, abs=5e-3)
    assert float(polar_nuclear_norm(matrix) / exact) == pytest.approx(1, abs=2e-2)


def test_offset_batches_and_nothing_at_all() -> None:
    matrices = torch.stack([torch.zeros(9, 7), torch.ones(9, 7), spectrum(9, 7, 0.5, 1)])[None]
    found = polar_nuclear_norm(matrices, 0.25)
    exact = torch.linalg.svdvals(matrices.double() + 0.25).sum(-1).float()
    assert found.shape == (1, 3)
    torch.testing.assert_close(found, exact, rtol=2e-3, atol=0)
    assert float(polar_nuclear_norm(torch.zeros(5, 6))) == 0
