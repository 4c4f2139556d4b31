"""NestFuse with its decoder in an engine and what comes before in PyTorch."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.attention import NESTFUSE, PAPER, AttentionStrategy, PoolingKind
from fusion.checkpoints import read_state_dict
from fusion.factory import build_fuser, graph_engine
from fusion.fuser import EngineName
from fusion.graph_engines import GraphEngine, GraphEngineName
from fusion.nestfuse_hybrid import NestFuseHybrid, decoder_in_engine, nestfuse_in_engine, nestfuse_in_torch
from fusion.nestfuse_inference import NestFuseMethod
from fusion.nestfuse_strips import NestFuseStrips, ScaleMethod
from fusion.tile_convolution import has_laid_out_convolutions
from fusion.weight_store import find_weights
from tests.fusion.small_networks import small_nestfuse

CPU = torch.device("cpu")
PACKAGES: dict[GraphEngineName, str] = {"onnx": "onnxruntime", "openvino": "openvino"}

pytestmark = [
    pytest.mark.skipif(not has_laid_out_convolutions(), reason="this PyTorch computes without oneDNN"),
    pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="without onnx no graph can be made"),
]


def pair(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rows, columns = np.mgrid[:height, :width]
    visible = (128 + 90 * np.sin(rows / 5) * np.cos(columns / 9)).astype(np.uint8)
    return visible, ((rows * 7 + columns**2 // 40) % 256).astype(np.uint8)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@settings(deadline=None, max_examples=4)
@given(
    height=st.integers(16, 60),
    width=st.integers(16, 60),
    strategy=st.sampled_from([NESTFUSE, PAPER.with_pooling("max"), NESTFUSE.with_pooling("nuclear")]),
)
def test_in_float32_it_is_the_network(
    engine: GraphEngineName, height: int, width: int, strategy: AttentionStrategy
) -> None:
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        pytest.skip(f"{PACKAGES[engine]} is not installed")
    network, pictures = small_nestfuse(4), pair(height, width)
    expected = NestFuseMethod(network, strategy, CPU).fuse_luma(*pictures)
    method = NestFuseHybrid(network, strategy, decoder_in_engine(network, GraphEngine(engine, CPU)))
    for method_or_strips in (method, NestFuseStrips(method, strip_px=1), method):
        got = method_or_strips.fuse_luma(*pictures)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("engine", ["torch", "onnx", "openvino", "openvino-bf16"])
@pytest.mark.parametrize("pooling", ["avg", "nuclear"])
def test_a_narrow_decoder_is_the_same_in_every_engine(engine: EngineName, pooling: PoolingKind) -> None:
    package = PACKAGES.get("onnx" if engine == "onnx" else "openvino")
    if engine != "torch" and importlib.util.find_spec(package or "") is None:
        pytest.skip(f"{package} is not installed")
    network = small_nestfuse(6, channels=(32, 8, 10, 12), decoder_channels=(5, 6, 7, 8))
    strategy, pictures = NESTFUSE.with_pooling(pooling), pair(43, 58)
    images = [torch.from_numpy(each).float()[None, None] for each in reversed(pictures)]
    with torch.no_grad():
        expected = network.fuse(images, strategy)[-1][0, 0].numpy()
    running = graph_engine(engine, CPU)
    method: ScaleMethod
    if running is None:
        method = nestfuse_in_torch(network, strategy, CPU)
        assert isinstance(method, NestFuseHybrid)
    else:
        method = nestfuse_in_engine(network, strategy, running)
    tolerance = 0.02 * expected.max() if engine == "openvino-bf16" else 1e-3
    for method_or_strips in (method, NestFuseStrips(method, strip_px=1)):
        np.testing.assert_allclose(method_or_strips.fuse_luma(*pictures), expected, rtol=1e-4, atol=tolerance)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_half_the_bits_stay_within_a_grey_level() -> None:
    visible, thermal = pair(70, 91)
    exact, halved = (
        build_fuser("nestfuse", range_name="fixed", engine=engine, gray=True)(visible, thermal).astype(int)
        for engine in ("torch", "openvino-bf16")
    )
    assert exact.std() > 10
    assert np.abs(exact - halved).max() <= 2
    assert np.abs(exact - halved).mean() < 0.5


def test_the_shipped_narrow_network_has_the_encoder_of_the_full_one_and_nearly_its_pictures() -> None:
    paths = [find_weights(name) for name in ("nestfuse", "nestfuse-narrow")]
    full, narrow = (read_state_dict(path) for path in paths if path is not None)
    encoder = [name for name in narrow if name.startswith("conv0.") or name[3:5] == "_0"]
    assert len(encoder) == 18
    assert all(torch.equal(narrow[name], full[name]) for name in encoder)
    visible, thermal = pair(96, 128)
    expected, got = (
        build_fuser(name, range_name="fixed", gray=True)(visible, thermal).astype(int)
        for name in ("nestfuse", "nestfuse-narrow")
    )
    assert expected.std() > 10
    assert np.abs(got - expected).mean() < 2
