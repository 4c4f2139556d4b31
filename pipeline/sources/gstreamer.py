"""GStreamer pipelines as sources: ``gst-launch-1.0`` in a process of its own writes Matroska into a pipe."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import cv2  # noqa: F401  # isort: skip  (before av: cv2 windows hang when av was loaded first)
import av
from av.container import InputContainer
from av.error import FFmpegError

from fusion.errors import InputError
from pipeline.sources.live_state import LiveConfig

_PROGRAM = "gst-launch-1.0"
# What comes out of the pipeline goes into Matroska, which holds raw and coded video with their times, and to stdout.
_ENDING = ("!", "matroskamux", "streamable=true", "!", "fdsink", "fd=1")
_READ_BYTES = 1 << 20
_QUICK_PROBE = {"analyzeduration": "0", "probesize": "32"}


class GStreamerPipeline:
    """Runs a pipeline, one process at a time.

    Args:
        description: as for ``gst-launch-1.0``, quoted as in a shell, without a sink; it ends in raw or coded video.
        config: how long to wait for its data.

    Raises:
        InputError: GStreamer is not here, or the description cannot be one.
    """

    def __init__(self, description: str, config: LiveConfig) -> None:
        self._arguments = launch_arguments(description)
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    @contextmanager
    def open(self) -> Iterator[InputContainer]:
        """Start the pipeline and open what it writes; ends it on leaving.

        Raises:
            InputError: it ended before it gave a picture.
            OSError: it cannot be started, or no data came in time.
        """
        if self._ended:
            raise InputError("the run has ended")
        # No shell, and nothing of what it says is passed on: it may name addresses with their passwords.
        process = self._process = subprocess.Popen(
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the run, which ends the pipeline.
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            data = _PipeReader(process.stdout.fileno(), self._config)
            try:
                container = av.open(data, mode="r", format="matroska", options=_QUICK_PROBE)
            except FFmpegError as error:
                remedy = "try this pipeline with it, ending in ! fakesink"
                raise InputError(f"{_PROGRAM} {_ending(process)}; {remedy}") from error
            with container:
                yield container
            if data.timed_out:
                raise TimeoutError(0, "no data came in time")
        finally:
            self._process = None
            _end(process)

    def end(self) -> None:
        """End the process, which ends a read that waits for it; may be called from any thread."""
        self._ended = True
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def launch_arguments(description: str) -> list[str]:
    """The command line that runs a pipeline and writes Matroska to its standard output.

    Raises:
        InputError: GStreamer is not here, or the description is empty, ill-quoted or holds options of the program.
    """
    try:
        parts = shlex.split(description)
    except ValueError as error:
        raise InputError(f"gst:...: the quotes of this pipeline do not match ({error})") from error
    if not parts:
        raise InputError("gst: needs a pipeline, such as gst:v4l2src device=/dev/video0 ! videoconvert")
    # Options would be for the program itself, such as loading plug-ins from a file.
    options = [part for part in parts if part.startswith("-")]
    if options:
        raise InputError(f"gst:...: {options[0]} is no part of a pipeline; give elements and properties only")
    program = shutil.which(_PROGRAM)
    if program is None:
        raise InputError(
            f"gst:...: {_PROGRAM} is not on this machine; install GStreamer (Debian: gstreamer1.0-tools, "
            "gstreamer1.0-plugins-base, gstreamer1.0-plugins-good), or give an rtsp:// address or /dev/videoN"
        )
    return [program, "-q", *parts, *_ENDING]


class _PipeReader:
    """The reading end of a pipe as a file for av, which waits no longer than a live source may."""

    def __init__(self, descriptor: int, config: LiveConfig) -> None:
        self._descriptor = descriptor
        self._config = config
        self._begun = False
        self.timed_out = False

    def read(self, size: int) -> bytes:
        """What is there, at most ``size`` bytes; nothing at the end, or where no data came in time."""
        # Starting the pipeline takes its time; so long a silence later is a stall.
        wait_s = 2 * self._config.read_timeout_s if self._begun else 2 * self._config.open_timeout_s
        if not select.select([self._descriptor], [], [], wait_s)[0]:
            self.timed_out = True
            return b""
        self._begun = True
        return os.read(self._descriptor, min(size, _READ_BYTES))


def _ending(process: subprocess.Popen[bytes]) -> str:
    try:
        return f"ended with code {process.wait(0.5)}"
    except subprocess.TimeoutExpired:
        return "gives no video"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
