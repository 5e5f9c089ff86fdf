# SPDX-License-Identifier: GPL-3.0-or-later
"""Patience: the bounds of all waits in a mount (table: docs/waits.md).

A daemon that is away (no connection) or silent (a connection, calls in flight, and not a word on it: stopped, or its
loop is blocked) is waited for no longer than the mount's patience. While it answers, a wait lasts as long as it takes,
up to `LONGEST` patiences.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds that calls wait for a daemon that is away or silent, counted from its going; a short grace for each after
that."""
GRACE: Final = 1.0
_LATE_GRACE: Final = 0.1
"""Grace once the daemon was away for twice the patience: a program that ends closes its files one after the other."""
LONGEST: Final = 10
"""Patiences that a call may take which a living daemon does not answer."""
_LOOKS: Final = 16
"""Checks within one patience whether the daemon still answers."""
_LONGEST_PAUSE: Final = 1.0

Patiently = Callable[[asyncio.Future[Any]], Awaitable[Any]]
"""Type of `DaemonClient.patiently`."""


def no_answer() -> OSError:
    return OSError(errno.ETIMEDOUT, "the daemon does not answer")


def left(away: float, patience: float) -> float:
    """Seconds that a call which begins now waits for a daemon that has been away for so many."""
    return max(patience - away, GRACE if away < 2 * patience else _LATE_GRACE)


def pause_of(patience: float) -> float:
    """Seconds between two checks."""
    return min(patience / _LOOKS, _LONGEST_PAUSE)


async def within(seconds: float, waited: asyncio.Future[T]) -> T:
    """The result of `waited`, which goes on if this gives up. Raises OSError ETIMEDOUT after `seconds`."""
    done, _ = await asyncio.wait((waited,), timeout=seconds)
    if not done:
        raise no_answer()
    return waited.result()


class Silence:
    """Notices a daemon that is connected and says nothing while calls are in flight.

    `asks` says whether calls are in flight, `ping` makes a daemon that is only busy with them say something, `over` is
    called once, when the silence has lasted for the patience.
    """

    def __init__(
        self, patience: float, asks: Callable[[], bool], ping: Callable[[], None], over: Callable[[], None]
    ) -> None:
        self._patience = patience
        self._asks = asks
        self._ping = ping
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._pause = pause_of(patience)
        self._pinged = False
        self.heard = True
        """Whether the daemon has sent anything since the last check."""
        self.since = self._looked = self._loop.time()
        """Begin of the silence, on the clock of the loop; as good as now while there is none."""
        self._timer = self._loop.call_later(self._pause, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        # Late itself: this process was stopped, or its loop blocked, and what has arrived is not read yet.
        was_away = now - self._looked > 3 * self._pause + GRACE
        self._looked = now
        if self.heard or was_away or not self._asks():
            self.heard = self._pinged = False
            self.since = now
        elif now - self.since >= self._patience:
            self._over()
            return
        elif not self._pinged:
            self._pinged = True
            self._ping()
        self._timer = self._loop.call_later(self._pause, self._look)


async def _default(waited: asyncio.Future[T]) -> T:
    return await within(PATIENCE, waited)


class Turns:
    """A lock whose waiters are served in order and give up with ETIMEDOUT, each as its `patiently` decides."""

    def __init__(self) -> None:
        self.patiently: Patiently = _default
        self._held = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        return self._held

    async def __aenter__(self) -> None:
        if not self._held:
            self._held = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await self.patiently(turn)
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it came in the same moment
            turn.cancel()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        """Passes the lock to the next in line, without being free in between."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False
