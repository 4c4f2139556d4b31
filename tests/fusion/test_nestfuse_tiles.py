"""NestFuse in tiles against the plain network."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.attention import NESTFUSE, PAPER, AttentionStrategy
from fusion.factory import load_nestfuse
from fusion.nestfuse import LITE, NestFuse
from fusion.nestfuse_hybrid import nestfuse_in_torch
from fusion.nestfuse_inference import NestFuseMethod
from fusion.nestfuse_strips import NestFuseStrips
from fusion.nestfuse_tiles import NestFuseTiles
from fusion.tile_convolution import has_laid_out_convolutions
from fusion.weight_store import find_weights
from tests.fusion.small_networks import noise_pictures, small_nestfuse

pytestmark = pytest.mark.skipif(not has_laid_out_convolutions(), reason="this PyTorch computes without oneDNN")

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=15)
@given(
    height=st.integers(16, 75),
    width=st.integers(16, 75),
    seed=st.integers(0, 99),
    deep=st.booleans(),
    strategy=st.sampled_from(
        [
            NESTFUSE,
            PAPER.with_pooling("max"),
            NESTFUSE.with_pooling("nuclear"),
            AttentionStrategy(spatial="l1", channel="none"),
            AttentionStrategy(spatial="none", channel="ratio"),
        ]
    ),
)
def test_equal_to_the_plain_network_at_every_size(
    height: int, width: int, seed: int, deep: bool, strategy: AttentionStrategy
) -> None:
    plain, pair = small_nestfuse(seed, deep_supervision=deep), noise_pictures(height, width, seed)
    with torch.no_grad():
        expected = plain.fuse(pair, strategy)[-1]
    got = NestFuseTiles(plain, strategy).fuse(torch.cat(pair))
    assert expected.max() > 1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_the_shipped_network_gives_its_picture_within_a_hundredth_of_a_grey_level() -> None:
    path = find_weights("nestfuse")
    assert path is not None
    plain = load_nestfuse(torch.load(path, weights_only=True), str(path))
    rows, columns = np.mgrid[:97, :131]
    visible = (128 + 90 * np.sin(rows / 5) * np.cos(columns / 9)).astype(np.uint8)
    thermal = ((rows * 7 + columns**2 // 40) % 256).astype(np.uint8)
    expected = plain.fuse([torch.from_numpy(each).float()[None, None] for each in (thermal, visible)])[-1][0, 0]
    got = nestfuse_in_torch(plain, NESTFUSE, CPU).fuse_luma(visible, thermal)
    assert expected.std() > 10
    assert np.abs(got - expected.numpy()).max() < 0.01


def test_threads_and_former_pictures_change_nothing(two_threads: None) -> None:
    """Bit by bit, also when two threads ask at once."""
    plain, method = small_nestfuse(3), NestFuseTiles(small_nestfuse(3), NESTFUSE)
    pairs = [torch.cat(noise_pictures(height, width, height)) for height, width in ((40, 61), (33, 48), (40, 61))]
    torch.set_num_threads(1)
    expected = [NestFuseTiles(plain, NESTFUSE).fuse(pair) for pair in pairs]
    torch.set_num_threads(2)
    for pair, picture in zip(pairs, expected, strict=True):
        assert torch.equal(method.fuse(pair), picture)
    got: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda number=number: got.update({number: method.fuse(pairs[number])}))
        for number in range(len(pairs))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(got[number], picture) for number, picture in enumerate(expected))
    assert torch.get_num_threads() == 2


def test_its_parts_are_those_of_the_whole() -> None:
    """Features as the network makes them, and strips of a picture like the picture."""
    network, strategy = small_nestfuse(5), NESTFUSE.with_pooling("max")
    method, pair = NestFuseTiles(network, strategy), noise_pictures(70, 45)
    for got, expected in zip(
        method.encode(torch.cat(pair), 3), NestFuseMethod(network, strategy, CPU).encode(torch.cat(pair)), strict=False
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
    visible, thermal = (each[0, 0].numpy().astype(np.uint8) for each in pair)
    whole = method.fuse_luma(visible, thermal)
    strips = NestFuseStrips(method, strip_px=1).fuse_luma(visible, thermal)
    np.testing.assert_allclose(strips, whole, rtol=1e-4, atol=2e-3)


def test_small_networks_and_gpus_take_the_other_way() -> None:
    assert isinstance(nestfuse_in_torch(NestFuse(), NESTFUSE, CPU), NestFuseTiles)
    assert isinstance(nestfuse_in_torch(NestFuse(LITE), NESTFUSE, CPU), NestFuseMethod)
    assert isinstance(nestfuse_in_torch(NestFuse(), NESTFUSE, torch.device("meta")), NestFuseMethod)
