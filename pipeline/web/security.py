"""Who may see and steer a run: where the server listens, the token, and the checks every request passes."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fusion.errors import InputError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LEAST_TOKEN_LENGTH = 12

_COOKIE = "rgbt_stream"
_COOKIE_AGE_S = 30 * 24 * 3600
# Paths that show nothing of the run: the page's style for the login, and the health of the process.
_OPEN_PATHS = frozenset({"/healthz", "/style.css"})
_SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>rgbt-stream</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css"><body class="login"><form method="post" action="/login">
<h1>rgbt-stream</h1><p>%s</p><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button class="primary">Open</button></form></body></html>"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_ipv6(self) -> bool:
        """The host is an IPv6 address."""
        return ":" in self.host

    def url(self, port: int) -> str:
        """The page's address for people, with the port that was really taken."""
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def parse_address(text: str, token: str | None) -> Address:
    """Read ``HOST:PORT`` (``[::1]:8000`` for IPv6, port 0 for a free one) and check that it is safe to open.

    Raises:
        InputError: it is no such address, or others could connect and there is no token, or the token is short.
    """
    host, colon, port_text = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise InputError(f"--web {text}: write it as HOST:PORT, such as 127.0.0.1:8000")
    address = Address(host, int(port_text))
    if token is not None and (len(token) < LEAST_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        raise InputError(f"--token: give at least {LEAST_TOKEN_LENGTH} printable ASCII characters")
    if token is None and not address.is_loopback:
        raise InputError(
            f"--web {text}: others on the network could watch and steer; add --token (or set RGBT_STREAM_TOKEN), "
            "or listen on 127.0.0.1"
        )
    return address


def without_credentials(text: str) -> str:
    """The text with user names and passwords in addresses replaced by stars."""
    return re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]*@(?:[^/\s@]*@)*", r"\1***@", text)


class RateLimit:
    """A bucket of tokens: ``rate`` actions a second on average, ``burst`` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._last_s = time.monotonic()

    def allow(self) -> bool:
        """Take one token; False when none is left."""
        now_s = time.monotonic()
        self._left = min(self._left + (now_s - self._last_s) * self._rate, self._burst)
        self._last_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Gate:
    """Lets a request through to ``app`` only if it may; every answer carries the security headers.

    Without a token the Host must be one of this machine's own names, so that no foreign page can reach the server
    under a name that it has pointed here. Browsers say where a request comes from: WebSockets, writing requests
    and pictures for foreign pages are refused.
    """

    def __init__(self, app: App, *, address: Address, token: str | None) -> None:
        self._app = app
        self._token = token
        self._session = None if token is None else _digest(token)
        self._hosts = {"localhost", "127.0.0.1", "::1", address.host.lower()}
        self._attempts = RateLimit(rate=0.5, burst=10)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._foreign(scope, headers)
        if refusal is not None:
            await _answer(scope, send, 403, refusal)
        elif self._token is None or scope["path"] in _OPEN_PATHS or self._knows(headers):
            await self._app(scope, receive, _with_security_headers(send))
        else:
            await self._ask_for_token(scope, receive, send)

    def _foreign(self, scope: Scope, headers: dict[str, str]) -> str | None:
        host = headers.get("host", "")
        if self._token is None and _host_name(host) not in self._hosts:
            return "unknown Host"
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "foreign Origin"
        fetched_from = headers.get("sec-fetch-site", "none")
        page = scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET"
        if fetched_from not in ("none", "same-origin") and not page:
            return "requests of foreign pages are refused"
        return None

    def _knows(self, headers: dict[str, str]) -> bool:
        assert self._token is not None
        assert self._session is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        # By hand: the parser of the standard library gives up at the first cookie of another program it dislikes.
        cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == _COOKIE and _same(value, self._session) for name, _, value in cookies)

    async def _ask_for_token(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a token in the address or the login form once and remember it in a cookie; else refuse."""
        given: str | None = None
        rest: list[tuple[str, str]] = []
        if scope["type"] == "http":
            if scope["path"] == "/login" and scope["method"] == "POST":
                form = dict(parse_qsl((await _small_body(receive)).decode("ascii", "replace")))
                given = form.get("token", "")
            else:
                query = parse_qsl(scope["query_string"].decode("ascii", "replace"))
                rest = [field for field in query if field[0] != "token"]
                given = dict(query).get("token")
        if given is not None and not self._attempts.allow():
            await _answer(scope, send, 429, "too many wrong tokens; wait a while")
        elif given is not None and self._token is not None and _same(given, self._token):
            self._attempts = RateLimit(rate=0.5, burst=10)
            path = "/" if scope["path"] == "/login" else scope["path"]
            location = path + (f"?{urlencode(rest)}" if rest else "")
            cookie = f"{_COOKIE}={self._session}; Path=/; Max-Age={_COOKIE_AGE_S}; HttpOnly; SameSite=Strict"
            await _answer(scope, send, 303, "", [("location", location), ("set-cookie", cookie)])
        elif scope["type"] == "http" and scope["path"] in ("/", "/login"):
            said = "This run needs its token." if given is None else "That is not the token."
            await _answer(scope, send, 401, _LOGIN_PAGE % said, [("content-type", "text/html; charset=utf-8")])
        else:
            await _answer(scope, send, 401, "token needed", [("www-authenticate", "Bearer")])


def _digest(token: str) -> str:
    """What the cookie holds: made of the token, so that it outlives a restart, but not the token itself."""
    return hmac.new(token.encode(), b"rgbt-stream session", hashlib.sha256).hexdigest()


def _same(given: str, expected: str) -> bool:
    """Compare in a time that says nothing of where the two differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _host_name(host: str) -> str:
    """Host header without its port, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


async def _small_body(receive: Receive, most_bytes: int = 1024) -> bytes:
    body = b""
    while len(body) <= most_bytes:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return body[:most_bytes]


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_SECURITY_HEADERS]
        await send(message)

    return send_with_headers


async def _answer(scope: Scope, send: Send, status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
    """Answer a request that goes no further, also one for a WebSocket."""
    body = text.encode()
    fields = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **dict(headers)}
    prefix = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    raw = [(name.encode(), value.encode()) for name, value in {**fields, "content-length": str(len(body))}.items()]
    await send({"type": f"{prefix}.start", "status": status, "headers": [*raw, *_SECURITY_HEADERS]})
    await send({"type": f"{prefix}.body", "body": body})
