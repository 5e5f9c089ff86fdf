# SPDX-License-Identifier: GPL-3.0-or-later
"""One attachment to the daemon, from Attach until its first stream breaks: calls in flight, and what changed.

A session never comes back: the client makes a new one. What was in flight fails with SessionLost, which says whether
the daemon may have seen the call.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from holofs_api.errors import ATTACHMENT_KEY
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub

_MESSAGE_LIMIT: Final = 32 * 1024 * 1024
_ATTACH_TIMEOUT: Final = 10.0

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT),
    # A connection of its own each time: a shared one would carry the back-off of failed attempts over.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class SessionLost(Exception):
    """The daemon went away. `sent`: it may have seen, and done, what was asked."""

    def __init__(self, sent: bool) -> None:
        super().__init__("the daemon went away")
        self.sent = sent


class Session:
    """Calls and changes of one attachment. `lost` is set once, when the first stream ends."""

    def __init__(self, channel: Any, attached: pb.AttachReply, on_change: Callable[[pb.Change], None]) -> None:
        self.attached = attached
        self.lost = asyncio.Event()
        self.lost_at = 0.0
        self._channel = channel
        self._on_change = on_change
        self._pending: dict[int, asyncio.Future[pb.CallReply]] = {}
        self._next_id = 0
        self._outgoing: deque[pb.CallRequest] = deque()
        self._wake = asyncio.Event()
        metadata = ((ATTACHMENT_KEY, attached.attachment),)
        stub: Any = FilesystemStub(channel)
        self._watch = stub.Watch(pb.WatchRequest(), metadata=metadata)
        self._calls = stub.Calls(metadata=metadata)
        self._tasks = [
            asyncio.create_task(self._guarded(self._read_changes()), name="holofs-watch"),
            asyncio.create_task(self._guarded(self._read_replies()), name="holofs-replies"),
            asyncio.create_task(self._guarded(self._write_requests()), name="holofs-requests"),
        ]

    async def call(self, name: str, request: Message) -> Any:
        """The reply to one call; OSError with the daemon's errno, or SessionLost."""
        if self.lost.is_set():
            raise SessionLost(sent=False)
        self._next_id += 1
        number = self._next_id
        future: asyncio.Future[pb.CallReply] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        self._outgoing.append(pb.CallRequest(id=number, **{name: request}))  # type: ignore[arg-type]
        self._wake.set()
        try:
            reply = await future
        finally:
            self._pending.pop(number, None)
        return _result(reply)

    async def close(self) -> None:
        """Ends both streams and the connection. Idempotent."""
        self._break()
        self._calls.cancel()
        self._watch.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def _guarded(self, stream: Any) -> None:
        """Whatever ends one stream ends the session."""
        try:
            await stream
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass
        finally:
            self._break()

    def _break(self) -> None:
        if not self.lost.is_set():
            self.lost_at = time.monotonic()
            self.lost.set()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(SessionLost(sent=True))
        self._pending.clear()

    async def _write_requests(self) -> None:
        while True:
            while self._outgoing:
                await self._calls.write(self._outgoing.popleft())
            self._wake.clear()
            if not self._outgoing:
                await self._wake.wait()

    async def _read_replies(self) -> None:
        while True:
            reply = await self._calls.read()
            if reply is grpc.aio.EOF:
                return
            future = self._pending.get(reply.id)
            if future is not None and not future.done():
                future.set_result(reply)

    async def _read_changes(self) -> None:
        while True:
            change = await self._watch.read()
            if change is grpc.aio.EOF:
                return
            self._on_change(change)


async def attach(socket: Path, hello: pb.AttachRequest, on_change: Callable[[pb.Change], None]) -> Session:
    """A new session; grpc.RpcError when the daemon is absent or refuses."""
    channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL_OPTIONS)
    try:
        stub: Any = FilesystemStub(channel)
        reply = await stub.Attach(hello, timeout=_ATTACH_TIMEOUT)
    except BaseException:
        await channel.close()
        raise
    return Session(channel, reply, on_change)


def _result(reply: pb.CallReply) -> Any:
    which = reply.WhichOneof("result")
    if which is None:
        return pb.Done()
    if which == "error":
        raise OSError(reply.error.errno, reply.error.message)
    return getattr(reply, which)
