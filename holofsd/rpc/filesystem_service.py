# SPDX-License-Identifier: GPL-3.0-or-later
"""holofs.v1.Filesystem: attachments, the stream of calls, the stream of changes, and every call as a unary method.

The service is built from the table in `fs_calls`, so a unary method and a call of the stream cannot differ. An
attachment ends with the last of its streams (fs keeps its open files for its return); one without streams when idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
import structlog

from holofs_api.errors import ATTACHMENT_KEY
from holofs_api.handshake import mismatch
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import StaleHandle, VersionMismatch
from holofsd.core.ids import ROOT_INO
from holofsd.fs import types as fs
from holofsd.fs.api import Filesystem
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.rpc.call_stream import CallStream
from holofsd.rpc.convert import needed
from holofsd.rpc.device_api import DeviceService
from holofsd.rpc.fs_calls import CALLS, Call, Caller
from holofsd.rpc.fs_convert import attach_request, change_message, fill_ahead

_log = structlog.get_logger(__name__)

IDLE_S: Final = 60.0
"""How long an attachment without any stream is kept after its last call."""


_SUPERSEDE_S: Final = 5.0
"""How long a client that comes back waits for its calls that are in flight: they wait for the disk."""
_MAX_ATTEMPTS: Final = 1_000


class _Attached:
    """A caller with its open streams."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.streams = 0
        self.farewell: asyncio.TimerHandle | None = None


