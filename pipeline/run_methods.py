"""The fusion and the tracker of a run, made of its settings; in live runs fusion that can do with less."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion.factory import build_fuser, weights_name
from fusion.fuser import Fuser, PoolingName
from fusion.weight_store import find_weights
from pipeline.degrade import DegradingFuser
from pipeline.settings import StreamSettings
from trackers.state import Tracker


def build_tracker_of(settings: StreamSettings) -> Tracker:
    """The tracker that ``settings`` name, which must not be ``none``.

    Raises:
        InputError: it is unknown, or its weights are missing or do not fit.
    """
    from trackers.factory import build_tracker  # only runs that track pay for it

    tracking = settings.tracking
    return build_tracker(
        tracking.method,
        weights=tracking.weights,
        modality=tracking.modality,
        strategy=tracking.strategy,
        overrides=tracking.overrides,
        engine=settings.engine_for_tracking,
        device=settings.device,
        precision=tracking.precision,
        execution=tracking.execution,
    )


def build_fuser_of(settings: StreamSettings, method: str, pooling: PoolingName, size_wh: tuple[int, int]) -> Fuser:
    """A fuser for the run that ``settings`` describe; in live runs it is warm, and can degrade where it may.

    Args:
        settings: the run.
        method: fusion method, which may be another than the one the run begins with.
        pooling: channel pooling of its attention strategy.
        size_wh: width and height of the pictures to come, in pixels.

    Raises:
        InputError: the method is unknown, its weights are missing or do not fit, or the pictures are too small.
    """
    weights = settings.fusion.weights if method == settings.fusion.full_method else None
    asked = _fuser(settings, method, pooling, weights_file=weights)
    if not settings.runs_live:
        return asked
    _warm_up(asked, size_wh)
    if not settings.degrade.enabled:
        return asked
    lighter = settings.degrade.lighter or lighter_method(method)
    if lighter is None or lighter == method:
        return DegradingFuser(asked, None)
    fuser = _fuser(settings, lighter, pooling)
    _warm_up(fuser, size_wh)
    return DegradingFuser(asked, fuser, every=settings.degrade.every, gray=settings.fusion.gray)


def lighter_method(method: str) -> str | None:
    """The method that takes over when ``method`` is too slow; None where nothing is notably lighter.

    AUIF takes a fifth of the time of the small NestFuse on a CPU, the Laplacian pyramid a quarter of AUIF's. AUIF
    only counts where its weights are here.
    """
    name = weights_name(method)
    if name is None:
        return None
    return "laplacian" if name == "auif" or find_weights("auif") is None else "auif"


def _fuser(settings: StreamSettings, method: str, pooling: PoolingName, weights_file: Path | None = None) -> Fuser:
    fusion = settings.fusion
    return build_fuser(
        method,
        weights=weights_file,
        pooling=pooling,
        spatial=fusion.spatial,
        range_name=fusion.range,
        night=fusion.night,
        engine=settings.engine_for_fusion,
        device=settings.device,
        gray=fusion.gray,
    )


def _warm_up(fuser: Fuser, size_wh: tuple[int, int]) -> None:
    """Fuse a picture for trial: the first one takes longer than any other, which would cost a live run its first."""
    width, height = size_wh
    fuser(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))
    fuser.reset()
