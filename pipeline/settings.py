"""All that a run of ``stream`` can be told, as one tree of small dataclasses; presets of it are in configs/."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fusion.errors import InputError
from fusion.fuser import (
    EngineChoice,
    EngineName,
    NightName,
    PoolingName,
    RangeName,
    SpatialName,
    chosen_engine,
    method_in_mode,
)
from pipeline.assemble import PairSourceConfig
from pipeline.control import run_title
from pipeline.degrade import DegradeConfig
from pipeline.overlay import OverlayConfig
from pipeline.sinks.recorder import SegmentConfig
from pipeline.web.settings import WebSettings
from trackers.precision import EngineChoice as TrackerEngineChoice
from trackers.precision import ExecutionChoice, PrecisionChoice
from trackers.state import Modality

"""What a user can ask for, for fusion and tracking together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSettings:
    """How pictures are fused.

    Attributes:
        method: name of the fusion method, or ``none``; the small NestFuse keeps up with video on a CPU.
        mode: how it combines features, see ``fusion.fuser.FUSION_MODES``; None is the published setting.
        weights: file in place of the method's own weights.
        pooling: channel pooling of the attention strategy.
        spatial: spatial form of the attention strategy.
        range: how the network's output becomes 8 bits.
        night: whether what is dark is lifted, see :func:`fusion.night.build_night`.
        gray: leave the colour of the visible picture out.
    """

    method: str = "nestfuse-lite"
    mode: str | None = None
    weights: Path | None = None
    pooling: PoolingName = "avg"
    spatial: SpatialName = "softmax"
    range: RangeName = "smooth"
    night: NightName = "auto"
    gray: bool = False

    def __post_init__(self) -> None:
        method_in_mode(self.method, self.mode)

    @property
    def full_method(self) -> str:
        """Name of the method in its mode, as the factory knows it."""
        return method_in_mode(self.method, self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSettings:
    """How targets are followed.

    Attributes:
        method: name of the tracker, or ``none``.
        weights: file in place of the tracker's own weights.
        modality: which pictures the tracker looks at.
        strategy: how the tracker fuses the features of the two pictures, see ``trackers.factory.STRATEGIES``;
            None takes what suits the tracker best.
        precision: of the tracker's network; ``auto`` is ``float32``, but ``float16`` for the large networks on a GPU.
            ``bfloat16``, which ``--engine onnx`` lacks, is faster on processors that compute in it and moves boxes by
            half a pixel in the median.
        execution: ``graphs`` searches a pair on the GPU as one CUDA graph, ``eager`` step by step; ``auto`` is
            ``graphs`` on a GPU.
        overrides: fields of the tracker's own configuration that differ from its preset.
        boxes: the targets in the first pair, each ``[x, y, w, h]`` in pixels of the visible picture.
    """

    method: str = "siamrpn-lite"
    weights: Path | None = None
    modality: Modality = Modality.FUSED
    strategy: str | None = None
    precision: PrecisionChoice = "auto"
    execution: ExecutionChoice = "auto"
    overrides: dict[str, bool | int | float | str] = field(default_factory=dict)
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSettings:
    """What is recorded.

    Attributes:
        overlay: draw targets and status onto the video.
        quality: constant rate factor of the video, 0..51; lower is better and larger.
        max_pairs: end after so many pairs; None reads to the end.
        segments: when to go on in a new file.
        telemetry: write telemetry.jsonl; None does so for live runs and those with a page.
    """

    overlay: bool = True
    quality: int = 21
    max_pairs: int | None = None
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    telemetry: bool | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 51:
            raise InputError(f"recording.quality must be between 0 and 51, not {self.quality}")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise InputError(f"--max-pairs must be at least 1, not {self.max_pairs}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """A whole run.

    Attributes:
        source: where pairs come from and how they are made.
        fusion: how they are fused.
        tracking: how targets are followed.
        overlay: what is drawn.
        recording: what is written.
        web: the live page.
        window: show the run in a desktop window.
        collector: address of an OpenTelemetry collector that is sent the run's numbers (OTLP over HTTP).
        engine: what runs the networks, see ``fusion.factory.build_fuser``; ``auto`` is ``torch`` for fusion and what
            suits it best for the tracker.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        live: True drops pairs that come faster than they are processed; False waits; None decides by the source.
        degrade: when and how a live run fuses more cheaply.
        seed: seed of everything random.
    """

    source: PairSourceConfig
    fusion: FusionSettings = field(default_factory=FusionSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    overlay: OverlayConfig = field(default_factory=OverlayConfig)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    web: WebSettings = field(default_factory=WebSettings)
    window: bool = False
    collector: str | None = None
    engine: EngineChoice = "auto"
    device: str = "auto"
    live: bool | None = None
    degrade: DegradeConfig = field(default_factory=DegradeConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.overlay.tint and not self.recording.overlay:
            raise InputError("--tint is part of the overlay; leave out --no-overlay")
        if self.overlay.tint and self.fusion.gray:
            raise InputError("--tint shows what is warm in colour; leave out --gray")

    @property
    def runs_live(self) -> bool:
        """Whether pairs that wait are dropped for newer ones."""
        return self.source.live if self.live is None else self.live

    @property
    def engine_for_fusion(self) -> EngineName:
        """What runs the fusion network."""
        return chosen_engine(self.engine)

    @property
    def engine_for_tracking(self) -> TrackerEngineChoice:
        """What is asked to run the tracker's network."""
        # Half the bits are for the decoder of NestFuse; boxes are measured with all of them.
        return "openvino" if self.engine == "openvino-bf16" else self.engine

    @property
    def title(self) -> str:
        """The methods at work, for overlays and people."""
        tracker = None if self.tracking.method == "none" else self.tracking.method
        return run_title(self.fusion.full_method, tracker, self.tracking.modality)
