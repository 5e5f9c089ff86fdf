# SPDX-License-Identifier: GPL-3.0-or-later
"""Write-behind queue from a mount to the daemon: operations already acknowledged to the program, sent in program order.

A queued operation sets modes or times, removes a name, or makes a file or directory. It is appended to the journal,
sent at once, and answered later; the next operation does not wait for that. Only a set-attributes call stays unsent for
a millisecond, so that a second one of the same file can be merged into it; every other call sends it first.

Guarantees: the daemon gets all operations of the mount in the order in which programs made them (`barrier`); a
journalled one is carried out once, whatever is killed; one that was lost with the daemon is sent again on the next
connection. The daemon may refuse an operation for now (full disk, a role that changes). Then it refuses the following
ones as well (EAGAIN), the queue replays all of them in their order until they are done, and new operations run
synchronously.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.patience import within
from holofs_mount.write_behind.retry import DoublingPause, Pause, WhileOvertaken, retry, while_unanswered

log = structlog.get_logger(__name__)

_MERGE_SECONDS: Final = 0.001
"""How long a set-attributes call stays unsent, so that a second one of the same file can be merged into it."""

_LIMIT: Final = 2_048
"""Unanswered operations beyond which new ones run synchronously: about two seconds of the daemon's work."""
_LIMIT_IN_FOREGROUND: Final = 64
"""The same while a foreground call waits behind them, so that it waits for milliseconds."""

_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 60.0
"""Seconds between two replays of operations that the daemon refused for now."""

OnDone = Callable[[Any, OSError | None], None]


class QueueClient(Protocol):
    """Connection to the daemon. `begin` sends a call when it returns, or as soon as the daemon is back."""

    def begin(self, name: str, request: Message, number: int = 0, late: bool = False) -> Awaitable[Any]: ...
    def in_background(self, work: Awaitable[None]) -> None: ...


class JournalWriter(Protocol):
    """See `write_behind.journal`."""

    def append(self, request: pb.CallRequest) -> int: ...
    def clear(self) -> None: ...


class QueueObserver(Protocol):
    """Caches of the mount, as far as results correct them."""

    def set_attr_done(self, ino: int, attr: pb.Attr | None, since: int) -> None:
        """The last queued set-attributes call of an inode was answered with `attr`, and was sent in the epoch `since`.
        None: what the mount shows of the inode is wrong."""

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """The name may lead elsewhere than the mount shows."""


@dataclass(slots=True)
class PendingSetAttr:
    """Queued set-attributes call of one inode. `since`: epoch in which it was sent. `answered`: set with its result."""

    request: pb.SetAttrRequest
    answered: asyncio.Future[None]
    sent: bool = False
    since: int = 0


AsyncCreate = pb.CreateRequest | pb.MakeDirRequest
"""A create that is acknowledged before the daemon ran it. Its inode number is leased, its content is complete."""


@dataclass(slots=True)
class PendingOperation:
    """One queued operation.

    `number`: its journal number, 0 if it is not journalled. `on_done` is called once, with the reply or the error of
    the final attempt; of an operation that is to be replayed, with the error of the first. `late`: it is being
    replayed.
    """

    call: str
    request: Any
    number: int
    is_create: bool
    on_done: OnDone
    late: bool = False

    def is_replayed_after(self, error: OSError) -> bool:
        """Whether the daemon will take the operation later, and nothing that follows before it."""
        return self.number > 0 and (self.is_create or error.errno == errno.EAGAIN)


