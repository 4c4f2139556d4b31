"""Anchors, points, windows and their decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trackers.anchors import (
    AnchorLayout,
    anchor_grid,
    cell_offsets,
    decode_anchors,
    decode_points,
    hanning_window,
)


def test_default_anchor_sizes_are_those_of_siamrpn() -> None:
    assert AnchorLayout().sizes_wh == ((104, 32), (88, 40), (64, 64), (40, 80), (32, 96))
    assert AnchorLayout(ratios=(1.0,)).sizes_wh == ((64, 64),)


def test_cells_are_centred_on_the_crop() -> None:
    assert cell_offsets(25, 8)[[0, 12, 24]].tolist() == [-96, 0, 96]
    assert cell_offsets(16, 16)[[0, 8, 15]].tolist() == [-128, 0, 112]


def test_zero_deltas_decode_to_the_anchors() -> None:
    layout = AnchorLayout()
    boxes = decode_anchors(torch.zeros(2, 4 * layout.count, 7, 9), layout)
    assert boxes.shape == (2, 4, 5, 7, 9)
    np.testing.assert_array_equal(boxes[1].numpy(), anchor_grid(layout, 7, 9))


def test_distances_decode_to_a_box_around_the_point() -> None:
    distances = torch.zeros(1, 4, 3, 3)
    distances[0, :, 0, 2] = torch.tensor([2.0, 3.0, 10.0, 5.0])
    box = decode_points(distances, 16)[0, :, 0, 0, 2]
    assert box.tolist() == [16 + 4.0, -16 + 1.0, 12.0, 8.0]


@pytest.mark.parametrize("name", ["siamrpn_alex_dwxcorr", "siamrpn_r50_l234_dwxcorr"])
def test_anchors_and_window_equal_the_reference(reference: Any, name: str) -> None:
    golden = reference.golden(name)
    size = 21 if "alex" in name else 25
    reference.assert_close(golden, "anchors", anchor_grid(AnchorLayout(), size, size).reshape(4, -1).T)
    reference.assert_close(golden, "window", hanning_window(size, size).ravel())
