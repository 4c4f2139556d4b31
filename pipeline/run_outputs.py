"""What a run leaves in its output folder, and whom it tells when that fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.assemble import PairStream
from pipeline.frames import StreamResult
from pipeline.health import SourceWatch
from pipeline.overlay import Overlay
from pipeline.settings import StreamSettings
from pipeline.sinks import Sink
from pipeline.sinks.recorder import KeepGoing, SegmentedRecorder
from pipeline.sinks.results import ResultsWriter
from pipeline.sinks.telemetry import TelemetrySink
from pipeline.sinks.video import VideoSink
from pipeline.telemetry import Telemetry, TelemetryLog

if TYPE_CHECKING:
    from pipeline.web.page import LivePage

VIDEO_NAME = "fused.mp4"
RESULTS_NAME = "results.jsonl"
SUMMARY_NAME = "summary.json"
TELEMETRY_NAME = "telemetry.jsonl"
_OWN_FILES = (VIDEO_NAME, RESULTS_NAME, SUMMARY_NAME, TELEMETRY_NAME, f"{TELEMETRY_NAME}.1")


def own_files(folder: Path) -> list[str]:
    """Names of the files that an earlier run may have left in ``folder``."""
    segments = folder.glob(f"{Path(VIDEO_NAME).stem}-[0-9][0-9][0-9].mp4")
    return [*_OWN_FILES, *(path.name for path in segments)]


class StoppedRecording:
    """Notes that a file could be written no further while the run goes on, and says so."""

    def __init__(self, say: Callable[[str], None], page: LivePage | None) -> None:
        self._say = say
        self._page = page
        self.error: str | None = None

    def __call__(self, error: OSError) -> None:
        """Take the first failure of one file."""
        name = Path(error.filename).name if error.filename else VIDEO_NAME
        text = f"{name} ({error.strerror})"
        self.error = self.error or text
        self._say(f"warning: recording stopped: {text}")
        if self._page is not None:
            if name != RESULTS_NAME:
                self._page.control.update(recording=None)
            self._page.control.announce("warning", f"recording stopped: {text}")


def open_sinks(
    settings: StreamSettings,
    pairs: PairStream,
    folder: Path,
    telemetry: Telemetry,
    page: LivePage | None,
    stopped: StoppedRecording,
    ending: ExitStack,
) -> list[Sink]:
    """The files of a run; each is closed by ``ending``.

    With a page a file that fails does not end the run, for people are watching: ``stopped`` notes it.

    Raises:
        OSError: a file cannot be begun.
    """

    def open_video(path: Path) -> Sink:
        return VideoSink(
            path,
            frame_rate=pairs.info.fps,
            quality=settings.recording.quality,
            overlay=Overlay(settings.overlay, settings.title) if settings.recording.overlay else None,
        )

    def kept(sink: Sink) -> Sink:
        guarded = sink if page is None else KeepGoing(sink, stopped)
        ending.callback(guarded.close)
        return guarded

    recorder = SegmentedRecorder(
        folder / VIDEO_NAME,
        open_video,
        wanted=(lambda: True) if page is None else (lambda: page.control.state.recording is True),
        config=settings.recording.segments,
    )
    sinks = [kept(recorder), kept(ResultsWriter(folder / RESULTS_NAME))]
    wants_log = settings.recording.telemetry
    if wants_log or (wants_log is None and (page is not None or settings.source.live)):
        sinks.append(TelemetrySink(telemetry, TelemetryLog(folder / TELEMETRY_NAME), SourceWatch(pairs).health))
    else:
        sinks.append(TelemetrySink(telemetry))
    return sinks


class Announcer:
    """Says each warning of the sources once, as soon as the next result comes."""

    def __init__(self, pairs: PairStream, say: Callable[[str], None], page: LivePage | None = None) -> None:
        self._pairs = pairs
        self._say = say
        self._page = page
        self._said: set[str] = set()
        self.announce()

    def announce(self) -> None:
        """Say what is new."""
        for warning in self._pairs.warnings:
            if warning not in self._said:
                self._said.add(warning)
                self._say(f"warning: {warning}")
                if self._page is not None:
                    self._page.control.announce("warning", warning)

    def write(self, result: StreamResult) -> None:
        """Look for new warnings."""
        self.announce()

    def close(self) -> None:
        """Nothing to close."""
