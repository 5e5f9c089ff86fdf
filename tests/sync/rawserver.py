# SPDX-License-Identifier: GPL-3.0-or-later
"""A member of the tests that serves content as badly as a test wants, over the fake network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.ticket import decode_ticket
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import BlobHash
from holofsd.core.state import Blob, NodeState
from holofsd.net.api import Stream
from holofsd.net.fake import FakeNetwork
from holofsd.sync import frames
from holofsd.sync.invites import redeem
from tests.sync.devices import Device, until
from tests.sync.rawpeer import Author, RawPeer, welcome

Answer = Callable[[Stream, pb.Get], Awaitable[None]]


class RawServer:
    """A member in session with one device. `answer` does what it likes with each question for content."""

    def __init__(self, raw: RawPeer, author: Author, answer: Answer) -> None:
        self.raw, self.author, self.answer = raw, author, answer
        self.asked: list[bytes] = []
        self.lost: list[bytes] = []
        """Questions in the middle of whose answers the other side gave the stream up."""
        self._tasks: list[asyncio.Task[None]] = []

    async def meet(self, device: Device, ticket_of: Device) -> None:
        joined = await redeem(self.raw.endpoint, decode_ticket(ticket_of.ticket()), "raw")
        self.author.volume = joined.volume
        await until(lambda: device.sync.members.is_member(self.raw.id))
        await self.raw.connect(device.id)
        self._tasks.append(asyncio.create_task(self._accept()))
        await self.raw.session(device.id, joined, self.author)

    async def say(self, *states: NodeState) -> None:
        after = self.author.seq
        await self.raw.push(self.author, *map(self.author.say, states), after=after)

    def names(self, name: str, blob: BlobHash, size: int) -> NodeState:
        """A file with that content, as large as it is said to be."""
        made = self.author.file(name, b"")
        ((dot, version),) = made.versions.items()
        return replace(made, versions={dot: replace(version, body=Blob(blob), size=size)})

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.raw.endpoint.close()

    async def _accept(self) -> None:
        assert self.raw.connection is not None
        with contextlib.suppress(ConnectionLost):
            while True:
                stream = await self.raw.connection.accept_stream()
                self._tasks.append(asyncio.create_task(self._serve(stream)))

    async def _serve(self, stream: Stream) -> None:
        with contextlib.suppress(ConnectionLost):
            while (data := await stream.receive()) is not None:
                frame = pb.Frame.FromString(data)
                kind = frame.WhichOneof("frame")
                if kind == "hello":
                    await welcome(stream, frame.hello)
                elif kind == "hold":
                    await stream.send(frames.held(frame.hold.id, [True] * len(frame.hold.hashes)))
                elif kind == "get":
                    self.asked.append(frame.get.hash)
                    try:
                        await self.answer(stream, frame.get)
                    except ConnectionLost:
                        self.lost.append(frame.get.hash)
                        raise


async def has_nothing(stream: Stream, get: pb.Get) -> None:
    await stream.send(frames.blob_missing(get.id))


def serves(data: bytes, piece: int = 1 << 18, pause: float = 0.0, size: int | None = None) -> Answer:
    """Sends these bytes, in pieces, with a pause after each; whatever hash it is asked for."""

    async def answer(stream: Stream, get: pb.Get) -> None:
        rest = data[get.offset :]
        for start in range(0, len(rest), piece):
            part = rest[start : start + piece]
            end = start + piece >= len(rest)
            await stream.send(frames.blob(get.id, part, end, len(data) if size is None else size))
            await asyncio.sleep(pause)

    return answer


@asynccontextmanager
async def raw_server(network: FakeNetwork, answer: Answer, name: str = "raw") -> AsyncIterator[RawServer]:
    raw = RawPeer(network, name)
    server = RawServer(raw, Author(None), answer)  # type: ignore[arg-type]  # the volume is known once it has met
    try:
        yield server
    finally:
        await server.close()
