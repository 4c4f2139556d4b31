"""``stream --web`` in a process of its own, for tests that watch it from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[3]


@contextmanager
def started(out: Path, *arguments: str, token: str | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, with the address of its page."""
    # Threads of a network that spin while others have the processor would stall the run on a busy machine.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"RGBT_STREAM_TOKEN": token} if token else {})}
    command = [sys.executable, "run_stream.py", "stream", "--fuser", "average", "--tracker", "none", "--out", str(out)]
    process = subprocess.Popen(
        [*command, *arguments],  # of options given twice the later one counts
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = None
        while address is None:
            line = process.stderr.readline()
            assert line, "it ended before it said where to look"
            address = re.search(r"http://(\S+)/", line)
        yield process, address[1]
    finally:
        process.kill()
        process.communicate()


def get(host: str, path: str, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(f"http://{host}{path}", headers=headers or {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def serving(host: str) -> bool:
    try:
        return bool(get(host, "/healthz")["status"] == "ok")
    except OSError:
        return False


def synthetic(length: int, size_wh: tuple[int, int] = (160, 120)) -> list[str]:
    options = [f"--set=source.{role}_options.length={length}" for role in ("visible", "thermal")]
    sizes = [f"--set=source.{role}_options.size_wh={list(size_wh)}" for role in ("visible", "thermal")]
    return ["--visible", "synthetic:3", "--thermal", "synthetic:3", "--live", *options, *sizes]
