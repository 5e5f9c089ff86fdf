# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocking work for content that is being fetched, in the pool of threads that its jobs call for."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

from holofsd.core.errors import NoSpace
from holofsd.store.threads import Pool, QueuedWork, in_thread
from holofsd.sync.jobs import Job


async def in_thread_for(jobs: Sequence[Job], work: Callable[[], Any]) -> Any:
    """Runs in the foreground once a program waits for one of the jobs. A full disk becomes NoSpace, whichever call met
    it."""
    try:
        if any(job.waiters for job in jobs):
            return await in_thread(Pool.FOREGROUND, work)
        return await _queued(jobs, QueuedWork(work))
    except OSError as error:
        raise as_no_space(error) from error


async def _queued(jobs: Sequence[Job], work: QueuedWork[Any]) -> Any:
    for job in jobs:
        job.queued.add(work)
    try:
        return await work.result()
    finally:
        for job in jobs:
            job.queued.discard(work)


def as_no_space(error: OSError) -> Exception:
    """The error that says what a full disk means for content; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("The disk is full: content from other devices waits until there is room.")
    return error