class FilesystemService:
    """holofs.v1.Filesystem over gRPC, and the attachments of mounts for the fast lane as well."""

    def __init__(self, device: DeviceService) -> None:
        self._device = device
        self._attached: dict[str, _Attached] = {}
        self._closing = asyncio.Event()
        self._attempts: dict[tuple[str, str], int] = {}
        """The last attempt to attach, by mount id and journal."""

    def handlers(self) -> Any:
        """The generic handler to add to a server."""
        methods = {
            call.method: _handler(grpc.unary_unary_rpc_method_handler, self._unary(call), call.request)
            for call in CALLS
        }
        methods["Attach"] = _handler(grpc.unary_unary_rpc_method_handler, self.attach, pb.AttachRequest)
        methods["Calls"] = _handler(grpc.stream_stream_rpc_method_handler, self.calls, pb.CallRequest)
        methods["Watch"] = _handler(grpc.unary_stream_rpc_method_handler, self.watch, pb.WatchRequest)
        return grpc.method_handlers_generic_handler("holofs.v1.Filesystem", methods)

    async def attach(self, request: pb.AttachRequest, context: Any) -> pb.AttachReply:
        self._device.mount_heard(request.mount_id, request.program, request.api_version)
        sentence = mismatch(request.api_version, request.program, self._device.identity().program)
        if sentence is not None:
            raise VersionMismatch(sentence)
        volume = needed(request.volume, "The volume")
        self._note_attempt(request)
        filesystem = await self._device.filesystem(volume)
        await self._supersede(filesystem, request)
        await filesystem.caught_up(request.mount_id)  # a mount that comes sees what programs on this device have closed
        self._note_attempt(request)  # a later one may have overtaken this one meanwhile
        attachment = filesystem.attach(attach_request(request))
        first, count = filesystem.lease(attachment)
        attached = _Attached(Caller(filesystem, attachment))
        self._attached[attachment.id] = attached
        self._rest(attached)
        return pb.AttachReply(
            attachment=attachment.id,
            root=ROOT_INO,
            volume_id=attachment.volume,
            volume_name=attachment.volume_name,
            read_only=attachment.read_only,
            inline_limit=INLINE_COMMIT,
            lost_handles=attachment.lost_handles,
            displaced_handles=attachment.displaced_handles,
            inos=pb.Lease(first=first, count=count) if count else None,
            shared=attachment.shared,
            journal=attachment.journal,
        )

    def _note_attempt(self, request: pb.AttachRequest) -> None:
        """Raises StaleHandle for an attempt that the client has given up and followed by another: this daemon was
        stopped, or busy, meanwhile, and what the client says in it of its open files is not true any more."""
        if not request.attempt:
            return
        key = request.mount_id, request.journal
        if request.attempt < self._attempts.get(key, 0):
            raise StaleHandle("A later attempt to attach came before this one.")
        self._attempts.pop(key, None)  # the newest last
        self._attempts[key] = request.attempt
        if len(self._attempts) > _MAX_ATTEMPTS:
            del self._attempts[next(iter(self._attempts))]

    async def _supersede(self, filesystem: Filesystem, request: pb.AttachRequest) -> None:
        """The client that comes back gave up its connection: calls that still arrive on the old one are refused, and
        those in flight end first."""
        ending: list[asyncio.Future[None]] = []
        if not request.mount_id:
            return
        for attached in self._attached.values():
            caller = attached.caller
            if caller.filesystem is filesystem and caller.attachment.request.mount_id == request.mount_id:
                caller.superseded = True
                for calls in caller.calls:
                    calls.cut_short()
                    ending.append(asyncio.ensure_future(calls.drain()))
        if ending:
            await asyncio.wait(ending, timeout=_SUPERSEDE_S)

    # ---- for the fast lane
    def enter(self, attachment: str) -> Caller | None:
        attached = self._attached.get(attachment)
        if attached is None:
            return None
        self._enter(attached)
        return attached.caller

    def leave(self, caller: Caller) -> None:
        attached = self._attached.get(caller.attachment.id)
        if attached is not None:
            self._leave(attached)

    # ---- streams of gRPC
    async def calls(self, requests: Any, context: Any) -> None:
        attached = self._find(context)
        self._enter(attached)
        try:
            await CallStream(attached.caller, context).run()
        finally:
            self._leave(attached)

    async def watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.Change]:
        attached = self._find(context)
        self._enter(attached)
        try:
            async for change in self.changes(attached.caller, with_files=False):
                yield change
        finally:
            self._leave(attached)

    async def going_down(self) -> None:
        """Tells every client that watches; their streams end, so that the server can stop without cutting calls."""
        self._closing.set()
        for attached in self._attached.values():
            if attached.farewell is not None:
                attached.farewell.cancel()

    def drop(self, filesystem: Filesystem) -> None:
        """Forgets the clients of a filesystem that is no more."""
        for attached in [a for a in self._attached.values() if a.caller.filesystem is filesystem]:
            self._detach(attached)

    async def changes(self, caller: Caller, *, with_files: bool) -> AsyncIterator[pb.Change]:
        """Yields the changes for an attachment until the daemon goes down, or the attachment ends.

        `with_files`: they say what small files are now. Only where replies cannot overtake them.
        """
        closing = asyncio.create_task(self._closing.wait())
        async with aclosing(caller.filesystem.watch(caller.attachment)) as batches:  # type: ignore[type-var]
            following = asyncio.create_task(_next(batches))
            try:
                # The first message says that the watch is on (its generator has begun): what changes now will be told.
                await asyncio.sleep(0)
                yield pb.Change()
                while True:
                    await asyncio.wait((closing, following), return_when=asyncio.FIRST_COMPLETED)
                    if not following.done():
                        yield pb.Change(going_down=True)
                        return
                    try:
                        batch = following.result()
                    except StopAsyncIteration:
                        return
                    following = asyncio.create_task(_next(batches))
                    change = change_message(batch)
                    if with_files:
                        fill_ahead(change.files, caller.filesystem.news_of(batch))
                    yield change
            finally:
                closing.cancel()
                following.cancel()
                await asyncio.wait((closing, following))

    def _unary(self, call: Call) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            reply = call.reply()
            attached = self._find(context)
            attached.caller.check()
            await call.answer(attached.caller, request, reply)
            self._rest(attached)
            return reply

        return answer

    def _find(self, context: Any) -> _Attached:
        for key, value in context.invocation_metadata() or ():
            if key == ATTACHMENT_KEY and value in self._attached:
                return self._attached[value]
        raise StaleHandle("This attachment is not known (any more); attach again.")

    def _enter(self, attached: _Attached) -> None:
        attached.streams += 1
        if attached.farewell is not None:
            attached.farewell.cancel()
            attached.farewell = None

    def _leave(self, attached: _Attached) -> None:
        attached.streams -= 1
        if attached.streams == 0:
            self._detach(attached)

    def _rest(self, attached: _Attached) -> None:
        if attached.streams:
            return
        if attached.farewell is not None:
            attached.farewell.cancel()
        attached.farewell = asyncio.get_running_loop().call_later(IDLE_S, self._detach, attached)

    def _detach(self, attached: _Attached) -> None:
        known = self._attached.pop(attached.caller.attachment.id, None)
        if attached.farewell is not None:
            attached.farewell.cancel()
        if known is None:
            return
        _log.info("a client is gone", program=attached.caller.attachment.request.program)
        attached.caller.filesystem.detach(attached.caller.attachment)


async def _next(batches: AsyncIterator[fs.ChangeBatch]) -> fs.ChangeBatch:
    return await anext(batches)


def _handler(make: Callable[..., Any], answer: Callable[..., Any], request: type[Any]) -> Any:
    return make(answer, request_deserializer=request.FromString, response_serializer=_serialise)


def _serialise(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
