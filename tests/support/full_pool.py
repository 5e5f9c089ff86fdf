# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of threads: one that has no thread left, and what threads there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from holofsd.store.threads import SIZES, Pool, in_thread


@asynccontextmanager
async def pool_full(pool: Pool = Pool.BACKGROUND) -> AsyncIterator[None]:
    """Every thread of that pool is in a job that ends with this context. All else that is given to it waits."""
    all_begun, over = threading.Barrier(SIZES[pool] + 1), threading.Event()

    def work() -> None:
        all_begun.wait()
        over.wait()

    jobs = [asyncio.ensure_future(in_thread(pool, work)) for _ in range(SIZES[pool])]
    await asyncio.to_thread(all_begun.wait)
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*jobs)


def pool_threads() -> set[threading.Thread]:
    """Threads of this process that belong to a pool of any loop."""
    return {each for each in threading.enumerate() if each.name.startswith(tuple(pool.value for pool in Pool))}
