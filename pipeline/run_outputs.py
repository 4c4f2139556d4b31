"""What a run leaves in its output folder, and whom it tells when that fails."""

from __future__ import annotations

import errno
import re
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
from pipeline.sinks.queued import QueuedSink
from pipeline.sinks.recorder import KeepGoing, SegmentedRecorder
from pipeline.sinks.results import ResultRecord, ResultsWriter
from pipeline.sinks.summary import RunStatistics
from pipeline.sinks.telemetry import TelemetryLogSink, TelemetrySink
from pipeline.sinks.video import VideoSink
from pipeline.telemetry import TelemetryLog

if TYPE_CHECKING:
    from pipeline.web.page import LivePage

VIDEO_NAME = "fused.mp4"
RESULTS_NAME = "results.jsonl"
SUMMARY_NAME = "summary.json"
TELEMETRY_NAME = "telemetry.jsonl"
# What may wait for a slow disk in a live run: eight pictures of 640 x 480 with their pairs are 17 MB, a line 300 bytes.
_PICTURES_WAITING = 8
_LINES_WAITING = 20_000
# Fewer missing pictures are a hiccup, such as the encoder's start; they are counted but not worth a warning.
_WORTH_SAYING = 30
_OWN_FILES = (VIDEO_NAME, RESULTS_NAME, SUMMARY_NAME, TELEMETRY_NAME, f"{TELEMETRY_NAME}.1")
_SEGMENT = re.compile(r"fused-(\d{3,})\.mp4")


def own_files(folder: Path) -> list[str]:
    """Names of the files that an earlier run may have left in ``folder``."""
    return list(dict.fromkeys([*_OWN_FILES, *video_names(folder)]))


def video_names(folder: Path) -> list[str]:
    """Names of the videos that are in ``folder``, in the order they were recorded in; the oldest may be gone."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir()]
    segments = {int(match[1]): match[0] for match in map(_SEGMENT.fullmatch, names) if match}
    return [*([VIDEO_NAME] if VIDEO_NAME in names else []), *(segments[number] for number in sorted(segments))]


class Messages:
    """Tells people what happens: those at the terminal, and those at the page where there is one."""

    def __init__(self, say: Callable[[str], None], page: LivePage | None = None) -> None:
        self._say = say
        self._page = page

    def tell(self, text: str) -> None:
        """Say what happened."""
        self._say(text)
        if self._page is not None:
            self._page.control.announce("warning", text)

    def warn(self, text: str) -> None:
        """Say what happened and should not have."""
        self._say(f"warning: {text}")
        if self._page is not None:
            self._page.control.announce("warning", text)


class StoppedRecording:
    """Notes that a file could be written no further while the run goes on, and says so."""

    def __init__(self, messages: Messages, page: LivePage | None) -> None:
        self._messages = messages
        self._page = page
        self.error: str | None = None

    def __call__(self, error: OSError) -> None:
        """Take the first failure of one file."""
        name = Path(error.filename).name if error.filename else VIDEO_NAME
        text = f"{name} ({error.strerror})"
        self.error = self.error or text
        if self._page is not None and name != RESULTS_NAME:
            self._page.control.update(recording=None)
        self._messages.warn(f"recording stopped: {text}")


def open_sinks(
    settings: StreamSettings,
    pairs: PairStream,
    folder: Path,
    statistics: RunStatistics,
    page: LivePage | None,
    stopped: StoppedRecording,
    messages: Messages,
    ending: ExitStack,
) -> list[Sink]:
    """The files of a run; each is closed by ``ending``.

    With a page a file that fails does not end the run, for people are watching: ``stopped`` notes it. In a live run
    each is written in a thread of its own: a disk that is too slow costs pictures of the video, which are counted.

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
        guarded: Sink = sink if page is None else KeepGoing(sink, stopped)
        ending.callback(guarded.close)
        return guarded

    recorder = SegmentedRecorder(
        folder / VIDEO_NAME,
        open_video,
        wanted=(lambda: True) if page is None else (lambda: page.control.state.recording is True),
        config=settings.recording.segments,
    )
    results = ResultsWriter(folder / RESULTS_NAME)
    telemetry = statistics.telemetry
    log = None
    wants_log = settings.recording.telemetry
    if wants_log or (wants_log is None and (page is not None or settings.source.live)):
        log = TelemetryLogSink(telemetry, TelemetryLog(folder / TELEMETRY_NAME), SourceWatch(pairs).health)
    files: list[Sink] = [recorder, results, *([log] if log else [])]
    if settings.runs_live:
        report = DroppedPictures(statistics, messages)
        files = queued_files(recorder, results, log, statistics, report)
    return [TelemetrySink(telemetry), *(kept(file) for file in files)]


