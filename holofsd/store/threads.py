# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads for blocking work: two pools for each event loop, and each call says which of them it takes.

`Pool.FOREGROUND` is for what a program or a person waits for; `Pool.BACKGROUND` for all else. However long the queue of
the background is, nothing of it is in front of an fsync. There is no default, and nothing else in holofsd hands work to
threads (tests/meta/test_threads.py). What libraries of others do in threads of their own accord, as to find the address
of a name, is in asyncio's own pool.

The pools belong to the loop, as asyncio's own does: they are made at the first use. `end_threads` ends them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from enum import Enum
from functools import partial
from typing import Final, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

P = ParamSpec("P")
T = TypeVar("T")


class Pool(Enum):
    """Threads that some blocking work takes."""

    FOREGROUND = "holofs-foreground"
    """A program or a person waits for it: fsync, a copy at open, content that a program reads."""
    BACKGROUND = "holofs-background"
    """It is done for many files in a row, or for other devices, and may take as long as it takes."""


SIZES: Final = {
    # It waits for the disk, which brings several fsyncs together: measured on ext4 with files of 8 kB, 69 a second from
    # one thread, 736 from 8, 1,184 from 16, and 841 from 32. A thread takes 16 kB, and is only made when it is needed.
    Pool.FOREGROUND: 16,
    # As many as asyncio's pool has: what was measured with that one stays as it is.
    Pool.BACKGROUND: min(32, (os.cpu_count() or 1) + 4),
}

_of_loops: Final[WeakKeyDictionary[AbstractEventLoop, dict[Pool, ThreadPoolExecutor]]] = WeakKeyDictionary()


async def in_thread(pool: Pool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs `work` in a thread of that pool, in the context of the caller, and returns what it returns."""
    return await _submitted(pool, partial(work, *args, **kwargs))


def _submitted(pool: Pool, work: Callable[[], T]) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(_executor(loop, pool), copy_context().run, work)


def _executor(loop: AbstractEventLoop, pool: Pool) -> ThreadPoolExecutor:
    pools = _of_loops.get(loop)
    if pools is None:
        for closed in [other for other in _of_loops if other.is_closed()]:
            for executor in _of_loops.pop(closed).values():
                executor.shutdown(wait=False)
        pools = _of_loops[loop] = {}
    if pool not in pools:
        pools[pool] = ThreadPoolExecutor(SIZES[pool], pool.value)
    return pools[pool]


async def end_threads() -> None:
    """Returns when all that was given to the threads of this loop is done and they have ended. The next call of
    `in_thread` makes new ones."""
    loop = asyncio.get_running_loop()
    for executor in _of_loops.pop(loop, {}).values():
        await loop.run_in_executor(None, executor.shutdown)


class QueuedWork(Generic[T]):
    """Blocking work in the background's queue that goes over to the foreground as soon as a program waits for it.

    It is in both queues then. The thread that comes to it first does it, and the other one nothing.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._attempts: list[asyncio.Future[tuple[T] | None]] = []
        self._attempt(Pool.BACKGROUND)

    def promote(self) -> None:
        """A program waits for it from now on."""
        if len(self._attempts) == 1 and not self._done.done():
            self._attempt(Pool.FOREGROUND)

    async def result(self) -> T:
        """Returns what the work returns. At most one caller; if it is cancelled, work that no thread began never
        begins."""
        try:
            return await self._done
        finally:
            for attempt in self._attempts:
                attempt.cancel()

    def _attempt(self, pool: Pool) -> None:
        attempt = _submitted(pool, self._run_if_first)
        self._attempts.append(attempt)
        attempt.add_done_callback(self._ended)

    def _run_if_first(self) -> tuple[T] | None:
        return (self._work(),) if self._claim.acquire(blocking=False) else None

    def _ended(self, attempt: asyncio.Future[tuple[T] | None]) -> None:
        if attempt.cancelled():
            return
        error = attempt.exception()
        if self._done.done():
            return
        if error is not None:
            self._done.set_exception(error)
        elif (result := attempt.result()) is not None:
            self._done.set_result(result[0])
