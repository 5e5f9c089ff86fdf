# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of the fake network: a wire between two devices, its two ends, and streams as pairs of one-way pipes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import DeviceId
from holofsd.net.api import CloseCode, CloseReason
from holofsd.net.fake_weather import Medium

WINDOW: Final = 1_250_000
"""Unread bytes at which a writer blocks: what Iroh does, measured."""
LEAST_CUT: Final = 2


class Wire:
    """One connection as the network sees it; deliveries wait while it is blocked."""

    def __init__(self, network: Medium, ends: tuple[DeviceId, DeviceId], gone: Callable[[Wire], None]) -> None:
        self.network = network
        self.ends = ends
        self._gone = gone
        self._held: list[Callable[[], None]] | None = None
        self._raws: list[FakeRawConnection] = []
        self._over = False

    def raw(self, own: DeviceId, remote_address: str) -> FakeRawConnection:
        raw = FakeRawConnection(self, remote_address)
        self._raws.append(raw)
        if len(self._raws) == 2:
            self._raws[0].other, self._raws[1].other = self._raws[1], self._raws[0]
        return raw

    def deliver(self, action: Callable[[], None]) -> None:
        """Runs `action` at the other end after some time; not at all if the connection is lost meanwhile."""
        delay = self.network.travel()
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._arrive, action)
        else:
            self._arrive(action)

    def _arrive(self, action: Callable[[], None]) -> None:
        if self._held is not None:
            self._held.append(action)
        elif not self._over:
            action()

    def block(self) -> None:
        if self._held is None:
            self._held = []

    def unblock(self) -> None:
        held, self._held = self._held or [], None
        for action in held:
            self._arrive(action)

    def lose(self) -> None:
        """Both ends learn that the connection is gone; what is on its way never arrives."""
        for raw in self._raws:
            raw.end(CloseReason(CloseCode.LOST, "the network lost the connection"))
        self.over()

    def over(self) -> None:
        if not self._over:
            self._over = True
            self._gone(self)


