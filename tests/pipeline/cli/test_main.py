from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from fusion.errors import InputError, RunError
from pipeline.cli import main

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A command that ends as the test says; only its loading is replaced."""
    fake = types.SimpleNamespace(NAME="doctor", HELP="for the test", ending=lambda: 0, seen=None)

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--box")
        parser.add_argument("--count", type=int)

    def execute(arguments: argparse.Namespace) -> int:
        fake.seen = arguments
        code = fake.ending()
        assert isinstance(code, int)
        return code

    fake.add_arguments, fake.execute = add_arguments, execute
    monkeypatch.setattr(main, "_load", lambda _name: fake)
    return fake


def raiser(error: BaseException) -> object:
    def ending() -> int:
        raise error

    return ending


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("--box 1: give four numbers"), 2, "error: --box 1"),
        (RunError("two of ten sequences failed"), 1, "failed: two of ten"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "/x/y: Permission denied"),
        (FileExistsError(errno.EEXIST, "File exists", "/x/y"), 2, "/x/y: File exists"),
    ],
)
def test_every_ending_has_its_code_and_line(
    command: types.SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: str,
) -> None:
    command.ending = raiser(error)
    assert main.run(["doctor"]) == code
    printed = capsys.readouterr().err
    assert words in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 2


@pytest.mark.parametrize("error", [ZeroDivisionError("defect"), OSError(errno.EBADF, "Bad file descriptor")])
def test_a_defect_keeps_its_traceback(command: types.SimpleNamespace, error: Exception) -> None:
    command.ending = raiser(error)
    with pytest.raises(type(error)):
        main.run(["doctor"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_command_with_130(command: types.SimpleNamespace, number: signal.Signals) -> None:
    def ending() -> int:
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
        return 0

    command.ending = ending
    before = signal.getsignal(number)
    assert main.run(["doctor"]) == 130
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["straem"], "did you mean 'stream'"),
        (["doctor", "--bxo", "1"], "did you mean '--box'"),
        (["doctor", "--box"], "--box"),
        (["doctor", "--count", "many"], "--count"),
        (["doctor", "extra"], "extra"),
    ],
)
def test_a_wrong_line_names_the_option(
    command: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    if argv[0] == "straem" and "stream" not in main.available_commands():
        pytest.skip("the command stream is not installed")
    assert main.run(argv) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert len(printed.splitlines()) <= 2


def test_a_box_may_begin_with_a_minus(command: types.SimpleNamespace) -> None:
    assert main.run(["doctor", "--box", "-5,3,10,10", "--count", "-2"]) == 0
    assert (command.seen.box, command.seen.count) == ("-5,3,10,10", -2)


def test_help_names_every_installed_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in main.available_commands())
    assert main.run([]) == 2


@pytest.mark.parametrize("name", main.available_commands())
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([name, "--help"]) == 0
    assert f"rgbt-stream {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "2000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None"),
    ],
)
def test_idle_threads_sleep_soon_unless_the_environment_says_how(given: dict[str, str], expected: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    program = (
        "import os, sys; from pipeline.cli.main import run; run(['--help']); "
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO, env={**kept, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"{expected} False"


def test_closed_outputs_are_no_hindrance(tmp_path: Path) -> None:
    line = "run_stream.py stream --visible synthetic --thermal synthetic --fuser average --tracker none --max-pairs 2"
    closed = f"exec {sys.executable} {line} --out {tmp_path / 'out'} >&- 2>&-"
    assert subprocess.run(["sh", "-c", closed], cwd=REPO, check=False).returncode == 0
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 2
