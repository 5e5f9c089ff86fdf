# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on the devices that one fetcher asks: until when not for something, and which are asked last."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holofsd.core.errors import ProtocolViolation
from holofsd.core.ids import DeviceId
from holofsd.sync.config import SyncConfig
from holofsd.sync.jobs import FetchCounts, Job, later, miss_delay
from holofsd.sync.receiving import Trip
from holofsd.sync.standings import Standings

log = structlog.get_logger(__name__)

WRONG_MOST: Final = 3600.0
"""Most seconds until a device that sent other bytes than it was asked for is asked for them again."""


class Verdicts:
    """Verdicts of one volume."""

    def __init__(self, config: SyncConfig, counts: FetchCounts) -> None:
        self._config = config
        self._counts = counts
        self.standings = Standings()

    def ask_last(self, device: DeviceId) -> None:
        """See `Standings.ask_last`."""
        self.standings.ask_last(device, asyncio.get_running_loop().time())

    def not_soon(self, device: DeviceId, jobs: list[Job]) -> None:
        """Sets a device back that stalled, and would again: meanwhile another one may deliver these jobs."""
        self.ask_last(device)
        until = asyncio.get_running_loop().time() + self._config.missing_retry
        for job in jobs:
            job.not_from[device] = until

    def account(self, device: DeviceId, trip: Trip) -> None:
        """Notes what a device did not have, or sent wrong."""
        now = asyncio.get_running_loop().time()
        for job in trip.missing:
            misses = job.misses[device] = job.misses.get(device, 0) + 1
            job.not_from[device] = later(now, miss_delay(job.blob, misses, self._config.missing_retry))
        for job in trip.otherwise:
            job.solo = True
            job.misses[device] = job.misses.get(device, 0) + 1
            job.not_from[device] = now + self._config.missing_retry
        for job in trip.wrong:
            log.warning("a device sent wrong content", peer=device.hex()[:8], blob=job.blob.hex()[:8])
            # Not believed for a long time, but not for good: a damaged disk may be mended, and nobody else may have it.
            times = job.wrong[device] = job.wrong.get(device, 0) + 1
            job.not_from[device] = now + min(WRONG_MOST, 5 * self._config.missing_retry * 2.0 ** min(times, 16))
            self.count_wrong(device)

    def count_wrong(self, device: DeviceId) -> None:
        """Counts that a device sent something else than it was asked for."""
        self._counts.wrong[device] = self._counts.wrong.get(device, 0) + 1
        self.ask_last(device)

    def failed(self, device: DeviceId, jobs: list[Job], error: Exception) -> None:
        """Notes a trip that ended by an error."""
        if isinstance(error, ProtocolViolation):
            now = asyncio.get_running_loop().time()
            self.count_wrong(device)
            for job in jobs:
                job.wrong[device] = job.wrong.get(device, 0) + 1
                job.not_from[device] = now + 10 * self._config.missing_retry
