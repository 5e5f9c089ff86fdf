# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on its way to the daemon without anybody waiting for the answer: modes, times, removals, and what is new.

Copying a file sets its times and then its mode: two round trips that nobody wants the result of. Here both become one
call, sent before the next call of this mount, so that the daemon sees everything in the order in which it was done.
Removing a tree is a removal for each file, unpacking one a new file for each: they are sent at once, and the next one
need not wait for the answer.

Each call is in the journal before it is sent (`core.journal`), so it is carried out whatever is killed, and once. What
is lost with the daemon is sent again. Without a journal, what is new and what is removed is waited for. What
the daemon cannot do now holds up what follows: all that is said again, in its order, until it is done; meanwhile
nothing joins it, and whoever does something waits for the answer.
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

log = structlog.get_logger(__name__)

_DELAY: Final = 0.001
"""Seconds in which a second change of the same file can join the first."""

_MOST: Final = 2_048
"""Whoever does more than the daemon can follow waits for it: this is about two seconds of its work."""
_MOST_BEFORE_SOMEBODY: Final = 64
"""As long as somebody waits: who does much at once shall not keep the next call of others behind all of it."""

_FIRST_REST: Final = 1.0
_LAST_REST: Final = 60.0
"""Seconds between two attempts to have something done that the daemon refused."""
_OVERTAKEN_TRIES: Final = 20
_OVERTAKEN_SECONDS: Final = 0.02


class Client(Protocol):
    def begin(self, name: str, request: Message, number: int = 0, late: bool = False) -> Awaitable[Any]: ...
    def in_background(self, work: Awaitable[None]) -> None: ...


class Journal(Protocol):
    def keep(self, request: pb.CallRequest) -> int: ...
    def clear(self) -> None: ...


class Told(Protocol):
    """Who hears what came of it."""

    def changed_later(self, ino: int, attr: pb.Attr | None, since: int) -> None:
        """`since`: when it was sent, on the clock of changes. None: it is not what it seemed."""

    def unsure_of(self, parent: int, name: bytes) -> None:
        """Where this name leads is not what it seemed."""


@dataclass(slots=True)
class _Deferred:
    request: pb.SetAttrRequest
    answered: asyncio.Future[None]
    sent: bool = False
    since: int = 0


Promise = pb.CreateRequest | pb.MakeDirRequest


@dataclass(slots=True)
class _Said:
    """A call on its way. `number`: in the journal; 0: it is not there. `heard` gets the reply, or the error: the last
    one that there will be, or (of what is said again) the first."""

    name: str
    request: Any
    number: int
    is_promise: bool
    heard: Callable[[Any, OSError | None], None]
    late: bool = False

    def may_be_said_again(self, error: OSError) -> bool:
        return self.number > 0 and (self.is_promise or error.errno == errno.EAGAIN)


