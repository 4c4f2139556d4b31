"""The attention strategy: published values, any batch, count and size of features, gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.attention import (
    FSRPN,
    NESTFUSE,
    PAPER,
    AttentionStrategy,
    PoolingKind,
    channel_weights,
    fuse_features,
    pool_channels,
    spatial_weights,
)
from fusion.errors import InputError
from fusion.nuclear import nuclear_norm

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
POOLINGS = get_args(PoolingKind)
PRESETS = [NESTFUSE, PAPER, FSRPN]

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="reference values are not at hand")


def features(*shape: int, count: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(*shape, generator=generator) * 3 for _ in range(count)]


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(REFERENCE / f"golden_{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


@needs_reference
@pytest.mark.parametrize("pooling", ["avg", "max", "nuclear"])
def test_nestfuse_equals_the_published_code(pooling: PoolingKind) -> None:
    values = golden("nestfuse_fusion_op")
    a, b = values["a"], values["b"]
    strategy = NESTFUSE.with_pooling(pooling)
    torch.testing.assert_close(
        pool_channels(a, pooling, 1e-5).flatten(), values[f"pool_a.attention_{pooling}"], rtol=1e-5, atol=1e-6
    )
    for channel, spatial, key in (
        ("ratio", "none", f"channel.attention_{pooling}"),
        ("none", "softmax", "spatial"),
        ("ratio", "softmax", f"fused.attention_{pooling}"),
    ):
        part = replace(strategy, channel=channel, spatial=spatial)
        torch.testing.assert_close(fuse_features([a, b], part), values[key], rtol=1e-5, atol=1e-5)


@needs_reference
def test_fsrpn_equals_the_published_code() -> None:
    values = golden("fsrpn_fusion_op")
    torch.testing.assert_close(fuse_features([values["a"], values["b"]], FSRPN), values["fused"], rtol=1e-5, atol=1e-5)


@needs_reference
@pytest.mark.parametrize(("name", "strategy"), [("nestfuse_fusion_op", NESTFUSE), ("fsrpn_fusion_op", FSRPN)])
def test_where_the_published_code_overflows_the_result_is_finite(name: str, strategy: AttentionStrategy) -> None:
    values = golden(name)
    hot = [values["a_hot"], values.get("b_hot", values["b"])]
    fused, published = fuse_features(hot, strategy), values["fused_hot"]
    assert published.isnan().any()
    assert fused.isfinite().all()
    sane = ~published.isnan()
    torch.testing.assert_close(fused[sane], published[sane], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("preset", PRESETS)
def test_each_image_of_a_batch_is_fused_on_its_own(preset: AttentionStrategy, pooling: PoolingKind) -> None:
    strategy, pair = preset.with_pooling(pooling), features(3, 5, 7, 6)
    batched = fuse_features(pair, strategy)
    for index in range(3):
        alone = fuse_features([feature[index : index + 1] for feature in pair], strategy)
        torch.testing.assert_close(batched[index : index + 1], alone, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(2, 4),
    preset=st.sampled_from(PRESETS),
    pooling=st.sampled_from(POOLINGS),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_weights_are_shares_and_order_does_not_matter(
    count: int, preset: AttentionStrategy, pooling: PoolingKind, height: int, width: int, seed: int
) -> None:
    strategy = preset.with_pooling(pooling)
    inputs = features(2, 3, height, width, count=count, seed=seed)
    for weights in (spatial_weights(inputs, strategy), channel_weights(inputs, strategy)):
        assert weights.min() >= 0
        torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]), rtol=0, atol=1e-2)
    fused = fuse_features(inputs, strategy)
    torch.testing.assert_close(fuse_features(inputs[::-1], strategy), fused, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fuse_features(torch.stack(inputs), strategy), fused, rtol=0, atol=0)
    assert (fused <= torch.stack(inputs).amax(0) * 1.0001).all()


def test_l1_weights_follow_equation_5() -> None:
    a, b = features(1, 4, 3, 3)
    expected = a.abs().sum(1) / (a.abs().sum(1) + b.abs().sum(1))
    torch.testing.assert_close(spatial_weights([a, b], PAPER)[0, :, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("preset", PRESETS)
def test_hot_features_do_not_overflow(preset: AttentionStrategy, pooling: PoolingKind, dtype: torch.dtype) -> None:
    hot = [feature.to(dtype) * 10_000 for feature in features(1, 64, 8, 8)]
    fused = fuse_features(hot, preset.with_pooling(pooling))
    assert fused.dtype == dtype
    assert fused.isfinite().all()
    assert fused.amax() > 0


def test_negative_features_keep_their_softmax() -> None:
    cold = [feature - 500 for feature in features(1, 8, 4, 4)]
    weights = spatial_weights(cold, FSRPN)
    torch.testing.assert_close(weights.sum(0), torch.ones(1, 1, 4, 4))


@pytest.mark.parametrize("preset", PRESETS)
def test_dead_features_stay_dead(preset: AttentionStrategy) -> None:
    for pooling in POOLINGS:
        assert fuse_features([torch.zeros(1, 2, 4, 4)] * 2, preset.with_pooling(pooling)).abs().max() == 0


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_are_right(preset: AttentionStrategy, pooling: PoolingKind) -> None:
    pair = [feature.double().requires_grad_() for feature in features(1, 2, 4, 3)]
    strategy = preset.with_pooling(pooling)
    assert torch.autograd.gradcheck(lambda a, b: fuse_features([a, b], strategy), pair)


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (7, 7), (1, 6)])
def test_nuclear_norm_equals_the_singular_values(shape: tuple[int, int]) -> None:
    matrices = features(2, 3, *shape)[0]
    expected = torch.linalg.svdvals(matrices.double()).sum(-1)
    torch.testing.assert_close(nuclear_norm(matrices), expected, rtol=1e-6, atol=1e-9)


def test_nuclear_norm_of_a_degenerate_matrix_has_a_finite_gradient() -> None:
    matrix = torch.ones(1, 6, 4, dtype=torch.float64, requires_grad=True)
    norm = nuclear_norm(matrix)
    norm.sum().backward()
    torch.testing.assert_close(norm, torch.tensor([24.0], dtype=torch.float64).sqrt())
    assert matrix.grad is not None
    torch.testing.assert_close(matrix.grad, torch.full((1, 6, 4), 24**-0.5, dtype=torch.float64))


def test_a_single_modality_passes_unchanged() -> None:
    (feature,) = features(1, 2, 3, 3, count=1)
    assert fuse_features([feature], FSRPN) is feature


def test_wrong_use_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'nuclear'"):
        AttentionStrategy(pooling="nuclar")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="both are 'none'"):
        AttentionStrategy(spatial="none", channel="none")
    with pytest.raises(InputError, match="epsilon above 0"):
        AttentionStrategy(epsilon=0)
    with pytest.raises(ValueError, match="must agree"):
        fuse_features([torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4)])
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        fuse_features([torch.zeros(2, 3, 3)] * 2)
    with pytest.raises(ValueError, match="at least one"):
        fuse_features([])
