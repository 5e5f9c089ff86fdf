# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls whose results survive whoever waits for them, and the set of tasks that somebody owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from holofsd.core.errors import ConnectionLost

T = TypeVar("T")


class TaskSet:
    """Tasks with one owner, which can cancel and await them all. Their errors belong to whoever awaits the task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Starts a task, which is kept until it has ended."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(task, error)

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        """Called with the error of a task. Nothing is done: nobody may be waiting any more, and that is no defect."""

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def all_ended(self) -> None:
        """Returns when no task is left, the caller's own excepted."""
        while rest := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(rest)


class ResumableCall(Generic[T]):
    """One call that is repeated, at most one at a time. A cancelled wait leaves it running for the next wait.

    Needed because a cancel that meets a finished call through the binding loses what it returned.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]], tasks: TaskSet) -> None:
        self._call = call
        self._tasks = tasks
        self._task: asyncio.Task[T] | None = None

    async def next(self) -> T:
        if self._task is None:
            self._task = self._tasks.spawn(self._call())
        task = self._task
        await asyncio.wait((task,))
        # Only now is the result taken: had the wait been cancelled, the task would still be here.
        if self._task is task:
            self._task = None
        if task.cancelled():
            raise ConnectionLost("The connection was closed while waiting.")
        return task.result()

    def cancel(self) -> None:
        """Cancels the call of a stream or connection that is thrown away."""
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Returns when no call is under way."""
        if self._task is not None:
            await asyncio.wait((self._task,))
