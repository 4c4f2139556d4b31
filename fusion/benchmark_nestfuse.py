"""How fast NestFuse is in each engine and with nuclear norms, against the network as published, in eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion.attention import NESTFUSE, AttentionStrategy, channel_weights, channel_weights_of_pooled, fuse_features
from fusion.benchmark_rows import SEED, BenchmarkRow, benchmark_pictures, compare_paths
from fusion.checkpoints import read_state_dict
from fusion.factory import graph_engine, load_nestfuse
from fusion.fuser import EngineName
from fusion.graph_engines import GraphEngine, missing_package
from fusion.nestfuse import MINIMUM_SIZE_PX, NestFuse
from fusion.nestfuse_hybrid import nestfuse_in_engine, nestfuse_in_torch
from fusion.nestfuse_inference import NestFuseMethod
from fusion.picture_fuser import LumaMethod, PictureFuser
from fusion.ranges import SmoothRange
from fusion.weight_store import find_weights

Measurement = Callable[[tuple[int, int], int], BenchmarkRow]

_CPU = torch.device("cpu")
_ENGINES: Mapping[str, GraphEngine] = MappingProxyType(
    {name: engine for name in get_args(EngineName) if (engine := graph_engine(name, _CPU)) is not None}
)
_PLAIN = "two encoder passes in eager torch, float32"
_PLAIN_NUCLEAR = "two encoder passes and a loop of SVDs in eager torch, float32"
_VIDEO_MS = 50.0


class PlainMethod:
    """The network as published, each picture on its own; nuclear norms by one SVD per channel."""

    minimum_size_px = MINIMUM_SIZE_PX

    def __init__(self, network: NestFuse, strategy: AttentionStrategy = NESTFUSE) -> None:
        self._network = network
        self._strategy = strategy

    @torch.inference_mode()
    def fuse_luma(self, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fuse ``visible`` and ``thermal`` (H, W) into (H, W)."""
        pictures = [torch.from_numpy(picture).float()[None, None] for picture in (thermal, visible)]
        scales = list(zip(*(self._network.encode(picture) for picture in pictures), strict=True))
        fused = [fuse_features(scale, self._strategy, self._pooled(scale)) for scale in scales]
        return self._network.decode(fused)[-1][0, 0].numpy()

    def _pooled(self, scale: Sequence[Tensor]) -> Tensor | None:
        return plain_nuclear_norms(scale, self._strategy.epsilon) if self._strategy.pooling == "nuclear" else None


def plain_nuclear_norms(features: Sequence[Tensor], epsilon: float) -> Tensor:
    """Nuclear norm of each channel of features (1, C, H, W), one SVD after the other: (K, 1, C, 1, 1)."""
    norms = [[torch.linalg.svdvals(channel + epsilon).sum() for channel in feature[0]] for feature in features]
    return torch.stack([torch.stack(each) for each in norms])[:, None, :, None, None]


def package_missing_for(measurement: str) -> str | None:
    """What must be installed for a measurement and is not."""
    engines = (engine for name, engine in _ENGINES.items() if measurement.endswith(f"-{name}"))
    return next((missing_package(engine.name) for engine in engines), None)


def _network(name: str) -> NestFuse:
    """A network of its own for each path: the fast one may lay its weights out anew, which would help the plain one."""
    path = find_weights(name)
    torch.manual_seed(SEED)
    return load_nestfuse(read_state_dict(path), str(path)) if path else NestFuse().eval()


