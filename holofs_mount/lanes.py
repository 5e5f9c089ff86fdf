# SPDX-License-Identifier: GPL-3.0-or-later
"""Lanes to the daemon: the fast lane (frames on a Unix socket), or, where it cannot be had, a stream of gRPC.

Both carry `CallRequest` and `CallReply`, many in flight, answered in any order. A lane that broke never comes back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from holofs_api.framing import GREETING_S, FrameParser, FrameTooLong, frame
from holofs_api.paths import CALLS_SOCKET_NAME
from holofs_api.sockets import SocketFolder, is_peer
from holofs_api.v1 import filesystem_pb2 as pb

log = structlog.get_logger(__name__)

OnReply = Callable[[pb.CallReply], None]


class Lane(Protocol):
    """Carrier of calls and replies. `lost`: done when it broke or was closed. `carries_news`: it takes a `watch`."""

    lost: asyncio.Future[None]
    carries_news: bool

    def send(self, request: pb.CallRequest) -> None:
        """Sends a call. Never blocks: operations wait for their replies, which bounds what waits to be sent."""

    async def close(self) -> None: ...


class FastLane(asyncio.Protocol):
    """Frames on the socket beside gRPC's; usable once `greeted` is done."""

    carries_news = True

    def __init__(self, attachment: str, on_reply: OnReply, owner: int) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._attachment = attachment
        self._on_reply = on_reply
        self._owner = owner
        self._parser = FrameParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not is_peer(transport.get_extra_info("socket"), self._owner):
            log.error("a process of another user answers in the daemon's place; nothing was said to it")
            transport.abort()
            return
        transport.write(frame(self._attachment.encode("ascii")))

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while (body := self._parser.pop()) is not None:
                if not self.greeted.done():
                    self.greeted.set_result(None)
                    continue
                self._on_reply(pb.CallReply.FromString(body))
        except (FrameTooLong, DecodeError):
            log.error("the daemon's answers make no sense")
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        for waited in (self.greeted, self.lost):
            if not waited.done():
                waited.set_result(None)

    def send(self, request: pb.CallRequest) -> None:
        self._transport.write(frame(request.SerializeToString()))

    async def close(self) -> None:
        self._transport.abort()
        await self.lost


async def open_fast_lane(folder: SocketFolder, attachment: str, on_reply: OnReply) -> FastLane | None:
    """Opens the fast lane. None: it cannot be had (an older daemon, or one that just went away)."""
    try:
        async with asyncio.timeout(GREETING_S):
            _, lane = await asyncio.get_running_loop().create_unix_connection(
                lambda: FastLane(attachment, on_reply, folder.owner), folder.address(CALLS_SOCKET_NAME)
            )
            try:
                await lane.greeted
            except asyncio.CancelledError:
                await lane.close()
                raise
    except OSError as error:  # TimeoutError too
        log.info("no fast lane to the daemon", reason=str(error))
        return None
    return None if lane.lost.done() else lane


class GrpcLane:
    """The stream `Filesystem.Calls`."""

    carries_news = False

    def __init__(self, calls: Any, on_reply: OnReply) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls = calls
        self._on_reply = on_reply
        self._outgoing: deque[pb.CallRequest] = deque()
        self._wake = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._guarded(self._read()), name="holofs-replies"),
            asyncio.create_task(self._guarded(self._write()), name="holofs-requests"),
        ]

    def send(self, request: pb.CallRequest) -> None:
        self._outgoing.append(request)
        self._wake.set()

    async def close(self) -> None:
        self._calls.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, direction: Any) -> None:
        """Ends the lane when either direction ends."""
        try:
            await direction
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass
        finally:
            if not self.lost.done():
                self.lost.set_result(None)

    async def _read(self) -> None:
        while (reply := await self._calls.read()) is not grpc.aio.EOF:
            self._on_reply(reply)

    async def _write(self) -> None:
        while True:
            while self._outgoing:
                await self._calls.write(self._outgoing.popleft())
            self._wake.clear()
            await self._wake.wait()
