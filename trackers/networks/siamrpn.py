"""SiamRPN and SiamRPN++: a backbone, a neck where there are several scales, and a region proposal head.

Checkpoints are PySOT's: the parameter names below are its names. Source: Li et al., CVPR 2018 and 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from trackers.anchors import AnchorLayout, decode_anchors
from trackers.networks import alexnet
from trackers.networks.alexnet import AlexLayout, AlexNet
from trackers.networks.correlation import correlate_all
from trackers.networks.interface import Features, Response, respond_in_stages
from trackers.networks.mobilenetv2 import MobileNetV2
from trackers.networks.neck import Neck
from trackers.networks.resnet import ResNet50
from trackers.networks.rpn_head import DepthwiseRPN, MultiRPN

SiamRPNName = Literal["alex", "mobilev2", "r50"]


class SiamRPN(nn.Module):
    """A :class:`trackers.networks.interface.SiameseNetwork` with anchors.

    Args:
        backbone: crops to feature maps of one or several scales.
        neck: adjusts several scales; None where there is one.
        rpn_head: kernels from template features, logits and deltas from kernels and search features.
        layout: the anchors of the head.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: Neck | None,
        rpn_head: DepthwiseRPN | MultiRPN,
        layout: AnchorLayout | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        if neck is not None:
            self.neck = neck
        self.has_neck = neck is not None
        self.rpn_head = rpn_head
        self.layout = layout or AnchorLayout()

    def extract(self, crops: Tensor) -> Features:
        """Backbone features of crops (B, 3, S, S), before the neck: where modalities are fused."""
        features: Features = self.backbone(crops)
        return features

    def encode_template(self, features: Sequence[Tensor]) -> Features:
        """Correlation kernels of all scales from template features."""
        return self.rpn_head.kernels(self.neck.template(features) if self.has_neck else features)

    def respond(self, template: Sequence[Tensor], features: Sequence[Tensor]) -> Response:
        """Scores and boxes for remembered kernels and search features."""
        return respond_in_stages(self, template, features)

    def adjust_search(self, features: Sequence[Tensor]) -> Features:
        """Maps for classes and boxes of every scale, to be correlated with the kernels in their order."""
        return self.rpn_head.adjust(self.neck(features) if self.has_neck else features)

    def match(self, template: Sequence[Tensor], maps: Sequence[Tensor]) -> Features:
        """Depth-wise correlation of each map with its kernel."""
        return correlate_all(template, maps)

    def answer(self, matches: Sequence[Tensor], modalities: int = 1) -> Response:
        """Scores and boxes from correlations."""
        if modalities != 1:
            raise ValueError("this network has no gate: it answers for one modality, or for several fused before")
        logits, deltas = self.rpn_head.read(matches)
        return Response(foreground_probability(logits.float()), decode_anchors(deltas.float(), self.layout))


def foreground_probability(logits: Tensor) -> Tensor:
    """Probability of the second class, (B, A, H, W), from (B, 2A, H, W): A background, then A foreground."""
    batch, channels, rows, columns = logits.shape
    return logits.view(batch, 2, channels // 2, rows, columns).softmax(1)[:, 1]


def siamrpn_alex(layout: AlexLayout = "features") -> SiamRPN:
    """SiamRPN with AlexNet, one scale, no neck; ``layout`` names its parameters (see :class:`AlexNet`)."""
    anchors = AnchorLayout()
    return SiamRPN(AlexNet(layout), None, DepthwiseRPN(alexnet.OUTPUT_CHANNELS, anchors.count), anchors)


def siamrpn_mobilev2() -> SiamRPN:
    """SiamRPN++ with MobileNetV2 of width 1.4; scales merged by their mean."""
    channels, anchors = (256, 256, 256), AnchorLayout()
    return SiamRPN(
        MobileNetV2(),
        Neck((44, 134, 448), channels),
        MultiRPN(channels, anchors.count, weighted=False),
        anchors,
    )


def siamrpn_r50(*, weighted: bool = True, channels: Sequence[int] = (256, 256, 256)) -> SiamRPN:
    """SiamRPN++ with ResNet-50.

    Args:
        weighted: merge scales by learned weights (short-term and long-term configurations) or by their mean (OTB).
        channels: of each scale after the neck: 256 each, or 128, 256, 512 in the long-term configuration.
    """
    anchors = AnchorLayout()
    return SiamRPN(
        ResNet50(),
        Neck((512, 1024, 2048), channels),
        MultiRPN(channels, anchors.count, weighted=weighted),
        anchors,
    )


def siamrpn_for_state(name: SiamRPNName, state: Mapping[str, Tensor]) -> SiamRPN:
    """The variant of network ``name`` that a checkpoint's keys and shapes belong to, with fresh weights.

    An empty ``state`` gives the variant of the short-term configurations.
    """
    match name:
        case "alex":
            return siamrpn_alex("layer" if "backbone.layer1.0.weight" in state else "features")
        case "mobilev2":
            return siamrpn_mobilev2()
        case "r50":
            necks = [f"neck.downsample{level}.downsample.0.weight" for level in (2, 3, 4)]
            channels = [state[key].shape[0] if key in state else 256 for key in necks]
            return siamrpn_r50(weighted=not state or "rpn_head.cls_weight" in state, channels=channels)
