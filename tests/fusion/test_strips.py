"""Large pictures in strips: the same picture as in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion import auif_inference, densefuse, didfuse, ifcnn
from fusion.attention import NESTFUSE, PAPER, AttentionStrategy, PoolingKind
from fusion.auif import Auif
from fusion.auif_inference import collapse
from fusion.densefuse import DenseFuse
from fusion.didfuse import DidFuse
from fusion.errors import InputError
from fusion.factory import build_fuser
from fusion.ifcnn import Ifcnn
from fusion.nestfuse_inference import NestFuseMethod
from fusion.nestfuse_strips import GRID_PX, REACH_PX, NestFuseStrips
from fusion.picture_fuser import LumaMethod
from fusion.strips import LocalStrips, cut_strips
from fusion.tensor_method import TensorFusion, TensorMethod
from tests.fusion.small_networks import small_nestfuse

CPU = torch.device("cpu")
CHANNELS = (4, 5, 6, 7)


def pair(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two unlike pictures: one dark at the top, one bright at the left, both with texture."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    slopes = rows / max(height, 2), 1 - columns / max(width, 2)
    first, second = (generator.integers(0, 90, (height, width)) + slope * 160 for slope in slopes)
    return first.astype(np.uint8), second.astype(np.uint8)


@settings(deadline=None)
@given(
    height=st.integers(16, 700), width=st.integers(16, 700), strip_px=st.integers(1, 300_000), reach=st.integers(0, 40)
)
@example(height=17, width=64, strip_px=1, reach=24)
def test_the_strips_cover_the_side_once_and_see_far_enough(height: int, width: int, strip_px: int, reach: int) -> None:
    layout = cut_strips(height, width, strip_px=strip_px, reach_px=reach, grid_px=8)
    length, across = max(height, width), min(height, width)
    assert (height, width)[layout.axis] == length
    covered = [place for strip in layout.strips for place in range(strip.inner.start, strip.inner.stop)]
    assert covered == list(range(length))
    for strip in layout.strips:
        assert strip.outer.start in range(0, max(strip.inner.start - reach, 0) + 1, 8)
        assert strip.outer.stop >= min(strip.inner.stop + reach, length)
        assert strip.outer.stop == length or strip.outer.stop % 8 == 0
    if len(layout.strips) == 1 and height * width > strip_px:
        assert length < 2 * max(reach + 8, 24)
    roomy = strip_px >= across * 4 * (reach + 16)
    if roomy:
        assert all((strip.outer.stop - strip.outer.start) * across <= strip_px * 1.5 for strip in layout.strips)


def test_no_pixels_are_no_strip() -> None:
    with pytest.raises(InputError, match="above 0, not 0"):
        cut_strips(100, 100, strip_px=0, reach_px=1)


@settings(deadline=None, max_examples=12)
@given(
    height=st.integers(40, 120),
    width=st.integers(40, 120),
    pooling=st.sampled_from(["avg", "max", "nuclear"]),
    base=st.sampled_from([NESTFUSE, PAPER]),
    seed=st.integers(0, 50),
)
def test_nestfuse_in_strips_is_nestfuse_in_one_piece(
    height: int, width: int, pooling: PoolingKind, base: AttentionStrategy, seed: int
) -> None:
    method = NestFuseMethod(small_nestfuse(seed, channels=CHANNELS), base.with_pooling(pooling), CPU)
    visible, thermal = pair(height, width, seed)
    expected = method.fuse_luma(visible, thermal)
    got = NestFuseStrips(method, strip_px=1, gram_bytes=60_000).fuse_luma(visible, thermal)
    assert expected.std() > 0
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-3)


def test_the_overlap_is_what_nestfuse_needs() -> None:
    """Across a border between cells, rows further away than the overlap change nothing; nearer ones do."""
    method = NestFuseMethod(small_nestfuse(3, channels=CHANNELS), AttentionStrategy(spatial="l1", channel="none"), CPU)
    visible, thermal = pair(160, 40)
    border = 10 * GRID_PX
    before = method.fuse_luma(visible, thermal)
    for distance, same in ((REACH_PX, True), (REACH_PX - GRID_PX, False)):
        above, below = visible.copy(), visible.copy()
        above[: border - distance] //= 2
        below[border + distance :] //= 2
        assert np.array_equal(method.fuse_luma(above, thermal)[border:], before[border:]) is same
        assert np.array_equal(method.fuse_luma(below, thermal)[:border], before[:border]) is same


@pytest.mark.parametrize("size", [(640, 480), (477, 637)])
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_nestfuse_lite_shows_no_seam(size: tuple[int, int], pooling: Any) -> None:
    visible, thermal = pair(*size)
    whole = build_fuser("nestfuse-lite", pooling=pooling, range_name="fixed")(visible, thermal)
    strips = build_fuser("nestfuse-lite", pooling=pooling, range_name="fixed", strip_px=40_000)(visible, thermal)
    assert np.abs(whole.astype(int) - strips).max() <= 1
    assert (whole != strips).mean() < 1e-3


def local_methods() -> list[tuple[str, LumaMethod, int]]:
    torch.manual_seed(1)
    auif, did, dense, ifc = Auif().eval(), DidFuse().eval(), DenseFuse().eval(), Ifcnn().eval()

    def tensor(network: Any, mode: str, scale: float) -> LumaMethod:
        fusion = TensorFusion(
            network=network,
            fuse=lambda thermal, visible: network.fuse(thermal, visible, mode),
            scale=scale,
            minimum_size_px=2,
        )
        return TensorMethod(fusion, CPU)

    return [
        ("auif", collapse(auif), auif_inference.REACH_PX),
        ("auif-l1", collapse(auif, "l1"), auif_inference.REACH_PX),
        ("didfuse", tensor(did, "sum", 255), didfuse.REACH_PX),
        ("didfuse-l1", tensor(did, "l1", 255), didfuse.REACH_PX),
        ("densefuse", tensor(dense, "addition", 1), densefuse.REACH_PX),
        ("densefuse-l1", tensor(dense, "l1", 1), densefuse.REACH_PX),
        ("ifcnn", tensor(ifc, "max", 255), ifcnn.REACH_PX),
    ]


@pytest.mark.parametrize(("name", "method", "reach"), [pytest.param(*case, id=case[0]) for case in local_methods()])
@pytest.mark.parametrize("size", [(101, 44), (45, 130)])
def test_local_networks_in_strips(name: str, method: LumaMethod, reach: int, size: tuple[int, int]) -> None:
    visible, thermal = pair(*size)
    expected = method.fuse_luma(visible, thermal)
    got = LocalStrips(method, reach_px=reach, strip_px=1).fuse_luma(visible, thermal)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-3)
    assert expected.std() > 0, name
    # Exactly that reach: with less of it the strips differ. (What AUIF's outermost taps do drowns in rounding.)
    if name in ("didfuse-l1", "densefuse", "ifcnn"):
        short = LocalStrips(method, reach_px=reach - 1, strip_px=1).fuse_luma(visible, thermal)
        assert not np.array_equal(short, expected)


def test_a_picture_that_fits_stays_whole() -> None:
    class Whole:
        minimum_size_px = 1

        def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.seen = visible.shape
            return visible.astype(np.float32)

    method = Whole()
    visible, thermal = pair(40, 50)
    LocalStrips(method, reach_px=3, strip_px=2000).fuse_luma(visible, thermal)
    assert method.seen == (40, 50)
