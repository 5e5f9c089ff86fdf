# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that every request has to pass before the window looks at it, and headers that every answer gets.

A page of the web that a person visits can send requests to 127.0.0.1, also under a name of its own that it makes lead
here (DNS rebinding). So the host must be ours, and what is asked by a page must be asked by ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types 'none'"
)
FILE_POLICY: Final = "sandbox; default-src 'none'; frame-ancestors 'none'"
"""For the content of files of a volume: no script, no form, no origin, whatever they contain."""
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_METHODS: Final = ("GET", "HEAD", "POST")
_OUR_NAMES: Final = ("127.0.0.1", "localhost")
_FROM_US: Final = ("same-origin", "none")


class RequestGuard:
    """Middleware around the whole window. `port`: the one that it listens on."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = tuple(f"{name}:{port}" for name in _OUR_NAMES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no page of ours asks for anything else
            return
        status = self._refusal(scope)
        app = self._app if status is None else PlainTextResponse(f"{status.phrase}.\n", status.value)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_missing(message)]}
            await send(message)

        await app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> HTTPStatus | None:
        hosts = [*_values(scope, b"host")]
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        if scope["method"] not in _METHODS:
            return HTTPStatus.METHOD_NOT_ALLOWED
        if not _is_asked_by_us(scope, hosts[0].lower()):
            return HTTPStatus.FORBIDDEN
        if any("prefetch" in value for name in (b"sec-purpose", b"purpose") for value in _values(scope, name)):
            return HTTPStatus.SERVICE_UNAVAILABLE  # a guess of the browser would use the link up
        return None


def _is_asked_by_us(scope: Scope, host: str) -> bool:
    origins = [*_values(scope, b"origin")]
    if any(origin.lower() != f"http://{host}" for origin in origins):
        return False
    if scope["method"] == "POST" and len(origins) != 1:
        return False
    if scope["path"] == "/":  # any page or program may lead a person here, but not into a frame
        modes = [*_values(scope, b"sec-fetch-mode"), *_values(scope, b"sec-fetch-dest")]
        return all(mode in ("navigate", "document") for mode in modes)
    return all(site in _FROM_US for site in _values(scope, b"sec-fetch-site"))


def _values(scope: Scope, name: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for key, value in scope["headers"] if key == name)


def _missing(message: Message) -> list[tuple[bytes, bytes]]:
    """Headers that the answer does not have; where it has another value, that counts."""
    present = {name.lower() for name, _ in message.get("headers", ())}
    wanted = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return [header for header in wanted if header[0] not in present]
