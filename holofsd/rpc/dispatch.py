# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the calls of one client, whichever transport they came by: many in flight, answered in any order.

They begin in the order in which they came. Each has a task of its own; a journalled one, which never waits, runs at
once where no other call has still to begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import BadArgument
from holofsd.rpc.errors import describe
from holofsd.rpc.fs_calls import BY_FIELD, Call, Caller
from holofsd.rpc.journalled_calls import run_journalled

MAX_IN_FLIGHT: Final = 512
"""Suspended calls of one client; beyond that its transport is not read, and flow control holds the client."""
MAX_FOR_CONTENT: Final = 4096
"""The same for calls that wait for content of other devices. They are counted apart, so that they keep no other call
waiting, however many programs read what is not here. Each costs a task."""
_FOR_CONTENT: Final = frozenset({"fetch", "stage"})

SIGN_S: Final = 1.0
"""Between two signs of life to a client that is not read."""
SIGN: Final = pb.CallReply(id=(1 << 64) - 1)
"""An empty reply to no call: a client whose calls are not read must not take this daemon for dead."""


class Dispatcher:
    """Calls of one connection of a mount, from the request to the reply.

    `later` gets the replies of calls that had a task; `room` is called when `full` may have ended.
    """

    def __init__(self, caller: Caller, later: Callable[[pb.CallReply], None], room: Callable[[], None]) -> None:
        self._caller = caller
        caller.calls.append(self)
        self._later = later
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        """Those that change nothing, so that they may be cut short."""
        self._for_content: set[asyncio.Task[None]] = set()
        self._to_begin = 0
        """Tasks that have not begun yet."""

    @property
    def full(self) -> bool:
        for_content = len(self._for_content)
        return len(self._tasks) - for_content >= MAX_IN_FLIGHT or for_content >= MAX_FOR_CONTENT

    def begin(self, request: pb.CallRequest) -> pb.CallReply | None:
        """The reply, or None: it will come `later`."""
        field = request.WhichOneof("call")
        call = BY_FIELD.get(field) if field is not None else None
        if call is None:
            error = BadArgument("The daemon does not know this call; upgrade it.")
            return pb.CallReply(id=request.id, error=_call_error(error))
        reply = pb.CallReply(id=request.id)
        if request.number and not self._to_begin:
            self._run_journalled(request, call, reply)
            return reply
        self._spawn(self._run(request, call, reply), call.field)
        return None

    def cut_short(self) -> None:
        """The client is gone: nobody wants what is only waited for. What was begun otherwise goes on."""
        for task in self._waiting:
            task.cancel()

    async def drain(self) -> None:
        """Waits until every call that was begun has come to its end, also if cancelled meanwhile."""
        cancelled = False
        while self._tasks:
            try:
                await asyncio.wait(set(self._tasks))
            except asyncio.CancelledError:
                cancelled = True
                self.cut_short()
        if cancelled:
            raise asyncio.CancelledError

    async def _run(self, request: pb.CallRequest, call: Call, reply: pb.CallReply) -> None:
        self._to_begin -= 1
        if request.number:
            self._run_journalled(request, call, reply)
        else:
            await self._answer(call, getattr(request, call.field), reply)
        self._later(reply)

    async def _answer(self, call: Call, asked: Any, reply: pb.CallReply) -> None:
        """Fills the reply, with the result or the error."""
        out = getattr(reply, call.result)
        try:
            self._caller.check()
            await call.answer(self._caller, asked, out)
            out.SetInParent()
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            reply.error.CopyFrom(_call_error(error))  # the other result of the oneof is gone with this

    def _run_journalled(self, request: pb.CallRequest, call: Call, reply: pb.CallReply) -> None:
        out = getattr(reply, call.result)
        try:
            self._caller.check()
            run_journalled(self._caller, request, out)
            out.SetInParent()
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            reply.error.CopyFrom(_call_error(error))

    def _spawn(self, work: Coroutine[Any, Any, None], field: str) -> None:
        self._to_begin += 1
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        if field == "fetch":
            self._waiting.add(task)
        if field in _FOR_CONTENT:
            self._for_content.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.discard(task)
        self._for_content.discard(task)
        self._room()


def _call_error(error: Exception) -> pb.CallError:
    told = describe(error)
    return pb.CallError(errno=told.errno, code=told.code, message=told.message)
