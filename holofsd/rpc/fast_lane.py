# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast lane: the calls of `Filesystem.Calls` over a plain Unix socket beside gRPC's (ADR 0005).

Frames are parsed where they arrive and calls answered in the same callback, so a call that does not suspend costs no
task, no queue and no turn of the loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, Protocol

import structlog
from google.protobuf.message import DecodeError

from holofs_api.framing import GREETING_S, MAX_FRAME, MAX_GREETING, FrameParser, FrameTooLong, frame
from holofs_api.paths import CALLS_SOCKET_NAME
from holofs_api.sockets import SocketFolder, is_peer
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.rpc.dispatch import SIGN, SIGN_S, Dispatcher
from holofsd.rpc.fs_calls import Caller

_log = structlog.get_logger(__name__)

_BACKLOG: Final = 64
_TURN: Final = 16
"""Calls of one client in a row, before others have their turn."""


class Attachments(Protocol):
    """Attachments that may call and that are there: the Filesystem service."""

    def enter(self, attachment: str) -> Caller | None:
        """One more connection of this client; None: no such attachment."""

    def leave(self, caller: Caller) -> None: ...

    def changes(self, caller: Caller, *, with_files: bool) -> AsyncIterator[pb.Change]:
        """Yields what the Watch stream of an attachment carries."""
        ...


class FastLaneConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, attachments: Attachments, lanes: set[FastLaneConnection], owner: int) -> None:
        self._attachments = attachments
        self._lanes = lanes
        self._owner = owner
        self._parser = FrameParser(MAX_GREETING)
        self._caller: Caller | None = None
        self._dispatcher: Dispatcher | None = None
        self._paused = False
        self._waiting_turn = False
        self._open = True
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._sign: asyncio.TimerHandle | None = None
        self._reads = asyncio.Event()
        """The client takes what it is sent."""
        self._reads.set()

    # ---- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._lanes.add(self)
        self._greeting = asyncio.get_running_loop().call_later(GREETING_S, transport.abort)
        if not is_peer(transport.get_extra_info("socket"), self._owner):
            _log.warning("a process of another user reached the fast lane and was cut off")
            self._hang_up()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        self._work()

    def pause_writing(self) -> None:
        self._reads.clear()
        self._regulate()

    def resume_writing(self) -> None:
        self._reads.set()
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._greeting.cancel()
        self._open = False
        if self._sign is not None:
            self._sign.cancel()
        if self._dispatcher is not None:
            self._dispatcher.cut_short()
        if self._watching is not None:
            self._watching.cancel()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())

    # ---- calls
    def _work(self) -> None:
        replies: list[bytes] = []
        left = _TURN
        self._waiting_turn = False
        try:
            while self._open and (body := self._parser.pop()) is not None:
                if self._dispatcher is None:
                    self._greet(body)
                    continue
                request = pb.CallRequest.FromString(body)
                if request.HasField("watch"):
                    self._watch(request.id)
                    continue
                reply = self._dispatcher.begin(request)
                if reply is not None:
                    replies.append(frame(reply.SerializeToString()))
                left -= 1
                if self._dispatcher.full:
                    break
                if not left:
                    self._waiting_turn = True
                    asyncio.get_running_loop().call_soon(self._go_on)
                    break
        except (FrameTooLong, DecodeError):
            _log.warning("a client of the fast lane made no sense and was cut off")
            self._hang_up()
        if replies and self._open:
            self._transport.write(replies[0] if len(replies) == 1 else b"".join(replies))
        self._regulate()

    def _greet(self, body: bytes) -> None:
        self._greeting.cancel()
        self._caller = self._attachments.enter(body.decode("ascii", "replace"))
        if self._caller is None:
            self._hang_up()
            return
        self._dispatcher = Dispatcher(self._caller, self._reply_later, self._go_on)
        self._parser.limit = MAX_FRAME
        self._transport.write(frame(b""))

    # ---- news
    def _watch(self, number: int) -> None:
        if self._watching is None and self._caller is not None:
            self._watching = asyncio.get_running_loop().create_task(self._tell(self._caller, number))

    async def _tell(self, caller: Caller, number: int) -> None:
        try:
            async with aclosing(self._attachments.changes(caller, with_files=True)) as changes:  # type: ignore[type-var]
                async for change in changes:
                    self._reply_later(pb.CallReply(id=number, change=change))
                    await self._reads.wait()
        except Exception:  # noqa: BLE001 - the outermost edge of this task
            _log.exception("a mount hears no news any more, and has to attach again")
        finally:
            # Whatever ended it: who hears nothing any more must not believe what it has heard.
            self._reply_later(pb.CallReply(id=number, done=pb.Done()))

    def _hang_up(self) -> None:
        self._open = False
        self._transport.abort()

    def _reply_later(self, reply: pb.CallReply) -> None:
        if not self._transport.is_closing():
            self._transport.write(frame(reply.SerializeToString()))

    def _regulate(self) -> None:
        """Reads no further while the client does not read its replies, or has too much in flight."""
        full = self._dispatcher is not None and self._dispatcher.full
        stop = not self._reads.is_set() or full or self._waiting_turn
        if full and self._sign is None:
            self._sign = asyncio.get_running_loop().call_later(SIGN_S, self._sign_of_life)
        if stop != self._paused and self._open and not self._transport.is_closing():
            self._paused = stop
            (self._transport.pause_reading if stop else self._transport.resume_reading)()

    def _sign_of_life(self) -> None:
        self._sign = None
        if self._dispatcher is not None and self._dispatcher.full and self._open:
            self._reply_later(SIGN)
            self._regulate()

    def _go_on(self) -> None:
        if self._open and self._paused and self._reads.is_set():
            self._work()  # what had arrived before the pause

    # ---- the end
    async def finish(self) -> None:
        """Takes no more calls, lets those in flight end, and hangs up."""
        self._open = False
        if not self._transport.is_closing() and not self._paused:
            self._transport.pause_reading()
        if self._dispatcher is not None:
            await self._dispatcher.drain()
        self._transport.close()

    def cut(self) -> None:
        self._hang_up()

    async def ended(self) -> None:
        """Waits for the end of the lane, after `finish` or `cut`."""
        if self._ending is not None:
            await self._ending

    async def _end(self) -> None:
        try:
            if self._watching is not None:
                await asyncio.wait((self._watching,))
            if self._dispatcher is not None:
                await self._dispatcher.drain()
        finally:
            self._lanes.discard(self)
            if self._caller is not None:
                self._attachments.leave(self._caller)


