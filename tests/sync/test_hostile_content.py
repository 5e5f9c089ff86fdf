# SPDX-License-Identifier: GPL-3.0-or-later
"""Members that promise content and do not deliver it: they cost a bounded time, then somebody else is asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.content import hash_bytes
from holofsd.codec.ticket import decode_ticket
from holofsd.core.errors import ConnectionLost
from holofsd.core.state import Blob
from holofsd.net.api import Stream
from holofsd.net.fake import FakeNetwork
from holofsd.sync import exchange, frames
from holofsd.sync.invites import redeem
from tests.sync.devices import QUICK, devices, share, until
from tests.sync.rawpeer import Author, RawPeer, welcome

SIZE = 600_000
Behaviour = Callable[[Stream, pb.Get], "asyncio.Future[None]"]


class Server:
    """The rogue's side of content streams."""

    def __init__(self, raw: RawPeer, answer: str, size: int) -> None:
        self.raw, self.answer, self.size = raw, answer, size
        self.asked = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._accept()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
                if frame.WhichOneof("frame") == "hello":
                    await welcome(stream, frame.hello)
                elif frame.WhichOneof("frame") == "get":
                    self.asked += 1
                    await self._misbehave(stream, frame.get.id)

    async def _misbehave(self, stream: Stream, number: int) -> None:
        if self.answer == "stalls in the middle":
            await stream.send(frames.blob(number, b"x" * 1000, False, self.size))
        elif self.answer == "sends nothing again and again":
            while True:
                await stream.send(frames.blob(number, b"", False, self.size))
                await asyncio.sleep(0)
        elif self.answer == "sends byte by byte":
            while True:
                await stream.send(frames.blob(number, b"x", False, self.size))
                await asyncio.sleep(0.05)
        elif self.answer == "sends more than there is":
            while True:
                await stream.send(frames.blob(number, b"x" * 200_000, False, self.size))
        elif self.answer == "says another size":
            await stream.send(frames.blob(number, b"x" * 1000, False, 3 * self.size))
        elif self.answer == "answers something else":
            await stream.send(frames.blob(number + 77, b"x", True, 1))
        elif self.answer == "sends garbage":
            await stream.send(os.urandom(1000))


@asynccontextmanager
async def served(raw: RawPeer, answer: str, size: int) -> AsyncIterator[Server]:
    server = Server(raw, answer, size)
    try:
        yield server
    finally:
        await server.close()
        await raw.endpoint.close()


@pytest.mark.parametrize("size", [SIZE, 20_000], ids=["large", "small"])
@pytest.mark.parametrize(
    "answer",
    [
        "says nothing",
        "stalls in the middle",
        "sends nothing again and again",
        "sends byte by byte",
        "sends more than there is",
        "says another size",
        "answers something else",
        "sends garbage",
    ],
)
async def test_content_comes_from_somebody_else_when_a_member(
    answer: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For ann, too: where the machine stops for as long as that, she is asked again a few seconds later.
    monkeypatch.setattr(exchange, "SILENCE", 0.5)
    data = os.urandom(size)
    network = FakeNetwork()
    # Asked again soon: whoever does not deliver must not win against somebody who would.
    config = replace(QUICK, missing_retry=2.0)
    async with devices(tmp_path, "ann", "bob", network=network, config=config) as (ann, bob):
        await share(ann, bob)
        raw = RawPeer(network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        async with served(raw, answer, size) as server:
            await until(lambda: bob.sync.members.is_member(raw.id))
            network.partition(ann.id, bob.id)
            await raw.connect(bob.id)
            server.start()
            await raw.session(bob.id, joined, author)
            promised = author.file("promised", b"")
            ((dot, version),) = promised.versions.items()
            body = replace(version, body=Blob(hash_bytes(data)), size=size)
            await raw.push(author, author.say(replace(promised, versions={dot: body})), after=0)
            await until(lambda: server.asked > 0)
            ann.write("the same", data)
            network.heal(ann.id, bob.id)
            await until(lambda: bob.files().get("promised") == data, "the content, from ann", 60)
