"""Live sources: cameras and network streams, read in a thread of their own and reopened when they break."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import urlsplit

import cv2  # noqa: F401  # isort: skip  (before av: cv2 windows hang when av was loaded first)
import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fusion.errors import InputError, RunError
from pipeline.clock import ClockMapper
from pipeline.frames import Frame
from pipeline.sources.base import Closing, Role, SourceInfo, SourceOptions
from pipeline.sources.gstreamer import GStreamerPipeline
from pipeline.sources.inbox import Inbox
from pipeline.sources.live_state import LiveConfig, LiveHealth, LiveState
from pipeline.sources.profile import ThermalProfile, read_profile
from pipeline.sources.uri_names import GSTREAMER_PREFIX, camera_device, display_name, uri_kind
from pipeline.sources.video import PictureConverter

# A stamp that runs away from the host's clock by this much is a jump, not a delay.
_JUMP_S = 5.0
_WAIT_FOR_FIRST_S = 10.0
_UNSTAMPED_AT_FIRST = 3
# Pictures one after the other without times of their own; FFmpeg makes some up, 25 a second.
_STAMPLESS = ("mpjpeg", "mjpeg")


class Opener(Protocol):
    """Opens the container of a live source; the seam at which tests put files in place of cameras."""

    def __call__(self) -> AbstractContextManager[InputContainer]:
        """Open it; leaving the context closes it.

        Raises:
            FFmpegError, OSError, InputError: it cannot be opened.
        """
        ...


class LiveSource(Closing):
    """A camera or network stream. Frames go to an inbox; iteration takes them from there.

    Time stamps are mapped to the host's monotonic clock by the lower envelope of their delays. The thread is a daemon
    and ends with ``close``; a read that blocks in a driver does not hold up the exit.

    Args:
        name: for messages; must hold no credentials.
        opener: opens the stream.
        role: which of the two streams it is.
        options: offset in time and thermal profile.
        config: how patient it is.
        inbox: where frames go; None makes one of its own.
        on_close: called on closing, to end a read that waits.

    Raises:
        InputError: no frame came within some seconds.
    """

    def __init__(
        self,
        name: str,
        opener: Opener,
        role: Role,
        *,
        options: SourceOptions | None = None,
        config: LiveConfig | None = None,
        inbox: Inbox | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.role: Role = role
        self._on_close = on_close
        self.inbox = inbox or Inbox()
        self._name, self._opener = name, opener
        self._config = config or LiveConfig()
        options = options or SourceOptions()
        self._clock = ClockMapper(offset_s=options.offset_s)
        profile = read_profile(options.profile) if options.profile and role == "thermal" else None
        self._picture_of = PictureConverter(role, profile)
        self._stop = threading.Event()
        self._first = threading.Event()
        self._started_s = time.monotonic()
        self._last_arrival_s: float | None = None
        self._opened = self._frames = self._suspects = self._epoch = 0
        self._connected = False
        self._failed = False
        self._reason = ""
        self._warned: list[str] = []
        self._info: SourceInfo | None = None
        _listen_to_the_decoder()
        self._thread = threading.Thread(target=self._run, name=f"{role} {name}", daemon=True)
        self._thread.start()
        self._await_first()

    @property
    def info(self) -> SourceInfo:
        """Size and rate of the first frame."""
        if self._info is None:
            raise RunError(f"{self._name}: no frame yet")
        return self._info

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, one line each."""
        return tuple(self._warned)

    def health(self) -> LiveHealth:
        """How it is right now."""
        age_s = time.monotonic() - (self._last_arrival_s or self._started_s)
        return LiveHealth(
            state=self._state(age_s),
            frames=self._frames,
            suspect=self._suspects,
            reconnects=max(0, self._opened - 1),
            epoch=self._epoch,
            age_s=age_s,
            reason=self._reason,
        )

    def _state(self, age_s: float) -> LiveState:
        if self._failed:
            return LiveState.FAILED
        if self._last_arrival_s is None:
            return LiveState.OPENING
        if not self._connected:
            return LiveState.RECONNECTING
        return LiveState.STALLED if age_s > self._config.watchdog_s else LiveState.LIVE

    def __iter__(self) -> Iterator[Frame]:
        """Frames from now on, until ``close``.

        Raises:
            RunError: the source failed for good.
        """
        while not self._stop.is_set():
            item = self.inbox.get(0.2)
            if item is not None:
                yield item[1]
            elif self._failed:
                raise RunError(f"{self._name}: gone for good ({self._reason})")

    def close(self) -> None:
        """End the thread; safe to call twice."""
        self._stop.set()
        self._on_close()
        self.inbox.wake()
        if self._thread is not threading.current_thread():
            self._thread.join(0.5)

    def _await_first(self) -> None:
        self._first.wait(min(_WAIT_FOR_FIRST_S, self._config.give_up_s))
        if self._info is None:
            self.close()
            reason = self._reason or "no picture came"
            raise InputError(f"{self._name}: {reason}; check that it is switched on and reachable (see `doctor`)")

    def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            before = self._frames
            self._read_once()
            self._connected = False
            if self._info is None and attempt >= 2:
                break
            silent_s = time.monotonic() - (self._last_arrival_s or self._started_s)
            if silent_s > self._config.give_up_s:
                break
            attempt = 0 if self._frames > before else attempt + 1
            wait_s = min(self._config.backoff_s * 2**attempt, self._config.backoff_limit_s)
            self._stop.wait(min(wait_s, self._config.give_up_s - silent_s))
        self._failed = not self._stop.is_set()
        self._first.set()
        self.inbox.wake()

    def _read_once(self) -> None:
        """Open the source and deliver its frames until it breaks."""
        try:
            with self._opener() as container:
                if not container.streams.video:
                    self._reason = "no video in this stream"
                    return
                stream = container.streams.video[0]
                # Frame threads would hold back one picture each; and the decoder's complaints about damaged data,
                # which it tells in no other way, are only heard in the thread that decodes.
                stream.codec_context.thread_count = 1
                if self._opened:
                    self._begin_epoch()
                self._opened += 1
                self._deliver(container)
                self._reason = "the stream ended"
        except InputError as error:  # the frames are not what the profile says
            self._reason = str(error)
        except ExitError:  # what PyAV raises when its own timeout ends a read
            self._reason = "no data came in time"
        except (FFmpegError, OSError) as error:
            # The message of the error may name the address with its password; its kind does not.
            self._reason = error.strerror or type(error).__name__

    def _deliver(self, container: InputContainer) -> None:
        last_stamp_s: float | None = None
        last_arrival_s = 0.0
        unstamped = 0
        suspect = False
        stream = container.streams.video[0]
        stampless = container.format.name in _STAMPLESS
        for packet in container.demux(stream):
            if self._stop.is_set():
                return
            decoded, damaged = _decode(packet)
            suspect = suspect or (damaged and not decoded)
            for frame in decoded:
                arrival_s = time.monotonic()
                suspect = (suspect and not frame.key_frame) or damaged or frame.is_corrupt
                stamp_s = None if stampless else frame.time
                if stamp_s is None:
                    # The first pictures may come without a stamp; some streams never have one.
                    unstamped += 1
                    if last_stamp_s is None and unstamped <= _UNSTAMPED_AT_FIRST:
                        continue
                    stamp_s = arrival_s if last_stamp_s is None else last_stamp_s + arrival_s - last_arrival_s
                if last_stamp_s is not None:
                    ahead_s = (stamp_s - last_stamp_s) - (arrival_s - last_arrival_s)
                    if abs(ahead_s) > _JUMP_S:
                        self._begin_epoch()
                    elif stamp_s <= last_stamp_s:
                        continue  # out of order: a later picture is already gone
                last_stamp_s, last_arrival_s = stamp_s, arrival_s
                self._emit(frame, stamp_s, arrival_s, suspect, float(stream.average_rate or 30))

    def _emit(self, frame: VideoFrame, stamp_s: float, arrival_s: float, suspect: bool, rate: float) -> None:
        image = self._picture_of(frame)
        height, width = image.shape[:2]
        if self._info is None:
            self._info = SourceInfo(
                name=self._name,
                width=width,
                height=height,
                fps=rate if 0 < rate <= 240 else 30.0,
                length=None,
                is_thermal_16bit=image.dtype.itemsize == 2,
                live=True,
            )
        elif (width, height) != (self._info.width, self._info.height):
            message = f"{self._name}: the picture size changed to {width}x{height}"
            if message not in self._warned:
                self._warned.append(message)
        self._connected = True
        self._last_arrival_s = arrival_s
        self._suspects += suspect
        index, self._frames = self._frames, self._frames + 1
        self.inbox.put(
            self.role,
            Frame(
                image=image,
                time_s=self._clock.map(stamp_s, arrival_s),
                arrival_s=arrival_s,
                index=index,
                epoch=self._epoch,
                suspect=suspect,
            ),
        )
        self._first.set()

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._clock.reset()


