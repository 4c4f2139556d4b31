"""DIDFuse, DenseFuse and IFCNN on two corners of a real pair, against what their published programs saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from fusion.auif import CombinationName
from fusion.checkpoints import read_merged_state_dict
from fusion.densefuse import load_densefuse
from fusion.didfuse import load_didfuse
from fusion.factory import build_fuser
from fusion.ifcnn import load_ifcnn

BLOCK_PX = 64
# More than the networks look beyond a pixel, so that a cut-out fuses as the whole picture does.
MARGIN_PX = 16
CORNERS = {"tl": slice(None, BLOCK_PX + MARGIN_PX), "br": slice(-BLOCK_PX - MARGIN_PX, None)}
BLOCKS = {"tl": slice(None, BLOCK_PX), "br": slice(-BLOCK_PX, None)}


def corner_pair(shared: Path, corner: str) -> tuple[np.ndarray, np.ndarray]:
    """Thermal and visible cut-out, uint8."""
    folder, cut = shared / "data" / "stills" / "tno21", CORNERS[corner]
    thermal, visible = (cv2.imread(str(folder / f"{kind}2.png"), cv2.IMREAD_GRAYSCALE) for kind in ("IR", "VIS"))
    assert thermal is not None
    assert visible is not None
    return np.ascontiguousarray(thermal[cut, cut]), np.ascontiguousarray(visible[cut, cut])


def as_tensors(pair: tuple[np.ndarray, np.ndarray], white: int) -> tuple[torch.Tensor, torch.Tensor]:
    thermal, visible = (torch.from_numpy(plane).float()[None, None] * (white / 255) for plane in pair)
    return thermal, visible


def block(fused: torch.Tensor, corner: str) -> torch.Tensor:
    return fused[0, 0][BLOCKS[corner], BLOCKS[corner]]


def check_saved(fused_bgr: np.ndarray, saved: np.ndarray, corner: str) -> None:
    cut = BLOCKS[corner]
    assert np.abs(fused_bgr[cut, cut, 0].astype(int) - saved[cut, cut]).max() <= 1


@pytest.mark.parametrize("corner", CORNERS)
@torch.no_grad()
def test_didfuse(corner: str, reference: Any, shared: Path) -> None:
    weights, golden = shared / "data" / "weights" / "didfuse", reference.golden("real_didfuse_tno2")
    pair = corner_pair(shared, corner)
    network = load_didfuse(read_merged_state_dict(weights), "didfuse")
    modes: dict[str, CombinationName] = {"Sum": "sum", "Average": "average", "l1_norm": "l1"}
    for key, mode in modes.items():
        reference.check(golden, f"tno2.{key}.{corner}", block(network.fuse(*as_tensors(pair, 1), mode), corner))
    fused = build_fuser("didfuse", weights=weights, range_name="fixed")(pair[1], pair[0])
    check_saved(fused, golden["tno2.Sum.u8"], corner)


@pytest.mark.parametrize("corner", CORNERS)
@torch.no_grad()
def test_densefuse(corner: str, reference: Any, shared: Path) -> None:
    weights = shared / "data" / "weights" / "densefuse" / "densefuse_gray.model"
    golden, pair = reference.golden("real_densefuse_tno2"), corner_pair(shared, corner)
    network = load_densefuse(read_merged_state_dict(weights), "densefuse")
    fused = network.fuse(*as_tensors(pair, 255))
    # The spread is that of the whole picture, which is kept beside its sample.
    golden[f"tno2.addition.{corner}.stat"] = golden["tno2.addition.stat"]
    reference.check(golden, f"tno2.addition.{corner}", block(fused, corner))
    assert network.fuse(*as_tensors(pair, 255), "l1").isfinite().all()
    saved = build_fuser("densefuse", weights=weights, range_name="fixed")(pair[1], pair[0])
    check_saved(saved, golden["tno2.addition.u8"], corner)


@pytest.mark.parametrize("mode", ["max", "mean", "sum"])
@torch.no_grad()
def test_ifcnn(mode: Any, reference: Any, shared: Path) -> None:
    weights = shared / "data" / "weights" / "ifcnn" / f"IFCNN-{mode.upper()}.pth"
    golden = reference.golden("real_ifcnn_tno2")
    network = load_ifcnn(read_merged_state_dict(weights), "ifcnn")
    for corner in CORNERS:
        pair = corner_pair(shared, corner)
        thermal, visible = (plane.expand(-1, 3, -1, -1) for plane in as_tensors(pair, 1))
        fused = block(network.fuse_colour(visible, thermal, mode), corner)
        reference.check(golden, f"tno2.{mode.upper()}.gray.ch0.{corner}", fused)
        saved = build_fuser("ifcnn", mode=mode, weights=weights, range_name="fixed")(pair[1], pair[0])
        check_saved(saved, golden[f"tno2.{mode.upper()}.gray.saved_gray_u8"], corner)
