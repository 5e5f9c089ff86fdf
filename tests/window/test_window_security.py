# SPDX-License-Identifier: GPL-3.0-or-later
"""Access to the window: who may come in, what a page of somebody else can do, what a browser is told to obey."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from html.parser import HTMLParser

import pytest

from holofs_window import server
from holofs_window.guard import HEADERS, POLICY
from holofs_window.page_files import page_files
from support.wait import until
from support.window import Browser, raw
from tests.window.conftest import Window

PLACES = ("/api/call/Status", "/api/share", "/api/settings", "/api/set", "/api/preview", "/api/offer", "/api/follow")


def path_of(link: str) -> str:
    return link[link.index("/?") :]


def test_a_link_lets_one_browser_in_and_once(window: Window) -> None:
    path, browser = path_of(window.link()), Browser(window.port)
    page = window.state / "window.html"
    page.write_text("the way in")
    assert browser.get(path, method="HEAD").status == 401  # a look at it does not use it up
    assert page.exists()
    first = browser.get(path)
    assert first.status == 200
    assert not page.exists()
    cookie = first.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(re.split(r"; *", cookie))
    again = browser.get(path)
    assert again.status == 401
    assert "set-cookie" not in again.headers
    assert b'name="holofs-key" content=""' in again.body
    browser.take(first)
    assert browser.call("Status")["device_name"] == "lap"
    assert b'name="holofs-key" content=""' in browser.get("/").body  # the key is told once


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_told_without_both_secrets(window: Window, place: str) -> None:
    inside, outside = window.browser(), Browser(window.port)
    other = window.browser()
    for cookie, key in (("", ""), (inside.cookie, ""), ("", inside.key), (inside.cookie, other.key)):
        outside.cookie, outside.key = cookie, key
        got = outside.post(place)
        assert (got.status, got.json()["error"]["code"]) == (401, "http-401")


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1", "[::1]:{port}", ""])
def test_another_name_than_that_of_this_machine_is_refused(window: Window, host: str) -> None:
    told = host.format(port=window.port)
    answer = raw(window.port, f"GET / HTTP/1.1\r\nHost: {told}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400"))
    assert b"holofs-key" not in answer


def test_two_hosts_or_none_are_refused(window: Window) -> None:
    ours = f"Host: 127.0.0.1:{window.port}\r\n"
    for lines in (ours + "Host: evil.example\r\n", ours + ours, ""):
        answer = raw(window.port, f"GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 421", b"HTTP/1.1 400"))
    answer = raw(window.port, f"GET / HTTP/1.1\r\nHost: localhost:{window.port}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_page_asks_for_is_refused(window: Window, headers: dict[str, str]) -> None:
    browser = window.browser()
    before = len(window.device.braked)
    got = browser.post("/api/call/Brake", {"volume": "docs", "act": "accept"}, headers)
    assert got.status == 403
    assert len(window.device.braked) == before


def test_a_page_comes_in_no_frame_and_by_no_guess_of_the_browser(window: Window) -> None:
    path, browser = path_of(window.link()), Browser(window.port)
    assert browser.get(path, {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"}).status == 403
    assert browser.get(path, {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}).status == 403
    assert browser.get(path, {"Sec-Purpose": "prefetch;prerender"}).status == 503
    led = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert browser.get(path, led).status == 200


def test_every_answer_tells_the_browser_what_to_obey(window: Window) -> None:
    browser = window.browser()
    strange = {"Host": "evil.example"}
    got = [browser.get("/"), browser.get("/page/style.css"), browser.get("/nothing"), browser.get("/", strange)]
    got += [browser.post("/api/call/Status"), browser.post("/api/call/None"), browser.get("/", method="DELETE")]
    assert [one.status for one in got] == [200, 200, 404, 421, 200, 404, 405]
    for one in got:
        assert {name: one.headers.get(name) for name in HEADERS} == dict(HEADERS)
        assert "server" not in one.headers
        assert not any(name.startswith("access-control") for name in one.headers)
    for directive in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert directive in POLICY
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


class Page(HTMLParser):
    """Addresses that a page would fetch, and what it would run by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [value for name in ("src", "href") if (value := found.get(name))]
        self.inline += [name for name in found if name.startswith("on") or name == "style"]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in found) else []


