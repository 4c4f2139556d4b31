"""Video files as frames with exact time stamps, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401  # isort: skip  (before av: cv2 windows hang when av was loaded first)
import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from fusion.errors import InputError, RunError
from pipeline.frames import Frame
from pipeline.sources.base import RecordedSource, Role, SourceInfo, SourceOptions
from pipeline.sources.images import Picture, colored_thermal_warning
from pipeline.sources.profile import ThermalProfile, read_profile

_TRUNCATED = "truncated or not closed properly (its index is missing); copy it again or record it anew"
# Less than this is a slip of a single stamp, which must not shift all the following ones.
_JUMP_BACK_S = 0.5
_DEEP_GRAY = ("gray9", "gray10", "gray12", "gray14", "gray16")


def is_deep_gray(format_name: str) -> bool:
    """Whether an FFmpeg pixel format holds one channel of more than 8 bits."""
    return format_name.startswith(_DEEP_GRAY)


class PictureConverter:
    """Makes pictures of the decoded frames of one stream: BGR for visible, one channel of 8 or 16 bits for thermal.

    Keeps what FFmpeg sets up for a conversion, which takes longer than converting a picture.

    Args:
        role: which of the two streams it is.
        profile: the thermal camera's, if it has one.
    """

    def __init__(self, role: Role, profile: ThermalProfile | None = None) -> None:
        self._role: Role = role
        self._profile = profile if role == "thermal" else None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Picture:
        """The picture of ``frame``, turned as it asks for.

        Raises:
            InputError: the frame is not what the thermal camera's profile says.
        """
        if self._profile is not None:
            return self._profile.picture(frame)
        # One thread: starting more for a picture costs more than it gains.
        image = self._reformatter.reformat(frame, format=self._format(frame.format.name), threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image  # type: ignore[return-value]

    def _format(self, name: str) -> str:
        if self._role == "visible":
            return "bgr24"
        # Same number of bits keeps the counts as they are; a conversion to 16 bits would rescale them.
        return name.removesuffix("be").removesuffix("le") + "le" if is_deep_gray(name) else "gray"


class VideoFileSource(RecordedSource):
    """A recorded video file.

    Time stamps are the file's own, counted from its beginning, so variable rates are exact. Can be iterated
    any
    number of times. Damage is never silent: a picture whose decoder reported damage is marked suspect up to
    the next key frame and warned of; when pictures are missing the run fails after the last one.

    Raises:
        InputError: the file is missing, is no video, holds no picture, or is shorter than its own index says.
    """

    def __init__(self, path: Path, role: Role, options: SourceOptions | None = None) -> None:
        self._path = path
        self._role: Role = role
        options = options or SourceOptions()
        self._offset_s = options.offset_s
        self._profile = read_profile(options.profile) if options.profile and role == "thermal" else None
        self._expected: int | None = None
        super().__init__(self._probe())

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            container = av.open(str(self._path))
        except (FFmpegError, OSError) as error:
            raise InputError(f"{self._path}: {_open_failure(self._path, error)}") from error
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            container.close()
            if set(kinds) <= {"data"} and b"ftyp" in _first_bytes(self._path):
                raise InputError(f"{self._path}: {_TRUNCATED}")
            found = ", ".join(kinds) or "nothing"
            raise InputError(f"{self._path}: no video in this file (it holds {found}); give a video file")
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        return container, stream

    def _probe(self) -> SourceInfo:
        container, stream = self._open()
        with container:
            self._check_index(stream)
            try:
                first = next(container.decode(stream), None)
            except FFmpegError as error:
                raise InputError(f"{self._path}: the first picture cannot be decoded ({error.strerror})") from error
            if first is None:
                raise InputError(f"{self._path}: the file holds no picture; record it again")
            picture = PictureConverter(self._role, self._profile)(first)
            rate = stream.average_rate or stream.guessed_rate
            return SourceInfo(
                name=self._path.name,
                width=picture.shape[1],
                height=picture.shape[0],
                fps=float(rate) if rate else 30.0,
                length=self._expected or stream.frames or None,
                is_thermal_16bit=picture.dtype == np.uint16,
                live=False,
                rate_known=bool(rate),
            )

    def _check_index(self, stream: VideoStream) -> None:
        entries = [entry for entry in stream.index_entries if entry.size > 0 and not entry.is_discard]
        if not entries or stream.frames == 0:
            return
        self._expected = len(entries)
        needed = max(entry.pos + entry.size for entry in entries)
        size = self._path.stat().st_size
        if needed > size:
            raise InputError(
                f"{self._path}: truncated: its index needs {needed} bytes, it has {size}; copy it again "
                "or repair it with `ffmpeg -i FILE -c copy OUT`"
            )

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the beginning.

        Raises:
            RunError: after the last frame, when the file ended early or pictures could not be decoded.
        """
        container, stream = self._open()
        with container:
            yield from self._frames(container, stream)

    def _frames(self, container: InputContainer, stream: VideoStream) -> Iterator[Frame]:
        start_s = (container.start_time or 0) / av.time_base
        period_s = 1 / self._info.fps
        reader = _Reader(container, stream)
        picture_of = PictureConverter(self._role, self._profile)
        delivered = suspects = epoch = stuck = 0
        last_s = -1e300
        suspect = False
        for frame in reader:
            if frame is None:
                suspect = True
                continue
            suspect = (suspect and not frame.key_frame) or frame.is_corrupt
            suspects += suspect
            # Bare streams, as some cameras write them, have no time stamps.
            expected_s = last_s + period_s if delivered else 0.0
            file_s = expected_s if frame.time is None else frame.time - start_s
            if file_s < last_s - _JUMP_BACK_S:  # go on from where it was, in a new epoch
                start_s -= last_s + period_s - file_s
                file_s, epoch = last_s + period_s, epoch + 1
                self.warn(f"{self._info.name}: the time stamps jump back at frame {delivered}")
            elif file_s <= last_s:
                file_s = last_s + 1e-6
                if not stuck:
                    self.warn(f"{self._info.name}: the time stamps do not rise at frame {delivered}")
                stuck += 1
            last_s = file_s
            image = picture_of(frame)
            if delivered == 0:
                self._warn_of_colors(frame)
            time_s = file_s + self._offset_s
            yield Frame(image=image, time_s=time_s, arrival_s=time_s, index=delivered, epoch=epoch, suspect=suspect)
            delivered += 1
        if stuck > 1:
            self.warn(f"{self._info.name}: the time stamps do not rise at {stuck} of {delivered} frames")
        if suspects:
            self.warn(f"{self._info.name}: {suspects} of {delivered} frames are damaged")
        self._check_end(reader, delivered, last_s, container)

    def _warn_of_colors(self, frame: VideoFrame) -> None:
        if self._role == "thermal" and self._profile is None and not frame.format.name.startswith("gray"):
            warning = colored_thermal_warning(frame.to_ndarray(format="bgr24"))
            if warning:
                self.warn(f"{self._info.name}: {warning}")

    def _check_end(self, reader: _Reader, delivered: int, last_s: float, container: InputContainer) -> None:
        remedy = "the frames before were used; copy or record the file again"
        if reader.failure:
            raise RunError(f"{self._path}: reading failed after frame {delivered} ({reader.failure}); {remedy}")
        if self._expected is not None and delivered < self._expected:
            missing = self._expected - delivered
            raise RunError(f"{self._path}: {missing} of {self._expected} frames are missing or damaged; {remedy}")
        if reader.broken_packets:
            raise RunError(f"{self._path}: {reader.broken_packets} packets cannot be decoded; {remedy}")
        # A file without an index (Matroska, AVI) still says how long it is; audio may outlast the pictures.
        if self._expected is None and container.duration and len(container.streams) == 1:
            duration_s = container.duration / av.time_base
            # Matroska counts from zero, wherever the stamps begin.
            missing_s = duration_s - last_s - max(0.0, (container.start_time or 0) / av.time_base)
            where = f"ends after {delivered} frames at {last_s:.1f} of {duration_s:.1f} s"
            if missing_s > max(1.0, 3 / self._info.fps):
                raise RunError(f"{self._path}: {where}; {remedy}")
            # So little may also be a last picture that is shown for longer, as screen recordings have it.
            if missing_s > 3 / self._info.fps:
                self.warn(f"{self._info.name}: {where}; it may be cut short")


class _Reader:
    """Decodes packet by packet, yielding None in place of a packet that cannot be decoded."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self.broken_packets = 0
        self.failure: str | None = None

    def __iter__(self) -> Iterator[VideoFrame | None]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError) as error:
                self.failure = str(error.strerror)
                packet = None
            if packet is None:
                return
            try:
                yield from packet.decode()
            except FFmpegError:
                self.broken_packets += 1
                yield None


def _open_failure(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read this file"
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty; copy or record it again"
    if b"ftyp" in _first_bytes(path):
        return _TRUNCATED
    return f"not a readable video ({getattr(error, 'strerror', error)}); give a video file, a folder or a URI"


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""
