from __future__ import annotations

import io
import json

import pytest

from pipeline import progress
from pipeline.progress import Progress


def test_lines_of_json_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now_s)))
    shown = io.StringIO()
    with Progress("pairs", 8, stream=shown) as counted:
        for _ in range(8):
            counted.step()
    lines = [json.loads(line) for line in shown.getvalue().splitlines()]
    assert lines
    assert all(set(line) == {"progress", "done", "total", "per_s"} for line in lines)
    assert [line["done"] for line in lines] == sorted({line["done"] for line in lines})
    assert counted.done == 8


def test_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    with Progress("pairs", 3, stream=shown) as counted:
        counted.step(3)
    assert "pairs" in shown.getvalue()
    assert "{" not in shown.getvalue()


def test_quiet_says_nothing() -> None:
    shown = io.StringIO()
    with Progress("pairs", stream=shown, quiet=True) as counted:
        counted.step()
    assert not shown.getvalue()
