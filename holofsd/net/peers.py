# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps one connection to each device that is wanted, as long as both are there.

Both devices dial, since often only one of them can reach the other. If that gives two connections, both sides keep the
one dialled by the device with the lower key. The address book lives here in memory; a hook lets somebody keep it on
disk.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from holofsd.core.errors import ConnectionLost, HoloError, Unreachable
from holofsd.core.ids import DeviceId
from holofsd.net.addresses import usable
from holofsd.net.api import CONTENT_ALPN, SESSION_ALPN, CloseCode, CloseReason, Connection, Endpoint
from holofsd.net.dialling import DialBudget
from holofsd.net.keep import TaskSet
from holofsd.net.peer import Backoff, Peer, PeerStatus
from holofsd.net.strangers import Strangers

log = structlog.get_logger(__name__)

MAX_JOINING: Final = 16
"""Connections with a ticket at a time."""
PROBE_LIMIT: Final = 2.0
"""A connection that is to stay because of who dialled it has this long to prove that it is alive."""
CHECK_LIMIT: Final = 8.0
"""After a change of the network, a connection without an answer for this long is given up."""
TURN: Final = 15.0
"""Of two devices with one key, each has a connection for this long. Far longer than it takes two to agree on one."""
FEW: Final = 16
"""So many devices that were never met are dialled as soon as their own failures allow."""
_UNWANTED: Final = (CloseCode.UNWANTED, "nothing is shared any more")
_GOING_AWAY: Final = (CloseCode.GOING_AWAY, "shutting down")
NEVER_MET_S: Final = 0.5
"""Seconds between two dials of devices that were never met, where there are more of them; at most twice as many."""
COURTESY: Final = 0.05
"""The device with the higher key waits this long before it dials, so that usually there is one connection only."""

Handler = Callable[[Connection], Awaitable[None]]


def _nothing(*_: object) -> None:
    pass


