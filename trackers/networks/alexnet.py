"""AlexNet as SiamRPN uses it: no padding, total stride 8, batch norm after every convolution.

Architecture and key names: PySOT (STVIR/pysot, Apache-2.0), backbones ``alexnetlegacy`` and ``alexnet``.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

AlexLayout = Literal["features", "layer"]

OUTPUT_CHANNELS = 256


class AlexNet(nn.Module):
    """Backbone of ``siamrpn-alex``.

    Args:
        layout: names of the parameters: ``features`` (``features.0`` ...) for ``alexnetlegacy`` checkpoints,
            ``layer`` (``layer1.0`` ...) for ``alexnet`` ones. The function is the same.
    """

    def __init__(self, layout: AlexLayout = "features") -> None:
        super().__init__()
        stages: list[list[nn.Module]] = [
            [*_unit(3, 96, 11, 2), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True)],
            [*_unit(96, 256, 5), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True)],
            [*_unit(256, 384, 3), nn.ReLU(inplace=True)],
            [*_unit(384, 384, 3), nn.ReLU(inplace=True)],
            [*_unit(384, OUTPUT_CHANNELS, 3)],
        ]
        self._stage_names: tuple[str, ...]
        match layout:
            case "features":
                self.features = nn.Sequential(*(layer for stage in stages for layer in stage))
                self._stage_names = ("features",)
            case "layer":
                self._stage_names = tuple(f"layer{number}" for number in range(1, len(stages) + 1))
                for name, stage in zip(self._stage_names, stages, strict=True):
                    self.add_module(name, nn.Sequential(*stage))

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Features of crops (B, 3, S, S), one scale: (B, 256, 6, 6) for S = 127, (B, 256, 26, 26) for 287."""
        for name in self._stage_names:
            crops = self.get_submodule(name)(crops)
        return (crops,)


def _unit(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, kernel, stride), nn.BatchNorm2d(channels_out)]
