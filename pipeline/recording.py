"""A whole run of ``stream``: opens what the settings name, runs the loop, and leaves the output folder complete."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusion.devices import resolve_device
from fusion.errors import InputError, RunError
from pipeline.assemble import PairStream, open_pairs
from pipeline.degrade import LEVELS, DegradePolicy
from pipeline.health import SourceWatch
from pipeline.live_pairs import LivePairStream
from pipeline.machine import brisk_threads, keep_memory_of_pictures
from pipeline.open_telemetry import CollectorLink
from pipeline.outputs import check_output_folder, prepare_output_folder
from pipeline.overlay import Overlay
from pipeline.progress import Progress
from pipeline.run_methods import build_fuser_of, build_tracker_of
from pipeline.run_outputs import (
    RESULTS_NAME,
    SUMMARY_NAME,
    Announcer,
    LevelReport,
    Messages,
    StoppedRecording,
    open_sinks,
    own_files,
    video_names,
)
from pipeline.settings import StreamSettings
from pipeline.sinks.summary import RunStatistics, library_versions, timing_fields, write_json
from pipeline.sinks.truth import TruthSink
from pipeline.sinks.window import WindowSink
from pipeline.sources.synthetic import SyntheticScene, SyntheticSource
from pipeline.stream import PairProcessor, check_box, in_real_time, run_stream
from pipeline.telemetry import Telemetry
from trackers.box import Box
from trackers.precision import chosen_execution
from trackers.state import Modality

if TYPE_CHECKING:
    from pipeline.web.page import LivePage

# How many objects of the synthetic scene are followed when no box is given.
_SYNTHETIC_TARGETS = 3

Truth = Callable[[int], dict[int, Box | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Targets:
    """The boxes to follow and, where it is known, where they truly are."""

    boxes: tuple[Box, ...]
    truth: Truth | None


@dataclass(frozen=True, slots=True)
class _Watchers:
    """Those who see the run while it goes on: its telemetry, and a page and a window where they are wanted."""

    telemetry: Telemetry
    page: LivePage | None
    window: WindowSink | None


def record_stream(
    settings: StreamSettings,
    folder: Path,
    *,
    stop: threading.Event,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Run ``settings`` and write fused.mp4, results.jsonl and summary.json into ``folder``.

    Args:
        settings: the run.
        folder: output folder; made when absent.
        stop: ends the run early, everything closed.
        overwrite: allow a folder that is not empty.
        say: receives warnings, one line each.

    Returns:
        The content of summary.json.

    Raises:
        InputError: a source, a method, a box or the folder cannot be used.
        RunError, OSError: the run failed; what was recorded before is complete.
    """
    torch.manual_seed(settings.seed)
    keep_memory_of_pictures()
    with ExitStack() as opened:
        pairs = opened.enter_context(open_pairs(settings.source))
        settings = _with_usable_modality(settings, pairs, say)
        check_output_folder(folder, overwrite=overwrite)
        _check_inputs_stay(settings, folder)
        telemetry = Telemetry()
        if settings.collector is not None:
            link = CollectorLink(settings.collector, telemetry=telemetry, health=SourceWatch(pairs).health)
            opened.enter_context(closing(link))
        page = None
        if settings.web.address is not None:
            from pipeline.web.page import open_page  # only runs with a page pay for the server

            page = opened.enter_context(closing(open_page(settings, pairs, folder, telemetry)))
            say(f"watch and steer at {page.url}")
        window = None
        if settings.window:
            window = opened.enter_context(closing(WindowSink(Overlay(settings.overlay, settings.title), stop.set)))
        targets = _targets(settings, pairs)
        if not targets.boxes and settings.tracking.method != "none" and page is None:
            say("no --box given and no ground truth: fusing without tracking")
        size_wh = (pairs.info.width, pairs.info.height)
        for box in targets.boxes:
            check_box(box, *size_wh)
        fusion = settings.fusion
        fuser = (
            None if fusion.method == "none" else build_fuser_of(settings, fusion.full_method, fusion.pooling, size_wh)
        )
        wants_tracker = settings.tracking.method != "none" and (targets.boxes or page is not None)
        tracker = build_tracker_of(settings) if wants_tracker else None
        boxes, modality = targets.boxes, settings.tracking.modality
        policy = DegradePolicy(settings.degrade, LevelReport(settings.degrade.every, Messages(say, page)))
        if page is None:
            processor = PairProcessor(
                fuser=fuser,
                tracker=tracker,
                boxes=boxes,
                modality=modality,
                policy=policy,
                side_by_side=settings.runs_live,
            )
        else:
            processor = page.processor(
                fuser=fuser,
                tracker=tracker,
                boxes=boxes,
                modality=modality,
                stop=stop,
                build_fuser=lambda choice: build_fuser_of(settings, choice.method, choice.pooling, size_wh),
                policy=policy,
                side_by_side=settings.runs_live,
            )
        return _run(settings, pairs, processor, targets, folder, stop, say, _Watchers(telemetry, page, window))