class FastLaneServer:
    """The socket and its connections."""

    def __init__(self, attachments: Attachments, folder: SocketFolder) -> None:
        self._attachments = attachments
        self._folder = folder
        self._lanes: set[FastLaneConnection] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Accepts until left. Whoever leaves calls `stop` before it, where clients should be let finish."""
        self._folder.remove(CALLS_SOCKET_NAME)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self._folder.address(CALLS_SOCKET_NAME))
            self._folder.make_private(CALLS_SOCKET_NAME)
            server = await asyncio.get_running_loop().create_unix_server(
                lambda: FastLaneConnection(self._attachments, self._lanes, self._folder.owner),
                sock=listener,
                backlog=_BACKLOG,
            )
        except BaseException:
            listener.close()
            raise
        try:
            yield
        finally:
            server.close()
            self._folder.remove(CALLS_SOCKET_NAME)
            for lane in self._lanes:
                lane.cut()
            while self._lanes:
                await asyncio.gather(*(lane.ended() for lane in self._lanes))
                await asyncio.sleep(0)  # connection_lost comes by the loop

    async def stop(self, grace: float) -> None:
        """Calls in flight may go on for so long."""
        finishing = [asyncio.ensure_future(lane.finish()) for lane in self._lanes]
        if finishing:
            await asyncio.wait(finishing, timeout=grace)
