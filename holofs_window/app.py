# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of the window: the page, and what the page asks for.

`/` and `/page/...` are the same for everybody, and hold nothing of the device. Everything else needs a session: its
cookie and, in a header, its key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from holofs_api.paths import WINDOW_PAGE
from holofs_window import calls, content, settings_page, sharing
from holofs_window.control_client import CallFailed, ControlClient
from holofs_window.guard import RequestGuard
from holofs_window.live import Live
from holofs_window.page_files import page_files
from holofs_window.sessions import MOST_STREAMS, BrowserSession, Sessions

MOST_BODY: Final = 64 << 10
_BODY_S: Final = 10.0
KEY_HEADER: Final = "x-holofs-key"
_KEY_PLACE: Final = b"@KEY@"
_UNAUTHORIZED: Final = 401


class AsciiJson(JSONResponse):
    """JSON in ASCII alone: names of files may hold surrogates, for bytes that are no text."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


Answer = Callable[["WindowApp", BrowserSession, dict[str, Any]], Awaitable[Response]]


class WindowApp:
    """The window of one device, on one port."""

    def __init__(self, state: Path, port: int, sessions: Sessions, daemon: ControlClient) -> None:
        self._state = state
        self._sessions = sessions
        self._daemon = daemon
        self._cookie = f"holofs-{port}"
        self._files = page_files()
        self.live = Live(daemon)
        routes = [
            Route("/", self._page, methods=["GET"]),
            Route("/page/{name}", self._file, methods=["GET"]),
            Route("/content/{secret}", self._content, methods=["GET"]),
            Route("/api/call/{method}", self._call, methods=["POST"]),
            *(Route(f"/api/{name}", self._asked(answer), methods=["POST"]) for name, answer in _ANSWERS.items()),
        ]
        inner = Starlette(routes=routes, exception_handlers={CallFailed: _failed, HTTPException: _refused})
        inner.router.redirect_slashes = False
        self.asgi: ASGIApp = RequestGuard(inner, port)

    # ---- the page
    async def _page(self, request: Request) -> Response:
        """The page, with the key of a session where a link begins one."""
        secret, cookie = request.query_params.get("link"), request.cookies.get(self._cookie, "")
        made = self._sessions.redeem(secret, cookie) if secret is not None and request.method == "GET" else None
        is_in = made is not None or self._sessions.of_cookie(cookie) is not None
        page, type = self._files["index.html"]
        body = page.replace(_KEY_PLACE, made.key.encode() if made is not None else b"")
        response = Response(body, 200 if is_in else _UNAUTHORIZED, media_type=type)
        if made is not None:
            with suppress(OSError):
                (self._state / WINDOW_PAGE).unlink()  # it leads to a link that is used
        if made is not None and made.cookie:
            response.set_cookie(self._cookie, made.cookie, path="/", httponly=True, samesite="strict")
        return response

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == "index.html" or name not in self._files:
            raise HTTPException(404)
        body, type = self._files[name]
        return Response(body, media_type=type)

    # ---- what the page asks for
    async def _call(self, request: Request) -> Response:
        self._session(request)
        data = await _json(request)
        try:
            return AsciiJson(await calls.run(self._daemon, request.path_params["method"], data))
        except calls.NoSuchCall:
            raise HTTPException(404) from None

    def _asked(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            session = self._session(request)
            return await answer(self, session, await _json(request))

        return endpoint

    def _session(self, request: Request) -> BrowserSession:
        cookie, key = request.cookies.get(self._cookie, ""), request.headers.get(KEY_HEADER, "")
        session = self._sessions.find(cookie, key)
        if session is None:
            raise HTTPException(_UNAUTHORIZED)
        return session

    async def share(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        return AsciiJson(await sharing.share(self._daemon, data))

    async def settings(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        return AsciiJson(await settings_page.listed(self._daemon))

    async def change_setting(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        value = data.get("value")
        await settings_page.change(self._state, _text(data, "key"), None if value is None else _text(data, "value"))
        return AsciiJson(await settings_page.listed(self._daemon))

    async def preview(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        found = content.pieces(self._daemon, _text(data, "volume"), _path(data), _text(data, "id", ""))
        return (await content.preview(found)).response()

    async def offer(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        """An address from which a file can be saved, once."""
        secret = self._sessions.offer(session, _text(data, "volume"), _path(data))
        return AsciiJson({"address": f"/content/{secret}"})

    async def follow(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        if session.streams >= MOST_STREAMS:
            raise CallFailed("too-many-pages", "The window is open in too many pages: close one of them.")
        return StreamingResponse(self._following(session), media_type="text/event-stream")

    async def _following(self, session: BrowserSession) -> AsyncIterator[bytes]:
        session.streams += 1
        try:
            async with aclosing(self.live.listen()) as messages:  # type: ignore[type-var]
                async for message in messages:
                    if self._sessions.is_over(session):
                        return
                    yield message
        finally:
            session.streams -= 1

    async def end(self, session: BrowserSession, data: dict[str, Any]) -> Response:
        self._sessions.end(session)
        response = AsciiJson({})
        response.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict")
        return response

    async def _content(self, request: Request) -> Response:
        session = self._sessions.of_cookie(request.cookies.get(self._cookie, ""))
        if session is None or request.method != "GET":
            raise HTTPException(_UNAUTHORIZED)
        wanted = self._sessions.take(session, request.path_params["secret"])
        if wanted is None:
            raise HTTPException(404)
        return await content.download(self._daemon, wanted)


_ANSWERS: Final[Mapping[str, Answer]] = {
    "share": WindowApp.share,
    "settings": WindowApp.settings,
    "set": WindowApp.change_setting,
    "preview": WindowApp.preview,
    "offer": WindowApp.offer,
    "follow": WindowApp.follow,
    "end": WindowApp.end,
}


# ---- requests
async def _json(request: Request) -> dict[str, Any]:
    """The object in the body of a request. Raises HTTPException."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415)
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BODY:
                    raise HTTPException(413)
        data = json.loads(body or b"{}")
    except TimeoutError:
        raise HTTPException(408) from None
    except (ValueError, RecursionError):
        raise HTTPException(400) from None
    if not isinstance(data, dict):
        raise HTTPException(400)
    return data


def _text(data: Mapping[str, Any], name: str, default: str | None = None) -> str:
    found = data.get(name, default)
    _bytes(found, "strict")
    return str(found)


def _path(data: Mapping[str, Any]) -> bytes:
    return _bytes(data.get("path"), "surrogateescape")


def _bytes(value: object, errors: str) -> bytes:
    """A string of the page as UTF-8. JSON can also spell halves of characters, which are no text. Raises
    HTTPException."""
    if not isinstance(value, str):
        raise HTTPException(400)
    try:
        return value.encode("utf-8", errors)
    except UnicodeEncodeError:
        raise HTTPException(400) from None


# ---- errors
async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, CallFailed)
    return AsciiJson({"error": {"code": error.code, "message": error.message}}, 409)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {_UNAUTHORIZED: "This page needs a new link: run `holofsctl ui` again."}
    message = told.get(error.status_code, "The window does not answer such a request.")
    return AsciiJson({"error": {"code": f"http-{error.status_code}", "message": message}}, error.status_code)
