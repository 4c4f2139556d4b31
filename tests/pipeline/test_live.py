"""Live sources against a real RTSP server with faults."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from fusion.errors import InputError, RunError
from pipeline.assemble import PairSourceConfig, open_pairs
from pipeline.frames import Frame, FramePair, PairStatus
from pipeline.live_pairs import LivePairStream
from pipeline.sources import SourceOptions
from pipeline.sources.inbox import Inbox
from pipeline.sources.live import LiveSource, open_live
from pipeline.sources.live_state import LiveConfig, LiveState
from tests.pipeline.rtsp_server import RtspServer

QUICK = LiveConfig(
    watchdog_s=0.4, open_timeout_s=1.0, read_timeout_s=0.4, backoff_s=0.1, backoff_limit_s=0.3, give_up_s=1.8
)


def open_camera(server: RtspServer, config: LiveConfig = QUICK) -> LiveSource:
    return open_live(server.url, role="visible", options=SourceOptions(), config=config)


def frames_until(source: LiveSource, wanted: Callable[[Frame], bool], limit_s: float = 15.0) -> list[Frame]:
    """Frames up to the first that is wanted."""
    end_s, read = time.monotonic() + limit_s, []
    while time.monotonic() < end_s:
        item = source.inbox.get(0.1)
        if item is not None:
            read.append(item[1])
            if wanted(item[1]):
                return read
    raise AssertionError(f"no such frame among {len(read)}; {source.health()}")


def wait_for(condition: Callable[[], bool], limit_s: float = 15.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.02)


def test_frames_come_with_times_on_the_clock_of_the_host() -> None:
    with RtspServer() as server, open_camera(server) as source:
        assert (source.info.width, source.info.height, source.info.live) == (160, 120, True)
        frames = frames_until(source, lambda frame: frame.index >= 30)
        assert source.health().state is LiveState.LIVE
    times = np.array([frame.time_s for frame in frames])
    assert np.all(np.diff(times) > 0)
    assert np.median(np.diff(times)) == pytest.approx(1 / 30, abs=0.004)
    assert all(frame.time_s <= frame.arrival_s + 1e-3 for frame in frames)


def test_credentials_are_in_no_name_and_no_message() -> None:
    with RtspServer() as server:
        url = server.url
        with open_camera(server) as source:
            shown = f"{source.info} {source.health()} {source.warnings}"
    with pytest.raises(InputError) as caught:
        open_live(url, role="visible", options=SourceOptions(), config=QUICK)
    assert "secret" not in shown + str(caught.value)
    assert "rtsp://127.0.0.1" in str(caught.value)


def test_a_server_that_never_answers_is_an_input_error() -> None:
    server = RtspServer()
    server.faults.mute = True
    with server, pytest.raises(InputError, match="check that it is switched on"):
        open_camera(server)


def test_damaged_data_is_marked_suspect_until_the_next_key_frame() -> None:
    with RtspServer() as server, open_camera(server) as source:
        server.faults.corrupt = 0.3
        frames_until(source, lambda frame: frame.suspect)
        server.faults.corrupt = 0.0
        frames_until(source, lambda frame: not frame.suspect)
        assert source.health().suspect > 0


def test_a_change_of_size_is_followed() -> None:
    with RtspServer() as server, open_camera(server) as source:
        server.faults.size_wh = (96, 80)
        frames_until(source, lambda frame: frame.image.shape == (80, 96, 3))
        assert "size changed to 96x80" in source.warnings[0]


def test_a_jump_of_the_clock_begins_an_epoch_and_times_go_on() -> None:
    with RtspServer() as server, open_camera(server) as source:
        before = frames_until(source, lambda frame: frame.index >= 5)[-1]
        server.faults.clock_shift_s = 500
        after = frames_until(source, lambda frame: frame.epoch == 1)[-1]
        assert 0 < after.time_s - before.time_s < 5


def test_a_stall_is_seen_and_survived() -> None:
    # The read must outlast the watchdog, or the connection is given up before anyone can see the stall.
    patient = replace(QUICK, watchdog_s=0.2, read_timeout_s=0.8, give_up_s=10.0)
    with RtspServer() as server, open_camera(server, patient) as source:
        server.faults.stall = True
        wait_for(lambda: source.health().state is LiveState.STALLED)
        wait_for(lambda: source.health().state is LiveState.RECONNECTING)
        server.faults.stall = False
        frames_until(source, lambda frame: frame.epoch >= 1)
        assert source.health().reconnects >= 1


def test_a_server_that_is_killed_and_comes_back_is_found_again_and_one_that_does_not_is_given_up() -> None:
    with RtspServer() as server, open_camera(server) as source:
        server.stop()
        wait_for(lambda: source.health().state is LiveState.RECONNECTING)
        server.start()
        frames_until(source, lambda frame: frame.epoch >= 1)
        server.stop()
        wait_for(lambda: source.health().state is LiveState.FAILED)
        with pytest.raises(RunError, match="gone for good"):
            for _ in source:
                pass
        server.start()


def test_jitter_does_not_move_the_times() -> None:
    server = RtspServer()
    server.faults.jitter_s = 0.02
    with server, open_camera(server) as source:
        frames = frames_until(source, lambda frame: frame.index >= 45)
    steps = np.diff([frame.time_s for frame in frames[20:]])
    late = np.diff([frame.arrival_s for frame in frames[20:]])
    assert np.abs(steps - 1 / 30).max() < 0.02
    assert steps.std() < late.std()


def test_closing_is_quick_and_ends_the_thread() -> None:
    with RtspServer() as server:
        source = open_camera(server)
        begin_s = time.monotonic()
        source.close()
        source.close()
        assert time.monotonic() - begin_s < 5
        assert list(source) == []


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(InputError, match="/dev/video97"):
        open_live("97", role="visible", options=SourceOptions(), config=QUICK)


def test_a_full_inbox_drops_the_oldest_and_counts() -> None:
    inbox = Inbox(capacity=2)
    for index in range(5):
        inbox.put("visible", Frame(image=np.zeros((1, 1), np.uint8), time_s=0, arrival_s=0, index=index))
    assert inbox.dropped == 3
    assert [item[1].index for item in (inbox.get(0), inbox.get(0)) if item] == [3, 4]
    assert inbox.get(0.01) is None
    threading.Timer(0.05, inbox.wake).start()
    begin_s = time.monotonic()
    assert inbox.get(5) is None
    assert time.monotonic() - begin_s < 2


# Pairs


def open_both(visible: RtspServer, thermal: RtspServer) -> LivePairStream:
    stream = open_pairs(PairSourceConfig(visible=visible.url, thermal=thermal.url, patience=QUICK))
    assert isinstance(stream, LivePairStream)
    return stream


def pairs_until(stream: LivePairStream, wanted: Callable[[FramePair], bool], limit_s: float = 15.0) -> list[FramePair]:
    end_s, read = time.monotonic() + limit_s, []
    pairs: Iterator[FramePair] = iter(stream)
    for pair in pairs:
        read.append(pair)
        if wanted(pair) or time.monotonic() > end_s:
            break
    assert wanted(read[-1]), f"no such pair among {len(read)}; {stream.stats}"
    return read


@pytest.mark.parametrize("fps", [30.0, 25.0, 9.0])
def test_two_streams_pair_at_different_rates(fps: float) -> None:
    with RtspServer() as first, RtspServer(fps=fps) as second, open_both(first, second) as stream:
        pairs = pairs_until(stream, lambda pair: pair.index >= 60)
    settled = pairs[15:]
    assert sum(pair.status is PairStatus.PAIRED for pair in settled) >= 0.95 * len(settled)
    assert max(abs(pair.dt_s) for pair in settled) <= 0.6 / fps + 1e-6
    assert all(b.time_s > a.time_s for a, b in itertools.pairwise(pairs))


@pytest.mark.parametrize("lost", ["visible", "thermal"])
def test_when_one_stream_is_gone_the_other_goes_on(lost: str) -> None:
    with RtspServer() as first, RtspServer() as second, open_both(first, second) as stream:
        pairs_until(stream, lambda pair: pair.status is PairStatus.PAIRED)
        (first if lost == "visible" else second).stop()
        pairs = pairs_until(stream, lambda pair: pair.missing == lost and len(stream.warnings) > 0)
        assert pairs[-1].visible_bgr.shape == (120, 160, 3)
        assert any("gone for good" in warning for warning in stream.warnings)
        (first if lost == "visible" else second).start()


def test_when_both_are_gone_the_run_fails_without_naming_credentials() -> None:
    with RtspServer() as first, RtspServer() as second, open_both(first, second) as stream:
        pairs_until(stream, lambda pair: pair.index > 5)
        first.stop()
        second.stop()
        with pytest.raises(RunError, match="no source is left") as caught:
            for _ in stream:
                pass
        assert "secret" not in str(caught.value)
        first.start()
        second.start()


def test_a_recording_beside_a_live_stream_is_played_in_real_time() -> None:
    with RtspServer() as server:
        config = PairSourceConfig(
            visible=server.url,
            thermal="synthetic",
            thermal_options=SourceOptions(size_wh=(160, 120), length=40),
            patience=QUICK,
        )
        with open_pairs(config) as stream:
            assert isinstance(stream, LivePairStream)
            pairs = pairs_until(stream, lambda pair: pair.missing == "thermal" and pair.index > 40)
    assert sum(pair.status is PairStatus.PAIRED for pair in pairs) >= 25
