# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that have an owner which awaits their end; a defect in one is logged, never lost and never spread."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

import structlog

from holofsd.net.keep import TaskSet

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Tasks(TaskSet):
    """Tasks that nobody awaits one by one: each has a name, and its error goes into the log."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self._owner = owner

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        return super().spawn(coroutine, f"{self._owner}: {name}")

    def _failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        log.error("a task failed", task=task.get_name(), exc_info=error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancels all of them and returns when they have ended; never waits for the caller itself."""
        while rest := self._tasks - {asyncio.current_task()}:
            await cancel_all(rest)


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks and returns when they have ended; the caller's own is left alone."""
    rest = {*tasks} - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest)
