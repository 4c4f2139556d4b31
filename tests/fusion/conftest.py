"""Reference values of the published implementations, when they lie beside the checkout."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

SHARED = Path(__file__).parents[3] / "shared"


class Reference:
    """Golden arrays, seeded weights and inputs; comparison by the rule that comes with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spec = importlib.util.spec_from_file_location("seed_weights", folder / "seed_weights.py")
        assert spec is not None
        assert spec.loader is not None
        self.seeds: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.seeds)

    def golden(self, name: str) -> dict[str, NDArray[Any]]:
        with np.load(self.folder / f"golden_{name}.npz") as arrays:
            return {key: arrays[key] for key in arrays}

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """Seeded weights of a network, from its list of keys alone."""
        info = json.loads((self.folder / f"keys_{name}.json").read_text())
        gains = self.seeds.GAINS[info["gain_family"]]
        return {key: torch.from_numpy(self.seeds.value(key, tuple(shape), gains)) for key, shape, _ in info["keys"]}

    def keys(self, name: str) -> dict[str, tuple[int, ...]]:
        info = json.loads((self.folder / f"keys_{name}.json").read_text())
        return {key: tuple(shape) for key, shape, _ in info["keys"]}

    def image(self, height: int, width: int, seed: int, channels: int = 1, cell: int = 16) -> torch.Tensor:
        """Synthetic picture (1, C, H, W) float32 in 0..255."""
        picture = self.seeds.image(height, width, seed, channels, cell)
        return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]

    @staticmethod
    def check(golden: Mapping[str, NDArray[Any]], key: str, got: torch.Tensor) -> None:
        """At most 1e-4 of the spread away from the golden array, or its sample."""
        array = got.detach().numpy().astype(np.float64)
        if f"{key}.shape" in golden:
            assert array.size == np.prod(golden[f"{key}.shape"]), (key, array.shape)
            array = array.ravel()[:: int(golden[f"{key}.stride"])]
        expected = golden[key].astype(np.float64).ravel()
        spread = max(1.0, float(golden[f"{key}.stat"][1])) if f"{key}.stat" in golden else 1.0
        worst = float(np.abs(array.ravel() - expected).max()) / spread
        assert worst <= 1e-4, f"{key}: {worst:.3g} of the spread"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of data sets and reference values."""
    if not SHARED.is_dir():
        pytest.skip("reference values are not at hand")
    return SHARED


@pytest.fixture(scope="session")
def reference(shared: Path) -> Reference:
    return Reference(shared / "reference")
