"""Live sources against a real RTSP server with faults."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
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
from tests.pipeline.waiting import frames_until, wait_until

QUICK = LiveConfig(
    watchdog_s=0.4, open_timeout_s=1.0, read_timeout_s=0.4, backoff_s=0.1, backoff_limit_s=0.3, give_up_s=1.8
)


def open_camera(server: RtspServer, config: LiveConfig = QUICK) -> LiveSource:
    return open_live(server.url, role="visible", options=SourceOptions(), config=config)


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
        wait_until(lambda: source.health().state is LiveState.STALLED)
        wait_until(lambda: source.health().state is LiveState.RECONNECTING)
        server.faults.stall = False
        frames_until(source, lambda frame: frame.epoch >= 1)
        assert source.health().reconnects >= 1


def test_a_server_that_is_killed_and_comes_back_is_found_again_and_one_that_does_not_is_given_up() -> None:
    with RtspServer() as server, open_camera(server) as source:
        server.stop()
        wait_until(lambda: source.health().state is LiveState.RECONNECTING)
        server.start()
        frames_until(source, lambda frame: frame.epoch >= 1)
        server.stop()
        wait_until(lambda: source.health().state is LiveState.FAILED)
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


def test_frames_out_of_order_are_left_out() -> None:
    server = RtspServer()
    with server, open_camera(server) as source:
        frames_until(source, lambda frame: frame.index >= 5)
        server.faults.swap = 0.3
        swapped = frames_until(source, lambda frame: frame.index >= 40)
        server.faults.swap = 0.0
        frames_until(source, lambda frame: not frame.suspect)
    times = np.array([frame.time_s for frame in swapped])
    assert np.all(np.diff(times) > 0)
    # Where one of two that changed places is left out, the next step is two periods long.
    assert np.diff(times).max() > 1.5 / 30
    assert {frame.epoch for frame in swapped} == {0}


def test_dropped_frames_leave_the_times_of_the_others_alone() -> None:
    server = RtspServer()
    server.faults.drop = 0.2
    with server, open_camera(server) as source:
        frames = frames_until(source, lambda frame: frame.index >= 60)
        assert source.health().reconnects == 0
    steps = np.diff([frame.time_s for frame in frames[20:]]) * 30
    assert np.abs(steps - np.round(steps)).max() < 0.45
    assert 1.1 < steps.mean() < 1.6


class JpegCamera:
    """A camera that serves motion JPEG over HTTP, as many do: pictures without any times."""

    def __init__(self, fps: float) -> None:
        camera = self
        jpeg = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))[1].tobytes()
        part = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while camera.sending.is_set():
                        self.wfile.write(part)
                        time.sleep(1 / fps)

            def log_message(self, *_: object) -> None: ...

        self.sending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://user:secret@127.0.0.1:{self._server.server_port}/video?key=secret"

    def __enter__(self) -> JpegCamera:
        self.sending.set()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sending.clear()
        self._server.shutdown()
        self._server.server_close()


def test_motion_jpeg_over_http_has_the_times_of_its_arrival() -> None:
    with (
        JpegCamera(fps=12.0) as camera,
        open_live(camera.url, role="visible", options=SourceOptions(), config=QUICK) as source,
    ):
        assert "secret" not in source.info.name
        frames = frames_until(source, lambda frame: frame.index >= 30)
        assert max(abs(frame.arrival_s - frame.time_s) for frame in frames) < 0.5
        span_s = frames[-1].time_s - frames[0].time_s
        assert span_s == pytest.approx(frames[-1].arrival_s - frames[0].arrival_s, abs=0.4)
        camera.sending.clear()
        wait_until(lambda: source.health().state is LiveState.RECONNECTING)
        camera.sending.set()
        frames_until(source, lambda frame: frame.epoch >= 1)


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


def test_pairs_survive_drops_jitter_and_frames_out_of_order() -> None:
    with RtspServer() as first, RtspServer() as second, open_both(first, second) as stream:
        for server in (first, second):
            server.faults.drop, server.faults.swap, server.faults.jitter_s = 0.05, 0.05, 0.02
        pairs = pairs_until(stream, lambda pair: pair.index >= 90)
    settled = pairs[15:]
    assert sum(pair.status is PairStatus.PAIRED for pair in settled) >= 0.6 * len(settled)
    assert all(b.time_s > a.time_s for a, b in itertools.pairwise(pairs))


def test_pairs_go_on_when_the_clock_of_one_camera_jumps() -> None:
    with RtspServer() as first, RtspServer() as second, open_both(first, second) as stream:
        pairs_until(stream, lambda pair: pair.index >= 20)
        second.faults.clock_shift_s = -700.0
        before = stream.live_stats.health["thermal"].epoch
        paired = 0

        def paired_again(pair: FramePair) -> bool:
            nonlocal paired
            paired += pair.status is PairStatus.PAIRED and stream.live_stats.health["thermal"].epoch > before
            return paired >= 20

        pairs = pairs_until(stream, paired_again)
    assert abs(pairs[-1].dt_s) < 0.03


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
