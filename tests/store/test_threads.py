# SPDX-License-Identifier: GPL-3.0-or-later
"""Two pools of threads: what is in one never waits for what is in the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest

from holofsd.store.threads import Pool, QueuedWork, end_threads, in_thread
from support.full_pool import pool_full, pool_threads

OTHER = {Pool.FOREGROUND: Pool.BACKGROUND, Pool.BACKGROUND: Pool.FOREGROUND}
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


@pytest.fixture(autouse=True)
async def _ended() -> AsyncIterator[None]:
    yield
    await end_threads()


def name() -> str:
    return threading.current_thread().name


class Noted:
    """Blocking work that notes in which threads it was done."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __call__(self) -> int:
        self.threads.append(name())
        return len(self.threads)


@pytest.mark.parametrize("pool", Pool)
async def test_work_is_done_in_a_thread_of_its_pool(pool: Pool) -> None:
    assert (await in_thread(pool, name)).startswith(pool.value)


@pytest.mark.parametrize("pool", Pool)
async def test_work_gets_its_arguments_and_the_context_of_who_waits_and_its_error_reaches_that(pool: Pool) -> None:
    WHO.set("a test")
    assert await in_thread(pool, WHO.get) == "a test"
    assert await in_thread(pool, int, "ff", base=16) == 255
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(pool, int, "none")


@pytest.mark.parametrize("full", Pool)
async def test_a_full_pool_keeps_nothing_of_the_other_one_waiting(full: Pool) -> None:
    async with pool_full(full):
        waiting = asyncio.ensure_future(in_thread(full, name))
        assert (await in_thread(OTHER[full], name)).startswith(OTHER[full].value)
        assert not waiting.done()
    assert (await waiting).startswith(full.value)


# ---- work that a program begins to wait for
async def test_queued_work_is_done_in_the_background() -> None:
    noted = Noted()
    assert await QueuedWork(noted).result() == 1
    (thread,) = noted.threads
    assert thread.startswith(Pool.BACKGROUND.value)


async def test_queued_work_that_is_promoted_is_done_at_once_and_once() -> None:
    noted = Noted()
    async with pool_full():
        queued = QueuedWork(noted)
        queued.promote()
        queued.promote()
        assert await queued.result() == 1
    await end_threads()
    (thread,) = noted.threads
    assert thread.startswith(Pool.FOREGROUND.value)


async def test_work_that_the_background_has_begun_is_not_done_again() -> None:
    begun, over, noted = threading.Event(), threading.Event(), Noted()

    def work() -> int:
        begun.set()
        over.wait()
        return noted()

    queued = QueuedWork(work)
    await asyncio.to_thread(begun.wait)
    queued.promote()
    assert (await in_thread(Pool.FOREGROUND, name)).startswith(Pool.FOREGROUND.value)
    over.set()
    assert await queued.result() == 1
    await end_threads()
    assert len(noted.threads) == 1


@pytest.mark.parametrize("promoted", [False, True])
async def test_the_error_of_queued_work_reaches_who_waits(promoted: bool) -> None:
    def work() -> None:
        raise OSError("no")

    queued = QueuedWork(work)
    if promoted:
        queued.promote()
    with pytest.raises(OSError, match="no"):
        await queued.result()


async def test_queued_work_that_nobody_waits_for_any_more_never_begins() -> None:
    noted = Noted()
    async with pool_full():
        waiting = asyncio.ensure_future(QueuedWork(noted).result())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await end_threads()
    assert noted.threads == []


# ---- their end
async def test_the_end_waits_for_what_was_given_to_the_threads_and_leaves_none() -> None:
    before = pool_threads()
    begun, over = threading.Event(), threading.Event()
    done: list[Pool] = []

    def work(pool: Pool) -> None:
        begun.set()
        over.wait()
        done.append(pool)

    given = [asyncio.ensure_future(in_thread(pool, work, pool)) for pool in Pool]
    left = asyncio.ensure_future(in_thread(Pool.BACKGROUND, work, Pool.BACKGROUND))
    await asyncio.to_thread(begun.wait)
    left.cancel()  # whoever gave it is gone; a thread may be in it
    ending = asyncio.ensure_future(end_threads())
    await asyncio.to_thread(begun.wait)
    assert not ending.done()
    over.set()
    await ending
    await asyncio.gather(*given)
    assert {*done} == {*Pool}
    assert pool_threads() <= before


async def test_after_the_end_threads_are_made_anew() -> None:
    await in_thread(Pool.BACKGROUND, name)
    await end_threads()
    assert (await in_thread(Pool.BACKGROUND, name)).startswith(Pool.BACKGROUND.value)


def test_threads_of_a_loop_that_is_closed_end_when_another_one_needs_some() -> None:
    before = pool_threads()
    asyncio.run(in_thread(Pool.BACKGROUND, name))
    left = pool_threads() - before
    assert left
    asyncio.run(in_thread(Pool.FOREGROUND, name))
    for thread in left:
        thread.join(60)
        assert not thread.is_alive()
