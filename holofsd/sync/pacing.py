# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of what this device sends and fetches, shared by all its connections, and waiting for a turn under them.

Streams of content and of records wait here before they send a piece, and after they have received one: what is not read
holds the other side back, by QUIC. Signs of life and small messages are counted and wait for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from holofsd.core.pacing import PIECE_S, PacedTurn, Pacer, TrafficLane, piece
from holofsd.net.addresses import is_near
from holofsd.net.api import Stream

SMALL: Final = 1024
"""Bytes of a message that waits for nothing."""
_FORGET_S: Final = 30.0
"""Seconds for which is remembered whether an address is in the local network."""


class _Timer(Protocol):
    def cancel(self) -> None: ...


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _call_later(seconds: float, callback: Callable[[], None]) -> _Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


class Pace:
    """Limit of one direction. `rate` is in bytes a second; None: there is no limit, and `turn` returns at once.

    `clock` and `call_later` are the loop's; tests have their own.
    """

    def __init__(
        self,
        clock: Callable[[], float] = _loop_time,
        call_later: Callable[[float, Callable[[], None]], _Timer] = _call_later,
    ) -> None:
        self.rate: int | None = None
        self._clock = clock
        self._call_later = call_later
        self._pacer: Pacer | None = None
        self._waiting: dict[PacedTurn, asyncio.Future[None]] = {}
        self._timer: _Timer | None = None

    def set(self, rate: int | None) -> None:
        """Changes the limit. What waits goes on waiting, under the new one."""
        if rate == self.rate:
            return
        self.rate = rate
        self._pacer = Pacer(rate) if rate is not None else None
        for turn, waiting in list(self._waiting.items()):
            if self._pacer is not None:
                self._pacer.ask(turn)
            elif not waiting.done():
                waiting.set_result(None)
        self._grant()

    def piece(self, most: int, seconds: float = PIECE_S) -> int:
        """Size in which data is sent or asked for, of at most so much: less under a low limit."""
        return most if self.rate is None else piece(self.rate, most, seconds)

    async def turn(self, size: int, lane: TrafficLane) -> None:
        """Returns when so many bytes may go. A cancelled wait takes nothing."""
        if self._pacer is None:
            return
        if size <= SMALL:
            self._pacer.charge(size, self._clock())
            return
        turn, waiting = PacedTurn(size, lane), asyncio.get_running_loop().create_future()
        self._waiting[turn] = waiting
        self._pacer.ask(turn)
        self._grant()
        try:
            await waiting
        finally:
            self._waiting.pop(turn, None)
            if self._pacer is not None:
                self._pacer.forget(turn)

    def _grant(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pacer is None:
            return
        now = self._clock()
        for turn in self._pacer.granted(now):
            waiting = self._waiting.pop(turn, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        wait = self._pacer.wait(now)
        if wait is not None:
            self._timer = self._call_later(wait, self._grant)


class TrafficLimits:
    """Limits of a device. `own_addresses` tells which networks are its own, for `lan_exempt`."""

    def __init__(self, own_addresses: Callable[[], Iterable[str]] = tuple) -> None:
        self._own_addresses = own_addresses
        self.up = Pace()
        self.down = Pace()
        self.lan_exempt = False
        """Devices in the local network are not limited."""
        self.background_waits = False
        """Content that no program waits for is not fetched now: the network is metered."""
        self._near: dict[str, bool] = {}
        self._near_until = 0.0

    async def sending(self, stream: Stream, size: int, lane: TrafficLane) -> None:
        """Returns when so many bytes may be sent there."""
        if self.up.rate is not None and not self._is_exempt(stream):
            await self.up.turn(size, lane)

    async def received(self, stream: Stream, size: int, lane: TrafficLane) -> None:
        """Returns when more may be read there, after so many bytes that came."""
        if self.down.rate is not None and not self._is_exempt(stream):
            await self.down.turn(size, lane)

    def most_sent(self, stream: Stream, most: int) -> int:
        """Size in which data is sent there, of at most so much."""
        return most if self.up.rate is None or self._is_exempt(stream) else self.up.piece(most)

    def most_received(self, stream: Stream, most: int) -> int:
        """Size in which data is asked for there, of at most so much."""
        return most if self.down.rate is None or self._is_exempt(stream) else self.down.piece(most)

    def _is_exempt(self, stream: Stream) -> bool:
        if not self.lan_exempt:
            return False
        address, now = stream.connection.remote_address, _loop_time()
        if now >= self._near_until:
            self._near, self._near_until = {}, now + _FORGET_S
        if address not in self._near:
            self._near[address] = is_near(address, self._own_addresses())
        return self._near[address]


NO_LIMITS: Final = TrafficLimits()
"""Limits of what belongs to no device yet. Stays without any."""
