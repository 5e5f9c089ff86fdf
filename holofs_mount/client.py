# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the daemon that survives the daemon: calls wait while it is away and go on when it is back.

A call that was in flight when the daemon died is sent again. Most calls may simply be repeated (they name handles,
offsets and whole values). For those that may not (a rename, an exclusive create) the caller passes `recover`, which
looks whether the first attempt was carried out: see `core.recovery`.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from holofs_api.errors import detail_of
from holofs_api.state_directory import StateDirError
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.patience import GRACE, LONGEST, PATIENCE, left, no_answer, pause_of
from holofs_mount.session import DaemonSession, SessionLost, attach

log = structlog.get_logger(__name__)
T = TypeVar("T")

_MAX_ATTEMPTS: Final = 8
_FIRST_DELAY: Final = 0.05
_LAST_DELAY: Final = 1.0
_CLOSING: Final = 5.0
"""Seconds for what was sent in the background to be answered when the mount ends, and for a connection to be closed."""

Recover = Callable[[OSError | None], Awaitable[Message | None]]
"""Called before a call is sent again (None), and when the repetition failed (its error). Returns the reply that the
first attempt would have had if it was carried out, or None."""


class DaemonUnavailable(Exception):
    """No daemon answers, or it refuses this mount; the text is one sentence for a person."""

    def __init__(self, message: str, code: str, number: int) -> None:
        super().__init__(message)
        self.code = code
        self.errno = number


class Observer(Protocol):
    """Receiver of changes and connections: the mount."""

    def hello(self) -> pb.AttachRequest:
        """Request to attach: this mount, and its open handles."""

    def changed(self, change: pb.Change) -> None: ...

    def lost(self) -> None:
        """The connection was lost: changes can be missed from now on."""

    def attached(self, reply: pb.AttachReply) -> None: ...


