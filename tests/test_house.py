"""The rules of the house that no other tool holds: layers, names, sizes, a quick command line."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
OUR_NAMES = ("pipeline", "trackers", "fusion", "configs", "weights", "run_stream")
MOST_LINES = 400
MOST_DATA_BYTES = 1_000_000


def tracked_files() -> list[Path]:
    """Files of the project: those git knows, or all source files where the checkout has no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        files = [REPO / name for name in listed.stdout.split("\0") if name]
    else:
        files = [
            path
            for name in (*OUR_NAMES, "tests", "docs", "benchmarks", "scripts", "examples")
            for path in [REPO / f"{name}.py", *(REPO / name).rglob("*")]
        ]
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def text_files() -> dict[str, str]:
    kinds = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".html", ".js", ".css", ".sh", ""}
    return {
        str(path.relative_to(REPO)): path.read_text(encoding="utf-8")
        for path in tracked_files()
        if path.suffix in kinds
    }


def test_imports_go_one_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", OUR_NAMES)
def test_each_of_our_names_has_one_owner(name: str) -> None:
    owners = set(metadata.packages_distributions().get(name, []))
    if not owners:
        pytest.skip("the project is not installed in this environment")
    assert owners == {"rgbt-stream"}, f"{name} also belongs to {owners}: use a virtual environment of its own"


def test_the_entry_point_only_hands_over() -> None:
    assert len((REPO / "run_stream.py").read_text().splitlines()) <= 60


def test_files_stay_readable() -> None:
    long = {
        name: len(text.splitlines())
        for name, text in text_files().items()
        if name.endswith(".py") and len(text.splitlines()) > MOST_LINES
    }
    assert not long


def test_no_room_for_odds_and_ends() -> None:
    assert not [name for name in text_files() if Path(name).name in ("utils.py", "common.py", "helpers.py", "misc.py")]


# The brackets keep this file from finding itself.
@pytest.mark.parametrize(
    "pattern",
    [
        r"\b(TO[D]O|FIX[M]E|X[X]X)\b",
        r"(?<![\w.])/(w[o]rk|h[o]me|r[o]ot|U[s]ers)/\w",
        r"noqa$|type: [i]gnore$",
    ],
)
def test_nothing_unfinished_or_private(pattern: str) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in text_files().items()
        if name.endswith((".py", ".md", ".yaml", ".toml", ".sh", ".html", ".js", "Makefile"))
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found


def test_test_data_stays_small() -> None:
    files = [path for path in tracked_files() if path.is_relative_to(REPO / "tests" / "data")]
    assert sum(path.stat().st_size for path in files) <= MOST_DATA_BYTES


def test_help_is_quick_because_it_loads_no_heavy_library() -> None:
    code = (
        "import sys; from pipeline.cli.main import run; assert run(['--help']) == 0; "
        "heavy = {'torch', 'cv2', 'av', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
