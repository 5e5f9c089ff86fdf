# SPDX-License-Identifier: GPL-3.0-or-later
"""Unsent creates: small new files that the daemon has not heard of. Create, content and close become one call.

A file is made in the mount alone, with a leased inode number, at a name that is known to be free. Nearly always the
next event is that it is closed: then one create call carries name, mode, times and content, and `close` returns once
that is in the journal, or answered. So a closed file survives (invariant I4); a killed mount loses only files that were
never closed.

A foreground call that could meet such a file sends its create first, as an open file; so does a timer where the file
stays open. While other mounts of the volume are attached on this device nothing is made so: `O_EXCL` promises that no
other process makes the name, and several programs that append to one name expect one file.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.write_behind.retry import retry, while_unanswered

_RENEW_AGAIN_SECONDS: Final = 1.0
_CLOCK_SLACK_SECONDS: Final = 0.001
_UNSENT_SECONDS: Final = 0.05
"""How long the create of a file that stays open is unsent."""


class CreateClient(Protocol):
    """Connection to the daemon. `begin` sends a call when it returns, or as soon as the daemon is back."""

    def begin(self, name: str, request: Message) -> Awaitable[Any]: ...
    def in_background(self, work: Awaitable[None]) -> None: ...
    async def patiently(self, waited: asyncio.Future[None]) -> None: ...


class CreateObserver(Protocol):
    """Caches of the mount, as far as creates correct them."""

    def attr_was_guess(self, ino: int) -> None:
        """The daemon has made the inode; its attributes are not those that the mount made up."""


class Existence(Enum):
    """Stage of a file on its way from the mount to the daemon (docs/write-behind.md)."""

    LOCAL = auto()
    """Made in the mount alone; its create is unsent."""
    CREATING = auto()
    """Its create is being sent, or was sent and is unanswered."""
    REFUSED = auto()
    """The daemon refused its create for good. Operations that need the daemon fail until its last handle is closed."""
    KNOWN = auto()
    """The daemon has it, or will have it from the journal."""


@dataclass(eq=False, slots=True)
class PendingCreate:
    """Create of one new file, until the file is known.

    `done`: set when the file is known or refused. `failed`: the daemon's final error. `reported`: a `close` has told a
    program that the file could not be stored, and may be called once more.
    """

    request: pb.CreateRequest
    done: asyncio.Future[None]
    made_at: float
    """On the clock of the loop."""
    existence: Existence = Existence.LOCAL
    failed: OSError | None = None
    reported: bool = False

    def refuse(self, error: OSError) -> None:
        """Notes the daemon's final error."""
        self.existence = Existence.REFUSED
        self.failed = error
        self.done.set_result(None)


class NewFile(Protocol):
    """Open file that this mount made (`core.openfile.OpenFile`)."""

    version: bytes
    pending_create: PendingCreate | None
    """None: the daemon knows the file, or will from the journal."""

    @property
    def ino(self) -> int: ...

    def first_handle(self) -> int:
        """Number of the handle under which the daemon opens the file."""

    def handle_registered(self, number: int) -> None:
        """The daemon knows this handle from now on."""


class InodeLease:
    """Inode numbers that the daemon leased to this mount for new files and directories."""

    def __init__(self) -> None:
        self._next = 0
        self._left = 0
        self._enough = 0
        self._asked_at = float("-inf")

    def renew(self, lease: pb.Lease) -> None:
        self._next, self._left, self._enough = lease.first, lease.count, lease.count // 2

    def renew_from(self, reply: pb.CreateReply) -> None:
        if reply.HasField("inos"):
            self.renew(reply.inos)

    def asks_for_more(self) -> bool:
        """Whether the next create should ask for a new lease: at half of this one, once a second until it comes."""
        now = time.monotonic()
        asks = self._left <= self._enough and now > self._asked_at + _RENEW_AGAIN_SECONDS
        if asks:
            self._asked_at = now
        return asks

    @property
    def available(self) -> bool:
        return self._left > 0

    def take(self) -> int:
        self._left -= 1
        self._next += 1
        return self._next - 1


