# SPDX-License-Identifier: GPL-3.0-or-later
"""Common part of all implementations of `api.Connection`: framing, signs of life, and an end that is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from holofsd.core.allowance import Allowance
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import DeviceId
from holofsd.core.text import one_line
from holofsd.net.api import CloseCode, CloseReason, NetConfig
from holofsd.net.framing import FramedStream, RawStream
from holofsd.net.keep import ResumableCall, TaskSet
from holofsd.net.pulse import Pulse
from holofsd.net.traffic import Traffic

MAX_REASON = 200
DATAGRAMS_A_SECOND = 50
"""Beyond, after a burst, they are left lying; QUIC drops the oldest."""
DATAGRAMS_AT_ONCE = 200


class RawConnection(Protocol):
    """A connection without frames. Its coroutines raise ConnectionLost when it is gone."""

    async def open_raw(self) -> RawStream: ...
    async def accept_raw(self) -> RawStream: ...
    def send_datagram(self, data: bytes) -> None:
        """Never raises, never waits: a datagram may be lost."""

    async def read_datagram(self) -> bytes: ...
    def close_raw(self, code: int, reason: str) -> None: ...
    async def closed_raw(self) -> CloseReason:
        """Returns how the connection ended; never raises."""

    def remote_address(self) -> str: ...
    def round_trip(self) -> float | None:
        """Returns seconds, as of `api.Connection`."""


class FramedConnection:
    """Implements `api.Connection` over a raw one. `ended` is called once, when it is closed by whomever."""

    def __init__(
        self,
        raw: RawConnection,
        peer: DeviceId,
        alpn: bytes,
        dialled: bool,
        config: NetConfig,
        ended: Callable[[FramedConnection], None],
    ) -> None:
        self._raw = raw
        self._peer = peer
        self._alpn = alpn
        self._dialled = dialled
        self._max_frame = config.max_frame
        self.traffic = Traffic()
        """Counts what streams carry; an endpoint has one for each device."""
        self._on_end = ended
        self._end: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        self._streams = TaskSet()
        self._tasks = TaskSet()
        self._accepting = ResumableCall(raw.accept_raw, self._streams)
        self._pulse = Pulse(raw.send_datagram, self._silent, config.beat_interval, config.dead_after)
        self._tasks.spawn(self._watch())
        self._tasks.spawn(self._listen())
        self._tasks.spawn(self._pulse.run())

    @property
    def peer(self) -> DeviceId:
        return self._peer

    @property
    def alpn(self) -> bytes:
        return self._alpn

    @property
    def dialled(self) -> bool:
        return self._dialled

    @property
    def remote_address(self) -> str:
        return "" if self.closed else self._raw.remote_address()

    @property
    def round_trip(self) -> float | None:
        return None if self.closed else self._raw.round_trip()

    @property
    def closed(self) -> bool:
        return self._end.done()

    async def open_stream(self) -> FramedStream:
        self._check_open()
        opening = self._streams.spawn(self._raw.open_raw())
        try:
            await asyncio.wait((opening,))
        except asyncio.CancelledError:
            opening.cancel()
            raise
        if opening.cancelled():
            raise self._lost()
        return self._framed(opening.result())

    async def accept_stream(self) -> FramedStream:
        self._check_open()
        try:
            return self._framed(await self._accepting.next())
        except ConnectionLost:
            if self.closed:
                raise self._lost() from None
            raise

    async def ping(self, timeout: float) -> float | None:
        return None if self.closed else await self._pulse.ping(timeout)

    def close(self, code: int, reason: str = "") -> None:
        if self.closed:
            return
        reason = reason[:MAX_REASON]
        self._raw.close_raw(max(code, 0), reason)
        self._finish(CloseReason(code, reason))

    async def wait_closed(self) -> CloseReason:
        return await asyncio.shield(self._end)

    async def all_ended(self) -> None:
        """Returns when the connection is closed and none of its tasks is left; for the endpoint that owns it."""
        await self.wait_closed()
        await self._tasks.all_ended()
        await self._streams.all_ended()

    def _framed(self, raw: RawStream) -> FramedStream:
        return FramedStream(self, raw, self._max_frame, self._streams, self._pulse.heard, self.traffic)

    async def _watch(self) -> None:
        end = await self._raw.closed_raw()
        # What the other side says is shown to people and logged.
        self._finish(replace(end, reason=one_line(end.reason, MAX_REASON)))

    async def _listen(self) -> None:
        allowance, clock = Allowance(DATAGRAMS_A_SECOND, DATAGRAMS_AT_ONCE), asyncio.get_running_loop().time
        while True:
            self._pulse.received(await self._raw.read_datagram())
            if (wait := allowance.take(1, clock())) > 0:
                await asyncio.sleep(wait)

    def _silent(self) -> None:
        self._raw.close_raw(CloseCode.SILENT, "nothing was heard")
        self._finish(CloseReason(CloseCode.LOST, "the other side fell silent"))

    def _finish(self, reason: CloseReason) -> None:
        if self.closed:
            return
        self._end.set_result(reason)
        # What streams have under way ends by itself, with the error of the connection.
        self._tasks.cancel()
        self._on_end(self)

    def _check_open(self) -> None:
        if self.closed:
            raise self._lost()

    def _lost(self) -> ConnectionLost:
        end = self._end.result() if self.closed else CloseReason(CloseCode.LOST)
        whose = "The other side closed the connection" if end.by_peer else "The connection is closed"
        return ConnectionLost(f"{whose} (code {end.code}{': ' + end.reason if end.reason else ''}).")
