# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the calls of one client, whichever transport they came by: many in flight, answered in any order.

Most calls complete without suspending. They are driven on the spot, without a task; one that suspends all the same is
carried on in a task of its own. Calls that are known to wait (`Call.suspends`) get a task at once, because time-outs
bind to the task in which they begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import BadArgument, StaleHandle
from holofsd.rpc.errors import describe
from holofsd.rpc.fs_calls import BY_FIELD, Call, Caller
from holofsd.rpc.journalled_calls import run_journalled

MAX_IN_FLIGHT: Final = 512
"""Suspended calls of one client; beyond that its transport is not read, and flow control holds the client."""

SIGN_S: Final = 1.0
"""Between two signs of life to a client that is not read."""
SIGN: Final = pb.CallReply(id=(1 << 64) - 1)
"""An empty reply to no call: a client whose calls are not read must not take this daemon for dead."""


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


class Dispatcher:
    """Calls of one connection of a mount, from the request to the reply.

    `later` gets the replies of calls that suspended; `room` is called when `full` may have ended.
    """

    def __init__(self, caller: Caller, later: Callable[[pb.CallReply], None], room: Callable[[], None]) -> None:
        self._caller = caller
        caller.calls.append(self)
        self._later = later
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        return len(self._tasks) >= MAX_IN_FLIGHT

    def begin(self, request: pb.CallRequest) -> pb.CallReply | None:
        """The reply, or None: it will come `later`."""
        field = request.WhichOneof("call")
        call = BY_FIELD.get(field) if field is not None else None
        if call is None:
            error = BadArgument("The daemon does not know this call; upgrade it.")
            return pb.CallReply(id=request.id, error=_call_error(error))
        try:
            self._caller.check()
        except StaleHandle as error:
            return pb.CallReply(id=request.id, error=_call_error(error))
        asked = getattr(request, call.field)
        reply = pb.CallReply(id=request.id)
        if request.number:
            self._run_journalled(request, call, reply)
            return reply
        work = self._answer(call, asked, reply)
        if call.suspends(asked):
            self._spawn(self._finish(work, reply), cut_short=call.field == "fetch")
            return None
        try:
            pending = work.send(None)
        except StopIteration:
            return reply
        self._spawn(self._finish(_Resumed(work, pending), reply), cut_short=False)
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

    async def _answer(self, call: Call, asked: Any, reply: pb.CallReply) -> None:
        """Fills the reply, with the result or the error."""
        out = getattr(reply, call.result)
        try:
            await call.answer(self._caller, asked, out)
            out.SetInParent()
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            reply.error.CopyFrom(_call_error(error))  # the other result of the oneof is gone with this

    def _run_journalled(self, request: pb.CallRequest, call: Call, reply: pb.CallReply) -> None:
        out = getattr(reply, call.result)
        try:
            run_journalled(self._caller, request, out)
            out.SetInParent()
        except Exception as error:  # noqa: BLE001 - the outermost edge of a call
            reply.error.CopyFrom(_call_error(error))

    async def _finish(self, work: Any, reply: pb.CallReply) -> None:
        await work
        self._later(reply)

    def _spawn(self, work: Coroutine[Any, Any, None], cut_short: bool) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        if cut_short:
            self._waiting.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.discard(task)
        self._room()


def _call_error(error: Exception) -> pb.CallError:
    told = describe(error)
    return pb.CallError(errno=told.errno, code=told.code, message=told.message)