def test_the_page_runs_and_fetches_nothing_but_its_own_files() -> None:
    files = page_files()
    page = Page()
    page.feed(files["index.html"][0].decode())
    assert page.inline == []
    assert {address for address in page.addresses if not address.startswith("/page/")} == set()
    assert {address.removeprefix("/page/") for address in page.addresses} <= set(files)
    for name, (content, _) in files.items():
        text = content.decode()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "@import",
        ):
            assert word not in text, f"{word} in {name}"
        foreign = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert foreign == set(), name
        for imported in re.findall(r'from "([^"]+)"', text):
            assert imported.removeprefix("/page/") in files, f"{imported} in {name}"


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page/index.html",
        "/page/",
        "/page//etc/passwd",
        "/page/style.css%00",
        "/content/../../etc/passwd",
        "/content/guess",
        "/window.html",
    ],
)
def test_no_other_file_is_served(window: Window, path: str) -> None:
    got = window.browser().get(path)
    assert got.status == 404
    assert len(got.body) < 200


def test_a_session_that_was_ended_is_over(window: Window) -> None:
    browser = window.browser()
    assert browser.post("/api/end").status == 200
    assert browser.post("/api/call/Status").status == 401


def test_a_connection_that_asks_for_nothing_is_closed(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.05)
    with socket.create_connection(("127.0.0.1", window.port), timeout=60) as connection:
        assert connection.recv(1) == b""
    with socket.create_connection(("127.0.0.1", window.port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a")
        assert connection.recv(1) == b""


def test_a_connection_with_half_a_request_after_a_whole_one_is_closed(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(("127.0.0.1", window.port), timeout=60) as connection:
        connection.sendall(f"GET /page/icon.svg HTTP/1.1\r\nHost: 127.0.0.1:{window.port}\r\n\r\n".encode())
        answer = connection.recv(1 << 16)
        while b"</svg>" not in answer:
            answer += connection.recv(1 << 16)
        monkeypatch.setattr(server, "REQUEST_S", 0.05)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a")
        while connection.recv(1 << 16):
            pass  # up to the end of the connection; a time-out is a failure


def test_what_is_no_request_costs_no_line_in_the_log(window: Window, caplog: pytest.LogCaptureFixture) -> None:
    assert raw(window.port, b"\x16\x03\x01 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    too_long = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{window.port}\r\nX: {'x' * (64 << 10)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", window.port), timeout=60) as connection:
        connection.sendall(too_long[: 40 << 10])
        assert connection.recv(1 << 10)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431")
    ours = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{window.port}\r\nConnection: Upgrade\r\n"
    for upgrade in ("websocket", "h2c"):  # as a page of the web asks for with `new WebSocket`
        assert raw(window.port, f"{ours}Upgrade: {upgrade}\r\n\r\n".encode()).startswith(b"HTTP/1.1 401")
    assert caplog.records == []


def test_more_connections_than_there_may_be_are_refused_without_a_line_in_the_log(
    window: Window, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as opened:
        for _ in range(server._MOST_CONNECTIONS):
            opened.enter_context(socket.create_connection(("127.0.0.1", window.port), timeout=60))
        answer = until(lambda: _refused_for_now(window.port), "the window to be full")
    assert b"content-security-policy" not in answer  # uvicorn's own, and nothing of the device is in it
    assert caplog.records == []
    until(lambda: Browser(window.port).get("/").status == 401, "room for others")


def _refused_for_now(port: int) -> bytes:
    answer = raw(port, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 503")
    return answer