def queued_files(
    video: Sink,
    results: ResultsWriter,
    log: TelemetryLogSink | None,
    statistics: RunStatistics,
    on_drop: Callable[[int], None],
    *,
    lines_waiting: int = _LINES_WAITING,
) -> list[Sink]:
    """The files of a live run, each with a queue and a thread of its own.

    Pictures are large, so few may wait and those beyond are left out. Lines of results are small: ten minutes of them
    may wait, and none is left out; where even that is not enough the disk counts as broken.
    """

    def lines_lost(_count: int) -> None:
        raise OSError(errno.EIO, "the disk has taken no results for minutes", str(results.path))

    queued: list[Sink] = [
        QueuedSink(
            lambda result: result,
            video.write,
            video.close,
            capacity=_PICTURES_WAITING,
            on_drop=on_drop,
            on_stored=lambda duration_ms: statistics.add_stage("video", duration_ms),
            name="video",
        ),
        QueuedSink(
            ResultRecord.of, results.append, results.close, capacity=lines_waiting, on_drop=lines_lost, name="lines"
        ),
    ]
    if log is not None:
        # The result says nothing to the log but that there is one.
        queued.append(
            QueuedSink(lambda result: result if log.due else None, log.write, log.close, capacity=1, name="log")
        )
    return queued


class DroppedPictures:
    """Counts the pictures that a slow disk or encoder kept out of the video, and says so once."""

    def __init__(self, statistics: RunStatistics, messages: Messages) -> None:
        self._statistics = statistics
        self._messages = messages

    def __call__(self, count: int) -> None:
        """Take the number of pictures left out so far."""
        if self._statistics.recording_dropped < _WORTH_SAYING <= count:
            self._messages.warn(
                "the recording cannot keep up: pictures are left out of the video; every result is still written"
            )
        self._statistics.recording_dropped = count
        self._statistics.telemetry.set_count("recording_dropped", count)


class LevelReport:
    """Says at which level fusion goes on, see ``pipeline.degrade``."""

    def __init__(self, every: int, messages: Messages) -> None:
        self._every = every
        self._messages = messages

    def __call__(self, level: int) -> None:
        """Take the new level."""
        match level:
            case 0:
                self._messages.tell("fusing as asked again")
            case 1:
                self._messages.tell("level 1 of degradation: fusing with a lighter method, to keep up")
            case _:
                self._messages.tell(
                    f"level {level} of degradation: fusing every {self._every}th pair in full, to keep up"
                )


class Announcer:
    """Says each warning of the sources once, as soon as the next result comes."""

    def __init__(self, pairs: PairStream, messages: Messages) -> None:
        self._pairs = pairs
        self._messages = messages
        self._said: set[str] = set()
        self.announce()

    def announce(self) -> None:
        """Say what is new."""
        for warning in self._pairs.warnings:
            if warning not in self._said:
                self._said.add(warning)
                self._messages.warn(warning)

    def write(self, result: StreamResult) -> None:
        """Look for new warnings."""
        self.announce()

    def close(self) -> None:
        """Nothing to close."""
