"""From what the user named to registered pairs: sources, pairing, registration and thermal display in one chain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from fusion.errors import InputError
from pipeline.calibration import Calibration, read_calibration
from pipeline.frames import Frame, FramePair, PairStatus
from pipeline.pair_builder import PairBuilder, check_size
from pipeline.pairing import PairedFrames, Pairer, PairerConfig, PairingStats, pair_offline
from pipeline.sources import Role, Source, SourceInfo, SourceOptions, is_live, open_sequence, open_source
from pipeline.sources.base import Closing
from pipeline.sources.images import ImageListSource
from pipeline.sources.live_state import LiveConfig
from pipeline.sources.synthetic import SyntheticSource
from pipeline.thermal import ThermalConfig
from trackers.box import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSourceConfig:
    """Where pairs come from and how they are made.

    Attributes:
        visible: URI of the visible stream; None when ``sequence`` is given, or for thermal alone.
        thermal: URI of the thermal stream; None likewise.
        sequence: VOT-style folder instead of the two URIs.
        visible_options: how to read the visible stream.
        thermal_options: how to read the thermal stream.
        pairing: which frames belong together.
        patience: how long to wait for live sources that break.
        calibration: calibration file; without one, pictures of equal size are taken as registered.
        display: how 16-bit thermal becomes 8 bits.
    """

    visible: str | None = None
    thermal: str | None = None
    sequence: str | None = None
    visible_options: SourceOptions = field(default_factory=SourceOptions)
    thermal_options: SourceOptions = field(default_factory=SourceOptions)
    pairing: PairerConfig = field(default_factory=PairerConfig)
    patience: LiveConfig = field(default_factory=LiveConfig)
    calibration: str | None = None
    display: ThermalConfig = field(default_factory=ThermalConfig)

    def __post_init__(self) -> None:
        if self.sequence is not None and (self.visible is not None or self.thermal is not None):
            raise InputError("give either a sequence folder or a visible and a thermal source, not both")
        if self.sequence is None and self.visible is None and self.thermal is None:
            raise InputError("no source; give --visible and --thermal, or --sequence")

    @property
    def live(self) -> bool:
        """Whether any of the streams comes in real time."""
        return any(is_live(uri) for uri in (self.visible, self.thermal) if uri is not None)


class PairStream(Closing):
    """Recorded pairs, one for every reference frame; use as a context manager.

    Iterate once. Reading is deterministic: the same files give the same pairs.

    Attributes:
        visible: the visible source, or None.
        thermal: the thermal source, or None.
        builder: makes the pairs.
        boxes: ground truth of a sequence folder per frame, empty otherwise.
        stage_ms: duration of the stages of the newest pair in milliseconds (decode, register, thermal).
    """

    def __init__(
        self,
        visible: Source | None,
        thermal: Source | None,
        *,
        pairing: PairerConfig,
        builder: PairBuilder,
        boxes: tuple[Box | None, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.visible, self.thermal, self.boxes = visible, thermal, boxes
        self.stage_ms: dict[str, float] = {}
        self._warnings = warnings
        self.builder = builder
        self._pairer = self._make_pairer(pairing)
        self._pairing = pairing
        self._alone = 0
        reference = visible if pairing.reference == "visible" else thermal
        present = reference or visible or thermal
        if present is None:
            raise ValueError("a pair stream needs at least one source")
        self._reference: Source = present
        if visible is not None:
            builder.expect_visible((visible.info.width, visible.info.height))

    def _make_pairer(self, pairing: PairerConfig) -> Pairer:
        return Pairer(
            replace(pairing, max_wait_s=None),
            visible_period_s=1 / self.visible.info.fps if self.visible else None,
            thermal_period_s=1 / self.thermal.info.fps if self.thermal else None,
        )

    @property
    def info(self) -> SourceInfo:
        """Picture size of the pairs (the visible one's) with the rate and length of the reference stream."""
        shown = self.visible or self._reference
        info = self._reference.info
        return replace(shown.info, fps=info.fps, length=info.length)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, one line each; grows while reading."""
        sources = [source.warnings for source in (self.visible, self.thermal) if source is not None]
        return (*self._warnings, *self.builder.warnings, *(line for lines in sources for line in lines))

    @property
    def stats(self) -> PairingStats:
        """Counts of pairing since the beginning."""
        if self.visible is None:
            return PairingStats(thermal=self._alone, single=self._alone)
        if self.thermal is None:
            return PairingStats(visible=self._alone, single=self._alone)
        return self._pairer.stats()

    def __iter__(self) -> Iterator[FramePair]:
        """Pairs in order of time.

        Raises:
            InputError: a picture cannot be used.
            RunError: after the last pair, when a source delivered less than its file promises.
        """
        visible: Iterator[Frame] = iter(self.visible or ())
        thermal: Iterator[Frame] = iter(self.thermal or ())
        begin_s = time.perf_counter()
        for frames in self._paired(visible, thermal):
            decoded_s = time.perf_counter()
            pair = self.builder.build(frames)
            self.stage_ms = {"decode": (decoded_s - begin_s) * 1e3, **self.builder.stage_ms}
            yield pair
            begin_s = time.perf_counter()
        self._warn_of_lengths()

    def _paired(self, visible: Iterator[Frame], thermal: Iterator[Frame]) -> Iterator[PairedFrames]:
        if self.visible is not None and self.thermal is not None:
            yield from pair_offline(visible, thermal, pairer=self._pairer)
            return
        # A stream alone is its own reference, whatever the policy says of frames without partner.
        for index, frame in enumerate(visible if self.visible is not None else thermal):
            self._alone = index + 1
            yield PairedFrames(
                index=index,
                visible=frame if self.visible is not None else None,
                thermal=frame if self.visible is None else None,
                status=PairStatus.SINGLE,
            )

    def _warn_of_lengths(self) -> None:
        if self.visible is None or self.thermal is None:
            return
        stats = self.stats
        if stats.unpaired:
            self._warnings += (
                f"{stats.unpaired} of {stats.visible if self._pairing.reference == 'visible' else stats.thermal} "
                f"{self._pairing.reference} frames found no {self._pairing.other} frame within "
                f"{1e3 * self._pairer.tolerance_s():.0f} ms ({self._lengths()})",
            )
        elif stats.unused and self._ends_apart():
            self._warnings += (f"{stats.unused} {self._pairing.other} frames were not used ({self._lengths()})",)

    def _lengths(self) -> str:
        stats = self.stats
        return f"visible has {stats.visible} frames, thermal {stats.thermal}"

    def _ends_apart(self) -> bool:
        if self.visible is None or self.thermal is None:
            return False
        stats = self.stats
        ends = stats.visible / self.visible.info.fps, stats.thermal / self.thermal.info.fps
        return abs(ends[0] - ends[1]) > 2 * self._pairer.tolerance_s()

    def close(self) -> None:
        """Close the sources; safe to call twice."""
        for source in (self.visible, self.thermal):
            if source is not None:
                source.close()


def open_pairs(config: PairSourceConfig) -> PairStream:
    """Open the sources as a stream of registered pairs; a ``LivePairStream`` when one of them is live.

    Raises:
        InputError: a source, the sequence or the calibration cannot be used.
    """
    calibration = read_calibration(config.calibration) if config.calibration else None
    builder = PairBuilder(calibration, config.display)
    if config.sequence is not None:
        # Of the options for the thermal stream its camera's profile alone: a sequence has one rate.
        options = replace(config.visible_options, profile=config.thermal_options.profile)
        sequence = open_sequence(config.sequence, options)
        stream = PairStream(
            sequence.visible,
            sequence.thermal,
            pairing=config.pairing,
            builder=builder,
            boxes=sequence.boxes,
            warnings=sequence.warnings,
        )
    else:
        if config.live:
            from pipeline.live_pairs import open_live_pairs  # which builds on this module

            return open_live_pairs(config, builder, calibration)
        visible, thermal, warnings = _open_both(config)
        stream = PairStream(visible, thermal, pairing=config.pairing, builder=builder, warnings=warnings)
    try:
        check_stream_sizes(stream, calibration)
    except InputError:
        stream.close()
        raise
    return stream


def _open_both(config: PairSourceConfig) -> tuple[Source | None, Source | None, tuple[str, ...]]:
    with ExitStack() as opened:
        sources: list[Source | None] = []
        roles: tuple[Role, Role] = ("visible", "thermal")
        uris, options = (config.visible, config.thermal), (config.visible_options, config.thermal_options)
        for role, uri, how in zip(roles, uris, options, strict=True):
            source = None if uri is None else open_source(uri, role=role, options=how)
            if source is not None:
                opened.callback(source.close)
            sources.append(source)
        opened.pop_all()
    visible, thermal = sources
    warnings = [f"no {role} source" for role, source in zip(roles, sources, strict=True) if source is None]
    scenes = [source for source in sources if isinstance(source, SyntheticSource)]
    if len({source.scene.config.seed for source in scenes}) > 1:
        warnings.append(f"{' and '.join(source.info.name for source in scenes)} are two scenes; give both one seed")
    for folder, partner in ((visible, thermal), (thermal, visible)):
        # Pictures in a folder carry no time; next to a source that does, its rate is the better guess than 30.
        if isinstance(folder, ImageListSource) and partner and partner.info.rate_known and not folder.info.rate_known:
            folder.set_rate(partner.info.fps)
            warnings.append(f"{folder.info.name}: taken as {partner.info.fps:g} fps, the rate of {partner.info.name}")
    return visible, thermal, tuple(warnings)


def check_stream_sizes(stream: PairStream, calibration: Calibration | None) -> None:
    """Refuse sources whose pictures are too small, or not those of the calibration.

    Raises:
        InputError: the size of a picture cannot be used.
    """
    for role, source in (("visible", stream.visible), ("thermal", stream.thermal)):
        if source is not None:
            check_size(role, source.info.width, source.info.height)
    if calibration is not None and stream.visible is not None and stream.thermal is not None:
        visible, thermal = stream.visible.info, stream.thermal.info
        calibration.check_sizes((visible.width, visible.height), (thermal.width, thermal.height))
