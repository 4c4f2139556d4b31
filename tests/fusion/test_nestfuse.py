"""NestFuse against the published implementation, and at every size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fusion.attention import NESTFUSE, PoolingKind, fuse_features
from fusion.checkpoints import load_strictly
from fusion.errors import InputError
from fusion.nestfuse import NARROW, NestFuse, NestFuseConfig, config_of_weights, rescale_features

SIZES = [(61, 83), (64, 96), (128, 160)]


def seeded(reference: Any, name: str) -> NestFuse:
    weights = reference.weights(name)
    network = NestFuse(config_of_weights(weights)).eval()
    load_strictly(network, weights, name)
    return network


def pair(reference: Any, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return reference.image(height, width, 31), reference.image(height, width, 32, cell=24)


PUBLISHED_POOLINGS: tuple[PoolingKind, ...] = ("avg", "max", "nuclear")


@pytest.mark.parametrize("name", ["nestfuse", "nestfuse_deepsuper"])
def test_names_and_shapes_are_those_of_published_checkpoints(reference: Any, name: str) -> None:
    network = NestFuse(NestFuseConfig(deep_supervision=name.endswith("deepsuper")))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == reference.keys(name)


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_network_equals_the_published_one(reference: Any, size: tuple[int, int]) -> None:
    network, golden = seeded(reference, "nestfuse"), reference.golden("nestfuse")
    infrared, visible = pair(reference, *size)
    tag = f"{size[0]}x{size[1]}"
    encoded = [network.encode(image) for image in (infrared, visible)]
    for modality, features in zip(("ir", "vi"), encoded, strict=True):
        for scale, feature in enumerate(features, 1):
            reference.check(golden, f"{tag}.enc_{modality}.{scale}", feature)
    for pooling in PUBLISHED_POOLINGS:
        fused = [fuse_features(scale, NESTFUSE.with_pooling(pooling)) for scale in zip(*encoded, strict=True)]
        for scale, feature in enumerate(fused, 1):
            reference.check(golden, f"{tag}.attention_{pooling}.fused.{scale}", feature)
        reference.check(golden, f"{tag}.attention_{pooling}.out", network.decode(fused)[0])


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_deep_supervision_equals_the_published_one(reference: Any, size: tuple[int, int]) -> None:
    network, golden = seeded(reference, "nestfuse_deepsuper"), reference.golden("nestfuse_deepsuper")
    tag = f"{size[0]}x{size[1]}"
    for pooling in PUBLISHED_POOLINGS:
        if f"{tag}.attention_{pooling}.out0" not in golden:
            continue
        outputs = network.fuse(pair(reference, *size), NESTFUSE.with_pooling(pooling))
        for index, output in enumerate(outputs):
            reference.check(golden, f"{tag}.attention_{pooling}.out{index}", output)


@pytest.mark.parametrize("name", ["nestfuse", "nestfuse_deepsuper"])
@torch.no_grad()
def test_training_path_equals_the_published_one(reference: Any, name: str) -> None:
    network, golden = seeded(reference, name), reference.golden(name)
    keys = [key for key in golden if ".train.out" in key and key[-1].isdigit()]
    assert keys
    for key in keys:
        height, width = map(int, key.split(".")[0].split("x"))
        output = network(pair(reference, height, width)[0])[int(key[-1])]
        reference.check(golden, key, output)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (16, 45), (33, 18), (50, 61)])
@torch.no_grad()
def test_every_size_from_16_up(size: tuple[int, int]) -> None:
    network = NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4))
    outputs = network.fuse([torch.rand(2, 1, *size) * 255] * 3)
    assert [output.shape for output in outputs] == [(2, 1, *size)]


@torch.no_grad()
def test_a_picture_fused_with_itself_is_its_reconstruction() -> None:
    torch.manual_seed(0)
    network = NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4, deep_supervision=True))
    image = torch.rand(1, 1, 24, 32) * 255
    for fused, plain in zip(network.fuse([image, image]), network(image), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("deep_supervision", [False, True])
@pytest.mark.parametrize("decoder_channels", [None, (3, 4, 5, 6)])
@torch.no_grad()
def test_rescaled_features_reconstruct_the_same(
    deep_supervision: bool, decoder_channels: tuple[int, int, int, int] | None
) -> None:
    torch.manual_seed(0)
    config = NestFuseConfig(
        channels=(4, 6, 8, 10),
        stem_channels=4,
        decoder_channels=decoder_channels,
        deep_supervision=deep_supervision,
    )
    network = NestFuse(config)
    for parameter in network.parameters():
        parameter.abs_()
    image = torch.rand(1, 1, 24, 32) * 255
    before, features = network(image), network.encode(image)
    other = torch.rand(1, 1, 24, 32) * 255
    in_training = network(image, other, feature_scale=0.25)
    rescale_features(network, 0.25)
    torch.testing.assert_close(in_training, network(image, other))
    for plain, scaled in zip(features, network.encode(image), strict=True):
        torch.testing.assert_close(scaled, plain * 0.25)
    for plain, scaled in zip(before, network(image), strict=True):
        assert plain.max() > 1
        torch.testing.assert_close(scaled, plain)
    with pytest.raises(ValueError, match="positive"):
        rescale_features(network, 0)


def test_config_follows_the_weights() -> None:
    config = NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=3, deep_supervision=True)
    assert config_of_weights(NestFuse(config).state_dict()) == config
    assert config_of_weights(NestFuse(NARROW).state_dict()) == NARROW
    assert config_of_weights({}) == NestFuseConfig()


def test_foreign_weights_are_refused() -> None:
    state = {**NestFuse().state_dict(), "extra": torch.zeros(1)}
    with pytest.raises(InputError, match="1 unexpected: extra"):
        load_strictly(NestFuse(), state, "other.pt")