def _luma_pair(size_wh: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    visible, thermal = (picture[0, 0].numpy().astype(np.uint8) for picture in benchmark_pictures(size_wh))
    return visible, thermal


def _whole(
    size_wh: tuple[int, int],
    repeats: int,
    name: str,
    method: Callable[[NestFuse], LumaMethod],
    target: float,
    *,
    network: str = "nestfuse",
    reference: AttentionStrategy = NESTFUSE,
    allowed_difference: float = 0.01,
    mean: bool = False,
) -> BenchmarkRow:
    plain, fast = PlainMethod(_network("nestfuse"), reference), method(_network(network))
    visible, thermal = _luma_pair(size_wh)
    return compare_paths(
        name,
        (_PLAIN if reference.pooling == "avg" else _PLAIN_NUCLEAR, _fusion(plain, visible, thermal)),
        _fusion(fast, visible, thermal),
        repeats=repeats,
        target=target,
        allowed_difference=allowed_difference,
        unit="grey levels on average" if mean else "grey levels",
        difference=_mean_difference if mean else None,
    )


def _attention(
    size_wh: tuple[int, int], repeats: int, name: str, strategy: AttentionStrategy, target: float, allowed: float
) -> BenchmarkRow:
    """Channel weights of all four scales, on the features of real weights where these are at hand."""
    images = torch.cat(benchmark_pictures(size_wh))
    encoded = NestFuseMethod(_network("nestfuse"), NESTFUSE, _CPU).encode(images)
    scales = [scale.contiguous().chunk(2) for scale in encoded]

    def plain() -> Tensor:
        weights = [channel_weights_of_pooled(plain_nuclear_norms(s, strategy.epsilon), strategy) for s in scales]
        return torch.cat([scale.flatten() for scale in weights])

    return compare_paths(
        name,
        ("a loop of SVDs over all channels of four scales", plain),
        lambda: torch.cat([channel_weights(scale, strategy).flatten() for scale in scales]),
        repeats=repeats,
        target=target,
        allowed_difference=allowed,
        unit="of a weight",
    )


def _lite(size_wh: tuple[int, int], repeats: int, engine: str) -> BenchmarkRow:
    """The whole way of a pair, colour and smooth range included."""
    quick = _network("nestfuse-lite")
    method = (
        NestFuseMethod(quick, NESTFUSE, _CPU)
        if engine == "torch"
        else nestfuse_in_engine(quick, NESTFUSE, _ENGINES[engine])
    )
    fusers = [PictureFuser(each, SmoothRange()) for each in (PlainMethod(_network("nestfuse-lite")), method)]
    visible, thermal = _luma_pair(size_wh)
    visible_bgr = np.stack([visible, np.roll(visible, 5, 0), np.roll(visible, 9, 1)], 2)
    plain, fast = (partial(_picture, fuser, visible_bgr, thermal) for fuser in fusers)
    return compare_paths(
        "nestfuse-lite" if engine == "torch" else f"nestfuse-lite-{engine}",
        (f"{_PLAIN}, colour and range included", plain),
        fast,
        repeats=repeats,
        target=1.0,
        target_ms=_VIDEO_MS,
        # bfloat16 is off by up to one or two levels of 255, which the range spreads with the picture.
        allowed_difference=4 if engine.endswith("bf16") else 3,
        unit="grey levels",
    )


def _picture(fuser: PictureFuser, visible_bgr: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(fuser(visible_bgr, thermal)).int()


def _fusion(method: LumaMethod, visible: NDArray[np.uint8], thermal: NDArray[np.uint8]) -> Callable[[], Tensor]:
    return lambda: torch.from_numpy(method.fuse_luma(visible, thermal))


def _mean_difference(plain: Tensor, quick: Tensor) -> float:
    return float((plain - quick).abs().mean())


def _in_engine(
    name: str,
    engine: str,
    target: float,
    allowed_difference: float,
    strategy: AttentionStrategy = NESTFUSE,
    network: str = "nestfuse",
) -> Measurement:
    fast = strategy.pooling == "nuclear-fast"
    return lambda size_wh, repeats: _whole(
        size_wh,
        repeats,
        name,
        lambda net: nestfuse_in_engine(net, strategy, _ENGINES[engine]),
        target,
        network=network,
        reference=NESTFUSE.with_pooling("nuclear") if fast else NESTFUSE,
        allowed_difference=allowed_difference,
        mean=fast,
    )


def _in_torch(
    name: str, target: float, strategy: AttentionStrategy, dtype: torch.dtype, network: str = "nestfuse"
) -> Measurement:
    nuclear = strategy.pooling != "avg"
    exact = strategy.pooling != "nuclear-fast" and dtype == torch.float32 and network == "nestfuse"
    return lambda size_wh, repeats: _whole(
        size_wh,
        repeats,
        name,
        lambda net: (
            nestfuse_in_torch(net, strategy, _CPU)
            if dtype == torch.float32
            else NestFuseMethod(net, strategy, _CPU, dtype)
        ),
        target,
        network=network,
        reference=NESTFUSE.with_pooling("nuclear") if nuclear else NESTFUSE,
        allowed_difference=0.01 if exact else 1.0,
        mean=not exact,
    )


_NARROW = "nestfuse-narrow"
_NUCLEAR, _NUCLEAR_FAST = NESTFUSE.with_pooling("nuclear"), NESTFUSE.with_pooling("nuclear-fast")

NESTFUSE_MEASUREMENTS: Mapping[str, Measurement] = MappingProxyType(
    {
        "nestfuse": _in_torch("nestfuse", 3.0, NESTFUSE, torch.float32),
        "nestfuse-bf16": _in_torch("nestfuse-bf16", 3.0, NESTFUSE, torch.bfloat16),
        "nestfuse-onnx": _in_engine("nestfuse-onnx", "onnx", 1.8, 0.01),
        "nestfuse-openvino": _in_engine("nestfuse-openvino", "openvino", 3.0, 0.01),
        "nestfuse-openvino-bf16": _in_engine("nestfuse-openvino-bf16", "openvino-bf16", 5.0, 1.0),
        "nuclear-attention": lambda size_wh, repeats: _attention(
            size_wh, repeats, "nuclear-attention", _NUCLEAR, 2.5, 1e-4
        ),
        "nuclear-fast-attention": lambda size_wh, repeats: _attention(
            size_wh, repeats, "nuclear-fast-attention", _NUCLEAR_FAST, 10, 1e-2
        ),
        "nestfuse-nuclear": _in_torch("nestfuse-nuclear", 2.5, _NUCLEAR, torch.float32),
        "nestfuse-nuclear-fast": _in_torch("nestfuse-nuclear-fast", 10, _NUCLEAR_FAST, torch.float32),
        "nestfuse-nuclear-fast-openvino-bf16": _in_engine(
            "nestfuse-nuclear-fast-openvino-bf16", "openvino-bf16", 10, 1.0, _NUCLEAR_FAST
        ),
        _NARROW: _in_torch(_NARROW, 10, NESTFUSE, torch.float32, _NARROW),
        f"{_NARROW}-nuclear-fast": _in_torch(f"{_NARROW}-nuclear-fast", 10, _NUCLEAR_FAST, torch.float32, _NARROW),
        f"{_NARROW}-nuclear-fast-openvino-bf16": _in_engine(
            f"{_NARROW}-nuclear-fast-openvino-bf16", "openvino-bf16", 10, 1.0, _NUCLEAR_FAST, _NARROW
        ),
        "nestfuse-lite": lambda size_wh, repeats: _lite(size_wh, repeats, "torch"),
        "nestfuse-lite-onnx": lambda size_wh, repeats: _lite(size_wh, repeats, "onnx"),
        "nestfuse-lite-openvino": lambda size_wh, repeats: _lite(size_wh, repeats, "openvino"),
        "nestfuse-lite-openvino-bf16": lambda size_wh, repeats: _lite(size_wh, repeats, "openvino-bf16"),
    }
)
"""Measurements by name: each takes width and height in pixels and the number of turns."""
