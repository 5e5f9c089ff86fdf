# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs of life on a connection: both sides send a beat every few seconds, and silence closes the connection.

Beats travel as datagrams, so they need no stream and never wait behind one. A process that hangs sends none, which
QUIC's own keep-alive would not notice. A datagram is one byte of kind and, but for beats, eight bytes of number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

BEAT: Final = b"\0"
PING: Final = b"\1"
PONG: Final = b"\2"


class Pulse:
    def __init__(
        self, send: Callable[[bytes], None], silent: Callable[[], None], beat_interval: float, dead_after: float
    ) -> None:
        """`send` sends a datagram and never raises; `silent` is called once when nothing was heard for `dead_after`."""
        self._send = send
        self._silent = silent
        self._interval = beat_interval
        self._dead_after = dead_after
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._next_ping = 0

    def heard(self) -> None:
        self._last = self._loop.time()

    def received(self, datagram: bytes) -> None:
        self.heard()
        kind, number = datagram[:1], datagram[1:9]
        if kind == PING:
            self._send(PONG + number)
        elif kind == PONG and (waiting := self._pings.get(number)) is not None and not waiting.done():
            waiting.set_result(None)

    async def ping(self, timeout: float) -> float | None:
        """Seconds until the answer, None after `timeout`; asked twice, since a datagram may be lost."""
        self._next_ping += 1
        number = self._next_ping.to_bytes(8, "big")
        answer = self._pings[number] = self._loop.create_future()
        start = self._loop.time()
        try:
            for _ in range(2):
                self._send(PING + number)
                await asyncio.wait((answer,), timeout=timeout / 2)
                if answer.done():
                    return self._loop.time() - start
            return None
        finally:
            del self._pings[number]

    async def run(self) -> None:
        while True:
            self._send(BEAT)
            before = self._loop.time()
            await asyncio.sleep(self._interval)
            late = self._loop.time() - before - self._interval
            if late > self._interval / 2:
                # This process was suspended or busy: what the other side sent meanwhile is not read yet.
                self._last += late
            if self._loop.time() - self._last > self._dead_after:
                self._silent()
                return
