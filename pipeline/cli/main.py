"""Picks the command, parses its options, and turns every ending into an exit code.

A command is a module of this package that exports ``NAME``, ``HELP``, ``add_arguments(parser)`` and
``execute(arguments) -> int``. Only the chosen module is imported, and modules import heavy libraries inside
``execute``, so ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import importlib.util
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol, cast

from fusion.errors import InputError, RunError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

# The order of the listing in --help. A command whose module is absent is not offered.
COMMANDS = (
    "stream",
    "fuse",
    "demo",
    "evaluate-fusion",
    "evaluate",
    "score",
    "dataset",
    "train-fuser",
    "train-tracker",
    "tune",
    "export",
    "weights",
    "calibrate",
    "bench",
    "doctor",
)

_DISK_ERRORS = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_PATH_ERRORS = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


class Command(Protocol):
    """What a command module exports."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options of the command."""
        ...

    def execute(self, arguments: argparse.Namespace) -> int:
        """Do the command and return its exit code."""
        ...


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    0 done; 1 the run failed or did less than asked; 2 bad input; 130 interrupted (SIGINT or SIGTERM).
    A defect of the program keeps its traceback.
    """
    _let_idle_threads_sleep()
    _print_anything()
    try:
        with _interruptible():
            return _dispatch(list(argv))
    except SystemExit as error:  # argparse after --help
        return error.code if isinstance(error.code, int) else EXIT_BAD_INPUT
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except InputError as error:
        _say(f"error: {error}")
        return EXIT_BAD_INPUT
    except RunError as error:
        _say(f"failed: {error}")
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of our output (a pager, head) left; let the interpreter close stdout without complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        return _report_os_error(error)


def _let_idle_threads_sleep() -> None:
    # GNU's OpenMP reads this when PyTorch is loaded. Its threads wait for the next operation busily, by default for
    # some milliseconds: on an idle machine that saves nothing measurable, but where anything else needs a core, threads
    # that hold one while they wait for one that has none stop both. With two busy programs beside it on two cores a
    # picture of nestfuse-lite took 1,500 ms by default, 150 to 360 ms with 30000, 90 ms with 2000, and 37 ms alone.
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def _print_anything() -> None:
    # Closed by whoever started the program: their numbers must not go to a file that libraries then write words to.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
    # A file name that is no text, or a dash where the terminal knows ASCII alone, must not fail a run at its last word.
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and (out.encoding, out.errors) != ("utf-8", "surrogateescape"):
        out.reconfigure(errors="backslashreplace")


def command_module(name: str) -> str:
    """Import path of the module that holds the command ``name``."""
    return f"pipeline.cli.{name.replace('-', '_')}"


def available_commands() -> list[str]:
    """Names of the commands whose modules are installed, in the order of the help text."""
    return [name for name in COMMANDS if importlib.util.find_spec(command_module(name)) is not None]


def _report_os_error(error: OSError) -> int:
    """Say what the operating system refused; errors that are not about files or disks are defects."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _DISK_ERRORS:
        _say(f"failed: {_DISK_ERRORS[error.errno]}{where}; what was recorded is kept. Free space and run again")
        return EXIT_FAILED
    if error.errno in _PATH_ERRORS and error.filename:
        _say(f"error: {error.filename}: {os.strerror(error.errno)}; check the path and its permissions")
        return EXIT_BAD_INPUT
    raise error


def _dispatch(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        return EXIT_DONE if argv else EXIT_BAD_INPUT
    if name == "--version":
        print(f"rgbt-stream {_version()}")
        return EXIT_DONE
    names = available_commands()
    if name not in names:
        raise InputError(f"there is no command {name!r}{_suggestion(name, names)}\ncommands: {', '.join(names)}")
    command = _load(name)
    parser = _Parser(
        prog=f"rgbt-stream {name}",
        description=command.HELP,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return command.execute(parser.parse_args(_attach_negative_values(argv[1:])))


def _load(name: str) -> Command:
    return cast(Command, importlib.import_module(command_module(name)))


def _overview() -> str:
    lines = [
        "rgbt-stream: pair, fuse, track and record visible and thermal video",
        "",
        "usage: rgbt-stream COMMAND [options]      (each command has --help)",
        "",
    ]
    lines += [f"  {name:<16} {_load(name).HELP}" for name in available_commands()]
    return "\n".join([*lines, "", "exit codes: 0 done, 1 failed or less than asked, 2 bad input, 130 interrupted"])


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("rgbt-stream")
    except metadata.PackageNotFoundError:
        return "(not installed)"


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of an option, unless it says nothing or the help tells it already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if not action.default or action.default == argparse.SUPPRESS or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Says in one or two lines what is wrong with the options, with the nearest known one."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            message += _suggestion(unknown[1].split("=")[0], known)
        raise InputError(f"{message.removeprefix('argument ')}\nsee '{self.prog} --help'")


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _attach_negative_values(argv: Sequence[str]) -> list[str]:
    """Write ``--box -5,2,10,10`` as ``--box=-5,2,10,10``, for argparse takes ``-5,...`` for an option."""
    joined: list[str] = []
    for token in argv:
        if re.match(r"-[\d.]", token) and joined and re.fullmatch(r"--[\w-]+", joined[-1]):
            joined[-1] = f"{joined[-1]}={token}"
        else:
            joined.append(token)
    return joined


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does; and SIGINT too in shell background jobs, which begin deaf."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers: dict[signal.Signals, Callable[..., object] | int | None] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, interrupt)
        yield
    finally:
        for number, previous in handlers.items():
            signal.signal(number, previous)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
