from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adjustment import Nudge, PointPairs
from pipeline.control import AddTarget, FusionChoice, RemoveTarget, SetPaused, SetRecording
from pipeline.registration_desk import ChangeDisplay, ChangeRegistration
from pipeline.thermometer import Probe
from pipeline.web.protocol import (
    ChooseView,
    HoldFrame,
    MeasureTemperature,
    ProtocolError,
    SaveCalibration,
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
        ('{"type": "view", "view": "side", "palette": "black-hot"}', ChooseView("side", "black-hot")),
        ('{"type": "nudge", "shift": [1, -2.5]}', Nudge(shift_xy=(1, -2.5))),
        ('{"type": "nudge", "scale": 1.01, "turn_deg": -2}', Nudge(scale=1.01, turn_deg=-2)),
        (
            '{"type": "register", "visible": [[1, 2]], "thermal": [[3, 4]], "plane_distance_m": 8}',
            PointPairs(visible_xy=((1, 2),), thermal_xy=((3, 4),), plane_distance_m=8),
        ),
        ('{"type": "registration", "step": "refine"}', ChangeRegistration("refine")),
        ('{"type": "calibration"}', SaveCalibration()),
        (
            '{"type": "display", "mode": "fixed", "polarity": "black-hot", "low": 7000, "high": null}',
            ChangeDisplay(mode="fixed", polarity="black-hot", low=7000),
        ),
        (
            '{"type": "measure", "frame": 5, "spot": [1, 2], "regions": [[1, 2, 3, 4]]}',
            MeasureTemperature(5, Probe(spot_xy=(1, 2), regions=(Box(1, 2, 3, 4),))),
        ),
        ('{"type": "measure", "frame": 5, "spot": null}', MeasureTemperature(5, Probe())),
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
        ('{"type": "add", "frame": 1, "box": [1, 2, 3]}', "4 numbers"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, "4"]}', "4 numbers"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, NaN]}', "finite"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, 1e12]}', "finite"),
        ('{"type": "add", "frame": 1, "box": [1, 2, -3, 4]}', "size"),
        ('{"type": "pause", "on": 1}', "true or false"),
        ('{"type": "pause", "on": true, "by": "me"}', "unknown field 'by'"),
        ('{"type": "fusion", "method": "auif", "pooling": "median"}', "avg, max, nuclear"),
        ('{"type": "fusion", "method": 3, "pooling": "avg"}', "name"),
        ('{"type": "quit"}', "unknown type"),
        ('{"type": ["add"]}', "unknown type"),
        ('{"type": "add", "frame": 1, "box": [1, 2, 3, 1' + "0" * 400 + "]}", "finite"),
        ('{"type": "view", "view": "side", "palette": "../x"}', "white-hot, black-hot"),
        ('{"type": "nudge", "shift": [1]}', "2 numbers"),
        ('{"type": "nudge", "scale": 1' + "0" * 400 + "}", "finite"),
        ('{"type": "nudge", "scale": 100}', "scales by"),
        ('{"type": "register", "visible": [[1, 2]], "thermal": []}', "as many"),
        ('{"type": "register", "visible": 3, "thermal": []}', "a list"),
        (json.dumps({"type": "register", "visible": [[1, 2]] * 49, "thermal": [[1, 2]] * 49}), "at most 48"),
        ('{"type": "register", "visible": [], "thermal": [], "plane_distance_m": 0}', "above 0"),
        ('{"type": "registration", "step": "save"}', "undo, reset, refine"),
        ('{"type": "display", "mode": "fixed", "polarity": "red"}', "white-hot, black-hot"),
        ('{"type": "display", "mode": "fixed", "polarity": "white-hot", "low": "1"}', "low"),
        (json.dumps({"type": "measure", "frame": 1, "regions": [[0, 0, 1, 1]] * 9}), "at most 8"),
        ('{"type": "measure", "frame": 1, "spot": [1, NaN]}', "finite"),
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
moves = st.sampled_from(["nudge", "register", "registration", "display", "measure"])
names = ["frame", "box", "on", "method", "serial", "target", "shift", "scale", "visible", "thermal", "low", "regions"]


@settings(deadline=None, max_examples=200)
@given(
    st.fixed_dictionaries(
        {"type": kinds | moves},
        optional=dict.fromkeys(names, values),
    )
    | values
    | st.binary(max_size=64)
)
def test_nothing_a_stranger_sends_does_harm(content: object) -> None:
    text = content if isinstance(content, bytes) else json.dumps(content)
    with contextlib.suppress(ProtocolError):
        parse_message(text)
