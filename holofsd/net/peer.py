# SPDX-License-Identifier: GPL-3.0-or-later
"""One device as the peer manager sees it, and how long to wait between attempts to reach it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from holofsd.core.ids import DeviceId
from holofsd.net.addresses import network_of
from holofsd.net.api import CloseCode, CloseReason, Connection
from holofsd.net.dialling import Bucket

KEPT_ADDRESSES: Final = 16
HURRIES: Final = 8
"""Times in a row that a new address makes us dial a device at once."""
HURRY_EVERY_S: Final = 10.0
"""Seconds until there is one more. Beyond that new addresses wait for the next attempt: who names new ones all the time
must not keep us dialling."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts, in seconds: doubled with each failure, never above `most`, less up to half by chance, so
    that devices which lost each other at once do not come back in step."""

    first: float = 0.2
    most: float = 30.0
    stable_after: float = 10.0
    """A connection that held this long forgets the failures before it."""
    refused: int = 7
    """After being refused, the wait is at least as long as after this many failures."""

    def delay(self, failures: int, chance: random.Random) -> float:
        if failures <= 0:
            return 0.0
        longest = min(self.first * 2.0 ** min(failures - 1, 30), self.most)
        return longest * chance.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Status of a device for a person."""

    device: DeviceId
    wanted: bool
    online: bool
    address: str
    """In use now; "" while offline."""
    addresses: tuple[str, ...]
    relay_url: str
    last_seen: float | None
    """Unix time at which the last connection ended; None while online, or if there never was one."""
    failures: int
    last_error: str


@dataclass(slots=True, eq=False)
class Peer:
    """Mutable state; belongs to PeerManager."""

    device: DeviceId
    wanted: bool = False
    addresses: list[str] = field(default_factory=list)
    relay_url: str = ""
    connection: Connection | None = None
    up_since: float = 0.0
    """Loop time."""
    last_seen: float | None = None
    failures: int = 0
    last_error: str = ""
    online_told: bool = False
    dialler: asyncio.Task[None] | None = None
    proven: list[str] = field(default_factory=list)
    """Networks in which this device was met (`addresses.network_of`), the newest last."""
    _hurries: Bucket = field(default_factory=lambda: Bucket(HURRIES, 0.0))
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    arriving: int = 0
    """Connections about which is being decided."""
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def online(self) -> bool:
        return self.connection is not None and not self.connection.closed

    def learn(self, addresses: Sequence[str], relay_url: str) -> bool:
        """Puts these addresses first. True if any is new, so that trying again makes sense."""
        fresh = bool(set(addresses) - set(self.addresses)) or relay_url not in ("", self.relay_url)
        if addresses:
            self.addresses = [*addresses, *(a for a in self.addresses if a not in addresses)][:KEPT_ADDRESSES]
        self.relay_url = relay_url or self.relay_url
        return fresh

    def connected(self, connection: Connection, now: float) -> None:
        self.connection = connection
        network = network_of(connection.remote_address)
        self.proven = [*(known for known in self.proven if known != network), network][-KEPT_ADDRESSES:]
        self.up_since = now
        self.last_seen = None
        self.last_error = ""
        self._gone.clear()
        self._hurry.set()

    def disconnected(self, wall: float, end: CloseReason, failures: int) -> None:
        self.connection = None
        self.failures = failures
        self._gone.set()
        self.last_seen = wall
        if end.code != CloseCode.NORMAL:
            self.last_error = end.reason

    def hurry(self) -> None:
        """Makes the next attempt now, as if none had failed, because something changed."""
        self.failures = 0
        self._hurry.set()

    def may_hurry(self, now: float) -> bool:
        """Whether a word from outside is reason enough to dial at once; counts as done."""
        return self._hurries.take(now, HURRIES, HURRY_EVERY_S)

    def calm(self) -> None:
        """Takes what changed until now into account; only later changes cut the next pause short."""
        self._hurry.clear()

    async def gone(self) -> None:
        """Returns when the connection is over."""
        await self._gone.wait()

    async def pause(self, seconds: float) -> None:
        """Waits, but not if something changed since `calm`, and not longer than until it does."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    def status(self) -> PeerStatus:
        return PeerStatus(
            device=self.device,
            wanted=self.wanted,
            online=self.online,
            address=self.connection.remote_address if self.connection is not None else "",
            addresses=tuple(self.addresses),
            relay_url=self.relay_url,
            last_seen=self.last_seen,
            failures=self.failures,
            last_error=self.last_error,
        )
