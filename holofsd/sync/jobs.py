# SPDX-License-Identifier: GPL-3.0-or-later
"""What content is to be fetched, in which order, and from whom not."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from holofsd.core.ids import BlobHash, DeviceId

NO_LIMIT = 1 << 62


@dataclass(slots=True, eq=False)
class Job:
    """One blob to fetch. `done` resolves when it is here, or fails with a HoloError for whoever waits."""

    blob: BlobHash
    size: int
    urgent: bool
    not_from: dict[DeviceId, float] = field(default_factory=dict)
    """Until when (loop time) a device is not asked: it did not have it, or sent something else."""
    misses: dict[DeviceId, int] = field(default_factory=dict)
    wrong: dict[DeviceId, int] = field(default_factory=dict)
    """How often a device sent other bytes."""
    taken: bool = False
    waiters: int = 0
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def may_ask(self, device: DeviceId, now: float) -> bool:
        return self.not_from.get(device, 0.0) <= now


class Jobs:
    """Jobs by blob: those somebody waits for first, then in the order in which they were added."""

    def __init__(self) -> None:
        self._urgent: OrderedDict[BlobHash, Job] = OrderedDict()
        self._rest: OrderedDict[BlobHash, Job] = OrderedDict()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._rest)

    def get(self, blob: BlobHash) -> Job | None:
        return self._urgent.get(blob) or self._rest.get(blob)

    def add(self, blob: BlobHash, size: int, urgent: bool) -> Job:
        job = self.get(blob)
        if job is None:
            job = Job(blob, size, urgent)
        elif urgent and not job.urgent:
            self._rest.pop(blob, None)
            job.urgent = True
        (self._urgent if job.urgent else self._rest)[blob] = job
        return job

    def remove(self, job: Job) -> None:
        for table in (self._urgent, self._rest):
            if table.get(job.blob) is job:
                del table[job.blob]

    def prune(self, wanted: set[BlobHash]) -> None:
        """Forgets what nobody wants or waits for any more."""
        for job in [*self._urgent.values(), *self._rest.values()]:
            if job.blob not in wanted and not job.taken and not job.waiters:
                self.remove(job)

    def retry(self, device: DeviceId) -> None:
        """That device may have what it did not have before."""
        for job in [*self._urgent.values(), *self._rest.values()]:
            if device not in job.wrong:
                job.not_from.pop(device, None)

    def take(
        self, device: DeviceId, now: float, most: int, most_bytes: int, small: int, room: int = NO_LIMIT
    ) -> list[Job]:
        """Jobs for one trip to that device: several small ones, or one large one. `room`: a job of this size or above
        does not fit on the disk, and is taken only if somebody waits for it."""
        taken: list[Job] = []
        total = 0
        for table in (self._urgent, self._rest):
            for job in table.values():
                if job.taken or not job.may_ask(device, now) or not _fits(job, room):
                    continue
                if job.size > small:
                    if taken:
                        continue
                    job.taken = True
                    return [job]
                if taken and total + job.size > most_bytes:
                    return taken
                job.taken = True
                taken.append(job)
                total += job.size
                if len(taken) >= most:
                    return taken
            if taken:
                return taken
        return taken

    def largest(self) -> int:
        return max((job.size for table in (self._urgent, self._rest) for job in table.values()), default=0)

    def blocked(self, devices: list[DeviceId], now: float, room: int = NO_LIMIT) -> int:
        """How many jobs none of these devices can be asked for now, or do not fit on the disk."""
        return sum(
            1
            for table in (self._urgent, self._rest)
            for job in table.values()
            if not job.taken and not (_fits(job, room) and any(job.may_ask(device, now) for device in devices))
        )


def _fits(job: Job, room: int) -> bool:
    return job.size < room or job.waiters > 0