class Pipe:
    """One direction of a stream. What is written arrives in order, whatever the delays of its pieces.

    It breaks for its reader and for its writer apart, since news of the end takes time as well, or never comes.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._on_way: deque[bytes | None] = deque()
        self._arrived = bytearray()
        self._unread = 0
        self._ended = False
        self._no_reading: str | None = None
        self._no_writing: str | None = None
        self._changed = asyncio.Event()

    async def read(self, most: int) -> bytes:
        while self._no_reading is None and not self._arrived and not self._ended:
            await self._wait()
        if self._no_reading is not None:
            raise ConnectionLost(self._no_reading)
        chunk = bytes(self._arrived[:most])
        del self._arrived[:most]
        self._unread -= len(chunk)
        self._changed.set()
        return chunk

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), WINDOW):
            part = data[start : start + WINDOW]
            while self._no_writing is None and self._unread > 0 and self._unread + len(part) > WINDOW:
                await self._wait()
            self._check_writing()
            self._unread += len(part)
            self._cut_and_send(part)

    def finish(self) -> None:
        self._check_writing()
        self._send(None)

    def stop_reading(self, why: str) -> None:
        self._no_reading = self._no_reading or why
        self._changed.set()

    def stop_writing(self, why: str) -> None:
        self._no_writing = self._no_writing or why
        self._changed.set()

    def _cut_and_send(self, data: bytes) -> None:
        network = self._wire.network
        if len(data) >= LEAST_CUT and network.chance(network.weather.cut):
            at = network.random.randrange(1, len(data))
            self._cut_and_send(data[:at])
            self._cut_and_send(data[at:])
        elif network.chance(network.weather.loss_of_connection):
            self._wire.lose()
        else:
            self._send(data)

    def _send(self, item: bytes | None) -> None:
        # Each delivery brings the oldest piece on its way: times may be shuffled, the order is not.
        self._on_way.append(item)
        self._wire.deliver(self._arrive)

    def _arrive(self) -> None:
        item = self._on_way.popleft()
        if item is None:
            self._ended = True
        else:
            self._arrived += item
        self._changed.set()

    def _check_writing(self) -> None:
        if self._no_writing is not None:
            raise ConnectionLost(self._no_writing)

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class FakeRawStream:
    """One end of a stream."""

    def __init__(self, incoming: Pipe, outgoing: Pipe, wire: Wire) -> None:
        self.other: FakeRawStream
        self.announce: Callable[[], None] | None = None
        self._incoming = incoming
        self._outgoing = outgoing
        self._wire = wire

    async def read(self, most: int) -> bytes:
        return await self._incoming.read(most)

    async def write_all(self, data: bytes) -> None:
        self._show()
        await self._outgoing.write(data)

    async def finish(self) -> None:
        self._show()
        self._outgoing.finish()

    async def reset(self, code: int) -> None:
        self._show()
        self.break_off("the stream was aborted here")
        self._wire.deliver(lambda: self.other.break_off(f"the other side aborted the stream (code {code})"))

    def break_off(self, why: str) -> None:
        self._incoming.stop_reading(why)
        self._outgoing.stop_writing(why)

    def _show(self) -> None:
        """Shows the stream to the other side. As with QUIC, that learns of a stream by the first thing sent on it."""
        announce, self.announce = self.announce, None
        if announce is not None:
            self._wire.deliver(announce)


class FakeRawConnection:
    """Implements RawConnection over one end of a wire."""

    def __init__(self, wire: Wire, remote_address: str) -> None:
        self.other: FakeRawConnection
        self._wire = wire
        self._address = remote_address
        self._streams: list[FakeRawStream] = []
        self._opened: asyncio.Queue[FakeRawStream | None] = asyncio.Queue()
        self._datagrams: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._end: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        self._dead = False

    def round_trip(self) -> float | None:
        return sum(self._wire.network.weather.delay)  # two ways of the mean delay

    def remote_address(self) -> str:
        return self._address

    async def open_raw(self) -> FakeRawStream:
        self._check()
        there, back = Pipe(self._wire), Pipe(self._wire)
        mine, theirs = FakeRawStream(back, there, self._wire), FakeRawStream(there, back, self._wire)
        mine.other, theirs.other = theirs, mine
        mine.announce = lambda: self.other._opened.put_nowait(theirs)
        self._streams.append(mine)
        self.other._streams.append(theirs)
        return mine

    async def accept_raw(self) -> FakeRawStream:
        stream = await self._opened.get()
        if stream is None:
            self._opened.put_nowait(None)
            raise ConnectionLost("The connection is closed.")
        return stream

    def send_datagram(self, data: bytes) -> None:
        if not self._end.done() and not self._dead:
            self._wire.deliver(lambda: self.other._hear(data))

    async def read_datagram(self) -> bytes:
        datagram = await self._datagrams.get()
        if datagram is None:
            raise ConnectionLost("The connection is closed.")
        return datagram

    def close_raw(self, code: int, reason: str) -> None:
        if not self._dead:
            # Like QUIC's, our close overtakes data and may truncate it.
            self._wire.deliver(lambda: self.other._closed_by_peer(CloseReason(code, reason, by_peer=True)))
        self.end(CloseReason(code, reason))

    async def closed_raw(self) -> CloseReason:
        return await asyncio.shield(self._end)

    def end(self, reason: CloseReason) -> None:
        if self._end.done():
            return
        self._end.set_result(reason)
        self._opened.put_nowait(None)
        self._datagrams.put_nowait(None)
        for stream in self._streams:
            stream.break_off("The connection is closed.")

    def die(self, notice: bool) -> None:
        """This end's process is gone."""
        self._dead = True
        self.end(CloseReason(CloseCode.LOST, "killed"))
        if notice:
            self._wire.lose()

    def _hear(self, data: bytes) -> None:
        if not self._end.done():
            self._datagrams.put_nowait(data)

    def _closed_by_peer(self, reason: CloseReason) -> None:
        self.end(reason)
        self._wire.over()

    def _check(self) -> None:
        if self._end.done():
            raise ConnectionLost("The connection is closed.")
