# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes and times that are on their way to the daemon without anybody waiting for the answer.

Copying a file sets its times and then its mode: two round trips that nobody wants the result of. Here both become one
call, sent before the next call of this mount, so that the daemon sees everything in the order in which it was done.
What is sent and lost with the daemon is sent again. Content never goes this way: `close` waits for it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from holofs_api.v1 import filesystem_pb2 as pb

log = structlog.get_logger(__name__)

_DELAY: Final = 0.001
"""Seconds in which a second change of the same file can join the first."""

_MOST: Final = 64

OnAnswer = Callable[[int, pb.Attr | None, int], None]
"""(ino, attributes or None for an error, when it was sent on the clock of changes)."""


class Client(Protocol):
    def begin(self, name: str, request: pb.SetAttrRequest) -> Awaitable[pb.Attr]: ...
    def in_background(self, work: Awaitable[None]) -> None: ...


@dataclass(slots=True)
class _Deferred:
    request: pb.SetAttrRequest
    answered: asyncio.Future[None]
    sent: bool = False


class Later:
    """At most one unsent change for each inode; several sent ones are answered in their order."""

    def __init__(self, client: Callable[[], Client], now: Callable[[], int], on_answer: OnAnswer) -> None:
        self._client = client
        self._now = now
        self._on_answer = on_answer
        self._last: dict[int, _Deferred] = {}
        """The newest change of each inode that is not answered."""
        self._unsent: list[_Deferred] = []
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, ino: int) -> bool:
        return ino in self._last

    @property
    def full(self) -> bool:
        """Whoever sets more than the daemon can follow has to wait for it."""
        return len(self._last) >= _MOST

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

    def written(self, ino: int) -> None:
        """The file was written since: its time is not the one that was set before."""
        deferred = self._last.get(ino)
        if deferred is not None:
            deferred.request.ClearField("mtime_ns")

    async def answered(self, ino: int, seconds: float) -> None:
        """Returns when what the daemon says of the inode includes all that was set here. Raises OSError."""
        try:
            async with asyncio.timeout(seconds):
                while (deferred := self._last.get(ino)) is not None:
                    self.send()
                    await asyncio.shield(deferred.answered)
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "the daemon does not answer") from None

    def send(self) -> None:
        """Before any other call."""
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
            attr = await self._patiently(answer, deferred.request)
        except OSError as error:
            log.warning("mode or times could not be set", ino=ino, problem=str(error))
        finally:
            last = self._last.get(ino) is deferred
            if last:
                del self._last[ino]
            deferred.answered.set_result(None)
        if last:
            self._on_answer(ino, attr, since)

    async def _patiently(self, answer: Awaitable[pb.Attr], request: pb.SetAttrRequest) -> pb.Attr:
        """The program was told that it is done: while the mount lives it is asked for until a daemon has answered."""
        while True:
            try:
                return await answer
            except OSError as error:
                if error.errno != errno.ETIMEDOUT:
                    raise
            answer = self._client().begin("set_attr", request)
