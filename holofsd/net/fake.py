# SPDX-License-Identifier: GPL-3.0-or-later
"""A network in memory with the same interface as the real one, and everything that goes wrong on purpose.

All chance comes from one seed; time is the event loop's, so a loop with virtual time makes a test both fast and exactly
repeatable. Bytes are cut at random places and streams overtake each other when there is a delay; within one stream the
order holds, as with QUIC. Framing, signs of life and cancellation are the code that the real network uses too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from holofsd.core.errors import ConnectionLost, Unreachable
from holofsd.core.ids import DeviceId
from holofsd.net.api import ALPNS, CloseCode, NetConfig
from holofsd.net.connection import FramedConnection
from holofsd.net.fake_weather import Weather
from holofsd.net.fake_wire import FakeRawConnection, Wire
from holofsd.net.traffic import TrafficCounters

Pair = frozenset[DeviceId]


@dataclass(slots=True)
class FakeNetwork:
    """The place where fake endpoints meet."""

    seed: int = 0
    config: NetConfig = field(default_factory=NetConfig)
    weather: Weather = field(default_factory=Weather)
    discovery: bool = False
    """True: a device is found by its key alone."""
    random: random.Random = field(init=False)
    _endpoints: dict[DeviceId, FakeEndpoint] = field(init=False, default_factory=dict)
    _blocked: set[Pair] = field(init=False, default_factory=set)
    _wires: list[Wire] = field(init=False, default_factory=list)
    _next_port: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def endpoint(self, device: DeviceId, alpns: Sequence[bytes] = ALPNS) -> FakeEndpoint:
        """A device comes up, on a port of its own each time; an endpoint it had before is gone without a word."""
        self.kill(device)
        endpoint = FakeEndpoint(self, device, f"10.0.0.1:{self._next_port}", tuple(alpns))
        self._next_port += 1
        self._endpoints[device] = endpoint
        return endpoint

    def at(self, device: DeviceId) -> FakeEndpoint:
        return self._endpoints[device]

    # ---- trouble ----
    def partition(self, a: DeviceId, b: DeviceId, *, notice: bool = True) -> None:
        """Cuts all traffic between the two. With `notice` both learn at once that their connections are lost, otherwise
        their data waits, and they notice by silence."""
        self._blocked.add(frozenset((a, b)))
        for wire in self._between(a, b):
            if notice:
                wire.lose()
            else:
                wire.block()

    def heal(self, a: DeviceId, b: DeviceId) -> None:
        self._blocked.discard(frozenset((a, b)))
        for wire in self._between(a, b):
            wire.unblock()

    def heal_all(self) -> None:
        for a, b in tuple(self._blocked):
            self.heal(a, b)

    def drop_connections(self, a: DeviceId, b: DeviceId | None = None) -> None:
        """Ends the connections of a, or those between a and b, and loses what was on its way."""
        for wire in tuple(self._wires):
            if a in wire.ends and (b is None or b in wire.ends):
                wire.lose()

    def kill(self, device: DeviceId, *, notice: bool = False) -> None:
        """The device is gone without a word, as with kill -9. With `notice` the others learn it at once."""
        if (endpoint := self._endpoints.pop(device, None)) is not None:
            endpoint._die(notice)

    def change_network(self, device: DeviceId) -> None:
        """The device moves to another network: it has a new address, its connections survive (as QUIC's do)."""
        endpoint = self._endpoints[device]
        endpoint._address = f"10.0.0.1:{self._next_port}"
        self._next_port += 1
        endpoint._changed.set()

    def is_blocked(self, a: DeviceId, b: DeviceId) -> bool:
        return frozenset((a, b)) in self._blocked

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def travel(self) -> float:
        least, most = self.weather.delay
        return self.random.uniform(least, most) if most > 0 else 0.0

    def _between(self, a: DeviceId, b: DeviceId) -> list[Wire]:
        return [wire for wire in self._wires if {a, b} == set(wire.ends)]

    def _wire(self, a: DeviceId, b: DeviceId) -> Wire:
        wire = Wire(self, (a, b), self._wires.remove)
        self._wires.append(wire)
        return wire


class FakeEndpoint:
    """Implements `api.Endpoint` on a FakeNetwork."""

    def __init__(self, network: FakeNetwork, device: DeviceId, address: str, alpns: tuple[bytes, ...]) -> None:
        self._network = network
        self._device = device
        self._address = address
        self._alpns = alpns
        self._config = network.config
        self._incoming: asyncio.Queue[FramedConnection | None] = asyncio.Queue()
        self._connections: set[FramedConnection] = set()
        self._traffic = TrafficCounters()
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def device(self) -> DeviceId:
        return self._device

    @property
    def traffic(self) -> TrafficCounters:
        return self._traffic

    def addresses(self) -> list[str]:
        return [self._address]

    def sockets(self) -> list[str]:
        return [self._address]

    def relay_url(self) -> str:
        return ""

    def allow_relays(self, urls: Sequence[str]) -> None:
        """Do nothing: this network has no relays."""

    async def connect(
        self, peer: DeviceId, addresses: Sequence[str], alpn: bytes, relay_url: str = ""
    ) -> FramedConnection:
        if self._closed:
            raise Unreachable("This device's network is closed.")
        await asyncio.sleep(self._network.travel() + self._network.travel())
        other = self._network._endpoints.get(peer)
        if peer == self._device or other is None or not self._reaches(other, addresses):
            raise Unreachable("No answer from the other device at any of its addresses.")
        if alpn not in other._alpns or self._network.chance(self._network.weather.failed_connect):
            raise Unreachable("The other device refused the connection.")
        if self._network.chance(self._network.weather.ghost):
            self._haunt(other, alpn)
        wire = self._network._wire(self._device, peer)
        mine = self._adopt(wire.raw(self._device, other._address), peer, alpn, dialled=True)
        other._incoming.put_nowait(other._adopt(wire.raw(peer, self._address), self._device, alpn, dialled=False))
        return mine

    async def accept(self) -> FramedConnection:
        connection = await self._incoming.get()
        if connection is None:
            self._incoming.put_nowait(None)
            raise ConnectionLost("This device's network is closed.")
        return connection

    async def network_changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._network._endpoints.get(self._device) is self:
            del self._network._endpoints[self._device]
        owned = tuple(self._connections)
        for connection in owned:
            connection.close(CloseCode.GOING_AWAY, "shutting down")
        self._incoming.put_nowait(None)
        for connection in owned:
            await connection.all_ended()

    def _reaches(self, other: FakeEndpoint, addresses: Sequence[str]) -> bool:
        if self._network.is_blocked(self._device, other._device):
            return False
        return self._network.discovery or other._address in addresses

    def _adopt(self, raw: FakeRawConnection, peer: DeviceId, alpn: bytes, *, dialled: bool) -> FramedConnection:
        connection = FramedConnection(raw, peer, alpn, dialled, self._config, self._connections.discard)
        connection.traffic = self._traffic.of(peer)
        self._connections.add(connection)
        return connection

    def _haunt(self, other: FakeEndpoint, alpn: bytes) -> None:
        wire = self._network._wire(self._device, other._device)
        here = wire.raw(self._device, other._address)
        other._incoming.put_nowait(
            other._adopt(wire.raw(other._device, self._address), self._device, alpn, dialled=False)
        )
        asyncio.get_running_loop().call_later(self._network.travel(), here.close_raw, 0, "")

    def _die(self, notice: bool) -> None:
        self._closed = True
        self._incoming.put_nowait(None)
        for connection in tuple(self._connections):
            raw = connection._raw
            assert isinstance(raw, FakeRawConnection)
            raw.die(notice)
