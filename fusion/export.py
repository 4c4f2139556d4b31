"""Fusion networks as ONNX files with free height and width, checked against torch.

The file takes ``infrared`` and ``visible``, (1, 1, H, W) float32 grey levels 0..255, and gives ``fused`` of the same
size, on the same scale and not clipped. The range mapping is not part of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from fusion import auif, densefuse, didfuse, ifcnn
from fusion.attention import NESTFUSE
from fusion.checkpoints import read_merged_state_dict
from fusion.errors import InputError, RunError
from fusion.factory import load_nestfuse
from fusion.nestfuse import NestFuse
from fusion.weight_store import require_weights

OPSET = 17
_CHECKED_SIZES = ((64, 96), (61, 83), (120, 75))
_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was exported and how well it agrees.

    Attributes:
        name: the method.
        path: the ONNX file.
        checked_sizes: heights and widths of the pictures it was checked on.
        largest_difference: between onnxruntime and torch, in grey levels.
        size_bytes: of the file.
    """

    name: str
    path: Path
    checked_sizes: tuple[tuple[int, int], ...]
    largest_difference: float
    size_bytes: int


class GreyFusion(nn.Module):
    """A network as a function of two grey pictures 0..255."""

    def __init__(self, network: nn.Module, fuse: Callable[[Tensor, Tensor], Tensor], scale: float) -> None:
        super().__init__()
        self.network = network
        self._fuse = fuse
        self._scale = scale

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fused picture (1, 1, H, W) of two pictures of its size."""
        return self._fuse(infrared / self._scale, visible / self._scale) * self._scale


def exportable_fuser(name: str, weights: Path | None = None) -> GreyFusion:
    """The network ``name`` with its imported or shipped weights, or those given, ready to export.

    Raises:
        InputError: a method that is no network, or one without weights.
    """
    if name not in _NETWORKS:
        raise InputError(f"export --fuser {name}: these networks can be exported: {', '.join(_NETWORKS)}")
    path = require_weights(name, weights, "")
    return _NETWORKS[name](read_merged_state_dict(path), str(path)).eval()


def export_fuser(name: str, out: Path, weights: Path | None = None) -> ExportReport:
    """Write ``out/<name>.onnx`` and compare it with torch on three sizes, odd ones included.

    Raises:
        InputError: a method that cannot be exported or has no weights, or a missing package.
        RunError: the exported network computes something else.
    """
    module = exportable_fuser(name, weights)
    try:
        import onnx  # noqa: F401 - torch needs it to write
        import onnxruntime
    except ImportError as error:
        raise InputError(f"export needs the package {error.name}: pip install 'rgbt-stream[cpu,export]'") from error
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.onnx"
    sizes = {2: "height", 3: "width"}
    with warnings.catch_warnings():
        # The exporter by tracing is deprecated, but keeps sizes free where the other one fixes them.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 1, 64, 96), torch.zeros(1, 1, 64, 96)),
            str(path),
            input_names=["infrared", "visible"],
            output_names=["fused"],
            dynamic_axes={"infrared": sizes, "visible": sizes, "fused": sizes},
            opset_version=OPSET,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = max(_difference(module, session, size) for size in _CHECKED_SIZES)
    if not worst <= _TOLERANCE:
        raise RunError(f"{path} differs from torch by {worst:.3g} grey levels; it was not exported right")
    return ExportReport(
        name=name,
        path=path,
        checked_sizes=_CHECKED_SIZES,
        largest_difference=worst,
        size_bytes=path.stat().st_size,
    )


def _difference(module: GreyFusion, session: object, size: tuple[int, int]) -> float:
    generator = np.random.default_rng(0)
    infrared, visible = (generator.integers(0, 256, (1, 1, *size)).astype(np.float32) for _ in range(2))
    (exported,) = session.run(None, {"infrared": infrared, "visible": visible})  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = module(torch.from_numpy(infrared), torch.from_numpy(visible)).numpy()
    if exported.shape != expected.shape:
        return float("inf")
    return float(np.abs(exported - expected).max())


def _nestfuse(state: Mapping[str, Tensor], source: str) -> GreyFusion:
    network: NestFuse = load_nestfuse(state, source)
    return GreyFusion(network, lambda infrared, visible: network.fuse([infrared, visible], NESTFUSE)[-1], 1)


def _auif(state: Mapping[str, Tensor], source: str) -> GreyFusion:
    network = auif.load_auif(state, source)
    return GreyFusion(network, network.fuse, 255)


def _didfuse(state: Mapping[str, Tensor], source: str) -> GreyFusion:
    network = didfuse.load_didfuse(state, source)
    return GreyFusion(network, network.fuse, 255)


def _densefuse(state: Mapping[str, Tensor], source: str) -> GreyFusion:
    network = densefuse.load_densefuse(state, source)
    return GreyFusion(network, network.fuse, 1)


def _ifcnn(state: Mapping[str, Tensor], source: str) -> GreyFusion:
    network = ifcnn.load_ifcnn(state, source)
    return GreyFusion(network, network.fuse, 255)


_NETWORKS: Mapping[str, Callable[[Mapping[str, Tensor], str], GreyFusion]] = MappingProxyType(
    {
        "nestfuse": _nestfuse,
        "nestfuse-lite": _nestfuse,
        "auif": _auif,
        "didfuse": _didfuse,
        "densefuse": _densefuse,
        "ifcnn": _ifcnn,
    }
)
