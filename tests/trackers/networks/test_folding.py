"""Folding batch norm changes the speed of a network, not what it computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trackers.networks.folding import folded
from trackers.networks.lite import LiteNetwork
from trackers.networks.nanotrack import NanoTrack
from trackers.networks.resnet import ResNet50
from trackers.networks.siamrpn import siamrpn_alex, siamrpn_mobilev2

pytestmark = pytest.mark.usefixtures("no_gradients")


def with_lively_statistics(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.bias.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
    return network.eval()


@pytest.mark.parametrize(
    "build", [siamrpn_alex, siamrpn_mobilev2, lambda: NanoTrack(2), lambda: NanoTrack(3)],
    ids=["alexnet", "mobilenet", "nano v2", "nano v3"],
)  # fmt: skip
def test_folded_networks_compute_the_same(build: Any) -> None:
    torch.manual_seed(0)
    network = with_lively_statistics(build())
    fast = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    size = 287 if "AlexNet" in str(network) else 255
    template, search = torch.rand(1, 3, 127, 127), torch.rand(1, 3, size, size)
    plain = network.respond(network.encode_template(network.extract(template)), network.extract(search))
    quick = fast.respond(fast.encode_template(fast.extract(template)), fast.extract(search))
    torch.testing.assert_close(quick.score, plain.score, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quick.boxes, plain.boxes, rtol=1e-3, atol=1e-2)


def test_norms_named_apart_from_their_convolution_are_folded_too() -> None:
    torch.manual_seed(0)
    network = with_lively_statistics(ResNet50(used_layers=(1, 2)))
    fast = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    crop = torch.rand(1, 3, 127, 127)
    torch.testing.assert_close(fast(crop), network(crop), rtol=1e-4, atol=1e-4)


def test_the_merging_of_scales_is_folded_into_the_kernels() -> None:
    torch.manual_seed(0)
    network = with_lively_statistics(LiteNetwork())
    for branch in (network.classes, network.boxes):
        branch.level_weight.copy_(torch.tensor([0.3, -0.5, 1.0]))
    fast = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    template, search = torch.rand(4, 3, 127, 127) * 255, torch.rand(4, 3, 255, 255) * 255
    answers = {}
    for each in (network, fast):
        kernels, features = each.extract(template), each.extract(search)
        alone = each.respond(each.encode_template(kernels), features)
        # The first two crops are two targets in one modality, the others the same in another.
        first, second = slice(2), slice(2, 4)
        kernels, features = (
            (*(level[first] for level in levels), *(level[second] for level in levels))
            for levels in (kernels, features)
        )
        answers[each] = (alone, each.respond(each.encode_template(kernels), features))
    for plain, quick in zip(answers[network], answers[fast], strict=True):
        torch.testing.assert_close(quick.score, plain.score, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(quick.boxes, plain.boxes, rtol=1e-3, atol=1e-2)
