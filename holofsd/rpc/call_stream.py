# SPDX-License-Identifier: GPL-3.0-or-later
"""The hot path: one stream of filesystem calls, many in flight, answered in any order.

Most calls complete without suspending. They are driven on the spot, without a task; one that suspends all the same is
carried on in a task of its own. Calls that are known to wait (`Call.suspends`) get a task at once, because time-outs
bind to the task in which they begin.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Final

import grpc

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import BadArgument
from holofsd.rpc.errors import describe
from holofsd.rpc.fs_calls import BY_FIELD, Call, Caller

MAX_IN_FLIGHT: Final = 512
"""Suspended calls of one stream; beyond that the stream is not read, and gRPC's own flow control holds the client."""


class _Resumed:
    """Awaits the rest of a coroutine that was already driven to its first suspension, where it yielded `pending`."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], pending: Any) -> None:
        self._coroutine = coroutine
        self._pending = pending

    def __await__(self) -> Generator[Any, Any, None]:
        pending = self._pending
        while True:
            try:
                sent = yield pending
            except BaseException as error:  # noqa: BLE001 - also CancelledError: it belongs to the coroutine
                step = partial(self._coroutine.throw, error)
            else:
                step = partial(self._coroutine.send, sent)
            try:
                pending = step()
            except StopIteration:
                return


class CallStream:
    """Runs one `Calls` stream until the client ends it or goes away."""

    def __init__(self, caller: Caller, context: Any) -> None:
        self._caller = caller
        self._context = context
        self._replies: deque[pb.CallReply] = deque()
        self._writing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Until the end of the stream; then every call that was begun comes to its end, only waits are cut short."""
        try:
            while (request := await self._context.read()) is not grpc.aio.EOF:
                await self._accept(request)
                while len(self._tasks) >= MAX_IN_FLIGHT:
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError:
            self._cut_short()
            raise
        finally:
            await self._drain()

    def _cut_short(self) -> None:
        for task in self._waiting:
            task.cancel()

    async def _drain(self) -> None:
        # A client that goes is seen as the end of the stream, a cancel, or both; no cancel may reach a begun commit.
        cancelled = False
        while self._tasks:
            try:
                await asyncio.wait(set(self._tasks))
            except asyncio.CancelledError:
                cancelled = True
                self._cut_short()
        if cancelled:
            raise asyncio.CancelledError

    async def _accept(self, request: pb.CallRequest) -> None:
        reply = pb.CallReply(id=request.id)
        call = BY_FIELD.get(request.WhichOneof("call") or "")
        if call is None:
            await self._send(_failed(request.id, BadArgument("The daemon does not know this call; upgrade it.")))
            return
        work = self._answer(call, request, reply)
        if call.suspends:
            self._spawn(self._finish(work, reply), cut_short=call.field == "fetch")
            return
        try:
            pending = work.send(None)
        except StopIteration:
            await self._send(reply)
        else:
            self._spawn(self._finish(_Resumed(work, pending), reply), cut_short=False)

    async def _answer(self, call: Call, request: pb.CallRequest, reply: pb.CallReply) -> None:
        """Fills the reply, with the result or the error."""
        out = getattr(reply, call.result)
        try:
            await call.run(self._caller, getattr(request, call.field), out)
            out.SetInParent()
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            reply.error.CopyFrom(_call_error(error))  # the other result of the oneof is gone with this

    async def _finish(self, work: Any, reply: pb.CallReply) -> None:
        await work
        await self._send(reply)

    def _spawn(self, work: Coroutine[Any, Any, None], cut_short: bool) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        if cut_short:
            self._waiting.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.discard(task)
        self._room.set()
        if not task.cancelled():
            task.exception()  # a reply to a client that has gone; the stream's own read says so

    async def _send(self, reply: pb.CallReply) -> None:
        """gRPC allows one write at a time: whoever writes also writes what the others left."""
        if self._writing:
            self._replies.append(reply)
            return
        self._writing = True
        try:
            await self._context.write(reply)
            while self._replies:
                await self._context.write(self._replies.popleft())
        finally:
            self._writing = False


def _call_error(error: Exception) -> pb.CallError:
    told = describe(error)
    return pb.CallError(errno=told.errno, code=told.code, message=told.message)


def _failed(call_id: int, error: Exception) -> pb.CallReply:
    return pb.CallReply(id=call_id, error=_call_error(error))