class WriteBehindQueue:
    """Operations that were acknowledged and are not answered, in program order.

    Each inode has at most one unsent set-attributes call; several that were sent are answered in their order.
    """

    def __init__(
        self, client: QueueClient, now: Callable[[], int], observer: QueueObserver, journal: JournalWriter
    ) -> None:
        """`now`: the epoch of this instant."""
        self._client = client
        self._journal = journal
        self._now = now
        self._observer = observer
        self._last: dict[int, PendingSetAttr] = {}
        """The newest unanswered set-attributes call of each inode."""
        self._unsent: list[PendingSetAttr] = []
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = 0
        """Operations that were sent, or wait for a connection."""
        self._foreground_calls = 0
        self._failed: list[PendingOperation] = []
        """Operations to replay, in the order of their numbers."""
        self.decided = 0
        """Journal number up to which every operation has its final result."""
        self._replayed: asyncio.Future[None] | None = None
        """There from the loss of a connection with unanswered operations until all of them are answered."""

    def __contains__(self, ino: int) -> bool:
        """Whether a set-attributes call of this inode is unanswered."""
        return ino in self._last

    # ---- state
    @property
    def any_pending(self) -> bool:
        return bool(self._unsent) or self._in_flight > 0

    @property
    def is_replaying(self) -> bool:
        """Operations of before a lost connection are being sent again: nothing may overtake them."""
        return self._replayed is not None

    @property
    def has_failed(self) -> bool:
        """The daemon refused acknowledged operations for now: `fsync` reports it."""
        return bool(self._failed)

    @property
    def at_limit(self) -> bool:
        limit = _LIMIT_IN_FOREGROUND if self._foreground_calls else _LIMIT
        return len(self._unsent) + self._in_flight >= limit

    @property
    def must_wait(self) -> bool:
        """New operations run synchronously: the queue is at its limit, or replays what must not be overtaken."""
        return self.is_replaying or self.has_failed or self.at_limit

    @contextmanager
    def foreground_call(self) -> Iterator[None]:
        """Marks a call whose answer a program waits for."""
        self._foreground_calls += 1
        try:
            yield
        finally:
            self._foreground_calls -= 1

    # ---- adding
    def set_attr(self, request: pb.SetAttrRequest) -> None:
        """Queues a set-attributes call, or merges it into the unsent one of the same inode."""
        loop = asyncio.get_running_loop()
        waiting = self._last.get(request.ino)
        if waiting is not None and not waiting.sent:
            if request.HasField("mtime_ns"):
                waiting.request.ClearField("mtime_now")
            waiting.request.MergeFrom(request)
            return
        pending = PendingSetAttr(request, loop.create_future())
        self._last[request.ino] = pending
        self._unsent.append(pending)
        if self._timer is None:
            self._timer = loop.call_later(_MERGE_SECONDS, self.send)

    def send(self) -> None:
        """Sends the set-attributes calls that are unsent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unsent, self._unsent = self._unsent, []
        for pending in unsent:
            pending.sent, pending.since = True, self._now()
            number = self._journalled("set_attr", pending.request)
            self._begin(PendingOperation("set_attr", pending.request, number, False, self._set_attr_done(pending)))

    def remove(self, call: str, request: pb.UnlinkRequest) -> bool:
        """Queues the removal of a name. The daemon removes nothing if the name leads to another inode than
        `request.ino`. False: the journal refuses it, and it must run synchronously."""

        def done(_: Any, error: OSError | None) -> None:
            if error is None:
                return
            # Removed elsewhere, filled from elsewhere, or to be replayed.
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EAGAIN):
                log.warning("a name could not be removed", parent=request.parent, problem=str(error))
            self._observer.invalidate_entry(request.parent, request.name)

        return self._add_journalled(call, request, False, done)

    def create(self, call: str, request: AsyncCreate, on_created: Callable[[Any], None]) -> bool:
        """Queues an async create. `on_created` gets the daemon's reply. False: the journal refuses it, and it must run
        synchronously."""

        def done(reply: Any, error: OSError | None) -> None:
            if error is None:
                on_created(reply)
            else:
                self._observer.invalidate_entry(request.parent, request.name)

        return self._add_journalled(call, request, True, done)

    def _add_journalled(self, call: str, request: Any, is_create: bool, on_done: OnDone) -> bool:
        self.send()
        number = self._journalled(call, request)
        if number:
            self._begin(PendingOperation(call, request, number, is_create, on_done))
        return number > 0

    def _journalled(self, call: str, request: Message) -> int:
        return self._journal.append(pb.CallRequest(**{call: request}))  # type: ignore[arg-type]

    def _begin(self, operation: PendingOperation) -> None:
        self._in_flight += 1
        self._client.in_background(self._follow(operation, self._attempt(operation)))

    def _attempt(self, operation: PendingOperation) -> Awaitable[Any]:
        return self._client.begin(operation.call, operation.request, operation.number, operation.late)

    # ---- results
    async def _follow(self, operation: PendingOperation, answer: Awaitable[Any]) -> None:
        """Follows one operation that is in flight to its result. A task."""
        reply, error = await self._result(operation, answer)
        if error is not None and operation.is_replayed_after(error):
            self._failed.append(operation)
            if len(self._failed) == 1:
                log.error("what was closed is kept in the journal until it can be stored", problem=str(error))
                self._client.in_background(self._replay_failed())
        else:
            self.decided = max(self.decided, operation.number)
        self._in_flight -= 1
        try:
            operation.on_done(reply, error)
        finally:
            self._finish_if_all_answered()

    async def _result(self, operation: PendingOperation, answer: Awaitable[Any]) -> tuple[Any, OSError | None]:
        """Returns the reply or error of a daemon, whenever there is one."""
        pause: Pause = WhileOvertaken(lambda: not self._failed) if operation.number else while_unanswered
        try:
            return await retry(answer, lambda: self._attempt(operation), pause), None
        except OSError as error:
            return None, error

    async def _replay_failed(self) -> None:
        """Replays the operations that the daemon refused for now, until all are done. A task."""
        pauses = DoublingPause(_FIRST_PAUSE, _LAST_PAUSE)
        await pauses.pause()
        await retry(self._replay(pauses), lambda: self._replay(pauses), lambda _: pauses.pause())
        log.info("what was kept in the journal is stored")
        self._finish_if_all_answered()

    async def _replay(self, pauses: DoublingPause) -> None:
        """Replays in the order of the numbers. Raises OSError: the daemon refuses one again, or (EAGAIN) some that were
        sent before are still unanswered and may belong in between."""
        self._failed.sort(key=lambda operation: operation.number)
        while self._failed:
            if self._in_flight:
                raise OSError(errno.EAGAIN, "some operations are still unanswered")
            operation = self._failed[0]
            operation.late = True
            _, error = await self._result(operation, self._attempt(operation))
            if error is not None and operation.is_replayed_after(error):
                raise error
            del self._failed[0]
            self.decided = max(self.decided, operation.number)
            self._correct(operation)
            pauses.reset()

    def _correct(self, operation: PendingOperation) -> None:
        """Makes the caches ask for the result of a replayed operation, which ran later than they show."""
        if operation.call == "set_attr":
            self._observer.set_attr_done(operation.request.ino, None, 0)
        else:
            self._observer.invalidate_entry(operation.request.parent, operation.request.name)

    def _set_attr_done(self, pending: PendingSetAttr) -> OnDone:
        ino = pending.request.ino

        def done(attr: Any, error: OSError | None) -> None:
            if error is not None and error.errno not in (errno.ENOENT, errno.ESTALE, errno.EAGAIN):  # removed elsewhere
                log.warning("mode or times could not be set", ino=ino, problem=str(error))
            last = self._last.get(ino) is pending
            if last:
                del self._last[ino]
            pending.answered.set_result(None)
            if last:
                self._observer.set_attr_done(ino, attr if attr is not None and attr.ino else None, pending.since)

        return done

    def _finish_if_all_answered(self) -> None:
        """Empties the journal, and lets go what waits at the barrier."""
        if self.any_pending:
            return
        if not self._failed:
            self._journal.clear()
        if self._replayed is not None:
            self._replayed.set_result(None)
            self._replayed = None

    # ---- waiting
    def connection_lost(self) -> None:
        """Closes the barrier until all operations that are unanswered now have been sent again and answered."""
        if self.any_pending and self._replayed is None:
            self._replayed = asyncio.get_running_loop().create_future()

    async def barrier(self, seconds: float) -> None:
        """Returns when a call that begins now reaches the daemon after every queued operation.

        Raises OSError ETIMEDOUT after `seconds`.
        """
        self.send()
        if self._replayed is not None:
            await within(seconds, self._replayed)

    def file_written(self, ino: int) -> None:
        """Takes the time out of a set-attributes call that is still to be sent: the file was written since."""
        pending = self._last.get(ino)
        if pending is not None:
            pending.request.ClearField("mtime_ns")

    async def set_attr_answered(self, ino: int, seconds: float) -> None:
        """Returns when the daemon has answered all set-attributes calls of this inode. Raises OSError ETIMEDOUT."""
        end = time.monotonic() + seconds
        with self.foreground_call():
            while (pending := self._last.get(ino)) is not None:
                self.send()
                await within(end - time.monotonic(), pending.answered)