def _run(
    settings: StreamSettings,
    pairs: PairStream,
    processor: PairProcessor,
    targets: _Targets,
    folder: Path,
    stop: threading.Event,
    say: Callable[[str], None],
    watchers: _Watchers,
) -> dict[str, Any]:
    page = watchers.page
    messages = Messages(say, page)
    announcer = Announcer(pairs, messages)
    live = settings.runs_live
    statistics = RunStatistics(telemetry=watchers.telemetry)
    truth = TruthSink(targets.truth) if targets.truth else None
    total = min(filter(None, (pairs.info.length, settings.recording.max_pairs)), default=None)
    begin_s = time.perf_counter()
    exit_code = 1
    # Everything the run needs is there; only now may an earlier recording go.
    prepare_output_folder(folder, overwrite=True, own_files=own_files(folder))
    stopped = StoppedRecording(messages, page)
    try:
        with ExitStack() as ending, brisk_threads(live):
            sinks = open_sinks(settings, pairs, folder, statistics, page, stopped, messages, ending)
            run_stream(
                in_real_time(pairs) if live and not settings.source.live else pairs,
                processor,
                [*sinks, *([truth] if truth else []), *([watchers.window] if watchers.window else []), announcer],
                statistics=statistics,
                stop=stop,
                progress=ending.enter_context(Progress("pairs", total)),
                live=live,
                read_ms=lambda: sum(pairs.stage_ms.values()),
                max_pairs=settings.recording.max_pairs,
            )
        if not statistics.pairs and not stop.is_set():
            raise RunError("the sources gave no pair; check that both have pictures that overlap in time")
        if stopped.error is not None:
            raise RunError(f"recording stopped early: {stopped.error}; what came before is complete")
        exit_code = 130 if stop.is_set() else 0
    except InputError:
        exit_code = 2
        raise
    except KeyboardInterrupt:
        exit_code = 130
        raise
    finally:
        announcer.announce()
        summary = {
            **timing_fields(statistics, time.perf_counter() - begin_s),
            "unpaired": pairs.stats.unpaired,
            "dropped": pairs.stats.dropped + statistics.dropped + _dropped_before_pairing(pairs),
            **_live_fields(settings, statistics),
            "fuser": settings.fusion.full_method,
            "tracker": settings.tracking.method,
            "modality": settings.tracking.modality.value,
            "engine": settings.engine_for_fusion,
            **_device_fields(settings),
            "versions": library_versions(),
            "exit": exit_code,
            **({"ground_truth": truth.fields()} if truth else {}),
        }
        try:
            write_json(folder / SUMMARY_NAME, summary)
        except OSError as error:
            if exit_code in (0, 130):
                raise
            say(f"warning: {SUMMARY_NAME} could not be written ({error.strerror})")
    return summary


def _check_inputs_stay(settings: StreamSettings, folder: Path) -> None:
    replaced = {(folder / name).resolve() for name in own_files(folder)}
    for option, uri in (("--visible", settings.source.visible), ("--thermal", settings.source.thermal)):
        if uri and Path(uri).resolve() in replaced:
            raise InputError(f"{option} {uri}: the recording would take its place; give another --out than {folder}")


