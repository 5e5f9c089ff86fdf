# SPDX-License-Identifier: GPL-3.0-or-later
"""Retry of work that no program waits for any more: one loop, and a pause policy for each use.

Bounds: an attempt waits at most ten patiences for the reply of a living daemon, and for a connection as long as the
mount lives; a pause lasts at most as long as its policy says. The number of attempts is unlimited, because a program
was told that the work is done. The loop runs in a background task, which the end of the mount cancels
(`DaemonClient.close`): what is not done then is in the journal, or logged as lost.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

Pause = Callable[[OSError], Awaitable[None] | None]
"""Policy after a failed attempt: returns what to await before the next one, or None if the error is final."""

_OVERTAKEN_TRIES: Final = 20
_OVERTAKEN_SECONDS: Final = 0.02


async def retry(begun: Awaitable[T], again: Callable[[], Awaitable[T]], pause: Pause) -> T:
    """Result of the first attempt that succeeds: `begun`, then those that `again` begins. Raises the final OSError."""
    while True:
        try:
            return await begun
        except OSError as error:
            waited = pause(error)
            if waited is None:
                raise
        await waited
        begun = again()


def while_unanswered(error: OSError) -> Awaitable[None] | None:
    """Policy for a call that a daemon has to answer. No pause: the next attempt itself waits for a connection."""
    return _no_pause() if error.errno == errno.ETIMEDOUT else None


class WhileOvertaken:
    """Policy for a journalled operation: `while_unanswered`, and some tries where it arrived too early (EAGAIN).

    On a new connection an operation may arrive before one with a lower number, because each is sent again by a task of
    its own. `nothing_failed`: the daemon has refused none, so an EAGAIN can mean only that.
    """

    def __init__(self, nothing_failed: Callable[[], bool]) -> None:
        self._nothing_failed = nothing_failed
        self._tries = 0

    def __call__(self, error: OSError) -> Awaitable[None] | None:
        if error.errno == errno.EAGAIN and self._tries < _OVERTAKEN_TRIES and self._nothing_failed():
            self._tries += 1
            return asyncio.sleep(_OVERTAKEN_SECONDS)
        return while_unanswered(error)


class DoublingPause:
    """Pauses that double from `first` to `last` seconds."""

    def __init__(self, first: float, last: float) -> None:
        self._first = self._next = first
        self._last = last

    async def pause(self) -> None:
        seconds, self._next = self._next, min(2 * self._next, self._last)
        await asyncio.sleep(seconds)

    def reset(self) -> None:
        """Begins again with the first pause: something was done."""
        self._next = self._first


async def _no_pause() -> None:
    pass
