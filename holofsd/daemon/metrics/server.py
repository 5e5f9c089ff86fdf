# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP on the loopback addresses, for Prometheus alone: one page, which any user of this machine may read.

It runs on a loop of its own, in a thread. Scrapers that are slow, many or hostile cost the daemon a bounded part of its
time: connections are few, paced and short, and the page is made anew only after `REST` times what making it took. A
blocked daemon is still told of: the page then has what the watch over its loop knows.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import io
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import Final

import structlog

from holofsd.core.allowance import Allowance
from holofsd.core.errors import HoloError
from holofsd.daemon.loop_watch import LoopLag
from holofsd.daemon.metrics.exposition import CONTENT_TYPE, Exposition
from holofsd.daemon.metrics.place import MetricsPlace
from holofsd.daemon.metrics.snapshot import Snapshot, Take
from holofsd.sync.tasks import Tasks

_log = structlog.get_logger(__name__)

PATH: Final = "/metrics"
ADDRESSES: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
MOST_CONNECTIONS: Final = 8
A_SECOND: Final = 10.0
AT_ONCE: Final = 20.0
"""Connections that are accepted; others wait in the kernel's queue."""
DEADLINE_S: Final = 8.0
"""From the acceptance of a connection to its end. Prometheus gives up after 10 s."""
MOST_REQUEST: Final = 8 << 10
SNAPSHOT_S: Final = 3.0
FRESH_S: Final = 1.0
REST: Final = 20.0
_TRIES: Final = 20
_OUR_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class MetricsPage:
    """The text that is served, made of a snapshot that the daemon's loop takes. Belongs to the loop of the server."""

    def __init__(self, take: Take, loop: asyncio.AbstractEventLoop, lag: Callable[[], LoopLag | None]) -> None:
        """`loop`: the daemon's."""
        self._take = take
        self._loop = loop
        self._lag = lag
        self._exposition = Exposition()
        self._making = asyncio.Lock()
        self._text = b""
        self._good_until = 0.0
        self._is_failing = False

    async def text(self) -> bytes:
        async with self._making:
            if time.monotonic() >= self._good_until:
                snapshot = await self._snapshot()
                began = time.monotonic()
                self._text = self._exposition.text(snapshot, self._lag())
                now = time.monotonic()
                cost = now - began + (snapshot.seconds if snapshot else 0.0)
                self._good_until = now + max(FRESH_S, REST * cost)
            return self._text

    async def _snapshot(self) -> Snapshot | None:
        future = asyncio.run_coroutine_threadsafe(_taken(self._take), self._loop)
        try:
            async with asyncio.timeout(SNAPSHOT_S):
                found = await asyncio.wrap_future(future)
        except TimeoutError:
            self._failed("the loop did not answer in time")
            return None
        except (HoloError, OSError, sqlite3.Error) as error:
            self._failed(str(error))
            return None
        self._is_failing = False
        return found

    def _failed(self, why: str) -> None:
        if not self._is_failing:
            _log.warning("metrics are served without figures", why=why)
        self._is_failing = True


async def _taken(take: Take) -> Snapshot:
    return await take()


class MetricsServer:
    """The thread with the sockets."""

    def __init__(self, sockets: Sequence[socket.socket], page: MetricsPage) -> None:
        """Raises OSError if no descriptor is left for its loop."""
        self._sockets = sockets
        self._page = page
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._free = asyncio.Semaphore(MOST_CONNECTIONS)
        self._pace = Allowance(A_SECOND, AT_ONCE)
        self._tasks = Tasks("metrics")
        self._thread = threading.Thread(target=self._run, name="holofs-metrics", daemon=True)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Returns when the thread has ended, which takes no longer than a turn of its loop."""
        self._thread.start()
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        with closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        for listening in self._sockets:
            self._tasks.spawn(self._accept(listening), "accepting")
        await self._stop.wait()
        await self._tasks.close()
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            await self._free.acquire()
            try:
                connection, _ = await self._loop.sock_accept(listening)
            except OSError:  # gone already, or no descriptor is left
                self._free.release()
                await asyncio.sleep(1 / A_SECOND)
                continue
            self._tasks.spawn(self._converse(connection), "a scrape")
            await asyncio.sleep(self._pace.take(1, self._loop.time()))

    async def _converse(self, connection: socket.socket) -> None:
        """One request and its answer, within the deadline."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                reader, writer = await asyncio.open_connection(sock=connection, limit=MOST_REQUEST)
                try:
                    writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                    writer.close()
                    await writer.wait_closed()
                finally:
                    writer.transport.abort()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the other side is slow, gone, or no scraper
        finally:
            connection.close()
            self._free.release()

    async def _answer(self, request: bytes) -> bytes:
        asked, status = _understood(request)
        body = await self._page.text() if status == HTTPStatus.OK else f"{status.phrase}.\n".encode()
        headers = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {CONTENT_TYPE}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        )
        return "\r\n".join((*headers, "", "")).encode() + (b"" if asked == "HEAD" else body)


def _understood(request: bytes) -> tuple[str, HTTPStatus]:
    """The method, and what to answer."""
    line, _, rest = request.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    try:
        hosts = http.client.parse_headers(io.BytesIO(rest)).get_all("Host", [])
    except http.client.HTTPException:
        return "", HTTPStatus.BAD_REQUEST
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(hosts) > 1:
        return "", HTTPStatus.BAD_REQUEST
    if hosts and not is_ours(hosts[0]):
        return words[0], HTTPStatus.MISDIRECTED_REQUEST
    if words[0] not in ("GET", "HEAD"):
        return words[0], HTTPStatus.METHOD_NOT_ALLOWED
    return words[0], HTTPStatus.OK if words[1].partition("?")[0] == PATH else HTTPStatus.NOT_FOUND


def is_ours(host: str) -> bool:
    """Whether a request means this machine. A page in a browser can make a name of its own lead here (DNS rebinding),
    and would then read the answer."""
    name, colon, port = host.strip().lower().rpartition(":")
    if colon and port.isdigit():
        return name in _OUR_NAMES
    return host.strip().lower() in _OUR_NAMES


@contextmanager
def serving_metrics(port: int, page: MetricsPage) -> Iterator[MetricsPlace]:
    """Serves while it is entered. A port that is taken is told, and keeps no daemon from its work: any user of the
    machine can take one."""
    try:
        sockets = listen(port)
        server = MetricsServer(sockets, page)
    except OSError as error:
        told = f"Port {port} cannot be used ({error.strerror or error}), so metrics are not served."
        _log.error("metrics are not served", port=port, why=error.strerror or str(error))
        yield MetricsPlace(0, f"{told} Choose another one by the setting metrics.port, then restart the daemon.")
        return
    bound = sockets[0].getsockname()[1]
    with server.serving():
        _log.info("metrics are served", port=bound, addresses=[one.getsockname()[0] for one in sockets])
        yield MetricsPlace(bound)


def listen(port: int) -> list[socket.socket]:
    """Sockets on 127.0.0.1 and, where there is IPv6, ::1, with the same port; 0: any that is free on both.

    Raises OSError.
    """
    for left in reversed(range(_TRIES if port == 0 else 1)):
        first = _listening(*ADDRESSES[0], port)
        try:
            return [first, _listening(*ADDRESSES[1], first.getsockname()[1])]
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return [first]
            first.close()
            if not left:
                raise
    raise AssertionError("unreachable")


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen(MOST_CONNECTIONS)
    except OSError:
        made.close()
        raise
    return made
