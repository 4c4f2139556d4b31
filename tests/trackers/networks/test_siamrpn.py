"""PySOT's three networks and their RGBT form: shapes, variants, and parity with the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fusion.attention import FSRPN, fuse_features
from trackers.networks.correlation import depthwise_correlation, pixelwise_correlation
from trackers.networks.siamrpn import (
    SiamRPN,
    siamrpn_alex,
    siamrpn_for_state,
    siamrpn_mobilev2,
    siamrpn_r50,
)

pytestmark = pytest.mark.usefixtures("no_gradients")

BUILDERS = {
    "siamrpn_alex_dwxcorr": (siamrpn_alex, 287, 21),
    "siamrpn_mobilev2_l234_dwxcorr": (siamrpn_mobilev2, 255, 25),
    "siamrpn_r50_l234_dwxcorr": (siamrpn_r50, 255, 25),
}


def test_depthwise_correlation_correlates_each_image_and_channel_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    search = torch.randn(2, 3, 6, 7, generator=generator)
    kernel = torch.randn(2, 3, 3, 3, generator=generator)
    result = depthwise_correlation(search, kernel)
    assert result.shape == (2, 3, 4, 5)
    expected = (search[1, 2, 1:4, 2:5] * kernel[1, 2]).sum()
    torch.testing.assert_close(result[1, 2, 1, 2], expected)


def test_pixelwise_correlation_is_a_dot_product_of_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    search = torch.randn(2, 5, 4, 6, generator=generator)
    kernel = torch.randn(2, 5, 2, 3, generator=generator)
    result = pixelwise_correlation(search, kernel)
    assert result.shape == (2, 6, 4, 6)
    torch.testing.assert_close(result[1, 1 * 3 + 2, 3, 4], kernel[1, :, 1, 2] @ search[1, :, 3, 4])


def test_both_layouts_of_alexnet_compute_the_same() -> None:
    torch.manual_seed(0)
    features, layers = siamrpn_alex("features").eval(), siamrpn_alex("layer").eval()
    names = [name for name in features.state_dict() if name.startswith("backbone.")]
    other = [name for name in layers.state_dict() if name.startswith("backbone.")]
    renamed = dict(zip(names, other, strict=True))
    layers.load_state_dict({renamed.get(name, name): value for name, value in features.state_dict().items()})
    assert "backbone.layer5.1.running_mean" in layers.state_dict()
    crop = torch.rand(1, 3, 127, 127)
    torch.testing.assert_close(features.extract(crop), layers.extract(crop), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "network"),
    [("alex", siamrpn_alex("layer")), ("mobilev2", siamrpn_mobilev2())],
    ids=["alexnet with named layers", "mobilenet"],
)
def test_the_variant_is_read_off_the_checkpoint(name: Any, network: SiamRPN) -> None:
    state = network.state_dict()
    assert siamrpn_for_state(name, state).state_dict().keys() == state.keys()


def test_resnet_variants_are_read_off_the_checkpoint() -> None:
    with torch.device("meta"):
        for network in (siamrpn_r50(weighted=False), siamrpn_r50(channels=(128, 256, 512))):
            state = network.state_dict()
            found = siamrpn_for_state("r50", state).state_dict()
            assert {key: value.shape for key, value in found.items()} == {
                key: value.shape for key, value in state.items()
            }


@pytest.mark.parametrize("name", BUILDERS)
def test_network_equals_the_reference(reference: Any, name: str) -> None:
    builder, size, cells = BUILDERS[name]
    network = reference.seeded(builder(), name)
    golden = reference.golden(name)
    template_features = network.extract(reference.crop(127, 1))
    search_features = network.extract(reference.crop(size, 2))
    match name:
        case "siamrpn_alex_dwxcorr":
            levels = ["features.15"]
        case "siamrpn_mobilev2_l234_dwxcorr":
            levels = ["layer3", "layer5", "layer7"]
        case _:
            levels = ["layer2", "layer3", "layer4"]
    for level, z, x in zip(levels, template_features, search_features, strict=True):
        reference.assert_close(golden, f"z.backbone.{level}", z)
        reference.assert_close(golden, f"x.backbone.{level}", x)
    template = network.encode_template(template_features)
    matches = network.match(template, network.adjust_search(search_features))
    if network.has_neck:
        for number, z, x in zip(
            (2, 3, 4), network.neck.template(template_features), network.neck(search_features), strict=True
        ):
            reference.assert_close(golden, f"z.neck.downsample{number}", z)
            reference.assert_close(golden, f"x.neck.downsample{number}", x)
        for number, (logits, deltas) in zip((2, 3, 4), network.rpn_head.responses(matches), strict=True):
            reference.assert_close(golden, f"x.rpn{number}.cls", logits)
            reference.assert_close(golden, f"x.rpn{number}.loc", deltas)
    logits, deltas = network.rpn_head.read(matches)
    reference.assert_close(golden, "cls", logits)
    reference.assert_close(golden, "loc", deltas)
    response = network.respond(template, search_features)
    assert response.score.shape == (1, 5, cells, cells)
    reference.assert_close(golden, "score", response.score.flatten())
    reference.assert_close(golden, "pred_bbox", response.boxes.reshape(4, -1))


def test_rgbt_network_equals_the_reference(reference: Any) -> None:
    network = reference.seeded(siamrpn_r50(), "fsrpn")
    golden = reference.golden("fsrpn")
    fused = {}
    for side, size, seeds in (("z", 127, (1, 11)), ("x", 255, (2, 12))):
        pictures = torch.cat((reference.crop(size, seeds[0]), reference.crop(size, seeds[1], 1)))
        features = network.extract(pictures)
        fused[side] = tuple(fuse_features(level.chunk(2), FSRPN) for level in features)
        for number, level, both in zip((2, 3, 4), features, fused[side], strict=True):
            reference.assert_close(golden, f"{side}.color.layer{number}", level[:1])
            reference.assert_close(golden, f"{side}.ir.layer{number}", level[1:])
            reference.assert_close(golden, f"{side}.fused.layer{number}", both)
    matches = network.match(network.encode_template(fused["z"]), network.adjust_search(fused["x"]))
    logits, deltas = network.rpn_head.read(matches)
    reference.assert_close(golden, "cls", logits)
    reference.assert_close(golden, "loc", deltas)
