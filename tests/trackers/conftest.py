"""Reference material beside the repository, and small pictures and networks shared by the tracker tests."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trackers.export import SearchGraph, TemplateGraph
from trackers.factory import untrained_network

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Pair:
    """The smallest thing that is an image pair."""

    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]


class Reference:
    """Golden outputs, seeded weights and the comparison rule."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds = _module(folder / "seed_weights.py")
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())

    def golden(self, name: str) -> Any:
        return np.load(self.folder / f"golden_{name}.npz")

    def keys(self, name: str) -> dict[str, Any]:
        info: dict[str, Any] = json.loads((self.folder / f"keys_{name}.json").read_text())
        return info

    def seeded(self, network: nn.Module, name: str) -> nn.Module:
        """Give ``network`` the seeded weights of ``name``; its keys and shapes must be the listed ones."""
        info = self.keys(name)
        state = network.state_dict()
        assert {key: list(value.shape) for key, value in state.items()} == {
            key: shape for key, shape, _ in info["keys"]
        }
        with torch.no_grad():
            assert self.seeds.fill(state, info["gain_family"]) == info["seeded_sha256"]
        return network.eval()

    def crop(self, size: int, seed: int, channels: int = 3) -> Tensor:
        """Seeded crop as (1, 3, size, size) float32."""
        image = self.seeds.image(size, size, seed, channels)
        return torch.from_numpy(image).permute(2, 0, 1)[None].float().expand(1, 3, size, size)

    def crossing(self, frames: int) -> list[NDArray[np.uint8]]:
        """First frames of the real sequence, BGR."""
        pictures = [cv2.imread(str(self.folder / f"crossing/img/{n:04d}.jpg")) for n in range(1, frames + 1)]
        return [np.asarray(picture, np.uint8) for picture in pictures]

    @staticmethod
    def assert_close(golden: Any, key: str, actual: Any, tolerance: float = 1e-4) -> float:
        """Fail if ``actual`` is off by more than ``tolerance * max(1, spread)``; NaN must meet NaN."""
        got, expected = np.asarray(actual, np.float64), golden[key].astype(np.float64)
        if f"{key}.shape" in golden:
            assert got.shape == tuple(golden[f"{key}.shape"])
            stride = int(golden[f"{key}.stride"])
            got = got if stride == 1 else got.reshape(-1)[::stride]
        spread = max(1.0, float(golden[f"{key}.stat"][1])) if f"{key}.stat" in golden else 1.0
        error = float(np.abs(got - expected.reshape(got.shape)).max()) / spread
        assert error <= tolerance, f"{key}: {error:.3g}"
        return error


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = REPO.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no reference material beside the repository")
    return folder


@pytest.fixture(scope="session")
def reference(shared: Path) -> Reference:
    return Reference(shared / "reference")


@pytest.fixture
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def scene() -> Pair:
    """A smooth random picture pair, 160 x 200."""
    generator = np.random.default_rng(5)
    visible = cv2.resize(generator.integers(0, 256, (20, 25, 3), np.uint8), (200, 160))
    thermal = cv2.resize(generator.integers(0, 256, (20, 25), np.uint8), (200, 160))
    return Pair(np.asarray(visible, np.uint8), np.asarray(thermal, np.uint8))


@pytest.fixture(scope="session")
def lively() -> Callable[[str], nn.Module]:
    """Makes untrained networks whose batch norms know their features, so that answers depend on what is seen."""

    def make(name: str) -> nn.Module:
        torch.manual_seed(4)
        network = untrained_network(name).train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        with torch.no_grad():
            template = TemplateGraph(network)(torch.rand(4, 3, 127, 127) * 255)
            SearchGraph(network, 1)(torch.rand(4, 3, 255, 255) * 255, *template)
        return network.eval()

    return make
