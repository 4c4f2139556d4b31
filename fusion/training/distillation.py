"""Teaching a small NestFuse what the full one makes of registered pairs.

The student sees crops of pairs with the teacher's fused picture as the target, and single pictures as both of its
inputs with the picture itself as the target. Source of the idea: Hinton, Vinyals, Dean, "Distilling the Knowledge in a
Neural Network", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fusion.attention import NESTFUSE
from fusion.checkpoints import save_state
from fusion.nestfuse import NestFuse
from fusion.nestfuse_inference import NestFuseMethod
from fusion.training.images import crop_at_random, draw_edge_lines, read_pair

LESSONS_NAME = "lessons.pt"


class Lessons:
    """Crops of pairs with the teacher's answers, made once and kept beside the checkpoint."""

    def __init__(
        self,
        teacher: NestFuse,
        pairs: Sequence[tuple[Path, Path]],
        *,
        count: int,
        crop_px: int,
        seed: int,
        cache: Path,
        device: torch.device,
        edge_lines: float = 0.0,
    ) -> None:
        self._seed = seed
        made_of = f"seed {seed}, {count} crops of {crop_px} px, {len(pairs)} pairs" + (
            f", edge lines {edge_lines:g}" if edge_lines else ""
        )
        kept = torch.load(cache, weights_only=True) if cache.is_file() else {}
        if kept.get("made_of") == made_of:
            self._lessons: Tensor = kept["lessons"]
            return
        method = NestFuseMethod(teacher, NESTFUSE, device)
        lessons = []
        for index in range(count):
            generator = np.random.default_rng([seed, 1, index])
            pictures = read_pair(pairs[int(generator.integers(len(pairs)))])
            crops = draw_edge_lines(crop_at_random(pictures, crop_px, generator), edge_lines, generator)
            images = torch.from_numpy(crops)[:, None]
            lessons.append(torch.cat([images.float(), method.fuse(images).cpu()])[:, 0])
        self._lessons = torch.stack(lessons)
        save_state({"made_of": made_of, "lessons": self._lessons}, cache)

    def batch(self, step: int, size: int, rank: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Thermal, visible and fused crops of ``step``, each (size, 1, crop, crop) in 0..255."""
        generator = np.random.default_rng([self._seed, 2, rank, step])
        chosen = self._lessons[torch.from_numpy(generator.integers(len(self._lessons), size=size))]
        axes = [axis for axis in (2, 3) if generator.random() < 0.5]
        thermal, visible, fused = chosen.flip(axes).chunk(3, 1)
        return thermal, visible, fused