class UnsentCreates:
    """New files whose create is unsent, in the order in which they were made."""

    def __init__(self, client: CreateClient, lease: InodeLease, observer: CreateObserver) -> None:
        self._client = client
        self._lease = lease
        self._observer = observer
        self._unsent: dict[int, NewFile] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._unsent)

    # ---- from unsent to known
    def add(self, file: NewFile, request: pb.CreateRequest) -> None:
        """Takes up a file that was made in the mount."""
        request.ino = file.ino
        loop = asyncio.get_running_loop()
        file.pending_create = PendingCreate(request, loop.create_future(), loop.time())
        self._unsent[file.ino] = file
        if self._timer is None:
            self._timer = loop.call_later(_UNSENT_SECONDS, self._time_is_up)

    def take(self, file: NewFile) -> PendingCreate | None:
        """The create of a file, to be sent now by the caller. None: it is on its way already, or done."""
        if self._unsent.pop(file.ino, None) is None:
            return None
        pending = _pending(file)
        pending.existence = Existence.CREATING
        pending.request.lease = self._lease.asks_for_more()
        return pending

    def put_back(self, file: NewFile) -> None:
        """Makes a create unsent again that its caller could not send, after it reported that to the program."""
        pending = _pending(file)
        pending.existence = Existence.LOCAL
        pending.reported = True
        pending.made_at = asyncio.get_running_loop().time()
        self._unsent[file.ino] = file

    def set_mode(self, file: NewFile | None, mode: int) -> bool:
        """Sets the mode of a file in its unsent create. False: it has none."""
        pending = None if file is None else file.pending_create
        if pending is None or pending.existence is not Existence.LOCAL:
            return False
        pending.request.mode = mode
        return True

    def known(self, file: NewFile) -> None:
        """The journal or the daemon has the file."""
        pending, file.pending_create = file.pending_create, None
        if pending is not None and not pending.done.done():
            pending.done.set_result(None)

    def acknowledged(self, file: NewFile, reply: pb.CreateReply) -> None:
        """The daemon has the file."""
        self._lease.renew_from(reply)
        self.known(file)

    def drop(self, file: NewFile) -> PendingCreate | None:
        """Forgets a file that was closed and could not be stored, and returns the create that it had."""
        self._unsent.pop(file.ino, None)
        pending, file.pending_create = file.pending_create, None
        if pending is not None and not pending.done.done():
            pending.refuse(OSError(errno.ENOENT, "the daemon refused this file"))
        return pending

    # ---- sending as open files
    async def all_known(self) -> None:
        """Sends all unsent creates, and returns when the daemon knows the files or has refused them.

        Raises OSError ETIMEDOUT: the daemon does not hear of them now, but will.
        """
        pending = [file.pending_create for file in self._unsent.values() if file.pending_create is not None]
        self._send(list(self._unsent.values()))
        for each in pending:
            await self._client.patiently(each.done)

    async def wait_until_known(self, file: NewFile) -> None:
        """Sends all unsent creates, and returns when the daemon knows this file.

        Raises the OSError with which the daemon refused it, or ETIMEDOUT: it does not hear of it now, but will.
        """
        pending = file.pending_create
        if pending is None:
            return
        self._send(list(self._unsent.values()))
        await self._client.patiently(pending.done)
        if pending.failed is not None:
            raise OSError(pending.failed.errno, os.strerror(pending.failed.errno or 0))

    def _time_is_up(self) -> None:
        """Sends the creates of files that stayed open; where files come and go there is always a younger one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        due = loop.time() + _CLOCK_SLACK_SECONDS - _UNSENT_SECONDS
        self._send([file for file in self._unsent.values() if _pending(file).made_at <= due])
        if self._unsent:
            oldest = min(_pending(file).made_at for file in self._unsent.values())
            self._timer = loop.call_at(oldest + _UNSENT_SECONDS, self._time_is_up)

    def _send(self, files: Iterable[NewFile]) -> None:
        """Sends creates without content, each with the handle under which the daemon opens the file."""
        for file in files:
            pending = self.take(file)
            assert pending is not None
            for field in ("data", "mtime_ns", "ctime_ns"):
                pending.request.ClearField(field)
            pending.request.handle = file.first_handle()
            self._client.in_background(self._follow(file, pending, self._attempt(pending)))

    def _attempt(self, pending: PendingCreate) -> Awaitable[pb.CreateReply]:
        return self._client.begin("create", pending.request)

    async def _follow(self, file: NewFile, pending: PendingCreate, answer: Awaitable[pb.CreateReply]) -> None:
        """Follows one create that was sent as an open file to its result. A task."""
        try:
            reply = await retry(answer, lambda: self._attempt(pending), while_unanswered)
        except OSError as error:
            pending.refuse(error)
            return
        file.handle_registered(pending.request.handle)
        file.version = reply.map.version
        self.acknowledged(file, reply)
        self._observer.attr_was_guess(file.ino)


def _pending(file: NewFile) -> PendingCreate:
    pending = file.pending_create
    assert pending is not None
    return pending
