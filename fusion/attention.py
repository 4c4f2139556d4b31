"""The two-stage attention strategy that fuses features of several modalities.

One implementation serves image fusion (at every encoder scale of NestFuse) and tracking (at every backbone
scale of the RGB-T tracker). Sources: Li, Wu, Durrani, "NestFuse", IEEE TIM 2020 (equations 4 to 8), and the
code the authors published for NestFuse and for the tracker FSRPN, which differ from the equations and from
each other:

=========  ==========================  =========================  ===========================
           PAPER (equation 5)          NESTFUSE (code)            FSRPN (code)
=========  ==========================  =========================  ===========================
spatial    ratio of channel l1 norms   softmax of channel means   softmax of channel sums
channel    ratio of pooled values      ratio of pooled values     softmax of pooled values
=========  ==========================  =========================  ===========================

Statistics are computed in float32 at least (the nuclear norm in float64) and the softmax is shifted by its
largest argument, so neither float32 nor half-precision features overflow. Weights come back in the type of
the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, get_args

import torch
from torch import Tensor

from fusion.errors import InputError
from fusion.nuclear import estimated_nuclear_norm, nuclear_norm

SpatialKind = Literal["l1", "softmax", "softmax_sum", "none"]
ChannelKind = Literal["ratio", "softmax", "none"]
PoolingKind = Literal["avg", "max", "nuclear", "nuclear-fast"]


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{field} of an attention strategy must be one of {', '.join(choices)}, not {value!r}{hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionStrategy:
    """How the modalities are weighed against each other.

    Attributes:
        spatial: weight of a position: ratio of l1 norms over the channels, softmax of channel means, softmax
            of channel sums, or no spatial part.
        channel: weight of a channel: ratio or softmax of its pooled value, or no channel part.
        pooling: value of a channel: mean, maximum, nuclear norm of its (H, W) matrix, or an estimate of that.
        epsilon: added to the denominator of every weight and, for the nuclear norm, to every element, as the
            NestFuse code does. With 0 a softmax sums to exactly one, whatever the sign of its arguments.

    Raises:
        InputError: an unknown name, both parts ``none``, a negative epsilon, or 0 together with a ratio.
    """

    spatial: SpatialKind = "softmax"
    channel: ChannelKind = "ratio"
    pooling: PoolingKind = "avg"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        _check_choice("spatial", self.spatial, get_args(SpatialKind))
        _check_choice("channel", self.channel, get_args(ChannelKind))
        _check_choice("pooling", self.pooling, get_args(PoolingKind))
        if self.spatial == "none" and self.channel == "none":
            raise InputError("an attention strategy needs a spatial or a channel part; both are 'none'")
        if not self.epsilon >= 0:
            raise InputError(f"epsilon of an attention strategy must be at least 0, not {self.epsilon}")
        if self.epsilon == 0 and (self.spatial == "l1" or self.channel == "ratio"):
            raise InputError("an attention strategy with a ratio ('l1' or 'ratio') needs an epsilon above 0")

    def with_pooling(self, pooling: PoolingKind) -> AttentionStrategy:
        """The same strategy with another channel pooling."""
        return replace(self, pooling=pooling)


NESTFUSE = AttentionStrategy(spatial="softmax", channel="ratio", pooling="avg", epsilon=1e-5)
"""What the published NestFuse code computes."""

PAPER = AttentionStrategy(spatial="l1", channel="ratio", pooling="avg", epsilon=1e-5)
"""What equation 5 of the NestFuse paper says; the epsilon only guards positions where all features are 0."""

FSRPN = AttentionStrategy(spatial="softmax_sum", channel="softmax", pooling="avg", epsilon=0.0)
"""What the RGB-T tracker FSRPN computes, without its overflow; its own epsilon of 1e-10 is below float32
rounding for its non-negative features and would silence features of negative sum."""


def fuse_features(
    features: Sequence[Tensor] | Tensor,
    strategy: AttentionStrategy = NESTFUSE,
    pooled: Tensor | None = None,
) -> Tensor:
    """Fuse the features of K modalities: the mean of spatial and channel attention (equation 4).

    Args:
        features: K tensors (B, C, H, W) of one shape and type, or one tensor (K, B, C, H, W). Every image of
            the batch is weighed on its own. A single modality is returned as it is.
        strategy: how they are weighed.
        pooled: values of the channels (K, B, C, 1, 1) to weigh them by, where the features are a part of a picture
            and its channels were pooled as a whole; None pools those of the features.

    Returns:
        (B, C, H, W), in the type of the features.

    Raises:
        ValueError: no features, or their shapes or types differ.
    """
    features = _checked(features)
    if len(features) == 1:
        return features[0]
    match strategy.spatial, strategy.channel:
        case "none", _:
            parts = [_channel_weights(features, strategy, pooled)]
        case _, "none":
            parts = [spatial_weights(features, strategy)]
        case _:
            parts = [spatial_weights(features, strategy) / 2, _channel_weights(features, strategy, pooled) / 2]
    # One term after the other, in place: the sum of both weights would be as large as the features, and in another
    # memory layout than channels-last ones.
    terms = [term for part in parts for term in zip(features, part, strict=True)]
    fused: Tensor = terms[0][0] * terms[0][1]
    for feature, weight in terms[1:]:
        fused.addcmul_(feature, weight)
    return fused


def fuse_rectified(features: Tensor, strategy: AttentionStrategy) -> Tensor:
    """:func:`fuse_features` of the features (K, C, H, W) of K pictures that follow a ReLU: (1, C, H, W).

    Their magnitudes need not be taken, and the channels of all pictures are pooled at once.
    """
    pooled = None
    if strategy.channel != "none":
        pooled = pool_channels(features, strategy.pooling, strategy.epsilon)[:, None]
    return fuse_features([features[picture : picture + 1] for picture in range(len(features))], strategy, pooled)


def spatial_weights(features: Sequence[Tensor] | Tensor, strategy: AttentionStrategy = NESTFUSE) -> Tensor:
    """Weight of each modality at each position, (K, B, 1, H, W), in the type of the features.

    Arguments and errors as in :func:`fuse_features`; a strategy without spatial part is a ValueError.
    """
    features = _checked(features)
    match strategy.spatial:
        case "l1":
            norms = [channel_sum(feature.abs()) for feature in features]
            weights = _ratio(torch.stack(norms), strategy.epsilon)
        case "softmax":
            means = [channel_sum(feature) / feature.shape[1] for feature in features]
            weights = _softmax(torch.stack(means), strategy.epsilon)
        case "softmax_sum":
            sums = [channel_sum(feature) for feature in features]
            weights = _softmax(torch.stack(sums), strategy.epsilon)
        case "none":
            raise ValueError("this strategy has no spatial part")
    return weights.to(features[0].dtype)


def channel_weights(features: Sequence[Tensor] | Tensor, strategy: AttentionStrategy = NESTFUSE) -> Tensor:
    """Weight of each modality in each channel, (K, B, C, 1, 1), in the type of the features.

    Arguments and errors as in :func:`fuse_features`; a strategy without channel part is a ValueError. For
    a ratio, mean and maximum are taken of magnitudes: the same for the paper's features, which follow a ReLU, and
    still a share between 0 and 1 for backbones that end a block without one.
    """
    features = _checked(features)
    if pools_magnitudes(strategy):
        features = tuple(feature.abs() for feature in features)
    pooled = torch.stack([pool_channels(feature, strategy.pooling, strategy.epsilon) for feature in features])
    return channel_weights_of_pooled(pooled, strategy).to(features[0].dtype)


def pools_magnitudes(strategy: AttentionStrategy) -> bool:
    """Whether :func:`channel_weights` pools the magnitudes of features instead of the features."""
    return strategy.channel == "ratio" and strategy.pooling in ("avg", "max")


def channel_weights_of_pooled(pooled: Tensor, strategy: AttentionStrategy) -> Tensor:
    """Channel weights from values (K, B, C, 1, 1) that were pooled before, in float32 or float64."""
    match strategy.channel:
        case "ratio":
            return _ratio(pooled, strategy.epsilon)
        case "softmax":
            return _softmax(pooled, strategy.epsilon)
        case "none":
            raise ValueError("this strategy has no channel part")


def pool_channels(feature: Tensor, pooling: PoolingKind, epsilon: float = 0.0) -> Tensor:
    """One value per channel of ``feature`` (B, C, H, W): (B, C, 1, 1) in float32 (float64 stays).

    ``epsilon`` is added to every element before a nuclear norm, as the NestFuse code does.
    """
    precision = _statistics_dtype(feature)
    match pooling:
        case "avg":
            return place_sum(feature) / (feature.shape[2] * feature.shape[3])
        case "max":
            return feature.amax((2, 3), keepdim=True).to(precision)
        case "nuclear":
            return nuclear_norm(feature, epsilon)[..., None, None].to(precision)
        case "nuclear-fast":
            return estimated_nuclear_norm(feature, epsilon)[..., None, None].to(precision)


def channel_sum(feature: Tensor) -> Tensor:
    """Sum over the channels of features (B, C, H, W): (B, 1, H, W) in float32 (float64 stays)."""
    cells = _half_cells(feature)
    if cells is None:
        return feature.sum(1, keepdim=True, dtype=_statistics_dtype(feature))
    batch, _, height, width = feature.shape
    ones = cells.new_ones((batch, feature.shape[1], 1))
    return torch.bmm(cells, ones, out_dtype=torch.float32).view(batch, 1, height, width)


def place_sum(feature: Tensor) -> Tensor:
    """Sum over the places of features (B, C, H, W): (B, C, 1, 1) in float32 (float64 stays)."""
    cells = _half_cells(feature)
    if cells is None:
        return feature.sum((2, 3), keepdim=True, dtype=_statistics_dtype(feature))
    batch, channels, height, width = feature.shape
    rows = cells.reshape(batch * height, width, channels)
    sums = torch.bmm(rows.new_ones((len(rows), 1, width)), rows, out_dtype=torch.float32)
    return sums.view(batch, height, channels).sum(1)[:, :, None, None]


def _half_cells(feature: Tensor) -> Tensor | None:
    """Features in half precision and channels-last on a GPU as (B, H W, C); None for others.

    Their sums are matrix products with ones, which add in float32 and take a fraction of a reduction's time there.
    """
    is_half = feature.is_cuda and feature.dtype in (torch.float16, torch.bfloat16)
    if not is_half or not feature.is_contiguous(memory_format=torch.channels_last) or feature.requires_grad:
        return None
    return feature.permute(0, 2, 3, 1).flatten(1, 2)


def _channel_weights(features: tuple[Tensor, ...], strategy: AttentionStrategy, pooled: Tensor | None) -> Tensor:
    if pooled is None:
        return channel_weights(features, strategy)
    return channel_weights_of_pooled(pooled, strategy).to(features[0].dtype)


def _ratio(values: Tensor, epsilon: float) -> Tensor:
    return values / (values.sum(0, keepdim=True) + epsilon)


def _softmax(values: Tensor, epsilon: float) -> Tensor:
    """``exp(v_k) / (sum of exp(v) + epsilon)`` along the first axis, for values of any size."""
    if epsilon == 0:
        return torch.softmax(values, 0)
    # Not below 0, so that the epsilon, which shrinks with the shift, cannot overflow either.
    shift = values.detach().amax(0, keepdim=True).clamp_min(0)
    powers = torch.exp(values - shift)
    return powers / (powers.sum(0, keepdim=True) + epsilon * torch.exp(-shift))


def _statistics_dtype(feature: Tensor) -> torch.dtype:
    return torch.promote_types(feature.dtype, torch.float32)


def _checked(features: Sequence[Tensor] | Tensor) -> tuple[Tensor, ...]:
    features = tuple(features)
    if not features:
        raise ValueError("fusion needs the features of at least one modality")
    first = features[0]
    if first.ndim != 4:
        raise ValueError(f"features must be (B, C, H, W), not {tuple(first.shape)}")
    for feature in features[1:]:
        if feature.shape != first.shape or feature.dtype != first.dtype:
            raise ValueError(
                f"features of all modalities must agree: {tuple(feature.shape)} {feature.dtype} "
                f"against {tuple(first.shape)} {first.dtype}"
            )
    return features
