"""Views: what is fused how, and which pictures show nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusion.attention import PAPER, fuse_features
from trackers.views import fingerprint, shows_something, stacked_templates, stacked_views, usable_views, views_of

COLOUR, GREY = (torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)), (torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2))


@pytest.mark.parametrize("fusion", [PAPER, "mean", "gate", "adaptive"])
def test_one_modality_is_passed_on_as_it_is(fusion: object) -> None:
    assert views_of([COLOUR], fusion) == [COLOUR]  # type: ignore[arg-type]


def test_every_scale_is_fused_on_its_own() -> None:
    (view,) = views_of([COLOUR, GREY], PAPER)
    torch.testing.assert_close(view[1], fuse_features([COLOUR[1], GREY[1]], PAPER))
    (mean,) = views_of([COLOUR, GREY], "mean")
    torch.testing.assert_close(mean[0], (COLOUR[0] + GREY[0]) / 2)


def test_adaptive_looks_at_each_modality_and_both() -> None:
    colour, grey, both = views_of([COLOUR, GREY], "adaptive")
    assert (colour, grey) == (COLOUR, GREY)
    torch.testing.assert_close(both, views_of([COLOUR, GREY], PAPER)[0])


def test_the_gate_gets_the_modalities_one_after_the_other() -> None:
    assert views_of([COLOUR, GREY], "gate") == [(*COLOUR, *GREY)]


def test_batches_are_ordered_by_view_and_then_by_target() -> None:
    first, second = (torch.tensor([[1.0], [2.0], [3.0]]),), (torch.tensor([[10.0], [20.0], [30.0]]),)
    assert stacked_templates([first, second])[0].flatten().tolist() == [1, 10, 2, 20, 3, 30]
    assert stacked_templates([first])[0] is first[0]
    assert stacked_views([first, second])[0].flatten().tolist() == [1, 2, 3, 10, 20, 30]


def test_the_fused_view_needs_every_modality() -> None:
    assert usable_views([True, False]).tolist() == [True, False, False]
    assert usable_views([True, True]).tolist() == [True, True, True]


def test_covered_saturated_and_missing_pictures_show_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert shows_something(noise)
    assert shows_something((noise // 20).astype(np.uint8))
    assert not shows_something(np.zeros((48, 64), np.uint8))
    assert not shows_something(np.full((48, 64, 3), 255, np.uint8))
    assert not shows_something(np.full((1, 1), 90, np.uint8))
    nearly_white = np.full((480, 640), 255, np.uint8)
    nearly_white[:8, :64] = 0
    assert not shows_something(nearly_white)


def test_a_fingerprint_changes_with_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    assert fingerprint(picture) == fingerprint(picture.copy())
    assert fingerprint(picture) != fingerprint(picture + np.uint8(1))
