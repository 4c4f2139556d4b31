"""Crops: against a plain re-reading of the rule, and against the reference pixel by pixel."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trackers.subwindow import channel_average, crop_square, crops_to_tensor


def plain_crop(
    image: NDArray[np.uint8], center: tuple[float, float], source: int, output: int, fill: tuple[float, ...]
) -> NDArray[np.uint8]:
    """The rule, pixel by pixel on the source grid."""
    left, top = (math.floor(value - (source + 1) / 2 + 0.5) for value in center)
    square = np.zeros((source, source, image.shape[2]), np.uint8)
    for row in range(source):
        for column in range(source):
            y, x = top + row, left + column
            inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
            square[row, column] = image[y, x] if inside else [int(value) for value in fill]
    return square if source == output else np.asarray(cv2.resize(square, (output, output)), np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    center=st.tuples(st.floats(-30, 50), st.floats(-30, 50)),
    source=st.integers(1, 40),
    output=st.sampled_from([7, 16]),
)
def test_crop_follows_the_rule_inside_outside_and_across_borders(
    center: tuple[float, float], source: int, output: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)
    fill = (10.9, 20.2, 254.99)
    crop = crop_square(image, center, source_size_px=source, output_size_px=output, fill=fill)
    np.testing.assert_array_equal(crop, plain_crop(image, center, source, output, fill))


def test_grey_crop_equals_the_channel_of_a_colour_crop() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    grey = np.ascontiguousarray(image[:, :, 1])
    fill = channel_average(image)
    assert channel_average(grey) == pytest.approx((fill[1],))
    colour = crop_square(image, (3.2, 30.0), source_size_px=31, output_size_px=64, fill=fill)
    alone = crop_square(grey, (3.2, 30.0), source_size_px=31, output_size_px=64, fill=fill[1:2])
    np.testing.assert_array_equal(alone, colour[:, :, 1])


def test_crops_become_bgr_planes_and_grey_is_repeated() -> None:
    colour = np.random.default_rng(2).integers(0, 256, (5, 5, 3), np.uint8)
    batch = crops_to_tensor([colour, colour[:, :, 2]], torch.device("cpu"))
    assert batch.shape == (2, 3, 5, 5)
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch[0].numpy(), colour.transpose(2, 0, 1))
    np.testing.assert_array_equal(batch[1].numpy(), np.repeat(colour[None, :, :, 2], 3, 0))


def test_crops_equal_the_reference_to_the_bit(reference: Any) -> None:
    image = reference.seeds.frame(0)
    fill = channel_average(image)
    np.testing.assert_array_equal(fill, image.mean((0, 1)))
    cases = reference.manifest["pysot"]["subwindow_cases"]
    assert len(cases) == 10
    for case in cases:
        crop = crop_square(
            image,
            tuple(case["pos"]),
            source_size_px=case["original_sz"],
            output_size_px=case["model_sz"],
            fill=fill,
        )
        assert hashlib.sha256(crop.tobytes()).hexdigest() == case["sha256_full"], case["name"]


def test_crop_at_the_border_of_a_real_picture_equals_the_reference(reference: Any) -> None:
    case = reference.manifest["pysot"]["real_border_crop"]
    (image,) = reference.crossing(1)
    crop = crop_square(
        image,
        tuple(case["pos"]),
        source_size_px=case["original_sz"],
        output_size_px=case["model_sz"],
        fill=tuple(case["channel_average"]),
    )
    np.testing.assert_array_equal(crop, reference.golden("real_siamrpn_alex_dwxcorr")[case["key"]])