class DaemonClient:
    """Start with `start`, end with `close`; everything between may be called from any task of the loop."""

    def __init__(self, socket: Path, observer: Observer, patience: float = PATIENCE) -> None:
        self._socket = socket
        self._observer = observer
        self.patience = patience
        self._session: DaemonSession | None = None
        self._back = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        return self._session is not None and not self._session.lost.is_set()

    @property
    def patience_left(self) -> float:
        """Seconds that a call which begins now waits for the daemon."""
        session = self._session
        if session is None or not session.lost.is_set():
            return self.patience
        return left(time.monotonic() - session.lost_at, self.patience)

    async def start(self) -> pb.AttachReply:
        """Attaches for the first time. Raises DaemonUnavailable."""
        try:
            session = await attach(self._socket, self._observer.hello(), self._observer.changed, self.patience)
        except grpc.RpcError as error:
            raise _unavailable(error, self._socket) from None
        except StateDirError as error:
            raise DaemonUnavailable(error.message, "daemon-absent", errno.EACCES) from None
        except OSError as error:
            sentence = f"{self._socket.parent} cannot be used: {error.strerror}."
            raise DaemonUnavailable(sentence, "daemon-absent", error.errno or errno.EIO) from None
        self._adopt(session)
        self._keeper = asyncio.create_task(self._keep(), name="holofs-keep")
        return session.attached

    async def close(self) -> None:
        """Waits for what was sent in the background (bounded), then detaches."""
        if self._background:
            await asyncio.wait(self._background, timeout=_CLOSING)
        for task in [*self._background, *([self._keeper] if self._keeper else [])]:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._session is not None:
            await self._closed(self._session)

    async def _closed(self, session: DaemonSession) -> None:
        closing = asyncio.ensure_future(session.close())
        await asyncio.wait((closing,), timeout=_CLOSING)
        closing.cancel()

    async def patiently(self, waited: asyncio.Future[T]) -> T:
        """The result of `waited`, which goes on if this gives up.

        OSError ETIMEDOUT: the daemon is away or silent for longer than the patience, or (whatever it does) this took
        `LONGEST` patiences.
        """
        begun = time.monotonic()
        grace = self.patience_left
        while not waited.done():
            now = time.monotonic()
            limit = begun + LONGEST * self.patience
            if not self.connected:
                limit = min(limit, max(self._gone_at(begun) + self.patience, begun + min(grace, GRACE)))
            if now >= limit:
                raise no_answer()
            await asyncio.wait((waited,), timeout=min(limit - now, pause_of(self.patience)))
        return waited.result()

    def _gone_at(self, begun: float) -> float:
        return begun if self._session is None else self._session.lost_at

    async def back(self) -> None:
        """Waits for a connection, at most for the life of the mount. For work that no program waits for."""
        await self._back.wait()

    async def call(self, name: str, request: Message, recover: Recover | None = None) -> Any:
        """The reply. OSError: the daemon's errno, or ETIMEDOUT when it stayed away for too long."""
        return await self._call(name, request, recover, for_ever=False)

    async def _call(
        self,
        name: str,
        request: Message,
        recover: Recover | None,
        *,
        for_ever: bool,
        number: int = 0,
        late: bool = False,
    ) -> Any:
        sent = False
        for _ in range(_MAX_ATTEMPTS):
            session = self._session
            if session is None or session.lost.is_set():
                session = await self._connection(for_ever)
            if sent and recover is not None:
                done = await recover(None)
                if done is not None:
                    return done
            try:
                return await session.begin(name, request, number, late)
            except SessionLost as lost:
                sent = sent or lost.sent
            except OSError as error:
                done = await recover(error) if sent and recover is not None else None
                if done is None:
                    raise
                return done
        raise OSError(errno.ETIMEDOUT, "the daemon keeps going away")

    def begin(self, name: str, request: Message, number: int = 0, late: bool = False) -> Awaitable[Any]:
        """Begins a call that may be repeated. If the daemon is there, it is sent when this returns. For `number` and
        `late` see `DaemonSession.begin`.

        No program waits for it, so it waits for a connection as long as that takes. Calls that wait for one are sent in
        the order in which they were begun.
        """
        session = self._session
        if session is None or session.lost.is_set():
            return self._call(name, request, None, for_ever=True, number=number, late=late)
        return self._again_if_lost(session.begin(name, request, number, late), name, request, number, late)

    async def _again_if_lost(self, answer: Awaitable[Any], name: str, request: Message, number: int, late: bool) -> Any:
        try:
            return await answer
        except SessionLost:
            return await self._call(name, request, None, for_ever=True, number=number, late=late)

    def acknowledge(self, number: int) -> None:
        """Acknowledges a batch of changes: nothing shows the state before it any more."""
        if self._session is not None:
            self._session.acknowledge(number)

    def in_background(self, work: Awaitable[None]) -> None:
        """Runs work in a task of its own, which no program waits for; `close` does (bounded)."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _connection(self, for_ever: bool) -> DaemonSession:
        while True:
            session = self._session
            if session is None:
                raise OSError(errno.ENOTCONN, "not attached yet")
            if not session.lost.is_set():
                return session
            # Until the keeper has noticed the loss, `_back` is still set: let it run.
            await asyncio.sleep(0)
            try:
                async with asyncio.timeout(None if for_ever else self.patience_left):
                    await self._back.wait()
            except TimeoutError:
                raise no_answer() from None

    def _adopt(self, session: DaemonSession) -> None:
        self._observer.attached(session.attached)
        self._session = session
        self._back.set()

    async def _keep(self) -> None:
        """Replaces a session that was lost, for as long as the mount lives."""
        while True:
            session = self._session
            assert session is not None
            await session.lost.wait()
            self._back.clear()
            log.warning("the daemon went away; waiting for it")
            self._observer.lost()
            await self._closed(session)
            self._adopt(await self._reattach())
            log.info("the daemon is back")

    async def _reattach(self) -> DaemonSession:
        delay = _FIRST_DELAY
        logged = False
        while True:
            try:
                return await attach(self._socket, self._observer.hello(), self._observer.changed, self.patience)
            except grpc.RpcError as error:
                detail = detail_of(error)
                if not logged and not detail.code.startswith("grpc-"):
                    logged = True
                    log.error("the daemon refuses this mount", code=detail.code, reason=detail.message)
            except StateDirError as error:
                if not logged:
                    logged = True
                    log.error("the daemon cannot be asked", reason=error.message)
            except OSError as error:  # the state directory is away; it may come back
                log.debug("the state directory cannot be opened", reason=error.strerror)
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, _LAST_DELAY)


def _unavailable(error: grpc.RpcError, socket: Path) -> DaemonUnavailable:
    detail = detail_of(error)
    if detail.code in ("grpc-unavailable", "grpc-deadline-exceeded"):
        message = f"no HoloFS daemon answers at {socket}: start it with `holofsctl up`"
        return DaemonUnavailable(message, "daemon-absent", errno.ECONNREFUSED)
    return DaemonUnavailable(detail.message or detail.code, detail.code, detail.errno or errno.EIO)
