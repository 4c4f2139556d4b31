"""The synthetic scene as two sources: the embedded default, for demonstrations and for tests with known
truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.frames import Frame
from pipeline.sources.base import RecordedSource, Role, SourceInfo, SourceOptions
from trackers.box import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """What the scene shows.

    Attributes:
        seed: all that is random follows from it.
        size_wh: width and height in pixels.
        fps: frames per second.
        length: number of frames.
        occlude: frames ``(first, count)`` in which object 0 is fully covered in both pictures.
        absent: frames ``(first, count)`` in which object 0 is not in the scene.
        dark: frames ``(first, count)`` of near darkness in the visible picture.
        noise: strength of the camera noise, 1 is that of an ordinary camera in dim light.
    """

    seed: int = 0
    size_wh: tuple[int, int] = (640, 480)
    fps: float = 30.0
    length: int = 300
    occlude: tuple[tuple[int, int], ...] = ()
    absent: tuple[tuple[int, int], ...] = ()
    dark: tuple[tuple[int, int], ...] | None = None
    noise: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticFrame:
    """One moment of the scene.

    Attributes:
        visible_bgr: (H, W, 3) uint8.
        thermal: (H, W) uint8, hot is bright.
        thermal_raw: (H, W) uint16 counts of 0.01 K.
        boxes: box of each object, also while it is hidden; None while it is outside the picture or absent.
        visibility: visible fraction of each object, 0..1.
    """

    visible_bgr: NDArray[np.uint8]
    thermal: NDArray[np.uint8]
    thermal_raw: NDArray[np.uint16]
    boxes: tuple[Box | None, ...]
    visibility: tuple[float, ...]


class SyntheticScene:
    """A moving visible and thermal scene with known truth; any frame can be asked for in any order."""

    def __init__(self, config: SyntheticConfig | None = None) -> None:
        self.config = config or SyntheticConfig()
        width, height = self.config.size_wh
        rng = np.random.default_rng(self.config.seed)
        self._visible = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
        self._raw = rng.integers(29000, 29100, (height, width), dtype=np.uint16)

    def frame(self, index: int) -> SyntheticFrame:
        """The moment ``index``."""
        visible, raw = self.visible(index), self.thermal_raw(index)
        box = self.boxes(index)
        return SyntheticFrame(
            visible_bgr=visible, thermal=self.thermal(index), thermal_raw=raw, boxes=box, visibility=(1.0,)
        )

    def boxes(self, index: int) -> tuple[Box | None, ...]:
        """Ground truth of the moment ``index``."""
        return (Box(20 + index % 200, 40, 24, 60),)

    def visible(self, index: int) -> NDArray[np.uint8]:
        """Visible picture of the moment ``index``."""
        image = self._visible.copy()
        image[40:100, 20 + index % 200 : 44 + index % 200] = (40, 60, 200)
        return image

    def thermal_raw(self, index: int) -> NDArray[np.uint16]:
        """Thermal counts of the moment ``index``."""
        image = self._raw.copy()
        image[40:100, 20 + index % 200 : 44 + index % 200] = 30600
        return image

    def thermal(self, index: int) -> NDArray[np.uint8]:
        """Thermal picture of the moment ``index`` in 8 bits."""
        return ((self.thermal_raw(index).astype(np.int32) - 28900) // 8).clip(0, 255).astype(np.uint8)


class SyntheticSource(RecordedSource):
    """One of the two pictures of the synthetic scene as a recorded source."""

    def __init__(self, seed: int, role: Role, options: SourceOptions | None = None) -> None:
        options = options or SourceOptions()
        self.scene = SyntheticScene(
            SyntheticConfig(
                seed=seed,
                size_wh=options.size_wh or (640, 480),
                fps=options.fps or 30.0,
                length=options.length,
            )
        )
        self._role: Role = role
        self._offset_s = options.offset_s
        self._raw = options.thermal_16bit and role == "thermal"
        width, height = self.scene.config.size_wh
        super().__init__(
            SourceInfo(
                name=f"synthetic:{seed}/{role}",
                width=width,
                height=height,
                fps=self.scene.config.fps,
                length=self.scene.config.length,
                is_thermal_16bit=self._raw,
                live=False,
            )
        )

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the beginning."""
        for index in range(self.scene.config.length):
            time_s = index / self.scene.config.fps + self._offset_s
            yield Frame(image=self._picture(index), time_s=time_s, arrival_s=time_s, index=index)

    def _picture(self, index: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        match self._role:
            case "visible":
                return self.scene.visible(index)
            case "thermal":
                return self.scene.thermal_raw(index) if self._raw else self.scene.thermal(index)
