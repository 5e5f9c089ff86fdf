# SPDX-License-Identifier: GPL-3.0-or-later
"""Introductions: what a device shows of itself with its hello, and what one that is no member any more is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.core.errors import Refused
from holofsd.core.ids import DeviceId
from holofsd.net.api import Connection, Stream
from holofsd.net.strangers import source_of
from holofsd.store.device import DeviceStore
from holofsd.sync import frames
from holofsd.sync.config import HELLO_CREDENTIALS, MAX_HELLO
from holofsd.sync.leaving import load_left
from holofsd.sync.names import DeviceNames
from holofsd.sync.scrutiny import Scrutiny, cost_of, is_proven_member
from holofsd.sync.session import FAREWELL
from holofsd.sync.volume import VolumeSync

T = TypeVar("T")


class Introductions:
    """Looks at what devices show that are not known as members. `is_known`: something is shared with that device.
    `share`: part of one processor that this may take."""

    def __init__(
        self,
        device: DeviceId,
        devices: DeviceStore,
        names: DeviceNames,
        now_ms: Callable[[], int],
        share: float,
        is_known: Callable[[DeviceId], bool],
    ) -> None:
        self._device, self._devices, self._names, self._now_ms = device, devices, names, now_ms
        self._scrutiny = Scrutiny(share)
        self._is_known = is_known

    async def read_hello(self, connection: Connection, data: bytes) -> frames.StreamHello:
        """Parses a hello; that of a stranger only when it is its turn."""
        if self._is_known(connection.peer):
            return frames.read_hello(data)

        async def read() -> frames.StreamHello:
            return frames.read_hello(data)

        return await self._scrutiny.spend(source_of(connection.remote_address), cost_of(size=len(data)), read)

    async def examine(self, connection: Connection, opening: frames.StreamHello, sync: VolumeSync) -> None:
        """Looks at what a device shows that is not known as a member; learns it if that makes it one."""
        shown = opening.credentials

        async def look() -> None:
            offered = wire.from_credentials(shown)
            # The removal of this device may be void by now: its issuer was removed by a more senior admin at that time.
            if sync.role is not None or await sync.members.would_be_member(self._device, offered):
                await sync.members.would_be_member(connection.peer, offered)

        await self._scrutinize(connection, shown, sync.members.credentials.size(), look)

    async def _scrutinize(
        self, connection: Connection, shown: pb.Credentials, known: int, work: Callable[[], Awaitable[T]]
    ) -> T:
        size = len(shown.grants) + len(shown.removals) + len(shown.certificates)
        if size > HELLO_CREDENTIALS:
            raise Refused("more credentials than a hello has room for")
        source = source_of(connection.remote_address)
        return await self._scrutiny.spend(source, cost_of(shown=size, known=known), work)

    async def explain(self, stream: Stream, sync: VolumeSync) -> None:
        """Tells a device that was removed while it was away, or a member that this one was: a member that goes on from
        an old backup may not know any more. Both know the volume anyway. A stranger hears nothing."""
        peer = stream.connection.peer
        about = self._device if sync.role is None and sync.members.is_member(peer) else peer
        if sync.members.was_removed(about):
            await stream.send(frames.credentials(sync.members.case_of(about)))
            await stream.finish()
            async with asyncio.timeout(FAREWELL):
                await stream.receive(MAX_HELLO)  # its end proves that the other side has read

    async def say_left(self, stream: Stream, opening: frames.StreamHello) -> None:
        """A member of a volume that this device left is told so: a session with the one mark that says it."""
        mark, connection = load_left(self._devices, opening.volume), stream.connection
        if mark is None:
            return

        async def is_proven() -> bool:
            offered = wire.from_credentials(opening.credentials)
            return await is_proven_member(opening.volume, connection.peer, offered)

        if not await self._scrutinize(connection, opening.credentials, 0, is_proven):
            return
        await stream.send(frames.welcome(self._names.own, self._now_ms(), self._names.named_ms))
        await stream.send(frames.marks([mark]))
        await stream.finish()
        async with asyncio.timeout(FAREWELL):
            while await stream.receive(MAX_HELLO) is not None:
                pass  # its end proves that the other side has read
