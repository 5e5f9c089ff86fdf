# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk for content from elsewhere: what is not tried now because it did not fit, and what can be freed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable

import structlog

from holofsd.store.volume import VolumeStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.jobs import NO_LIMIT, FetchCounts, Job

log = structlog.get_logger(__name__)


class Room:
    """Content that did not fit waits for a while; what is smaller is fetched meanwhile."""

    def __init__(self, store: VolumeStore, config: SyncConfig, counts: FetchCounts) -> None:
        self._store = store
        self._config = config
        self._counts = counts
        self.too_large = NO_LIMIT
        """Content of this size or above did not fit on the disk..."""
        self._again_at = 0.0
        """... and from this loop time on it is tried again."""
        self.on_no_space: Callable[[int], None] = lambda _bytes: None
        """Told how much has to wait for room."""

    def limit(self) -> int:
        """Content of this size or above is not tried now."""
        return self.too_large if asyncio.get_running_loop().time() < self._again_at else NO_LIMIT

    def largest(self) -> int:
        """Content of this size or above is more than the whole disk holds, so that no room helps, or cannot exist."""
        disk = os.statvfs(self._store.directory)
        return min(disk.f_blocks * disk.f_frsize + 1, NO_LIMIT)

    def fits_again(self) -> None:
        self.too_large = NO_LIMIT
        self._counts.no_space = False

    def ran_out(self, jobs: Iterable[Job], needed: int) -> None:
        """Lets these jobs wait for room. `needed`: size of the one that ran out, as its device says, or 0."""
        chosen, now = list(jobs), asyncio.get_running_loop().time()
        largest = needed if len(chosen) == 1 and needed else max(job.least for job in chosen)
        self.too_large = min(self.limit(), max(largest, 1))
        self._again_at = now + self._config.no_space_retry
        if largest < self.largest():
            if not self._counts.no_space:
                log.warning("content has to wait for room on the disk", size=largest)
            self._counts.no_space = True
            self._ask_for_room(needed)
        for job in chosen:
            for device in job.takers:
                job.not_from[device] = self._again_at

    def _ask_for_room(self, needed: int) -> None:
        """Only for what history and trash can make room for: they are not let go of in vain."""
        disk = os.statvfs(self._store.directory)
        past = self._store.past_sizes
        to_be_had = disk.f_bavail * disk.f_frsize + past.all_bytes() + past.garbage()
        if needed + self._config.reserve_bytes <= to_be_had:
            self.on_no_space(needed)
