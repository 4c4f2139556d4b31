"""What keeps strangers out, on a real server: hosts, origins, tokens, paths, floods."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fusion.errors import InputError
from pipeline.telemetry import SourceHealth
from pipeline.web.connections import MOST_CONNECTIONS
from pipeline.web.security import RateLimit, parse_address, without_credentials
from tests.pipeline.waiting import wait_until
from tests.pipeline.web.rig import Rig

TOKEN = "correct horse battery"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:  # type: ignore[misc]
    with Rig(tmp_path_factory.mktemp("open")) as open_rig:
        yield open_rig


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Rig:  # type: ignore[misc]
    with Rig(tmp_path_factory.mktemp("locked"), token=TOKEN) as locked_rig:
        yield locked_rig


@pytest.mark.parametrize(
    ("text", "token", "reason"),
    [
        ("8000", None, "HOST:PORT"),
        ("127.0.0.1:", None, "HOST:PORT"),
        ("127.0.0.1:x", None, "HOST:PORT"),
        ("127.0.0.1:70000", None, "HOST:PORT"),
        ("0.0.0.0:8000", None, "--token"),
        ("[::]:8000", None, "--token"),
        ("camera.example:8000", None, "--token"),
        ("0.0.0.0:8000", "short", "at least 12"),
        ("127.0.0.1:8000", "with a\nline break", "printable"),
    ],
)
def test_an_address_that_is_wrong_or_open_to_all_is_refused(text: str, token: str | None, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_address(text, token)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:8000", "[::1]:8000", "127.8.9.1:80"])
def test_this_machine_alone_needs_no_token(text: str) -> None:
    assert parse_address(text, None).is_loopback
    assert parse_address("0.0.0.0:8000", TOKEN).url(8000) == "http://localhost:8000/"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}"):
            Rig(tmp_path, web=f"127.0.0.1:{port}")


def test_a_name_that_was_pointed_here_by_others_is_refused(rig: Rig) -> None:
    assert rig.request("/", headers={"Host": "evil.example"}).status == 403
    assert rig.request("/", headers={"Host": f"localhost:{rig.server.port}"}).status == 200
    assert rig.request("/", headers={"Host": f"[::1]:{rig.server.port}"}).status == 200


def test_foreign_pages_can_neither_steer_nor_watch(rig: Rig) -> None:
    body = '{"type": "pause", "on": true}'
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://{rig.host}.evil.example"):
        for path in ("/api/command", "/api/registration/preview"):
            assert rig.request(path, method="POST", body=body, headers={"Origin": origin}).status == 403
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{rig.host}/ws", origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
    assert rig.request("/picture.jpg", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    assert rig.request("/picture.jpg", headers={"Sec-Fetch-Site": "same-origin"}).status == 200
    assert rig.request("/", headers={"Sec-Fetch-Site": "cross-site"}).status == 200
    assert not rig.control.state.paused
    with connect(f"ws://{rig.host}/ws", origin=f"http://{rig.host}"):  # type: ignore[arg-type]
        pass


def test_every_answer_forbids_what_the_page_does_not_need(rig: Rig) -> None:
    for path in ("/", "/app.js", "/healthz", "/nothing"):
        headers = rig.request(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    page = rig.request("/").body.decode()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


WRONG = (
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Cookie": "rgbt_stream=wrong"},
    {"Cookie": f"rgbt_stream={TOKEN}"},
    {"Cookie": ";;=;"},
)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/api/status",
        "/api/recordings",
        "/picture.jpg",
        "/recordings/results.jsonl",
        "/app.js",
        "/link.js",
    ],
)
def test_without_the_token_nothing_is_shown(locked: Rig, path: str) -> None:
    for headers in WRONG:
        answer = locked.request(path, headers=headers)
        assert answer.status == 401
        assert b"average" not in answer.body
    assert locked.request("/stream.mjpg").status == 401
    for changing in ("/api/command", "/api/registration/preview"):
        assert locked.request(changing, method="POST", body='{"type": "snapshot"}').status == 401
    assert locked.request("/api/registration/thermal.jpg?frame=1").status == 401
    assert locked.request("/nothing").status == 401
    assert locked.request(path, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_websocket_needs_the_token_too(locked: Rig) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{locked.host}/ws", additional_headers=headers)
        assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus):
        connect(f"ws://{locked.host}/ws?token={TOKEN.replace(' ', '+')}")
    with locked.watch(additional_headers={"Authorization": f"Bearer {TOKEN}"}) as viewer:
        viewer.picture()


def test_the_token_in_the_address_is_turned_into_a_cookie_once(tmp_path: Path) -> None:
    with Rig(tmp_path, token=TOKEN) as rig:
        assert rig.request("/?token=wrong").status == 401
        answer = rig.request("/?token=correct+horse+battery&view=tint")
        assert answer.status == 303
        assert answer.headers["location"] == "/?view=tint"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        session = cookie.partition(";")[0]
        assert rig.request("/", headers={"Cookie": session}).status == 200
        assert rig.request("/", headers={"Cookie": f'odd[name]="; {session}; other=1'}).status == 200
        with rig.watch(additional_headers={"Cookie": session}) as viewer:
            viewer.picture()
        login = rig.request("/login", method="POST", body="token=correct+horse+battery")
        assert (login.status, login.headers["location"]) == (303, "/")
        statuses = [rig.request("/?token=guess").status for _ in range(15)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        # Those who are in stay in.
        assert rig.request("/", headers={"Cookie": session}).status == 200


@pytest.mark.parametrize(
    "name",
    ["../secret.json", "..%2fsecret.json", "%2e%2e/secret.json", "....//secret.json", "/etc/passwd", "%2fetc%2fpasswd",
     "link.json", ".hidden.json", "inner/deep.json", "inner%2fdeep.json", "results.jsonl%00.png", "run.py", ""],
)  # fmt: skip
def test_no_path_leaves_the_output_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    (folder / "inner").mkdir(parents=True)
    for path in (tmp_path / "secret.json", folder / "inner" / "deep.json", folder / ".hidden.json", folder / "run.py"):
        path.write_text("secret")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    with Rig(folder) as rig:
        connection_answer = rig.request(f"/recordings/{name}")
        assert connection_answer.status == 404
        assert b"secret" not in connection_answer.body
        assert [file["name"] for file in rig.request("/api/recordings").json()] == ["results.jsonl"]


def test_credentials_of_sources_are_never_told(tmp_path: Path) -> None:
    name = "rtsp://admin:p4ss@word@10.0.0.7:554/main"
    with Rig(tmp_path, sources=(SourceHealth(role="visible", name=name, state="live"),)) as rig, rig.watch() as viewer:
        rig.control.announce("warning", f"{name}: no data")
        event = viewer.event("warning")
        told = [str(event), rig.request("/api/status").body.decode(), rig.request("/metrics").body.decode()]
        assert all("p4ss" not in text and "admin" not in text for text in told)
        assert "rtsp://***@10.0.0.7:554/main" in event["text"]
    assert without_credentials("see http://a/b and rtsps://u:p@h/x") == "see http://a/b and rtsps://***@h/x"


def test_oversized_and_malformed_messages_are_answered_and_at_last_end_the_connection(rig: Rig) -> None:
    with rig.watch() as viewer:
        for number in range(4):
            viewer.socket.send("{" if number % 2 else b"\x00")
            assert viewer.event("refused")["text"]
        viewer.socket.send("[]")
        assert viewer.closing_code() == 1007
    with rig.watch() as viewer:
        viewer.socket.send("x" * 1_000_000)
        assert viewer.closing_code() in (1009, None)
    assert rig.request("/api/command", method="POST", body="{").status == 400
    assert rig.request("/api/command", method="POST", body=b"x" * 100_000).status == 413
    assert rig.request("/api/command", method="POST", body='{"type": "view", "view": "tint"}').status == 400
    wait_until(lambda: rig.hub.viewers == 0)


def test_one_who_talks_too_much_is_cut_off_and_too_many_commands_are_refused(rig: Rig) -> None:
    with rig.watch() as viewer:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(600):
                viewer.say(type="shown", serial=0)
        assert viewer.closing_code() in (1008, None)
    with rig.watch() as viewer:
        for _ in range(40):
            viewer.say(type="remove", target=999)
        while viewer.event("refused")["text"] != "too fast; wait a moment":
            pass


def test_viewers_beyond_the_limit_are_asked_to_come_later(tmp_path: Path) -> None:
    with Rig(tmp_path, most_viewers=2) as rig, rig.watch() as one, rig.watch() as two:
        one.picture()
        two.picture()
        with rig.watch() as three:
            assert three.closing_code() == 1013
        assert rig.request("/stream.mjpg").status == 503
        one.picture()


@pytest.mark.slow
def test_a_thousand_connections_are_bounded_and_the_stream_goes_on(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, rig.watch() as viewer:
        viewer.picture()
        idle: list[socket.socket] = []
        try:
            address = "127.0.0.1", rig.server.port
            idle.extend(socket.create_connection(address, timeout=5) for _ in range(1000))
            connections = rig.server._server.server_state.connections
            wait_until(lambda: len(connections) <= MOST_CONNECTIONS)
            before = rig.telemetry.snapshot().pairs
            first = viewer.picture().header["frame"]
            viewer.picture(like=lambda picture: picture.header["frame"] > first + 20)
            # A busy machine drops frames, so the viewer may have come this far with few pairs.
            wait_until(lambda: rig.telemetry.snapshot().pairs > before + 20, 60)
        finally:
            for connection in idle:
                connection.close()
        wait_until(lambda: rig.request("/healthz").status == 200)


def test_a_connection_that_asks_for_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.web.connections._FIRST_REQUEST_S", 0.2)
    with Rig(tmp_path) as rig, socket.create_connection(("127.0.0.1", rig.server.port), timeout=5) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: ")
        begin_s = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(10) == b""
        assert time.monotonic() - begin_s < 5


def test_a_rate_limit_lets_a_burst_through_and_then_waits() -> None:
    limit = RateLimit(rate=1e-6, burst=3)
    assert [limit.allow() for _ in range(5)] == [True, True, True, False, False]
