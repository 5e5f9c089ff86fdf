# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server: uvicorn on one socket of 127.0.0.1, with bounds on what a connection may cost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from holofs_window.content import BrokenOff

ADDRESS: Final = "127.0.0.1"
REQUEST_S: Final = 10.0
"""From the beginning of a connection, or the first byte after an answer, to the end of the head of the next request."""
_KEEP_ALIVE_S: Final = 15
_MOST_CONNECTIONS: Final = 64
_MOST_HEAD: Final = 16 << 10
_BACKLOG: Final = 64
_END_S: Final = 1


class BoundedProtocol(H11Protocol):
    """Connection of a browser. uvicorn bounds the time of silence between two requests, and neither the time before
    the first nor that of a request that has begun."""

    _waits_after: Any = None
    """The request after which another one has begun."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S, self._require_request, None)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered: Any = self.cycle
        if answered is not None and answered.response_complete and answered is not self._waits_after:
            self._waits_after = answered
            self.loop.call_later(REQUEST_S, self._require_request, answered)

    def _require_request(self, last: Any) -> None:
        """Closes the connection where no request came after `last`; None: no request at all."""
        if self.cycle is last:
            self.transport.close()


class WindowServer(uvicorn.Server):
    """The server of one window. The process handles its signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: ASGIApp) -> WindowServer:
    """A server for this application; `serve` it with the socket of `listening`."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_MOST_HEAD,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_END_S,
    )
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(logging.ERROR)  # warnings are about what strangers send: they could fill the disk with lines
    logger.addFilter(_is_worth_a_line)
    return WindowServer(config)


def listening(port: int) -> socket.socket:
    """The socket of the window; port 0: any that is free. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ADDRESS, port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """A download that broke off is no failure of the window."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup((BrokenOff, asyncio.CancelledError)) is None
    return not isinstance(error, BrokenOff | asyncio.CancelledError)
