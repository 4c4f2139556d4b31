from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.control import AddTarget, FusionChoice, RemoveTarget, SetPaused, SetRecording
from pipeline.web.protocol import (
    ChooseView,
    HoldFrame,
    ProtocolError,
    ShownPicture,
    SkippedPicture,
    TakeSnapshot,
    parse_message,
)
from trackers.box import Box


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "shown", "serial": 7}', ShownPicture(7)),
        ('{"type": "skipped", "serial": 7}', SkippedPicture(7)),
        ('{"type": "view", "view": "tint"}', ChooseView("tint")),
        ('{"type": "hold", "frame": 12}', HoldFrame(12)),
        ('{"type": "hold", "frame": null}', HoldFrame(None)),
        ('{"type": "add", "frame": 3, "box": [1, 2.5, 30, 40]}', AddTarget(frame=3, box=Box(1, 2.5, 30, 40))),
        ('{"type": "remove", "target": 2}', RemoveTarget(2)),
        ('{"type": "pause", "on": true}', SetPaused(True)),
        ('{"type": "record", "on": false}', SetRecording(False)),
        ('{"type": "snapshot"}', TakeSnapshot()),
        ('{"type": "fusion", "method": "auif", "pooling": "max"}', FusionChoice(method="auif", pooling="max")),
    ],
)
def test_every_message_is_understood(text: str, message: object) -> None:
    assert parse_message(text) == message
    assert parse_message(text.encode()) == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSON object"),
        ("[]", "JSON object"),
        ("[" * 3000, "JSON object"),
        ('{"type": "shown"}', "serial"),
        ('{"type": "shown", "serial": true}', "serial"),
        ('{"type": "shown", "serial": -1}', "serial"),
        ('{"type": "shown", "serial": 1e400}', "serial"),
        ('{"type": "view", "view": "../x"}', "fused, visible"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3]}', "four numbers"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, "4"]}', "four numbers"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, NaN]}', "finite"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, 1e12]}', "finite"),
        ('{"type": "add", "frame": 1, "box": [1, 2, -3, 4]}', "size"),
        ('{"type": "pause", "on": 1}', "true or false"),
        ('{"type": "pause", "on": true, "by": "me"}', "unknown field 'by'"),
        ('{"type": "fusion", "method": "auif", "pooling": "median"}', "avg, max, nuclear"),
        ('{"type": "fusion", "method": 3, "pooling": "avg"}', "name"),
        ('{"type": "quit"}', "unknown type"),
        ('{"type": ["add"]}', "unknown type"),
        (json.dumps({"type": "x" * 5000}), "4096"),
    ],
)
def test_everything_else_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse_message(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
kinds = st.sampled_from(["shown", "view", "hold", "add", "remove", "pause", "record", "snapshot", "fusion"])


@settings(deadline=None, max_examples=200)
@given(
    st.fixed_dictionaries(
        {"type": kinds},
        optional={"frame": values, "box": values, "on": values, "method": values, "serial": values, "target": values},
    )
    | values
    | st.binary(max_size=64)
)
def test_nothing_a_stranger_sends_does_harm(content: object) -> None:
    text = content if isinstance(content, bytes) else json.dumps(content)
    with contextlib.suppress(ProtocolError):
        parse_message(text)
