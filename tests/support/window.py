# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser of the window, as far as tests need one: a cookie, a key, and whatever headers a test gives."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Got:
    """An answer. Names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Browser:
    """One that asks a port of 127.0.0.1."""

    port: int
    cookie: str = ""
    key: str = ""
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin = f"http://127.0.0.1:{self.port}"

    @classmethod
    def opened(cls, link: str) -> Browser:
        """A browser that was let in by a link."""
        address = urlsplit(link)
        assert address.port is not None
        browser = cls(address.port)
        got = browser.get(f"{address.path}?{address.query}")
        assert got.status == 200, got
        browser.take(got)
        return browser

    def take(self, got: Got) -> None:
        """Keeps the cookie and the key of an answer."""
        self.cookie = got.headers["set-cookie"].partition(";")[0]
        found = re.search(rb'name="holofs-key" content="([^"]+)"', got.body)
        assert found is not None
        self.key = found[1].decode()

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Got:
        return self._ask(method, path, None, headers or {})

    def post(self, path: str, data: Any = None, headers: Mapping[str, str] | None = None) -> Got:
        told = {"Content-Type": "application/json", "Origin": self.origin, "X-HoloFS-Key": self.key, **(headers or {})}
        body = data if isinstance(data, bytes) else json.dumps(data or {}).encode()
        return self._ask("POST", path, body, told)

    def call(self, method: str, **data: Any) -> Any:
        """A call of the daemon that succeeds."""
        got = self.post(f"/api/call/{method}", data)
        assert got.status == 200, got
        return got.json()

    def follow(self, least: int) -> list[tuple[str, Any]]:
        """The first messages of the live stream, at least so many."""
        connection, answer = self._begun("POST", "/api/follow", b"{}", self._own_headers())
        try:
            assert answer.status == 200
            found: list[tuple[str, Any]] = []
            kind = ""
            while len(found) < least:
                line = answer.readline().decode()
                assert line, f"the stream ended after {found}"
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    found.append((kind, json.loads(value)))
            return found
        finally:
            connection.close()

    def _own_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", "Origin": self.origin, "X-HoloFS-Key": self.key}

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Got:
        connection, answer = self._begun(method, path, body, headers)
        try:
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Got(answer.status, told, answer.read())
        finally:
            connection.close()

    def _begun(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        told = {**({"Cookie": self.cookie} if self.cookie else {}), **headers}
        connection.request(method, path, body, {name: value for name, value in told.items() if value})
        return connection, connection.getresponse()


def raw(port: int, request: bytes) -> bytes:
    """Sends these bytes; returns the answer, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)
