"""What the server shows and does, on a real run: pictures, credit, commands, files, numbers."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.shelf import ShelfConfig
from tests.pipeline.waiting import wait_until
from tests.pipeline.web.rig import Picture, Rig


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def left_of_square(picture: NDArray[np.uint8]) -> int:
    """Left edge of the bright square of the rig's pictures, which tells the index of the pair."""
    return int(np.argmax(picture[100, :320].astype(int).sum(axis=1) > 420))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:  # type: ignore[misc]
    with Rig(tmp_path_factory.mktemp("run")) as open_rig:
        yield open_rig


def test_a_picture_is_the_one_its_header_names(rig: Rig) -> None:
    with rig.watch() as viewer:
        for _ in range(5):
            picture = viewer.picture()
            index = picture.header["frame"]
            assert abs(left_of_square(decoded(picture.jpeg)) - (20 + (2 * index) % 240)) <= 1
            assert picture.header["time_s"] == pytest.approx(index / 30, abs=1e-3)


@pytest.mark.parametrize(
    ("view", "width", "colored"),
    [("fused", 320, False), ("visible", 320, False), ("thermal", 320, True), ("side", 640, True), ("tint", 320, True)],
)
def test_each_viewer_has_its_own_view(rig: Rig, view: str, width: int, colored: bool) -> None:
    with rig.watch() as viewer, rig.watch() as other:
        viewer.say(type="view", view=view)
        picture = viewer.picture(like=lambda picture: picture.header["view"] == view)
        shown = decoded(picture.jpeg)
        assert shown.shape == (240, width, 3)
        blue, red = shown[..., 0].astype(int), shown[..., 2].astype(int)
        assert (np.abs(blue - red).max() > 70) == colored
        assert other.picture().header["view"] == "fused"


def test_no_more_than_two_pictures_wait_for_their_viewer(rig: Rig) -> None:
    with rig.watch() as viewer:
        first, second = (viewer.picture(confirm=False).header for _ in range(2))
        viewer.socket.recv  # noqa: B018 - nothing is read on purpose
        latest = rig.hub.latest
        assert latest is not None
        wait_until(lambda: rig.hub.latest is not None and rig.hub.latest.serial > second["serial"] + 20)
        viewer.say(type="shown", serial=999_999)  # gives no credit: it was never sent
        heard = [viewer.hear() for _ in range(2)]
        assert not [message for message in heard if isinstance(message, Picture)]
        viewer.say(type="shown", serial=first["serial"])
        third = viewer.picture().header
        assert third["serial"] > second["serial"] + 19  # those in between are gone: the newest wins


def test_a_hello_a_status_and_the_age_of_the_picture(rig: Rig) -> None:
    with rig.watch() as viewer:
        hello = viewer.hear()
        assert isinstance(hello, dict)
        assert (hello["type"], hello["credit"]) == ("hello", 2)
        for _ in range(20):
            viewer.picture()
    status = rig.request("/api/status").json()
    assert status["run"]["methods"] == ["average", "black", "without weights"]
    assert status["telemetry"]["age_ms"]["p50"] > 0
    assert set(status["telemetry"]["stages_ms"]) >= {"decode", "fuse", "track", "preview"}


def test_a_target_starts_on_the_frame_that_was_seen_and_is_written_into_its_line(tmp_path: Path) -> None:
    # A busy machine answers late: the pair must still be on the shelf when the word to hold it comes.
    with Rig(tmp_path, shelf=ShelfConfig(pairs=60)) as rig, rig.watch() as viewer:
        seen = viewer.picture().header["frame"]
        viewer.say(type="hold", frame=seen)
        viewer.picture(like=lambda picture: picture.header["frame"] > seen + 80)
        viewer.say(type="add", frame=seen, box=[31.25, 40, 50, 60])
        viewer.say(type="hold", frame=None)
        added = viewer.event("added")
        assert (added["frame"], added["target"]) == (seen, 1)
        # More pairs are kept while one is held; they go when the next comes after the word that none is.
        newest = viewer.picture().header["frame"]
        viewer.picture(like=lambda picture: picture.header["frame"] > newest + 5)
        viewer.say(type="add", frame=0, box=[31, 40, 50, 60])
        assert "no longer kept" in viewer.event("refused")["text"]
        viewer.say(type="add", frame=viewer.picture().header["frame"], box=[500, 40, 50, 60])
        assert "outside" in viewer.event("refused")["text"]
        picture = viewer.picture(like=lambda picture: bool(picture.header["targets"]))
        assert picture.header["targets"][0]["box"] == [31.25, 40, 50, 60]
        viewer.say(type="remove", target=1)
        viewer.event("removed")
        viewer.picture(like=lambda picture: not picture.header["targets"])
        viewer.say(type="add", frame=viewer.picture().header["frame"], box=[1, 2, 30, 40])
        assert viewer.event("added")["target"] == 2  # a number is given once
        wait_until(lambda: any(line["targets"] and line["targets"][0]["id"] == 2 for line in rig.lines()))
    lines = rig.lines()
    assert [line["index"] for line in lines] == sorted({line["index"] for line in lines})
    tracked = [line for line in lines if line["targets"] and line["targets"][0]["id"] == 1]
    assert tracked[0]["index"] == seen
    assert tracked[0]["targets"][0]["box"] == [31.25, 40.0, 50.0, 60.0]
    assert len(rig.shelf) <= 60


