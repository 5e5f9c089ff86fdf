# SPDX-License-Identifier: GPL-3.0-or-later
"""Small new files that the daemon has not heard of yet: create, content and close become one call.

A file is made here, with an inode number of a lease that the daemon gave, where the name is known to be free. Whatever
else this mount has to tell the daemon goes after it, so nobody can tell the difference; nearly always the next thing is
that the file is closed, and then all of it travels at once. `close` waits until it is in the journal (`core.journal`)
or the daemon has answered, so what is closed survives (invariant I4); what is lost with a mount that is killed is a
file that was never closed, as was its content before.

Other mounts of the volume on this device could make the same name, so while there are any the daemon is asked at once:
`O_EXCL` promises that nobody else makes it, and what several append to is one file.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.openfile import Birth, OpenFile

_MOST: Final = 64
_ASK_AGAIN_SECONDS: Final = 1.0
_CLOCK_SLACK_SECONDS: Final = 0.001
_SECRET_SECONDS: Final = 0.05
"""How long a file that stays open is known here alone."""


class Client(Protocol):
    def begin(self, name: str, request: pb.CreateRequest) -> Awaitable[pb.CreateReply]: ...
    def in_background(self, work: Awaitable[None]) -> None: ...
    async def patiently(self, waited: asyncio.Future[None]) -> None: ...


class Numbers:
    """Inode numbers that are ours to give."""

    def __init__(self) -> None:
        self._next = 0
        self._left = 0
        self._enough = 0
        self._asked_at = float("-inf")

    def lease(self, lease: pb.Lease) -> None:
        self._next, self._left, self._enough = lease.first, lease.count, lease.count // 2

    def lease_in(self, reply: pb.CreateReply) -> None:
        if reply.HasField("inos"):
            self.lease(reply.inos)

    def ask(self) -> bool:
        """Whether more should be asked for now: not with each file until they come."""
        now = time.monotonic()
        asks = self._left <= self._enough and now > self._asked_at + _ASK_AGAIN_SECONDS
        if asks:
            self._asked_at = now
        return asks

    @property
    def any(self) -> bool:
        return self._left > 0

    def take(self) -> int:
        self._left -= 1
        self._next += 1
        return self._next - 1


class Newborn:
    """The files nobody has told the daemon of, in the order in which they were made."""

    def __init__(self, guessed: Callable[[int], None]) -> None:
        """`guessed`: told of inodes whose attributes, as they were made up here, are not those that the daemon gave."""
        self._guessed = guessed
        self.numbers = Numbers()
        self.alone = False
        """No other mount of this volume is attached."""
        self._unsaid: dict[int, OpenFile] = {}
        self._since: dict[int, float] = {}
        """When they were made, on the clock of the loop."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def may_be(self) -> bool:
        """Whether a new file can be made here alone."""
        return self.numbers.any and self.alone and len(self._unsaid) < _MOST

    def put(self, file: OpenFile, request: pb.CreateRequest, client: Client) -> None:
        request.ino = file.ino
        loop = asyncio.get_running_loop()
        file.birth = Birth(request, loop.create_future())
        self._unsaid[file.ino] = file
        self._since[file.ino] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(_SECRET_SECONDS, self._time_is_up, client)

    def _time_is_up(self, client: Client) -> None:
        """For those that stayed open for so long; where files come and go, there is always a younger one."""
        loop = asyncio.get_running_loop()
        self._timer = None
        due = loop.time() + _CLOCK_SLACK_SECONDS - _SECRET_SECONDS
        self._send(client, [file for file in self._unsaid.values() if self._since[file.ino] <= due])
        if self._unsaid:
            oldest = min(self._since[ino] for ino in self._unsaid)
            self._timer = loop.call_at(oldest + _SECRET_SECONDS, self._time_is_up, client)

    @property
    def any(self) -> bool:
        return bool(self._unsaid)

    def take(self, file: OpenFile) -> Birth | None:
        """To be told of now, whole, by whoever takes it; None: it is on its way already."""
        if self._unsaid.pop(file.ino, None) is None:
            return None
        self._since.pop(file.ino, None)
        birth = file.birth
        assert birth is not None
        birth.request.lease = self.numbers.ask()
        return birth

    def give_back(self, file: OpenFile) -> None:
        """It could not be told; it is as if nobody had tried."""
        self._unsaid[file.ino] = file
        self._since[file.ino] = asyncio.get_running_loop().time()

    def set_mode(self, file: OpenFile | None, mode: int) -> bool:
        """Of a file that is not told of yet."""
        if file is None or file.ino not in self._unsaid or file.birth is None:
            return False
        file.birth.request.mode = mode
        return True

    def is_kept(self, file: OpenFile) -> None:
        """It is in the journal, or the daemon has it."""
        birth, file.birth = file.birth, None
        if birth is not None and not birth.done.done():
            birth.done.set_result(None)

    def said(self, file: OpenFile, reply: pb.CreateReply) -> None:
        """The daemon knows it now."""
        self.numbers.lease_in(reply)
        self.is_kept(file)

    def forget(self, file: OpenFile) -> Birth | None:
        """It never came to be."""
        self._unsaid.pop(file.ino, None)
        self._since.pop(file.ino, None)
        birth, file.birth = file.birth, None
        if birth is not None and not birth.done.done():
            birth.failed = OSError(errno.ENOENT, "the daemon refused this file")
            birth.done.set_result(None)
        return birth

    async def all_known(self, client: Client) -> None:
        """Returns when the daemon knows, as open files, all that were made before; what it refused says so itself.

        OSError ETIMEDOUT: it does not hear of them now, but will.
        """
        births = [file.birth for file in self._unsaid.values() if file.birth is not None]
        self._send(client)
        for birth in births:
            await client.patiently(birth.done)

    async def known(self, file: OpenFile, client: Client) -> None:
        """After this the daemon knows the file. Raises the OSError with which it refused, or ETIMEDOUT: the daemon does
        not hear of it now, but will."""
        birth = file.birth
        if birth is None:
            return
        self._send(client)
        await client.patiently(birth.done)
        if birth.failed is not None:
            raise OSError(birth.failed.errno, os.strerror(birth.failed.errno or 0))

    def _send(self, client: Client, files: Iterable[OpenFile] | None = None) -> None:
        """These, or all."""
        for file in list(self._unsaid.values()) if files is None else files:
            birth = self.take(file)
            assert birth is not None
            for field in ("data", "mtime_ns", "ctime_ns"):
                birth.request.ClearField(field)
            birth.request.handle = next(iter(file.handles))
            client.in_background(self._tell(client, file, birth, client.begin("create", birth.request)))

    async def _tell(self, client: Client, file: OpenFile, birth: Birth, answer: Awaitable[pb.CreateReply]) -> None:
        handle = file.handles.get(birth.request.handle)
        while True:
            try:
                reply = await answer
                break
            except OSError as error:
                if error.errno != errno.ETIMEDOUT:
                    birth.failed = error
                    birth.done.set_result(None)
                    return
            answer = client.begin("create", birth.request)  # the daemon is away: while the mount lives it is asked
        if handle is not None:
            handle.registered = True
        file.version = reply.map.version
        self.said(file, reply)
        self._guessed(file.ino)