def _device_fields(settings: StreamSettings) -> dict[str, Any]:
    tracking, device = settings.tracking, resolve_device(settings.device)
    fields: dict[str, Any] = {"precision": tracking.precision, "execution": tracking.execution, "device": str(device)}
    if tracking.method != "none":
        from trackers.factory import tracker_engine, tracker_precision  # only runs that track pay for it

        engine = tracker_engine(
            tracking.method, settings.engine_for_tracking, precision=tracking.precision, device=device
        )
        fields["tracker_engine"] = engine
        fields["precision"] = tracker_precision(tracking.method, tracking.precision, engine=engine, device=device)
        fields["execution"] = chosen_execution(tracking.execution, engine=engine, device=device)
    return fields


def _live_fields(settings: StreamSettings, statistics: RunStatistics) -> dict[str, Any]:
    """What the summary of a live run has besides: results by degradation level, pictures left out of the video."""
    if not settings.runs_live:
        return {}
    levels = {str(level): statistics.levels.get(level, 0) for level in LEVELS}
    return {"levels": levels, "recording_dropped": statistics.recording_dropped}


def _dropped_before_pairing(pairs: PairStream) -> int:
    """Frames of live sources that nobody could take in time."""
    return pairs.live_stats.inbox_dropped if isinstance(pairs, LivePairStream) else 0


def _with_usable_modality(settings: StreamSettings, pairs: PairStream, say: Callable[[str], None]) -> StreamSettings:
    """The settings with the modality of the only channel where one of the two is not there at all."""
    only = Modality.RGB if pairs.thermal is None else Modality.IR if pairs.visible is None else None
    if only is None or settings.tracking.modality is only:
        return settings
    if settings.tracking.method == "none":
        say("only one channel is there: showing it as it is")
    else:
        say(f"only one channel is there: tracking with --modality {only.value}, showing it as it is")
    return replace(settings, tracking=replace(settings.tracking, modality=only))


def _targets(settings: StreamSettings, pairs: PairStream) -> _Targets:
    """The boxes asked for, else the first ones of the ground truth."""
    if settings.tracking.method == "none":
        return _Targets(boxes=(), truth=None)
    given = tuple(Box(*numbers) for numbers in settings.tracking.boxes)
    if given:
        return _Targets(boxes=given, truth=None)
    if pairs.boxes and pairs.boxes[0] is not None:
        boxes = pairs.boxes
        return _Targets(boxes=(pairs.boxes[0],), truth=lambda index: {1: boxes[index]} if index < len(boxes) else {})
    if isinstance(pairs.visible, SyntheticSource) and isinstance(pairs.thermal, SyntheticSource):
        return _synthetic_targets(pairs.visible.scene)
    return _Targets(boxes=(), truth=None)


def _synthetic_targets(scene: SyntheticScene) -> _Targets:
    found = [
        (number, box)
        for number, (box, seen) in enumerate(zip(scene.boxes(0), scene.visibility(0), strict=True))
        if box is not None and seen > 0.5
    ][:_SYNTHETIC_TARGETS]

    def truth(index: int) -> dict[int, Box | None]:
        boxes, seen = scene.boxes(index), scene.visibility(index)
        return {
            target: boxes[number] if seen[number] > 0.1 else None for target, (number, _) in enumerate(found, start=1)
        }

    return _Targets(boxes=tuple(box for _, box in found), truth=truth)


def report(summary: dict[str, Any], folder: Path) -> str:
    """What a person wants to know at the end of a run, in one or two lines."""
    parts = [f"{summary['pairs']} pairs", f"{summary['fps']} pairs/s"]
    if summary.get("ground_truth"):
        truth = summary["ground_truth"]
        parts.append(f"mean IoU {truth['mean_iou']:.3f}, {truth['success_rate']:.0%} of the boxes on target")
    if summary["unpaired"]:
        parts.append(f"{summary['unpaired']} unpaired")
    if summary["dropped"]:
        parts.append(f"{summary['dropped']} dropped")
    match video_names(folder):
        case []:
            video = "none"
        case [name]:
            video = str(folder / name)
        case [first, *_, last] as names:
            video = f"{folder / first} to {last} ({len(names)} files)"
    return f"{', '.join(parts)}\nvideo: {video}   results: {folder / RESULTS_NAME}"
