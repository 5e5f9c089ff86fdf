# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes, times and removals that are on their way to the daemon without anybody waiting for the answer.

Copying a file sets its times and then its mode: two round trips that nobody wants the result of. Here both become one
call, sent before the next call of this mount, so that the daemon sees everything in the order in which it was done.
Removing a tree is a removal for each file: they are sent at once, and the next one need not wait for the answer.
What is sent and lost with the daemon is sent again. Content never goes this way: `close` waits for it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb

log = structlog.get_logger(__name__)

_DELAY: Final = 0.001
"""Seconds in which a second change of the same file can join the first."""

_MOST: Final = 64


class Client(Protocol):
    def begin(self, name: str, request: Message) -> Awaitable[Any]: ...
    def in_background(self, work: Awaitable[None]) -> None: ...


class Told(Protocol):
    """Who hears what came of it."""

    def changed_later(self, ino: int, attr: pb.Attr | None, since: int) -> None:
        """`since`: when it was sent, on the clock of changes. None: the daemon refused."""

    def still_there(self, parent: int, name: bytes) -> None:
        """The daemon did not remove this name."""


@dataclass(slots=True)
class _Deferred:
    request: pb.SetAttrRequest
    answered: asyncio.Future[None]
    sent: bool = False


class Later:
    """At most one unsent change for each inode; several sent ones are answered in their order."""

    def __init__(self, client: Callable[[], Client], now: Callable[[], int], told: Told) -> None:
        self._client = client
        self._now = now
        self._told = told
        self._last: dict[int, _Deferred] = {}
        """The newest change of each inode that is not answered."""
        self._unsent: list[_Deferred] = []
        self._timer: asyncio.TimerHandle | None = None
        self._removals = 0
        self._all_answered: asyncio.Future[None] | None = None
        """Since the daemon went away with some of them: done when it has answered them all."""

    def __contains__(self, ino: int) -> bool:
        return ino in self._last

    @property
    def any(self) -> bool:
        return bool(self._last) or self._removals > 0

    @property
    def full(self) -> bool:
        """Whoever asks for more than the daemon can follow has to wait for it. While some are said again, nothing may
        join them: they would change places."""
        return self.behind or len(self._last) + self._removals >= _MOST

    def put(self, request: pb.SetAttrRequest) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._last.get(request.ino)
        if waiting is not None and not waiting.sent:
            if request.HasField("mtime_ns"):
                waiting.request.ClearField("mtime_now")
            waiting.request.MergeFrom(request)
            return
        deferred = _Deferred(request, loop.create_future())
        self._last[request.ino] = deferred
        self._unsent.append(deferred)
        if self._timer is None:
            self._timer = loop.call_later(_DELAY, self.send)

    def remove(self, request: pb.UnlinkRequest) -> None:
        """`request.ino` says what is to go: nothing else that came to the name meanwhile."""
        self.send()
        self._removals += 1
        answer = self._client().begin("unlink", request)
        self._client().in_background(self._removed(request, answer))

    async def _removed(self, request: pb.UnlinkRequest, answer: Awaitable[pb.Done]) -> None:
        try:
            await self._patiently("unlink", answer, request)
        except OSError as error:
            if error.errno != errno.ENOENT:  # removed elsewhere, or by the same call before the daemon died
                log.warning("a name could not be removed", parent=request.parent, problem=str(error))
            self._told.still_there(request.parent, request.name)
        finally:
            self._removals -= 1
            self._look_whether_all()

    # ---- the daemon went away
    def interrupted(self) -> None:
        """What is not answered is said again when a daemon is there: until then nothing may overtake it."""
        if self.any and self._all_answered is None:
            self._all_answered = asyncio.get_running_loop().create_future()

    def _look_whether_all(self) -> None:
        if self._all_answered is not None and not self.any:
            self._all_answered.set_result(None)
            self._all_answered = None

    @property
    def behind(self) -> bool:
        return self._all_answered is not None

    async def in_order(self, seconds: float) -> None:
        """Before any other call: returns when it cannot overtake what was said before. Raises OSError."""
        self.send()
        if self._all_answered is not None:
            await _no_longer_than(seconds, self._all_answered)

    def written(self, ino: int) -> None:
        """The file was written since: its time is not the one that was set before."""
        deferred = self._last.get(ino)
        if deferred is not None:
            deferred.request.ClearField("mtime_ns")

    async def answered(self, ino: int, seconds: float) -> None:
        """Returns when what the daemon says of the inode includes all that was set here. Raises OSError."""
        while (deferred := self._last.get(ino)) is not None:
            self.send()
            await _no_longer_than(seconds, deferred.answered)

    def send(self) -> None:
        """What waits for company goes now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unsent, self._unsent = self._unsent, []
        for deferred in unsent:
            deferred.sent = True
            answer = self._client().begin("set_attr", deferred.request)
            self._client().in_background(self._finish(deferred, answer, self._now()))

    async def _finish(self, deferred: _Deferred, answer: Awaitable[pb.Attr], since: int) -> None:
        ino = deferred.request.ino
        attr: pb.Attr | None = None
        try:
            attr = await self._patiently("set_attr", answer, deferred.request)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):  # removed elsewhere meanwhile
                log.warning("mode or times could not be set", ino=ino, problem=str(error))
        finally:
            last = self._last.get(ino) is deferred
            if last:
                del self._last[ino]
            deferred.answered.set_result(None)
            self._look_whether_all()
        if last:
            self._told.changed_later(ino, attr, since)

    async def _patiently(self, name: str, answer: Awaitable[Any], request: Message) -> Any:
        """The program was told that it is done: while the mount lives it is asked for until a daemon has answered."""
        while True:
            try:
                return await answer
            except OSError as error:
                if error.errno != errno.ETIMEDOUT:
                    raise
            answer = self._client().begin(name, request)


async def _no_longer_than(seconds: float, waited: asyncio.Future[None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(waited)
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, "the daemon does not answer") from None