def test_a_pause_stops_the_run_and_still_takes_targets(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, rig.watch() as viewer:
        viewer.pause()
        latest = rig.hub.latest
        assert latest is not None
        viewer.say(type="add", frame=latest.result.pair.index, box=[10, 10, 40, 40])
        picture = viewer.picture(like=lambda picture: bool(picture.header["targets"]))
        assert picture.header["frame"] == latest.result.pair.index
        assert rig.request("/healthz").json() == {"status": "paused"}
        viewer.say(type="pause", on=False)
        viewer.picture(like=lambda picture: picture.header["frame"] > latest.result.pair.index)
        wait_until(lambda: bool(rig.lines()[-1]["targets"]))
        line = next(line for line in rig.lines() if line["targets"])
        assert line["index"] == latest.result.pair.index


def test_the_fusion_is_switched_while_the_run_goes_on(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, rig.watch() as viewer:
        viewer.picture(like=lambda picture: decoded(picture.jpeg).max() > 100)
        viewer.say(type="fusion", method="black", pooling="nuclear")
        heard = viewer.event("fusion")
        assert (heard["method"], heard["pooling"]) == ("black", "nuclear")
        viewer.picture(like=lambda picture: decoded(picture.jpeg).max() == 0)
        assert rig.hub.latest is not None
        assert rig.hub.latest.result.title == rig.control.state.title == "black + identity fused"
        assert rig.control.state.switching is None
        for method, reason in (("densefuse", "densefuse"), ("without weights", "no weights for it")):
            viewer.say(type="fusion", method=method, pooling="avg")
            assert reason in viewer.event("refused")["text"]
        assert rig.control.state.fusion is not None
        assert rig.control.state.fusion.method == "black"
        viewer.say(type="fusion", method="average", pooling="avg")
        viewer.event("fusion")
        assert rig.control.state.fusion is not None
        assert rig.control.state.fusion.method == "average"


def test_commands_by_plain_http(rig: Rig) -> None:
    answer = rig.request("/api/command", method="POST", body='{"type": "record", "on": true}')
    assert (answer.status, answer.json()) == (202, {"accepted": True})
    wait_until(lambda: rig.control.state.recording is True)
    assert rig.request("/api/command", method="GET").status == 405


def test_a_snapshot_is_saved_and_can_be_loaded(rig: Rig) -> None:
    with rig.watch() as viewer:
        viewer.say(type="snapshot")
        names = viewer.event("saved")["names"]
    assert [name.rsplit("-", 1)[1] for name in names] == ["fused.png", "visible.png", "thermal.png"]
    listed = {file["name"]: file for file in rig.request("/api/recordings").json()}
    for name in names:
        answer = rig.request(f"/recordings/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/png"
        assert "attachment" in answer.headers["content-disposition"]
        assert len(answer.body) == listed[name]["size_bytes"]
        assert decoded(answer.body).shape == (240, 320, 3)


def test_a_file_that_grows_is_sent_as_long_as_it_was(rig: Rig) -> None:
    for _ in range(20):
        answer = rig.request("/recordings/results.jsonl")
        assert len(answer.body) == int(answer.headers["content-length"])
        assert answer.body.endswith(b"\n")
    whole = answer.body
    for asked, part in (("bytes=10-19", whole[10:20]), ("bytes=5-", None), ("bytes=0-0", whole[:1])):
        answer = rig.request("/recordings/results.jsonl", headers={"Range": asked})
        assert answer.status == 206
        assert answer.headers["content-range"].startswith(f"bytes {asked[6:].split('-')[0]}-")
        assert part is None or answer.body == part
    for asked in ("bytes=-", "lines=1-2", "bytes=99999999999-", "bytes=5-2", "bytes=0-1,4-5"):
        assert rig.request("/recordings/results.jsonl", headers={"Range": asked}).status == 200


def test_numbers_for_prometheus(rig: Rig) -> None:
    text = rig.request("/metrics").body.decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(samples["rgbt_pairs_total"]) > 0
    assert float(samples['rgbt_stage_seconds{stage="fuse",quantile="0.95"}']) < 1
    assert float(samples['rgbt_stage_seconds_count{stage="fuse"}']) > 0
    assert float(samples["rgbt_dropped_total"]) >= 0
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_motion_jpeg_for_those_without_javascript(rig: Rig) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rig.server.port, timeout=10)
    connection.request("GET", "/stream.mjpg?view=thermal")
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("multipart/x-mixed-replace")
    for _ in range(3):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += answer.read(1)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert decoded(answer.read(length)).shape == (240, 320, 3)
    connection.close()
    answer.close()
    wait_until(lambda: rig.hub.viewers == 0)
    assert rig.request("/stream.mjpg?view=../etc").status == 400


def test_a_viewer_that_stops_reading_costs_a_bounded_amount_and_no_one_else_anything(tmp_path: Path) -> None:
    with Rig(tmp_path, size_wh=(640, 480)) as rig, contextlib.ExitStack() as closing:
        for _ in range(5):
            silent = closing.enter_context(socket.create_connection(("127.0.0.1", rig.server.port)))
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.sendall(
                f"GET /ws HTTP/1.1\r\nHost: {rig.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
        for _ in range(2):
            stuck = closing.enter_context(socket.create_connection(("127.0.0.1", rig.server.port)))
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.sendall(f"GET /stream.mjpg HTTP/1.1\r\nHost: {rig.host}\r\n\r\n".encode())
        wait_until(lambda: rig.hub.viewers == 7)
        with rig.watch() as viewer:
            begin = viewer.picture().header["frame"]
            viewer.picture(like=lambda picture: picture.header["frame"] > begin + 40)
        waiting = [
            connection.transport.get_write_buffer_size() for connection in rig.server._server.server_state.connections
        ]
        assert max(waiting) < 500_000


def test_a_slow_viewer_gets_the_newest_and_a_quick_one_all(rig: Rig) -> None:
    with rig.watch() as slow, rig.watch() as quick:
        begin = quick.picture().header["frame"]
        slow_frames = []
        for _ in range(5):
            picture = slow.picture(confirm=False)
            slow_frames.append(picture.header["frame"])
            quick.picture(like=lambda picture, seen=picture.header["frame"]: picture.header["frame"] >= seen + 9)
            slow.say(type="shown", serial=picture.header["serial"])
        newest = quick.picture().header["frame"]
        assert slow_frames == sorted(set(slow_frames))
        # Two are on the way to it at most: it is behind by those, not by all that came meanwhile.
        assert newest - slow_frames[-1] < (newest - begin) / 2


def test_ten_viewers_at_once(rig: Rig) -> None:
    frames: list[int] = []

    def look(view: str) -> None:
        with rig.watch() as viewer:
            viewer.say(type="view", view=view)
            for _ in range(30):
                picture = viewer.picture()
            frames.append(picture.header["frame"])

    views = ["fused", "visible", "thermal", "side", "tint"] * 2
    threads = [threading.Thread(target=look, args=(view,)) for view in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(frames) == 10
    wait_until(lambda: rig.hub.viewers == 0)


def test_health_says_when_nothing_comes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.web.server._STALE_S", 0.2)
    with Rig(tmp_path) as rig:
        assert rig.request("/healthz").json() == {"status": "ok"}
        rig.ended.set()
        wait_until(lambda: rig.request("/healthz").status == 503)
        assert rig.request("/healthz").json() == {"status": "stalled"}


def test_closing_says_goodbye_and_frees_the_port(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Rig(tmp_path) as rig, rig.watch() as viewer:
        viewer.picture()
        port = rig.server.port
        rig.close()
        assert viewer.closing_code() == 1012
    with socket.create_server(("127.0.0.1", port)):
        pass
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_a_message_is_a_length_a_header_and_a_jpeg(rig: Rig) -> None:
    with rig.watch() as viewer:
        data: str | bytes = ""
        while isinstance(data, str):
            data = viewer.socket.recv(10)
        (length,) = struct.unpack(">I", data[:4])
        assert json.loads(data[4 : 4 + length])["width"] == 320
        assert data[4 + length :][:2] == b"\xff\xd8"
