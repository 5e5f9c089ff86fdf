# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections to one device over which its content comes: the one of the sessions, and more where they help."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from holofsd.core.errors import Unreachable
from holofsd.net.api import CloseCode, Connection, Stream
from holofsd.sync.config import SyncConfig
from holofsd.sync.line_count import LineCount, Sample

log = structlog.get_logger(__name__)

ENOUGH: Final = 2 * 1024 * 1024
"""Bytes from which on a window tells how fast content comes: it is counted in frames. With less it lasts longer..."""
LONGEST: Final = 6
"""... up to so many times as long."""
FULL: Final = 0.75
"""So much of the time of all streams is in use where more might help."""

Dial = Callable[[], Awaitable[Connection]]
OpenStream = Callable[[int], Awaitable[Stream]]


class ContentConnections:
    """Connections for content beside `main`, which is the one of the sessions.

    `dial` opens one more connection and raises Unreachable; without it there are none. `received`: bytes that came from
    that device.
    """

    def __init__(
        self, main: Connection, config: SyncConfig, dial: Dial | None = None, received: Callable[[], int] = lambda: 0
    ) -> None:
        self._main, self._config, self._dial, self._received = main, config, dial, received
        self._count = LineCount()
        self._more: dict[int, Connection] = {}
        self._dialling: dict[int, asyncio.Lock] = {}
        self._uses: Counter[Connection] = Counter()
        """Streams that bring content, by connection."""
        self._opening = 0
        self._noted_at = self._time_in_use = 0.0
        self._window_began = 0.0
        self._before = 0
        """Bytes that had come when the window began."""
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: set[Callable[[], None]] = set()
        self.changes = 0
        """Goes up when streams belong on other connections than before."""

    @property
    def streams(self) -> int:
        """Streams that each volume has open, for what no program waits for."""
        return max(self._config.streams_per_peer, self._count.number)

    @property
    def more(self) -> int:
        """Connections that are open beside the one of the sessions."""
        return sum(1 for connection in self._more.values() if not connection.closed)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener when `streams` or `changes` changes. Returns a function that ends this."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def open_stream(self, number: int) -> Stream:
        """Opens a stream on the connection of that number; negative: on that of the sessions. Raises ConnectionLost."""
        return await (await self._connection(number)).open_stream()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """A stream is being opened, until the other device has welcomed it: nothing comes, and that is no rest."""
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    @contextmanager
    def in_use(self, connection: Connection) -> Iterator[None]:
        """A stream on that connection brings content, as long as this is entered: it is not closed meanwhile."""
        self._note()
        self._uses[connection] += 1
        self._watch()
        try:
            yield
        finally:
            self._note()
            self._uses[connection] -= 1
            self._close_if_done(connection)

    def failed(self, connection: Connection) -> None:
        """Gives more connections up for a while, because one of them was of no use."""
        if connection is not self._main and self._count.number:
            self._give_up()

    def close(self) -> None:
        """Closes all but the connection of the sessions. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._dial = None
        for connection in [*self._more.values(), *self._uses]:
            if connection is not self._main:
                connection.close(CloseCode.NORMAL)
        self._more.clear()

    # ---- connections
    async def _connection(self, number: int) -> Connection:
        if not 0 <= number < self._count.number or self._dial is None:
            return self._main
        async with self._dialling.setdefault(number, asyncio.Lock()):
            known = self._more.get(number)
            if known is not None and not known.closed:
                return known
            changes = self.changes
            try:
                made = await self._dial()
            except Unreachable as error:
                log.debug("no more connections for content", peer=self._main.peer.hex()[:8], why=error.message)
                if changes == self.changes:
                    self._give_up()
                return self._main
            if number >= self._count.number or self._dial is None:  # not wanted any more
                made.close(CloseCode.NORMAL)
                return self._main
            self._more[number] = made
            return made

    def _close_if_done(self, connection: Connection) -> None:
        if self._uses[connection] == 0:
            del self._uses[connection]
            if connection is not self._main and connection not in self._more.values():
                connection.close(CloseCode.NORMAL)

    def _give_up(self) -> None:
        self._count.refused(asyncio.get_running_loop().time())
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        for number in [number for number in self._more if number >= self._count.number]:
            self._close_if_done(self._more.pop(number))
        for listener in list(self._listeners):
            listener()

    # ---- what comes
    def _note(self) -> None:
        now = asyncio.get_running_loop().time()
        self._time_in_use += self._uses.total() * (now - self._noted_at)
        self._noted_at = now

    def _watch(self) -> None:
        if self._timer is None and self._dial is not None:
            self._begin_window(asyncio.get_running_loop().time())

    def _begin_window(self, now: float) -> None:
        self._window_began, self._before, self._time_in_use = now, self._received(), 0.0
        is_over = self._count.number > 0 and not self._uses
        pause = self._config.content_rest if is_over else self._config.content_window
        self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _look(self) -> None:
        self._timer = None
        self._note()
        now, window = asyncio.get_running_loop().time(), self._config.content_window
        before, passed = self._count.number, max(now - self._window_began, 0.001)
        if self._uses and self._received() - self._before < ENOUGH and passed < (LONGEST - 0.5) * window:
            self._timer = asyncio.get_running_loop().call_later(window, self._look)
            return
        if self._time_in_use == 0.0 and not self._uses and not self._opening:
            self._count.rest()
        else:
            is_full = self._time_in_use >= FULL * passed * self.streams
            rate = (self._received() - self._before) / passed
            self._count.sampled(Sample(now, rate, is_full, self._round_trip()))
        if self._count.number != before:
            log.debug("connections for content", peer=self._main.peer.hex()[:8], number=self._count.number)
            self._changed()
        if self._uses or self._count.number:
            self._begin_window(now)

    def _round_trip(self) -> float | None:
        known = [connection.round_trip for connection in (self._main, *self._more.values()) if not connection.closed]
        return min((found for found in known if found is not None), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Supplier:
    """A device in session that can be asked for content of one volume. `open_stream` opens a content stream of that
    number and says hello on it; it raises ConnectionLost and ProtocolViolation."""

    connections: ContentConnections
    open_stream: OpenStream
