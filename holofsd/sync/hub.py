# SPDX-License-Identifier: GPL-3.0-or-later
"""All volumes of this device on one endpoint: who is connected, which stream belongs to which volume, who is refused.

A stranger learns nothing: whatever it asks, its connection is closed with one code, within a few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.signing import SigningKey
from holofsd.codec.ticket import Invite
from holofsd.core.document import DeviceInfo
from holofsd.core.errors import ConnectionLost, HoloError, ProtocolViolation, Refused
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.net.api import JOIN_ALPN, CloseCode, CloseReason, Connection, Endpoint, Stream
from holofsd.net.peer import PeerStatus
from holofsd.net.peers import PeerManager
from holofsd.store.device import DeviceStore
from holofsd.sync import frames
from holofsd.sync.config import MAX_HELLO, MAX_NAME, PROGRAM, PROTOCOL, SyncConfig
from holofsd.sync.invites import Inviter, RedeemResult, redeem
from holofsd.sync.leaving import load_left
from holofsd.sync.links import accept_session, keep_session
from holofsd.sync.members import Members, is_proven_member
from holofsd.sync.names import DeviceNames
from holofsd.sync.session import FAREWELL
from holofsd.sync.tasks import Tasks
from holofsd.sync.twins import Twins
from holofsd.sync.volume import VolumeSync
from holofsd.sync.wiring import neighbours

log = structlog.get_logger(__name__)

MAX_STREAMS = 256
"""Streams that one device may have open to us at a time, all volumes together."""
CONTENT_STREAMS = 8
"""Content streams of one device and volume."""
REWIRE_INTERVAL = 5.0


@dataclass(slots=True, eq=False)
class Link:
    """One connection and what runs over it."""

    connection: Connection
    tasks: Tasks
    shared: bool = False
    """Something was shared with that device while it was connected."""
    keeping: dict[VolumeId, asyncio.Task[None]] = field(default_factory=dict)
    content_streams: dict[VolumeId, int] = field(default_factory=dict)


class SyncHub:
    """`device_name`: of a device that has no name yet. `endpoint` stays the caller's to close. Call `run` in a task of
    its own, and `close` before the stores close."""

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
        self._endpoint = endpoint
        self._node_key = node_key
        self.device = DeviceId(node_key.public)
        self._devices = devices
        self._now_ms = now_ms
        self.names = DeviceNames(devices, self.device, device_name[:MAX_NAME], now_ms)
        self.config = config or SyncConfig()
        self._volumes: dict[VolumeId, VolumeSync] = {}
        self._links: dict[DeviceId, Link] = {}
        self._wanted: set[DeviceId] = set()
        self._tasks = Tasks("hub")
        self._rewire = asyncio.Event()
        self._described: DeviceInfo | None = None
        self.twins = Twins(self.device, now_ms)
        self.inviter = Inviter(devices, self._members_of, now_ms)
        self.refused = 0
        """Streams and connections of strangers, for status."""
        self.peers = peers(
            endpoint,
            self._on_connection,
            on_other=self._on_other,
            on_presence=lambda _device, _online: self._rewire.set(),
            on_addresses=self._addresses_learned,
        )

    # ---- volumes
    def volume(self, volume: VolumeId) -> VolumeSync | None:
        return self._volumes.get(volume)

    def volumes(self) -> list[VolumeSync]:
        return list(self._volumes.values())

    def add(self, sync: VolumeSync) -> None:
        """From now on this volume is synchronized; the hub closes it."""
        self._volumes[sync.id] = sync
        sync.on_device = self._device_described
        sync.on_named = self.names.heard
        sync.twins = self.twins
        sync.members.called = self.names.of
        sync.members.subscribe(self._rewire.set)
        sync.on_session_end = self._rewire.set
        self._tasks.spawn(sync.run(), "volume")
        self._rewire.set()
        self._keep_sessions()

    async def remove(self, volume: VolumeId) -> None:
        """Ends its sessions and tasks. Its store stays the caller's to close."""
        sync = self._volumes.pop(volume, None)
        if sync is not None:
            await sync.close()
            for link in self._links.values():
                if (keeping := link.keeping.pop(volume, None)) is not None:
                    keeping.cancel()
            self._rewire.set()

    def describe(self) -> DeviceInfo:
        """What our device record says now; `VolumeSync` is constructed with this."""
        relay = self._endpoint.relay_url()
        addresses = (*self._endpoint.addresses()[:16], *((relay,) if relay else ()))
        return DeviceInfo(self.device, self.names.own, PROGRAM, addresses, named_ms=self.names.named_ms)

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
        self.peers.learn(device, *_split(addresses))

    async def redeem(self, invite: Invite) -> RedeemResult:
        """Redeems a ticket at its issuer, and remembers where that is. See `invites.redeem` for what it raises."""
        result = await redeem(self._endpoint, invite, self.names.own)
        self.learn(invite.issuer, (*invite.addresses, *((invite.relay_url,) if invite.relay_url else ())))
        return result

    def peer_status(self) -> list[PeerStatus]:
        return self.peers.status()

    def volumes_shared_with(self, device: DeviceId) -> list[VolumeSync]:
        return [sync for sync in self._volumes.values() if sync.members.is_member(device) and sync.role is not None]

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
                others = sync.members.others()
                online = self._is_online
                wanted |= {*neighbours(sync.id, self.device, others, online, self.config.sessions_wanted)}
        for device in wanted - self._wanted:
            self.peers.want(device, *_split(self._devices.addresses(device)))
        # A session that says goodbye to a removed member ends by itself, and then we come here again.
        leaving = {device for device in self._wanted - wanted if self._in_session(device)}
        for device in self._wanted - wanted - leaving:
            self.peers.unwant(device)
        self._wanted = wanted | leaving
        for device, link in self._links.items():
            if link.shared and not self._in_session(device) and not self.volumes_shared_with(device):
                link.connection.close(CloseCode.REFUSED)  # it was removed, or we were

    def _in_session(self, device: DeviceId) -> bool:
        return any(sync.is_connected(device) for sync in self._volumes.values())

    def _is_online(self, device: DeviceId) -> bool:
        return device in self._links

    def _say_addresses(self) -> None:
        """A new address of ours is news for everyone."""
        described = self.describe()
        if self._described is not None and described != self._described:
            for sync in self._volumes.values():
                sync.publisher.changed()
        self._described = described

    def _addresses_learned(self, device: DeviceId, addresses: tuple[str, ...], relay_url: str) -> None:
        now = self._now_ms()
        with self._devices.db.transaction():
            for address in (*addresses, *((relay_url,) if relay_url else ())):
                self._devices.put_address(device, address, now)

    def _device_described(self, info: DeviceInfo) -> None:
        if info.device != self.device:
            self.names.heard(info.device, info.name, info.named_ms)
            self.learn(info.device, info.addresses)

    def _members_of(self, volume: VolumeId) -> Members | None:
        sync = self._volumes.get(volume)
        return sync.members if sync else None

    # ---- connections
    async def _on_other(self, connection: Connection) -> None:
        if connection.alpn == JOIN_ALPN:
            await self.inviter.serve(connection)
        else:
            connection.close(CloseCode.REFUSED)

    async def _on_connection(self, connection: Connection) -> None:
        """Lives as long as the connection."""
        link = Link(connection, Tasks("connection"))
        former = self._links.get(connection.peer)
        self._links[connection.peer] = link
        if former is not None:
            await former.tasks.close()
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
                running = link.keeping.get(sync.id)
                if running is None or running.done():
                    link.keeping[sync.id] = link.tasks.spawn(keep_session(sync, link.connection), "session")

    async def _expect_introduction(self, link: Link) -> None:
        """Somebody whom we do not know has a few seconds to show that it is a member."""
        await asyncio.sleep(self.config.hello_timeout)
        if not self.volumes_shared_with(link.connection.peer):
            self._refuse(link, None)

    def _accepted(self, link: Link, stream: Stream) -> None:
        if len(link.tasks) >= MAX_STREAMS:
            stream.abort(CloseCode.BUSY)
        else:
            link.tasks.spawn(self._serve_stream(link, stream), "stream")

    def _refuse(self, link: Link, stream: Stream | None) -> None:
        """One code for all reasons. A device that we share something with keeps its connection."""
        self.refused += 1
        if stream is not None and self.volumes_shared_with(link.connection.peer):
            stream.abort(CloseCode.REFUSED)
        else:
            link.connection.close(CloseCode.REFUSED)

    async def _serve_stream(self, link: Link, stream: Stream) -> None:
        """A stream that the other side opened, from its hello to its end."""
        peer = link.connection.peer
        try:
            async with asyncio.timeout(self.config.hello_timeout):
                hello, sync = await self._introduction(stream)
        except (TimeoutError, ProtocolViolation, Refused):
            self._refuse(link, stream)
            return
        except ConnectionLost:
            return
        try:
            await self._converse(link, stream, hello, sync)
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

    async def _introduction(self, stream: Stream) -> tuple[pb.Hello, VolumeSync]:
        """Raises Refused for whoever is not a member of what it asks for, and for whatever is no hello."""
        data = await stream.receive(MAX_HELLO)
        if data is None:
            raise ConnectionLost("The other side said nothing.")
        frame = frames.parse(data)
        hello = frame.hello
        sync = self._volumes.get(VolumeId(hello.volume))
        if frame.WhichOneof("frame") != "hello" or hello.protocol != PROTOCOL:
            raise Refused("not a hello")
        if sync is None:
            await self._say_left(stream, hello)
            raise Refused("not a hello for anything that is here")
        offered = wire.from_credentials(hello.credentials)
        # The removal of this device may be void by now: its issuer was removed by a more senior admin at the same time.
        ours = sync.role is not None or await sync.members.would_be_member(self.device, offered)
        if not ours or not await sync.members.would_be_member(stream.connection.peer, offered):
            await self._explain(stream, sync)
            raise Refused("not a member")
        return hello, sync

    async def _explain(self, stream: Stream, sync: VolumeSync) -> None:
        """Tells a device that was removed while it was away, or a member that this one was: a member that goes on from
        an old backup may not know any more. Both know the volume anyway. A stranger hears nothing."""
        peer = stream.connection.peer
        about = self.device if sync.role is None and sync.members.is_member(peer) else peer
        if sync.members.was_removed(about):
            await stream.send(frames.credentials(sync.members.case_of(about)))
            await stream.finish()
            async with asyncio.timeout(FAREWELL):
                await stream.receive(MAX_HELLO)  # its end proves that the other side has read

    async def _say_left(self, stream: Stream, hello: pb.Hello) -> None:
        """A member of a volume that this device left is told so: a session with the one mark that says it."""
        volume = VolumeId(hello.volume)
        mark = load_left(self._devices, volume)
        if mark is None or not await is_proven_member(
            volume, stream.connection.peer, wire.from_credentials(hello.credentials)
        ):
            return
        await stream.send(frames.welcome(self.names.own, self._now_ms(), self.names.named_ms))
        await stream.send(frames.marks([mark]))
        await stream.finish()
        async with asyncio.timeout(FAREWELL):
            while await stream.receive() is not None:
                pass  # its end proves that the other side has read

    async def _converse(self, link: Link, stream: Stream, hello: pb.Hello, sync: VolumeSync) -> None:
        if hello.purpose == pb.PURPOSE_SESSION:
            await accept_session(sync, stream, hello)
        elif hello.purpose == pb.PURPOSE_CONTENT:
            await self._serve_content(link, stream, sync)
        else:
            self._refuse(link, stream)

    async def _serve_content(self, link: Link, stream: Stream, sync: VolumeSync) -> None:
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


def _split(addresses: list[str] | tuple[str, ...]) -> tuple[list[str], str]:
    """Addresses, and the relay among them."""
    relay = next((address for address in addresses if "://" in address), "")
    return [address for address in addresses if "://" not in address], relay
