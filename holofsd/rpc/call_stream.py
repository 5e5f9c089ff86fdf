# SPDX-License-Identifier: GPL-3.0-or-later
"""One gRPC stream of filesystem calls: the public form of what mounts send over the fast lane."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import grpc

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.rpc.dispatch import SIGN, SIGN_S, Dispatcher
from holofsd.rpc.fs_calls import Caller


class CallStream:
    """Runs one `Calls` stream until the client ends it or goes away."""

    def __init__(self, caller: Caller, context: Any) -> None:
        self._context = context
        self._room = asyncio.Event()
        self._dispatcher = Dispatcher(caller, self._reply_later, self._room.set)
        self._replies: deque[pb.CallReply] = deque()
        self._writing = False
        self._writer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves calls until the end of the stream. Then every call that was begun comes to its end; only waits are cut
        short."""
        try:
            while (request := await self._context.read()) is not grpc.aio.EOF:
                reply = self._dispatcher.begin(request)
                if reply is not None:
                    self._replies.append(reply)
                    await self._write()
                while self._dispatcher.full:
                    self._room.clear()
                    try:
                        async with asyncio.timeout(SIGN_S):
                            await self._room.wait()
                    except TimeoutError:
                        self._reply_later(SIGN)
        except asyncio.CancelledError:
            self._dispatcher.cut_short()
            raise
        finally:
            await self._dispatcher.drain()
            if self._writer is not None:
                await asyncio.wait((self._writer,))

    def _reply_later(self, reply: pb.CallReply) -> None:
        self._replies.append(reply)
        if not self._writing and (self._writer is None or self._writer.done()):
            self._writer = asyncio.get_running_loop().create_task(self._write_quietly())

    async def _write_quietly(self) -> None:
        try:
            await self._write()
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            self._replies.clear()  # the client has gone; the stream's own read says so

    async def _write(self) -> None:
        """gRPC allows one write at a time: whoever writes also writes what the others left."""
        if self._writing:
            return
        self._writing = True
        try:
            while self._replies:
                await self._context.write(self._replies.popleft())
        finally:
            self._writing = False
