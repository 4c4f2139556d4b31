"""siamrpn-lite: shapes, alignment of its scales, and the gate."""

from __future__ import annotations

import pytest
import torch

from trackers.networks.lite import LEVELS, MAP_SIZE, LiteConfig, LiteNetwork, decode_deltas, doubled


@pytest.fixture(scope="module")
def network() -> LiteNetwork:
    torch.manual_seed(3)
    return LiteNetwork(LiteConfig(channels=32, tower_depth=1)).eval()


def crops(batch: int, size: int, seed: int) -> torch.Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 255


def test_response_has_one_box_and_score_a_place(network: LiteNetwork) -> None:
    with torch.inference_mode():
        template = network.encode_template(network.extract(crops(2, 127, 1)))
        response = network.respond(template, network.extract(crops(2, 255, 2)))
    assert response.score.shape == (2, 1, MAP_SIZE, MAP_SIZE)
    assert response.boxes.shape == (2, 4, 1, MAP_SIZE, MAP_SIZE)
    assert response.score.min() >= 0
    assert response.score.max() <= 1
    assert response.boxes.isfinite().all()


def test_zero_deltas_are_the_anchor_at_its_place() -> None:
    boxes = decode_deltas(torch.zeros(1, 4, MAP_SIZE, MAP_SIZE))
    assert boxes[0, :, 12, 12].tolist() == [0, 0, 64, 64]
    assert boxes[0, :2, 0, 24].tolist() == [96, -96]


def test_every_scale_finds_a_displaced_patch_at_the_same_place() -> None:
    """The centre of the 25 x 25 map is zero displacement on every scale, and one place is 8 px."""
    torch.manual_seed(0)
    patch = torch.rand(3, 63, 63) * 255
    template = torch.full((1, 3, 127, 127), 127.0)
    template[0, :, 32:95, 32:95] = patch
    for dx, dy in ((0, 0), (32, -16), (-48, 64)):
        search = torch.full((1, 3, 255, 255), 127.0)
        search[0, :, 96 + dy : 159 + dy, 96 + dx : 159 + dx] = patch
        # Plain matched filtering of average colours stands in for trained features: same strides, same crops.
        for level in LEVELS:
            cells_z = torch.nn.functional.avg_pool2d(template, 3, level.stride, 1)[:, :, : 128 // level.stride]
            cells_x = torch.nn.functional.avg_pool2d(search, 3, level.stride, 1)
            size = level.template_crop
            start = (cells_z.shape[-1] - size) // 2
            kernel = cells_z[:, :, start : start + size, start : start + size]
            windows = cells_x.unfold(2, size, 1).unfold(3, size, 1)
            cost = ((windows - kernel[:, :, None, None]) ** 2).sum(dim=(1, 4, 5))[0]
            row, column = divmod(int(cost.argmin()), cost.shape[-1])
            middle = cost.shape[-1] // 2
            assert ((column - middle) * level.stride, (row - middle) * level.stride) == (dx, dy)


def test_gate_of_equal_modalities_changes_nothing(network: LiteNetwork) -> None:
    with torch.inference_mode():
        near, far = network.extract(crops(2, 127, 4)), network.extract(crops(2, 255, 5))
        alone = network.respond(network.encode_template(near), far)
        twice = network.respond(network.encode_template((*near, *near)), (*far, *far))
    torch.testing.assert_close(twice.score, alone.score, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twice.boxes, alone.boxes, rtol=1e-4, atol=1e-3)


def test_gate_weights_sum_to_one_and_follow_the_modality(network: LiteNetwork) -> None:
    with torch.inference_mode():
        near = [network.encode_template(network.extract(crops(1, 127, seed))) for seed in (1, 2)]
        far = [network.extract(crops(1, 255, seed)) for seed in (3, 4)]
        maps = [network.correlate(*each) for each in zip(near, far, strict=True)]
        class_map, box_map = (torch.stack(each) for each in zip(*maps, strict=True))
        weights, *_ = network.weigh(class_map, box_map)
        swapped, *_ = network.weigh(class_map.flip(0), box_map.flip(0))
    torch.testing.assert_close(weights.sum(dim=0), torch.ones_like(weights[0]))
    torch.testing.assert_close(swapped, weights.flip(0), rtol=1e-4, atol=1e-5)


def test_a_batch_of_targets_equals_each_alone(network: LiteNetwork) -> None:
    near, far = crops(3, 127, 7), crops(3, 255, 8)
    with torch.inference_mode():
        together = network.respond(network.encode_template(network.extract(near)), network.extract(far))
        for index in range(3):
            one = slice(index, index + 1)
            alone = network.respond(network.encode_template(network.extract(near[one])), network.extract(far[one]))
            torch.testing.assert_close(together.boxes[one], alone.boxes, rtol=1e-3, atol=1e-2)


def test_doubling_is_bilinear_interpolation_with_aligned_corners() -> None:
    coarse = torch.rand(2, 3, 13, 13, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.interpolate(coarse, size=(25, 25), mode="bilinear", align_corners=True)
    torch.testing.assert_close(doubled(coarse), expected, rtol=1e-5, atol=1e-6)