class Later:
    """At most one unsent change for each inode; several sent ones are answered in their order."""

    def __init__(self, client: Callable[[], Client], now: Callable[[], int], told: Told, journal: Journal) -> None:
        self._client = client
        self._journal = journal
        self._now = now
        self._told = told
        self._last: dict[int, _Deferred] = {}
        """The newest change of each inode that is not answered."""
        self._unsent: list[_Deferred] = []
        self._timer: asyncio.TimerHandle | None = None
        self._on_their_way = 0
        self._waited_for = 0
        self._refused: list[_Said] = []
        """To be said again, in this order."""
        self.decided = 0
        """The number of a call in the journal: that one and all before it are answered for good."""
        self._all_answered: asyncio.Future[None] | None = None
        """Since the daemon went away with some of them: done when it has answered them all."""

    def __contains__(self, ino: int) -> bool:
        return ino in self._last

    @property
    def any(self) -> bool:
        return bool(self._unsent) or self._on_their_way > 0

    @property
    def full(self) -> bool:
        """Whoever asks for more than the daemon can follow has to wait for it. While some are said again, nothing may
        join them: they would change places."""
        most = _MOST_BEFORE_SOMEBODY if self._waited_for else _MOST
        return self.behind or self.failing or len(self._unsent) + self._on_their_way >= most

    @contextmanager
    def somebody_waits(self) -> Iterator[None]:
        self._waited_for += 1
        try:
            yield
        finally:
            self._waited_for -= 1

    @property
    def failing(self) -> bool:
        """Something that programs were told is done is not: `fsync` says so."""
        return bool(self._refused)

    # ---- saying
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

    def send(self) -> None:
        """What waits for company goes now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unsent, self._unsent = self._unsent, []
        for deferred in unsent:
            deferred.sent, deferred.since = True, self._now()
            number = self._kept("set_attr", deferred.request)
            self._begin(_Said("set_attr", deferred.request, number, False, self._settler(deferred)))

    def remove(self, name: str, request: pb.UnlinkRequest) -> bool:
        """`request.ino` says what is to go: nothing else that came to the name meanwhile. False: it has to be waited
        for."""

        def heard(_: Any, error: OSError | None) -> None:
            if error is None:
                return
            # Removed elsewhere, filled from elsewhere, or said again.
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EAGAIN):
                log.warning("a name could not be removed", parent=request.parent, problem=str(error))
            self._told.unsure_of(request.parent, request.name)

        return self._say_if_kept(name, request, False, heard)

    def promise(self, name: str, request: Promise, made: Callable[[Any], None]) -> bool:
        """`request.ino` is new, and whole. `made` gets the reply of the daemon. False: it has to be waited for."""

        def heard(reply: Any, error: OSError | None) -> None:
            if error is None:
                made(reply)
            else:
                self._told.unsure_of(request.parent, request.name)

        return self._say_if_kept(name, request, True, heard)

    def _say_if_kept(
        self, name: str, request: Any, is_promise: bool, heard: Callable[[Any, OSError | None], None]
    ) -> bool:
        self.send()
        number = self._kept(name, request)
        if number:
            self._begin(_Said(name, request, number, is_promise, heard))
        return number > 0

    def _kept(self, name: str, request: Message) -> int:
        return self._journal.keep(pb.CallRequest(**{name: request}))  # type: ignore[arg-type]

    def _begin(self, said: _Said) -> None:
        self._on_their_way += 1
        self._client().in_background(self._follow(said, self._begin_call(said)))

    def _begin_call(self, said: _Said) -> Awaitable[Any]:
        return self._client().begin(said.name, said.request, said.number, said.late)

    # ---- hearing
    async def _follow(self, said: _Said, answer: Awaitable[Any]) -> None:
        reply, error = await self._outcome(said, answer)
        if error is not None and said.may_be_said_again(error):
            self._refused.append(said)
            if len(self._refused) == 1:
                log.error("what was closed is kept in the journal until it can be stored", problem=str(error))
                self._client().in_background(self._say_again())
        else:
            self.decided = max(self.decided, said.number)
        self._on_their_way -= 1
        try:
            said.heard(reply, error)
        finally:
            self._look_whether_all()

    async def _outcome(self, said: _Said, answer: Awaitable[Any]) -> tuple[Any, OSError | None]:
        """The program was told that it is done: while the mount lives it is asked for until a daemon has answered."""
        overtaken = 0
        while True:
            try:
                return await answer, None
            except OSError as error:
                if error.errno == errno.EAGAIN and said.number and overtaken < _OVERTAKEN_TRIES and not self._refused:
                    overtaken += 1  # nothing before it was refused: on a new connection it came before that
                    await asyncio.sleep(_OVERTAKEN_SECONDS)
                elif error.errno != errno.ETIMEDOUT:
                    return None, error
            answer = self._begin_call(said)

    async def _say_again(self) -> None:
        """Until the daemon took all that it had refused. If the mount ends first, that is in the journal."""
        rest = _FIRST_REST
        while self._refused:
            await asyncio.sleep(rest)
            rest = min(2 * rest, _LAST_REST)
            self._refused.sort(key=lambda said: said.number)
            while self._refused and not self._on_their_way:
                said = self._refused[0]
                said.late = True
                _, error = await self._outcome(said, self._begin_call(said))
                if error is not None and said.may_be_said_again(error):
                    break
                del self._refused[0]
                self.decided = max(self.decided, said.number)
                self._correct(said)
                rest = _FIRST_REST
        log.info("what was kept in the journal is stored")
        self._look_whether_all()

    def _correct(self, said: _Said) -> None:
        """It came later than it seemed."""
        if said.name == "set_attr":
            self._told.changed_later(said.request.ino, None, 0)
        else:
            self._told.unsure_of(said.request.parent, said.request.name)

    def _settler(self, deferred: _Deferred) -> Callable[[Any, OSError | None], None]:
        ino = deferred.request.ino

        def heard(attr: Any, error: OSError | None) -> None:
            if error is not None and error.errno not in (errno.ENOENT, errno.ESTALE, errno.EAGAIN):  # removed elsewhere
                log.warning("mode or times could not be set", ino=ino, problem=str(error))
            last = self._last.get(ino) is deferred
            if last:
                del self._last[ino]
            deferred.answered.set_result(None)
            if last:
                self._told.changed_later(ino, attr if attr is not None and attr.ino else None, deferred.since)

        return heard

    def _look_whether_all(self) -> None:
        if self.any:
            return
        if not self._refused:
            self._journal.clear()
        if self._all_answered is not None:
            self._all_answered.set_result(None)
            self._all_answered = None

    # ---- the daemon went away
    def interrupted(self) -> None:
        """What is not answered is said again when a daemon is there: until then nothing may overtake it."""
        if self.any and self._all_answered is None:
            self._all_answered = asyncio.get_running_loop().create_future()

    @property
    def behind(self) -> bool:
        return self._all_answered is not None

    async def in_order(self, seconds: float) -> None:
        """Before any other call: returns when it cannot overtake what was said before. Raises OSError."""
        self.send()
        if self._all_answered is not None:
            await within(seconds, self._all_answered)

    def written(self, ino: int) -> None:
        """The file was written since: its time is not the one that was set before."""
        deferred = self._last.get(ino)
        if deferred is not None:
            deferred.request.ClearField("mtime_ns")

    async def answered(self, ino: int, seconds: float) -> None:
        """Returns when what the daemon says of the inode includes all that was set here. Raises OSError."""
        end = time.monotonic() + seconds
        with self.somebody_waits():
            while (deferred := self._last.get(ino)) is not None:
                self.send()
                await within(end - time.monotonic(), deferred.answered)
