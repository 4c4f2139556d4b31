"""The TraX server: messages, a whole conversation, and clients that break the protocol."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputError, RunError
from tests.trackers.evaluation.doubles import PixelTracker
from trackers.evaluation.closed_form import ClosedFormTracker
from trackers.evaluation.specs import TrackerSpec
from trackers.evaluation.trax import Message, format_message, parse_message, serve, trax_command
from trackers.state import Modality

REPO = Path(__file__).resolve().parents[3]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=20), max_size=5))
def test_messages_come_back_as_they_were(arguments: list[str]) -> None:
    message = Message(name="state", arguments=tuple(arguments))
    line = format_message(message)
    assert "\n" not in line
    assert parse_message(line + "\n") == message


def test_lines_of_other_programs_are_ignored() -> None:
    assert parse_message("loading weights ...\n") is None
    assert parse_message("@@TRAX:quit \n") == Message(name="quit")
    assert parse_message("@@TRAX:frame file:///a/b.png\n") == Message(name="frame", arguments=("file:///a/b.png",))
    with pytest.raises(RunError, match="malformed"):
        parse_message('@@TRAX:frame "file:///a')


def converse(lines: list[str], modality: Modality = Modality.RGB, start: str = "area") -> list[str]:
    send = io.StringIO()
    tracker = PixelTracker() if modality is Modality.FUSED else ClosedFormTracker("closed-shift")
    serve(tracker, "ours", modality, start, io.StringIO("\n".join(lines) + "\n"), send)  # type: ignore[arg-type]
    return send.getvalue().splitlines()


def test_a_conversation() -> None:
    answers = converse(
        [
            "noise",
            '@@TRAX:initialize "file:///a.png" "10,20,30,40" "seed=1"',
            '@@TRAX:frame "file:///b.png"',
            '@@TRAX:initialize "file:///c.png" "30,10,50,30,30,50,10,30"',
            '@@TRAX:frame "file:///d.png"',
            "@@TRAX:quit",
            '@@TRAX:frame "file:///e.png"',
        ]
    )
    assert answers[0].startswith("@@TRAX:hello ")
    assert '"trax.channels=color;"' in answers[0]
    assert answers[1:3] == [
        '@@TRAX:state "10.000000,20.000000,30.000000,40.000000"',
        '@@TRAX:state "11.250000,20.500000,30.000000,40.000000"',
    ]
    assert answers[3] == '@@TRAX:state "15.857864,15.857864,28.284271,28.284271"'
    assert len(answers) == 5


def test_pictures_of_both_channels_are_read(tmp_path: Path) -> None:
    for name, grey in (("v", 50), ("i with space", 90)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 8), grey, np.uint8))
    images = f'"file://{tmp_path}/v.png" "file://{tmp_path}/i with space.png"'
    answers = converse([f'@@TRAX:initialize {images} "1,1,4,4"', f"@@TRAX:frame {images}"], Modality.FUSED)
    assert '"trax.channels=color;ir;"' in answers[0]
    assert answers[2] == '@@TRAX:state "1.500000,1.900000,4.000000,4.000000"'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('@@TRAX:frame "file:///b.png"', "before it initializes"),
        ('@@TRAX:initialize "file:///b.png"', "without a region"),
        ("@@TRAX:initialize", "sends 0 pictures, not 1"),
        ("@@TRAX:dance", "unknown message 'dance'"),
    ],
)
def test_clients_that_break_the_protocol(line: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        converse([line])


def test_the_entry_point_quits_with_a_reason() -> None:
    command = trax_command(Path(sys.executable), TrackerSpec(tracker="closed-zoom", modality=Modality.IR), "area")
    answer = subprocess.run(
        command.split(), input="@@TRAX:dance\n", capture_output=True, text=True, cwd=REPO, check=False, timeout=60
    )
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[-1] == "@@TRAX:quit"
    assert "unknown message" in answer.stderr


def test_settings_cannot_be_handed_over() -> None:
    spec = TrackerSpec(tracker="closed-zoom", modality=Modality.IR, overrides=(("penalty_k", 0.1),))
    with pytest.raises(InputError, match="--set"):
        trax_command(Path(sys.executable), spec, "area")
