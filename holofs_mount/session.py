# SPDX-License-Identifier: GPL-3.0-or-later
"""Session with the daemon, from Attach until its first stream breaks: calls in flight, and changes.

A session never comes back: the client makes a new one. What was in flight fails with SessionLost, which says whether
the daemon may have seen the call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message

from holofs_api.errors import ATTACHMENT_KEY
from holofs_api.paths import SOCKET_NAME
from holofs_api.sockets import SocketFolder, open_folder
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub
from holofs_mount.lanes import GrpcLane, Lane, open_fast_lane
from holofs_mount.patience import LONGEST, PATIENCE, Silence, no_answer

log = structlog.get_logger(__name__)

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


class DaemonSession:
    """Calls and changes of one attachment. `lost` is set once, when the first of its streams ends."""

    def __init__(
        self,
        channel: Any,
        folder: SocketFolder,
        attached: pb.AttachReply,
        on_change: Callable[[pb.Change], None],
        patience: float,
    ) -> None:
        self.attached = attached
        self.lost = asyncio.Event()
        self.lost_at = 0.0
        self._channel = channel
        self._folder = folder
        """Stays open as long as the channel may connect again."""
        self._on_change = on_change
        self._pending: dict[int, tuple[asyncio.Future[pb.CallReply], float]] = {}
        """Calls in flight, each with the time of the loop at which it was begun; the oldest first."""
        self._next_id = 0
        self._watch_id = 0
        """Id of the replies that carry changes. 0: a stream of its own carries them."""
        self._reader: asyncio.Task[None] | None = None
        self._lane: Lane | None = None
        self._loop = asyncio.get_running_loop()
        self._longest = LONGEST * patience
        self._silence = Silence(patience, self._asks, self._ping, self._fell_silent)
        self._metadata = ((ATTACHMENT_KEY, attached.attachment),)
        self._stub: Any = FilesystemStub(channel)

    async def open(self) -> None:
        """Opens the streams; called before anything else. A loss in between sets `lost`, like any later one."""
        lane = await open_fast_lane(self._folder, self.attached.attachment, self._replied)
        self._lane = lane or GrpcLane(self._stub.Calls(metadata=self._metadata), self._replied)
        self._lane.lost.add_done_callback(lambda _: self._break())
        if self._lane.carries_news:
            self._next_id += 1
            self._watch_id = self._next_id
            self._lane.send(pb.CallRequest(id=self._watch_id, watch=pb.WatchRequest()))
        else:
            watch = self._stub.Watch(pb.WatchRequest(), metadata=self._metadata)
            self._reader = asyncio.create_task(self._read_changes(watch), name="holofs-watch")

    def begin(self, name: str, request: Message, number: int = 0, late: bool = False) -> Awaitable[Any]:
        """Begins a call. The result is its reply; raises OSError with the daemon's errno, or SessionLost.

        The call is sent when this returns, so this is no coroutine: calls reach the daemon in the order in which they
        were begun. `number`: its journal number, 0 if it is not journalled. `late`: the daemon refused it before.
        """
        lane = self._lane
        if lane is None or self.lost.is_set():
            raise SessionLost(sent=False)
        self._next_id += 1
        future: asyncio.Future[pb.CallReply] = self._loop.create_future()
        self._pending[self._next_id] = future, self._loop.time()
        call = pb.CallRequest(id=self._next_id, number=number, late=late, **{name: request})  # type: ignore[arg-type]
        lane.send(call)
        return self._answer(self._next_id, future)

    async def _answer(self, number: int, future: asyncio.Future[pb.CallReply]) -> Any:
        try:
            return _result(await future)
        finally:
            self._pending.pop(number, None)

    def acknowledge(self, number: int) -> None:
        """Sends an acknowledgement; nothing waits for its answer."""
        if self._lane is not None and not self.lost.is_set():
            self._next_id += 1
            self._lane.send(pb.CallRequest(id=self._next_id, acknowledge=pb.AcknowledgeRequest(number=number)))

    def abandon(self) -> None:
        """Treats the session as lost."""
        self._break()

    async def close(self) -> None:
        """Ends both streams and the connection. Idempotent."""
        self._break()
        try:
            if self._lane is not None:
                await self._lane.close()
            if self._reader is not None:
                self._reader.cancel()
                await asyncio.gather(self._reader, return_exceptions=True)
            await self._channel.close()
        finally:
            self._folder.close()

    def _replied(self, reply: pb.CallReply) -> None:
        self._silence.heard = True
        if reply.id == self._watch_id:
            self._heard(reply)
            return
        future, _ = self._pending.get(reply.id, (None, 0.0))
        if future is not None and not future.done():
            future.set_result(reply)

    # ---- a daemon that says nothing
    def _asks(self) -> bool:
        """Whether the daemon owes an answer. Gives up on those that it has owed for too long."""
        late = self._loop.time() - self._longest
        for future, begun in self._pending.values():
            if begun > late:
                break
            if not future.done():
                future.set_exception(no_answer())
        return bool(self._pending)

    def _ping(self) -> None:
        """A request without a call: every daemon answers it at once, with an error."""
        if self._lane is not None and not self.lost.is_set():
            self._next_id += 1
            self._lane.send(pb.CallRequest(id=self._next_id))

    def _fell_silent(self) -> None:
        log.warning("the daemon is connected and does not answer: it counts as away", seconds=self._longest / LONGEST)
        self._break()

    def _heard(self, news: pb.CallReply) -> None:
        if not news.HasField("change"):
            self._break()
        elif not self.lost.is_set():
            self._on_change(news.change)

    def _break(self) -> None:
        if not self.lost.is_set():
            silent = self._loop.time() - self._silence.since if self._pending else 0.0
            self.lost_at = time.monotonic() - silent
            self.lost.set()
            self._silence.stop()
        for future, _ in self._pending.values():
            if not future.done():
                future.set_exception(SessionLost(sent=True))
        self._pending.clear()

    async def _read_changes(self, watch: Any) -> None:
        try:
            while (change := await watch.read()) is not grpc.aio.EOF:
                self._silence.heard = True
                self._on_change(change)
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass
        finally:
            watch.cancel()
            self._break()


async def attach(
    socket: Path, hello: pb.AttachRequest, on_change: Callable[[pb.Change], None], patience: float = PATIENCE
) -> DaemonSession:
    """A new session; grpc.RpcError when the daemon is absent or refuses, OSError where its folder cannot be opened,
    StateDirError where that is not ours alone."""
    folder = open_folder(socket.parent)
    channel = None
    try:
        folder.is_listening()  # raises where another user listens
        channel = grpc.aio.insecure_channel(f"unix:{folder.address(SOCKET_NAME)}", options=_CHANNEL_OPTIONS)
        stub: Any = FilesystemStub(channel)
        reply = await stub.Attach(hello, timeout=_ATTACH_TIMEOUT)
        session = DaemonSession(channel, folder, reply, on_change, patience)
        try:
            await session.open()
        except BaseException:
            session.abandon()
            raise
    except BaseException:
        try:
            if channel is not None:
                await channel.close()
        finally:
            folder.close()
        raise
    return session


def _result(reply: pb.CallReply) -> Any:
    which = reply.WhichOneof("result")
    if which is None:
        return pb.Done()
    if which == "error":
        raise OSError(reply.error.errno, reply.error.message)
    return getattr(reply, which)
