"""A tracker as a TraX server, so that ``vot evaluate`` of the official toolkit can drive it through both channels.

``python -m trackers.evaluation.trax --tracker NAME --modality fused`` speaks the protocol on standard input and output.
Source of the protocol: Čehovin Zajc, TraX: The visual Tracking eXchange protocol and library, 2017, and its public
specification: lines that begin with ``@@TRAX:``, a message name, and arguments in double quotes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, get_args
from urllib.parse import unquote

from fusion.errors import InputError, RunError
from trackers.box import Box
from trackers.evaluation.dataset import ChannelName, VideoSequence
from trackers.evaluation.frames import Picture, SequenceFrames, needed_channels
from trackers.evaluation.regions import InitialBox, initial_box, parse_numbers, regions_from_rows
from trackers.evaluation.specs import TrackerSpec, build
from trackers.state import ImagePair, Modality, Tracker, TrackState

PREFIX = "@@TRAX:"
_VERSION = 3
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One line of the protocol: a name, positional arguments, and ``key=value`` properties."""

    name: str
    arguments: tuple[str, ...] = ()


def parse_message(line: str) -> Message | None:
    """Read a line; None when it is not of the protocol.

    Raises:
        RunError: the line is of the protocol but malformed.
    """
    if not line.startswith(PREFIX):
        return None
    name, _, rest = line.removeprefix(PREFIX).rstrip("\r\n").partition(" ")
    return Message(name=name, arguments=tuple(_split(rest)))


def _split(text: str) -> Iterable[str]:
    word, quoted, started, escaped = "", False, False, False
    for letter in text:
        if escaped:
            word, escaped = word + _ESCAPES.get(letter, letter), False
        elif letter == "\\":
            escaped = started = True
        elif letter == '"':
            quoted, started = not quoted, True
        elif letter == " " and not quoted:
            if started:
                yield word
            word, started = "", False
        else:
            word, started = word + letter, True
    if quoted or escaped:
        raise RunError(f"malformed TraX message: {text[:80]}")
    if started:
        yield word


def format_message(message: Message) -> str:
    """Write a message as one line, without the line end."""
    quoted = (argument.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for argument in message.arguments)
    return " ".join([f"{PREFIX}{message.name}", *(f'"{argument}"' for argument in quoted)])


def serve(tracker: Tracker, name: str, modality: Modality, start: InitialBox, receive: TextIO, send: TextIO) -> None:
    """Answer a client until it quits or hangs up.

    Args:
        tracker: the tracker to offer.
        name: under which it introduces itself.
        modality: decides which channels the client is asked for.
        start: box for a polygon; ``hull`` asks for rectangles, ``area`` for regions as they are annotated (a
            client that has to turn a rectangle into a polygon makes it a pixel smaller).
        receive: lines of the client.
        send: lines to the client.

    Raises:
        RunError: the client breaks the protocol.
        InputError: a picture or a region is unusable.
    """
    channels = needed_channels(modality)

    def say(message: Message) -> None:
        send.write(format_message(message) + "\n")
        send.flush()

    hello = [f"trax.version={_VERSION}", f"trax.name={name}", "trax.image=path;"]
    hello.append(f"trax.region={'rectangle;' if start == 'hull' else 'rectangle;polygon;'}")
    hello.append(f"trax.channels={';'.join(channels)};")
    say(Message(name="hello", arguments=tuple(hello)))
    state: TrackState | None = None
    for line in receive:
        message = parse_message(line)
        if message is None:
            continue
        match message.name:
            case "quit":
                return
            case "initialize":
                images, others = _images(message, channels)
                if not others:
                    raise RunError("the TraX client initializes without a region")
                region = parse_numbers(others[0], "TraX region")
                box = initial_box(region, start)
                state = tracker.init(_pair(images, modality), box)
                say(_state_message(box))
            case "frame":
                if state is None:
                    raise RunError("the TraX client sends a frame before it initializes")
                images, _ = _images(message, channels)
                state = tracker.update(state, _pair(images, modality))
                say(_state_message(state.box))
            case other:
                raise RunError(f"the TraX client sends an unknown message '{other}'")


def _images(message: Message, channels: Sequence[ChannelName]) -> tuple[dict[ChannelName, Path], tuple[str, ...]]:
    count = len(channels)
    if len(message.arguments) < count:
        raise RunError(f"the TraX client sends {len(message.arguments)} pictures, not {count}")
    paths = [Path(unquote(text.removeprefix("file://"))) for text in message.arguments[:count]]
    return dict(zip(channels, paths, strict=True)), message.arguments[count:]


def _pair(images: dict[ChannelName, Path], modality: Modality) -> ImagePair:
    """The pictures of one frame, read when the tracker asks for them."""
    sequence = VideoSequence(
        name="trax",
        source=next(iter(images.values())),
        groundtruth=regions_from_rows([()]),
        width=1,
        height=1,
        channels={channel: (path,) for channel, path in images.items()},
    )
    return _LazyPair(lambda: SequenceFrames(sequence, modality)[0])


class _LazyPair:
    """An ``ImagePair`` that opens its files at the first look; trackers without eyes need none."""

    def __init__(self, read: Callable[[], ImagePair]) -> None:
        self._read = read
        self._pair: ImagePair | None = None

    def _get(self) -> ImagePair:
        if self._pair is None:
            self._pair = self._read()
        return self._pair

    @property
    def visible_bgr(self) -> Picture:
        """See ``ImagePair``."""
        return self._get().visible_bgr

    @property
    def thermal(self) -> Picture:
        """See ``ImagePair``."""
        return self._get().thermal


def _state_message(box: Box) -> Message:
    return Message(name="state", arguments=(",".join(f"{value:.6f}" for value in box.as_tuple()),))


def trax_command(python: Path, spec: TrackerSpec, start: InitialBox) -> str:
    """The command line by which a client starts the tracker of a specification.

    Raises:
        InputError: the specification has what the entry point does not take.
    """
    if spec.overrides or spec.fuser:
        raise InputError("settings (--set) and fusion at pixel level cannot be handed over TraX")
    words = [str(python), "-m", "trackers.evaluation.trax", "--tracker", spec.tracker, "--modality", str(spec.modality)]
    words += ["--pooling", spec.pooling, "--start", start]
    if spec.strategy:
        words += ["--strategy", spec.strategy]
    if spec.weights is not None:
        words += ["--weights", str(spec.weights.resolve())]
    return " ".join(words)


def main() -> int:
    """Serve the tracker named on the command line; 0 when the client quits."""
    parser = argparse.ArgumentParser(prog="python -m trackers.evaluation.trax", description=__doc__)
    parser.add_argument("--tracker", default="siamrpn-lite")
    parser.add_argument("--modality", choices=tuple(Modality), default=Modality.FUSED)
    parser.add_argument("--strategy", default="")
    parser.add_argument("--pooling", default="avg")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--start", choices=get_args(InitialBox), default="area")
    arguments = parser.parse_args()
    # Whatever libraries print must not mix with the protocol.
    send, sys.stdout = sys.stdout, sys.stderr
    try:
        spec = TrackerSpec(
            tracker=arguments.tracker,
            modality=Modality(arguments.modality),
            strategy=arguments.strategy,
            pooling=arguments.pooling,
            weights=arguments.weights,
        )
        serve(build(spec), spec.name, spec.modality, arguments.start, sys.stdin, send)
    except (InputError, RunError) as error:
        print(f"{PREFIX}quit", file=send, flush=True)
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
