# SPDX-License-Identifier: GPL-3.0-or-later
"""All volumes of this device on one endpoint: who is connected, which stream belongs to which volume, who is refused.

A stranger learns nothing: whatever it asks, its connection is closed with one code, within a few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.signing import SigningKey
from holofsd.codec.ticket import Invite
from holofsd.core.document import DeviceInfo
from holofsd.core.errors import ConnectionLost, HoloError, ProtocolViolation, Refused, Unreachable
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.net.api import CONTENT_ALPN, JOIN_ALPN, CloseCode, CloseReason, Connection, Endpoint, Stream
from holofsd.net.peer import PeerStatus
from holofsd.net.peers import PeerManager
from holofsd.store.device import DeviceStore
from holofsd.sync import frames
from holofsd.sync.config import MAX_HELLO, MAX_NAME, PROGRAM, SyncConfig
from holofsd.sync.content_connections import ContentConnections
from holofsd.sync.features import LISTS, OWN_FEATURES, DeviceFeatures, FeatureSource, features_in
from holofsd.sync.introductions import Introductions
from holofsd.sync.invites import Inviter
from holofsd.sync.line_count import STEPS
from holofsd.sync.links import accept_session, keep_session
from holofsd.sync.members import Members
from holofsd.sync.names import DeviceNames
from holofsd.sync.pacing import TrafficLimits
from holofsd.sync.pausing import Pauses
from holofsd.sync.peer_links import PAUSED, PeerLink, split_addresses
from holofsd.sync.tasks import Tasks, cancel_all
from holofsd.sync.twins import Twins
from holofsd.sync.volume import VolumeSync
from holofsd.sync.wiring import neighbours

log = structlog.get_logger(__name__)

CONTENT_STREAMS = STEPS[-1] + 4
"""Content streams of one device and volume."""
STREAMS = 4
STREAMS_OF_A_VOLUME = CONTENT_STREAMS + 4
"""Streams that a device may have open to us at a time: so many, and so many more for each volume that is shared."""
STRANGER = 25
"""A stream of a stranger counts for so many."""
REWIRE_INTERVAL = 5.0


class SyncHub:
    """All volumes of this device and all connections: which devices to connect to, and which stream is for whom.

    `device_name`: of a device that has no name yet. `endpoint` stays the caller's to close. Call `run` in a task of
    its own, and `close` before the stores close.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        node_key: SigningKey,
        device_name: str,
        devices: DeviceStore,
        now_ms: Callable[[], int],
        config: SyncConfig | None = None,
        peers: Callable[..., PeerManager] = PeerManager,
    ) -> None:
        self._endpoint, self.traffic = endpoint, endpoint.traffic
        self.device = DeviceId(node_key.public)
        self._devices = devices
        self._now_ms = now_ms
        self.names = DeviceNames(devices, self.device, device_name[:MAX_NAME], now_ms)
        self.config = config or SyncConfig()
        self.features = DeviceFeatures(devices, self.device, OWN_FEATURES if self.config.lists else ())
        self._volumes: dict[VolumeId, VolumeSync] = {}
        self._links: dict[DeviceId, PeerLink] = {}
        self._serving: dict[VolumeId, set[asyncio.Task[None]]] = {}
        """Tasks that serve a stream of that volume, from its hello on."""
        self._wanted: set[DeviceId] = set()
        self._tasks = Tasks("hub")
        self._rewire = asyncio.Event()
        self._described: DeviceInfo | None = None
        self._introductions = Introductions(
            self.device, devices, self.names, now_ms, self.config.stranger_share, self._shares_with
        )
        self.twins = Twins(self.device, now_ms)
        self.inviter = Inviter(devices, self._members_of, now_ms)
        self.limits = TrafficLimits(endpoint.addresses)
        self.pauses = Pauses(devices, now_ms)
        self.pauses.subscribe(self._pauses_changed)
        self.refused = 0
        """Streams and connections of strangers, for status."""
        self.inviter.on_heard = lambda connection: self.peers.heard(connection)
        self.peers = peers(
            endpoint,
            self._on_connection,
            on_other=self._on_other,
            is_member=self._shares_with,
            on_presence=self._presence_changed,
            on_addresses=self._addresses_learned,
        )

    # ---- volumes
    def volume(self, volume: VolumeId) -> VolumeSync | None:
        return self._volumes.get(volume)

    def volumes(self) -> list[VolumeSync]:
        return list(self._volumes.values())

    def add(self, sync: VolumeSync) -> None:
        """Begins to synchronize a volume; the hub closes it."""
        self._volumes[sync.id] = sync
        sync.on_device = self._device_described
        sync.on_greeting = self._greeted
        sync.volume.reads_lists = self.config.lists
        sync.volume.may_list = lambda: self.config.lists and self.features.all_have(sync.members.others(), LISTS)
        sync.twins = self.twins
        sync.members.called = self.names.of
        sync.limits = sync.server.turns.limits = sync.fetcher.limits = self.limits
        sync.fetcher.connections_of = self._content_connections
        sync.fetcher.why_paused = lambda seconds: self.pauses.why(sync.id, sync.members.others(), seconds)
        sync.members.subscribe(self._rewire.set)
        sync.members.subscribe(lambda: self.inviter.look(sync.id))
        self.inviter.look(sync.id)
        sync.on_session_end = self._rewire.set
        self._tasks.spawn(sync.run(), "volume")
        self._rewire.set()
        self._keep_sessions()

    async def remove(self, volume: VolumeId) -> None:
        """Ends its sessions, its streams and all tasks that use it. Its store stays the caller's to close."""
        sync = self._volumes.pop(volume, None)
        if sync is not None:
            await sync.close()
            await cancel_all(self._take_tasks(volume))
            self._rewire.set()

    def _take_tasks(self, volume: VolumeId) -> set[asyncio.Task[None]]:
        """Tasks of a volume's streams, which the caller ends."""
        keeping = {link.keeping.pop(volume) for link in self._links.values() if volume in link.keeping}
        return self._serving.pop(volume, set()) | keeping

    def describe(self) -> DeviceInfo:
        """Returns the current content of our device record. `VolumeSync` is constructed with this."""
        relay = self._endpoint.relay_url()
        addresses = (*self._endpoint.addresses()[:16], *((relay,) if relay else ()))
        return DeviceInfo(
            self.device, self.names.own, PROGRAM, addresses, named_ms=self.names.named_ms, features=self.features.own
        )

    def rename(self, name: str) -> None:
        """Call this device so from now on: in what it writes, and towards the others."""
        self.names.rename(name)
        for sync in self._volumes.values():
            sync.renamed(name)

    def learn(self, device: DeviceId, addresses: list[str] | tuple[str, ...]) -> None:
        """Remembers where a device can be reached; entries with a scheme are relays."""
        now = self._now_ms()
        with self._devices.db.transaction():
            for address in addresses:
                self._devices.put_address(device, address, now)
        self.peers.learn(device, *split_addresses(addresses))

    def learn_issuer(self, invite: Invite) -> None:
        """Remembers where the device that issued an invite can be reached, as the ticket says."""
        self.learn(invite.issuer, (*invite.addresses, *((invite.relay_url,) if invite.relay_url else ())))

    def peer_status(self) -> list[PeerStatus]:
        return self.peers.status()

    def volumes_shared_with(self, device: DeviceId) -> list[VolumeSync]:
        return [sync for sync in self._volumes.values() if sync.members.is_member(device) and sync.role is not None]

    def _shares_with(self, device: DeviceId) -> bool:
        return bool(self.volumes_shared_with(device))

    # ---- life
    async def run(self) -> None:
        """Dials, accepts and serves until `close` or until the endpoint is closed."""
        self._tasks.spawn(self._keep_wired(), "wiring")
        await self.peers.run()

    async def close(self) -> None:
        """Ends everything that was begun here. Idempotent."""
        for volume in list(self._volumes):
            await self.remove(volume)
        await self.peers.close()
        await self._tasks.close()
        for link in list(self._links.values()):
            await link.tasks.close()

    async def _keep_wired(self) -> None:
        while True:
            self._rewire.clear()
            self._wire()
            self._keep_sessions()
            self._say_addresses()
            try:
                async with asyncio.timeout(REWIRE_INTERVAL):
                    await self._rewire.wait()
            except TimeoutError:
                continue

    def _wire(self) -> None:
        wanted: set[DeviceId] = set()
        for sync in self._volumes.values():
            if sync.role is not None:
                others = [other for other in sync.members.others() if not self.pauses.of(sync.id, other)]
                online = self._is_online
                wanted |= {*neighbours(sync.id, self.device, others, online, self.config.sessions_wanted)}
        for device in wanted - self._wanted:
            self.peers.want(device, *split_addresses(self._devices.addresses(device)))
        # A session that says goodbye to a removed member ends by itself, and then we come here again.
        leaving = {device for device in self._wanted - wanted if self._in_session(device)}
        for device in self._wanted - wanted - leaving:
            self.peers.unwant(device)
        self._wanted = wanted | leaving
        for device, link in self._links.items():
            if link.shared and not self._in_session(device) and not self.volumes_shared_with(device):
                link.connection.close(CloseCode.REFUSED)  # it was removed, or we were

    def is_silent_to(self, device: DeviceId) -> bool:
        """Whether all that is shared with a device is paused."""
        shared = self.volumes_shared_with(device)
        return bool(shared) and all(self.pauses.of(sync.id, device) for sync in shared)

    def _pauses_changed(self) -> None:
        """Ends what is paused now, and begins what is not any more."""
        for sync in self._volumes.values():
            if self.pauses.of(sync.id):
                self._tasks.spawn(cancel_all(self._take_tasks(sync.id)), "pause")
            sync.fetcher.obey()
            sync.marks.notify()
        for device, link in self._links.items():
            if self.is_silent_to(device):
                link.connection.close(CloseCode.BUSY, PAUSED)
        self._rewire.set()
        self._keep_sessions()

    def _in_session(self, device: DeviceId) -> bool:
        return any(sync.is_connected(device) for sync in self._volumes.values())

    def _is_online(self, device: DeviceId) -> bool:
        return device in self._links

    def _presence_changed(self, device: DeviceId, _online: bool) -> None:
        """Strangers come and go as often as they like, and change nothing."""
        if device in self._wanted or self.volumes_shared_with(device):
            self._rewire.set()

    def _say_addresses(self) -> None:
        """A new address of ours is news for everyone."""
        described = self.describe()
        if self._described is not None and described != self._described:
            for sync in self._volumes.values():
                sync.publisher.changed()
        self._described = described

    def _addresses_learned(self, device: DeviceId, addresses: tuple[str, ...], relay_url: str) -> None:
        if not self.volumes_shared_with(device):
            return  # strangers have keys without end
        now = self._now_ms()
        with self._devices.db.transaction():
            for address in (*addresses, *((relay_url,) if relay_url else ())):
                self._devices.put_address(device, address, now)

    def _device_described(self, info: DeviceInfo) -> None:
        if info.device != self.device:
            self.names.heard(info.device, info.name, info.named_ms)
            self.features.heard(info.device, features_in(info.features), FeatureSource.RECORD)
            self.learn(info.device, info.addresses)

    def _greeted(self, device: DeviceId, greeting: frames.Greeting) -> None:
        self.names.heard(device, greeting.name, greeting.named_ms)
        self.features.heard(device, greeting.features, FeatureSource.SESSION)

    def _members_of(self, volume: VolumeId) -> Members | None:
        sync = self._volumes.get(volume)
        return sync.members if sync else None

    # ---- connections
    async def _on_other(self, connection: Connection) -> None:
        if connection.alpn == JOIN_ALPN:
            await self.inviter.serve(connection)
        elif connection.alpn == CONTENT_ALPN and (link := self._links.get(connection.peer)) is not None:
            await asyncio.wait((link.tasks.spawn(self._serve_more(link, connection), "more content"),))
        else:
            connection.close(CloseCode.REFUSED)

    async def _serve_more(self, link: PeerLink, connection: Connection) -> None:
        """One more connection for content, of a device in session. It ends with the one of the sessions."""
        if link.more >= STEPS[-1] or not self._shares_with(connection.peer):
            connection.close(CloseCode.BUSY)
            return
        link.more += 1
        try:
            while True:
                self._accepted(link, await connection.accept_stream())
        except ConnectionLost:
            log.debug("connection for content ended", peer=connection.peer.hex()[:8])
        finally:
            link.more -= 1
            connection.close(CloseCode.NORMAL)

    def _content_connections(self, main: Connection) -> ContentConnections:
        link = self._links.get(main.peer)
        if link is not None and link.connection is main:
            return link.content
        return ContentConnections(main, self.config)

    async def _dial_more(self, main: Connection) -> Connection:
        """One more connection to the device of `main`, to where that one goes. Raises Unreachable."""
        if main.closed or main.remote_address.startswith("relay:"):
            raise Unreachable("A relay gives no more to more connections.")
        return await self._endpoint.connect(main.peer, [main.remote_address], CONTENT_ALPN)

    async def _on_connection(self, connection: Connection) -> None:
        """Lives as long as the connection."""
        received = partial(getattr, self.traffic.of(connection.peer), "received")
        dial = partial(self._dial_more, connection)
        content = ContentConnections(connection, self.config, dial, received)
        link = PeerLink(connection, Tasks("connection"), content)
        former = self._links.get(connection.peer)
        self._links[connection.peer] = link
        if former is not None:
            await former.tasks.close()
        if self.is_silent_to(connection.peer):
            connection.close(CloseCode.BUSY, PAUSED)
        try:
            self._keep_sessions()
            if not self.volumes_shared_with(connection.peer):
                link.tasks.spawn(self._expect_introduction(link), "introduction")
            while True:
                self._accepted(link, await connection.accept_stream())
        except ConnectionLost:
            log.debug("connection ended", peer=connection.peer.hex()[:8])
            if connection.closed:
                self._note_refusal(connection.peer, await connection.wait_closed())
        finally:
            if self._links.get(connection.peer) is link:
                del self._links[connection.peer]
            content.close()
            await link.tasks.close()

    def _note_refusal(self, device: DeviceId, end: CloseReason) -> None:
        """A device that shares nothing with us any more, by its own word; programs of earlier say no more than that."""
        if end.by_peer and end.code == CloseCode.REFUSED:
            for sync in self.volumes_shared_with(device):
                sync.marks.refused(device)

    def _keep_sessions(self) -> None:
        """Every connection has a task for each volume that both sides share."""
        for device, link in self._links.items():
            for sync in self.volumes_shared_with(device):
                link.shared = True
                if self.pauses.of(sync.id, device):
                    continue
                running = link.keeping.get(sync.id)
                if running is None or running.done():
                    link.keeping[sync.id] = link.tasks.spawn(keep_session(sync, link.connection), "session")

    async def _expect_introduction(self, link: PeerLink) -> None:
        """Gives an unknown device a few seconds to show that it is a member, and closes the connection otherwise."""
        await asyncio.sleep(self.config.hello_timeout)
        if not self.volumes_shared_with(link.connection.peer):
            self._refuse(link, None)

    def _accepted(self, link: PeerLink, stream: Stream) -> None:
        """QUIC keeps a megabyte of each open stream, read or not: what is too much is reset at once."""
        shared = len(self.volumes_shared_with(link.connection.peer))
        most = STREAMS + shared * STREAMS_OF_A_VOLUME if shared else self.config.stranger_streams
        if link.opening.take(1 / shared if shared else STRANGER, asyncio.get_running_loop().time()) > 0:
            link.connection.close(CloseCode.BUSY)
        elif link.streams >= most:
            stream.abort(CloseCode.BUSY)
        else:
            link.streams += 1
            link.tasks.spawn(self._serve_stream(link, stream), "stream").add_done_callback(
                lambda _task: self._stream_ended(link)
            )

    @staticmethod
    def _stream_ended(link: PeerLink) -> None:
        link.streams -= 1

    def _refuse(self, link: PeerLink, stream: Stream | None) -> None:
        """One code for all reasons. A device that we share something with keeps its connection."""
        self.refused += 1
        if stream is not None and self.volumes_shared_with(link.connection.peer):
            stream.abort(CloseCode.REFUSED)
        else:
            link.connection.close(CloseCode.REFUSED)

    async def _serve_stream(self, link: PeerLink, stream: Stream) -> None:
        """A stream that the other side opened, from its hello to its end, or to that of its volume here."""
        try:
            await self._serve(link, stream)
        except asyncio.CancelledError:
            stream.abort(CloseCode.GOING_AWAY)
            raise

    async def _serve(self, link: PeerLink, stream: Stream) -> None:
        peer = link.connection.peer
        try:
            async with asyncio.timeout(self.config.hello_timeout):
                opening, sync = await self._introduction(stream)
        except (TimeoutError, ProtocolViolation, Refused):
            self._refuse(link, stream)
            return
        except ConnectionLost:
            return
        try:
            await self._converse(link, stream, opening, sync)
        except ConnectionLost as error:
            log.debug("stream ended", peer=peer.hex()[:8], why=error.message)
        except ProtocolViolation as error:
            sync.violation(peer, error.message)
            stream.abort(CloseCode.PROTOCOL)
        except HoloError as error:
            log.warning("a stream was given up", peer=peer.hex()[:8], code=error.code, why=error.message)
            stream.abort(CloseCode.INTERNAL)
        except Exception:
            stream.abort(CloseCode.INTERNAL)
            raise

    async def _introduction(self, stream: Stream) -> tuple[frames.StreamHello, VolumeSync]:
        """Raises Refused for a device that is no member of what it asks for, ProtocolViolation for what is no hello."""
        data = await stream.receive(MAX_HELLO)
        if data is None:
            raise ConnectionLost("The other side said nothing.")
        connection = stream.connection
        opening = await self._introductions.read_hello(connection, data)
        self.peers.heard(connection)
        sync = self._volumes.get(opening.volume)
        if sync is None:
            await self._introductions.say_left(stream, opening)
            raise Refused("not a hello for anything that is here")
        self._ends_with(sync.id)
        if sync.role is None or not sync.members.is_member(connection.peer):
            await self._introductions.examine(connection, opening, sync)
            if sync.role is None or not sync.members.is_member(connection.peer):
                await self._introductions.explain(stream, sync)
                raise Refused("not a member")
        elif (wait := sync.dealings.of(connection.peer).opened(asyncio.get_running_loop().time())) > 0:
            if wait > self.config.hello_timeout / 2:
                stream.abort(CloseCode.BUSY)
                raise ConnectionLost("The other side opens too many streams.")
            await asyncio.sleep(wait)
        self.peers.proven(connection)
        if self.pauses.of(sync.id, connection.peer):
            stream.abort(CloseCode.BUSY)
            raise ConnectionLost("The volume is paused here.")
        return opening, sync

    def _ends_with(self, volume: VolumeId) -> None:
        """Makes the current task one that `remove` of the volume ends: it goes on to use its store."""
        task = asyncio.current_task()
        assert task is not None
        tasks = self._serving.setdefault(volume, set())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _converse(self, link: PeerLink, stream: Stream, opening: frames.StreamHello, sync: VolumeSync) -> None:
        if opening.purpose == pb.PURPOSE_SESSION and stream.connection is link.connection:
            await accept_session(sync, stream, opening.greeting)
        elif opening.purpose == pb.PURPOSE_CONTENT:
            await self._serve_content(link, stream, sync)
        else:
            self._refuse(link, stream)

    async def _serve_content(self, link: PeerLink, stream: Stream, sync: VolumeSync) -> None:
        count = link.content_streams.get(sync.id, 0)
        if count >= CONTENT_STREAMS:
            stream.abort(CloseCode.BUSY)
            return
        link.content_streams[sync.id] = count + 1
        try:
            await stream.send(frames.welcome(self.names.own, self._now_ms()))
            await sync.server.serve(stream, link.connection.peer)
        finally:
            link.content_streams[sync.id] -= 1