class PeerManager:
    """Connections to other devices: dialled where wanted, accepted, one for each device.

    `on_connection` is awaited, in a task of its own, for each connection that comes up, wanted or not; it may return
    at once or live as long as the connection. If it raises, the connection is closed. `on_other` is the same for
    connections of other protocols (invites, and more connections of members for content), which are not kept; without
    it they are refused.

    Connections of devices that are neither wanted nor, by `is_member`, members of anything have little room
    (`strangers`) until `proven`; so have those of other protocols, in a room of their own.

    `on_presence(device, online)` and `on_addresses(device, addresses, relay_url)` are told of changes, synchronously.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        on_connection: Handler,
        *,
        on_other: Handler | None = None,
        is_member: Callable[[DeviceId], bool] = lambda _device: False,
        on_presence: Callable[[DeviceId, bool], None] = _nothing,
        on_addresses: Callable[[DeviceId, tuple[str, ...], str], None] = _nothing,
        backoff: Backoff | None = None,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.time,
        probe_limit: float = PROBE_LIMIT,
        turn: float = TURN,
    ) -> None:
        self._endpoint = endpoint
        self._on_connection = on_connection
        self._on_other = on_other
        self._is_member = is_member
        self._strangers = Strangers()
        self._joining = Strangers(MAX_JOINING)
        self._on_presence = on_presence
        self._on_addresses = on_addresses
        self._backoff = backoff or Backoff()
        self._random = chance or random.Random()
        self._clock = clock
        self._probe_limit = probe_limit
        self._turn = turn
        self._peers: dict[DeviceId, Peer] = {}
        self._budget = DialBudget()
        self._tasks = TaskSet()
        self._running = False
        self._closed = False
        self._goes_away = False

    # ---- what is wanted ----
    def want(self, device: DeviceId, addresses: Iterable[str] = (), relay_url: str = "") -> None:
        """Keeps up a connection to this device from now on. Idempotent; addresses are learned."""
        if device == self._endpoint.device:
            return
        peer = self._peer(device)
        self.learn(device, addresses, relay_url)
        if not peer.wanted:
            peer.wanted = True
            self._start(peer)

    def unwant(self, device: DeviceId) -> None:
        """Closes the connection of a device and forgets its addresses."""
        if (peer := self._peers.get(device)) is None:
            return
        peer.wanted = False
        if peer.dialler is not None:
            peer.dialler.cancel()
            peer.dialler = None
        if peer.connection is not None:
            peer.connection.close(*(_GOING_AWAY if self._goes_away else _UNWANTED))
        self._forget_if_stranger(peer)

    def learn(self, device: DeviceId, addresses: Iterable[str], relay_url: str = "") -> None:
        """Adds addresses, newest first; a new one is tried at once. Nothing happens for devices nobody asked about."""
        peer = self._peers.get(device)
        if peer is not None and peer.learn(usable(addresses), relay_url):
            self._on_addresses(device, tuple(peer.addresses), peer.relay_url)
            self._hurry(peer)

    def appeared(self, device: DeviceId, addresses: Iterable[str]) -> None:
        """Dials a device at once that was just seen at these addresses, even if they are known."""
        self.learn(device, addresses)
        if (peer := self._peers.get(device)) is not None and not peer.online:
            self._hurry(peer)

    def _hurry(self, peer: Peer) -> None:
        if peer.may_hurry(asyncio.get_running_loop().time()):
            peer.hurry()

    def network_changed(self) -> None:
        """Dials everybody who is missing at once, and checks who is still there. Called when the endpoint notices."""
        few = self._count_never_met() <= FEW
        for peer in self._peers.values():
            if few or peer.proven:
                peer.hurry()
            if peer.connection is not None and not self._closed:
                self._tasks.spawn(self._check(peer.connection))

    # ---- what there is ----
    def connection(self, device: DeviceId) -> Connection | None:
        peer = self._peers.get(device)
        return None if peer is None or not peer.online else peer.connection

    def wanted(self) -> list[DeviceId]:
        return [peer.device for peer in self._peers.values() if peer.wanted]

    def status(self) -> list[PeerStatus]:
        return [peer.status() for peer in self._peers.values()]

    # ---- life ----
    async def run(self) -> None:
        """Accepts and dials until the endpoint or this manager is closed."""
        self._running = True
        for peer in self._peers.values():
            self._start(peer)
        watching = self._tasks.spawn(self._watch_network())
        try:
            while not self._closed:
                self._accepted(await self._endpoint.accept())
        except ConnectionLost:
            log.debug("the endpoint is closed: no more connections")
        finally:
            watching.cancel()

    def go_away(self) -> None:
        """Tells devices that are not wanted from now on that this one shuts down: it wants none at the end, and what
        was refused is dialled late."""
        self._goes_away = True

    async def close(self) -> None:
        """Closes all connections and awaits all that was started here. Idempotent."""
        self._closed = True
        for peer in self._peers.values():
            if peer.connection is not None:
                peer.connection.close(*_GOING_AWAY)
        self._tasks.cancel()
        await self._tasks.all_ended()

    async def _watch_network(self) -> None:
        while True:
            await self._endpoint.network_changed()
            self.network_changed()

    async def _check(self, connection: Connection) -> None:
        if await connection.ping(CHECK_LIMIT) is None:
            connection.close(CloseCode.SILENT, "no answer after the network changed")

    def _accepted(self, connection: Connection) -> None:
        if self._closed:
            connection.close(*_GOING_AWAY)
        elif connection.alpn == SESSION_ALPN:
            self._tasks.spawn(self._arrived(connection))
        elif connection.alpn == CONTENT_ALPN and not self._is_member(connection.peer):
            connection.close(CloseCode.REFUSED)
        elif self._on_other is not None:
            if connection.alpn != CONTENT_ALPN:
                self._enter(self._joining, connection)
            self._tasks.spawn(self._handle(self._on_other, connection))
        else:
            connection.close(CloseCode.REFUSED)

    # ---- strangers ----
    def heard(self, connection: Connection) -> None:
        """Notes that something that can be read came from a device that is no member as far as is known."""
        self._strangers.heard(connection)
        self._joining.heard(connection)

    def proven(self, connection: Connection) -> None:
        """Notes that the connection's device has proved to be a member."""
        self._strangers.leave(connection)

    @property
    def turned_away(self) -> int:
        """Connections of strangers that had to go because there were too many."""
        return self._strangers.turned_away + self._joining.turned_away

    def _enter(self, room: Strangers, connection: Connection) -> None:
        room.enter(connection)
        self._tasks.spawn(self._until_left(room, connection))

    @staticmethod
    async def _until_left(room: Strangers, connection: Connection) -> None:
        await connection.wait_closed()
        room.leave(connection)

    # ---- dialling ----
    def _start(self, peer: Peer) -> None:
        if self._running and peer.wanted and peer.dialler is None and not self._closed:
            peer.dialler = self._tasks.spawn(self._keep_up(peer))

    async def _keep_up(self, peer: Peer) -> None:
        """Dials the peer whenever there is no connection to it, for as long as it is wanted."""
        courtesy = COURTESY if self._endpoint.device > peer.device else 0.0
        await peer.pause(self._turn_of_the_never_met(peer))
        while True:
            if peer.connection is not None:
                await peer.gone()
                peer.calm()
            else:
                peer.calm()
                await asyncio.sleep(courtesy)
                if peer.connection is None:
                    await self._dial(peer)
            if peer.connection is None:
                delay = self._backoff.delay(peer.failures, self._random)
                await peer.pause(max(delay, self._turn_of_the_never_met(peer)))

    def _turn_of_the_never_met(self, peer: Peer) -> float:
        """Seconds until a device that was never met is dialled; 0 where that is as soon as its own failures allow.

        Members can be made up by the thousand. All that were never met together are dialled as often as few of them; an
        address that is new is tried at once.
        """
        never_met = 0 if peer.proven else self._count_never_met()
        return never_met * NEVER_MET_S * self._random.uniform(0.5, 1.0) if never_met > FEW else 0.0

    def _count_never_met(self) -> int:
        return sum(1 for peer in self._peers.values() if peer.wanted and not peer.proven)

    async def _dial(self, peer: Peer) -> None:
        try:
            addresses = self._budget.affordable(peer.addresses, peer.proven, asyncio.get_running_loop().time())
            connection = await self._endpoint.connect(peer.device, addresses, SESSION_ALPN, peer.relay_url)
        except Unreachable as error:
            peer.failures += 1
            peer.last_error = error.message
            log.debug("peer not reached", peer=peer.device.hex()[:8], why=error.message, failures=peer.failures)
            return
        # A task of its own: a dialler that is cancelled meanwhile must not leave the connection to nobody.
        await asyncio.wait((self._tasks.spawn(self._arrived(connection)),))

    # ---- connections ----
    async def _arrived(self, connection: Connection) -> None:
        """A connection came up, in whichever direction: it becomes the peer's one, or goes."""
        peer = self._peer(connection.peer)
        if not connection.dialled and not peer.wanted and not self._is_member(peer.device):
            self._enter(self._strangers, connection)
        peer.arriving += 1
        try:
            async with peer.deciding:
                await self._decide(peer, connection)
        finally:
            peer.arriving -= 1
            self._forget_if_stranger(peer)

    async def _decide(self, peer: Peer, connection: Connection) -> None:
        if not peer.wanted and connection.dialled:
            connection.close(CloseCode.UNWANTED)
            return
        current = peer.connection
        if current is not None and not current.closed:
            if await self._current_stays(current, connection):
                connection.close(CloseCode.DUPLICATE, "another connection stays")
                return
            current.close(CloseCode.DUPLICATE, "replaced by another connection")
        if not connection.closed and not self._closed:
            self._install(peer, connection)

    async def _current_stays(self, current: Connection, new: Connection) -> bool:
        """Both sides must decide alike, whatever the order in which they see the two."""
        if new.dialled == current.dialled:
            # Whoever dials anew has lost the former one, though this side may not know yet.
            return False
        if new.dialled == (self._endpoint.device < new.peer):
            return False
        # The current one was dialled by the lower key and stays, unless the other device restarted and cannot know it.
        if await current.ping(self._probe_limit) is None:
            return False
        # Whoever has a connection does not dial another one: a second daemon has the same key (`sync.twins`). They take
        # turns, so that neither is shut out.
        age = asyncio.get_running_loop().time() - self._peer(current.peer).up_since
        return new.dialled or age < self._turn

    def _install(self, peer: Peer, connection: Connection) -> None:
        peer.connected(connection, asyncio.get_running_loop().time())
        self._tasks.spawn(self._until_closed(peer, connection))
        self._tasks.spawn(self._handle(self._on_connection, connection))
        self.learn(peer.device, (connection.remote_address,))
        # Strangers come as often as they like: they do not fill the log.
        tell = log.info if peer.wanted else log.debug
        tell("peer connected", peer=peer.device.hex()[:8], dialled=connection.dialled)
        if not peer.online_told:
            peer.online_told = True
            self._on_presence(peer.device, True)

    async def _until_closed(self, peer: Peer, connection: Connection) -> None:
        end = await connection.wait_closed()
        if peer.connection is not connection:
            return
        peer.disconnected(self._clock(), end, self._failures_after(peer, end))
        tell = log.info if peer.wanted else log.debug
        tell("peer disconnected", peer=peer.device.hex()[:8], code=int(end.code), why=end.reason)
        if peer.online_told:
            peer.online_told = False
            self._on_presence(peer.device, False)
        self._forget_if_stranger(peer)

    def _failures_after(self, peer: Peer, end: CloseReason) -> int:
        """Counts failures after the end of a connection. Only one that held for a while proves that all is well."""
        stable = asyncio.get_running_loop().time() - peer.up_since >= self._backoff.stable_after
        failures = 0 if stable else peer.failures + 1
        if end.code in (CloseCode.REFUSED, CloseCode.UNWANTED, CloseCode.PROTOCOL, CloseCode.BUSY):
            failures = max(failures, self._backoff.refused)
        return failures

    async def _handle(self, handler: Handler, connection: Connection) -> None:
        try:
            await handler(connection)
        except ConnectionLost:
            log.debug("handler ended with its connection")
        except HoloError as error:
            log.info("connection given up", peer=connection.peer.hex()[:8], code=error.code, why=error.message)
            connection.close(CloseCode.PROTOCOL)
        except Exception:  # the edge of a task: a defect must not take other peers down
            log.exception("defect in the handler of a connection")
            connection.close(CloseCode.INTERNAL)

    # ---- bookkeeping ----
    def _peer(self, device: DeviceId) -> Peer:
        return self._peers.setdefault(device, Peer(device))

    def _forget_if_stranger(self, peer: Peer) -> None:
        if not peer.wanted and peer.connection is None and peer.arriving == 0:
            self._peers.pop(peer.device, None)