def _decode(packet: Packet[VideoStream]) -> tuple[list[VideoFrame], bool]:
    """Frames of a packet, and whether the decoder complained about it."""
    with av.logging.Capture(local=True) as complaints:
        try:
            decoded = packet.decode()
        except FFmpegError:
            return [], True
    return decoded, bool(complaints) or packet.is_corrupt


def _listen_to_the_decoder() -> None:
    """Let FFmpeg's complaints reach ``Capture``; nobody else hears them, for they may name an address's password."""
    av.logging.set_level(av.logging.ERROR)
    messages = logging.getLogger("libav")
    messages.propagate = False
    if not messages.handlers:
        messages.addHandler(logging.NullHandler())


def open_live(
    uri: str,
    *,
    role: Role,
    options: SourceOptions,
    config: LiveConfig | None = None,
    inbox: Inbox | None = None,
) -> LiveSource:
    """Open a camera (index or ``/dev/videoN``), a network stream or a GStreamer pipeline.

    Raises:
        InputError: no frame came within some seconds; the message names the source without credentials.
    """
    config = config or LiveConfig()
    name = display_name(uri)
    if uri_kind(uri) == "gstreamer":
        pipeline = GStreamerPipeline(uri.removeprefix(GSTREAMER_PREFIX), config)
        return LiveSource(name, pipeline.open, role, options=options, config=config, inbox=inbox, on_close=pipeline.end)
    device = camera_device(uri)
    profile = read_profile(options.profile) if options.profile and role == "thermal" else None
    camera = _camera_options(options, profile)

    def opener() -> InputContainer:
        if device is not None:
            return av.open(device, format="v4l2", options=camera, timeout=_timeout(config))
        return av.open(uri, options=_network_options(uri), timeout=_timeout(config))

    return LiveSource(name, opener, role, options=options, config=config, inbox=inbox)


def _timeout(config: LiveConfig) -> tuple[float, float]:
    return config.open_timeout_s, config.read_timeout_s


def _camera_options(options: SourceOptions, profile: ThermalProfile | None) -> dict[str, str]:
    chosen = {}
    if options.fps is not None:
        chosen["framerate"] = f"{options.fps:g}"
    size_wh = options.size_wh or (profile.size_wh if profile else None)
    if size_wh is not None:
        chosen["video_size"] = f"{size_wh[0]}x{size_wh[1]}"
    if profile is not None and profile.input_format is not None:
        chosen["pixel_format"] = profile.input_format
    return chosen


def _network_options(uri: str) -> dict[str, str]:
    """Low delay by hardly any probing; over TCP, where nothing is lost silently.

    Without ``fflags=nobuffer``: it throws away what probing has read, which is the first key frame, and the first
    picture then waits for the next one.
    """
    if urlsplit(uri).scheme not in ("rtsp", "rtsps"):
        return {}
    return {"rtsp_transport": "tcp", "analyzeduration": "0", "probesize": "32"}
