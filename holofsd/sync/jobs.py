# SPDX-License-Identifier: GPL-3.0-or-later
"""Content to be fetched: in which order, from which devices, and from how many at once.

A job is given to one device. Where that one takes too long, a second one is asked too, and the faster one wins: after
`HEDGE` if a program waits for the content, else after `HEDGE_REST`. Sizes are claims of records until the bytes are
here and hash right; there can be several for one hash, and each may be a lie.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from holofs_api.numbers import MAX_FILE_SIZE
from holofsd.core.errors import HoloError
from holofsd.core.ids import AuthorId, BlobHash, DeviceId
from holofsd.store.threads import QueuedWork
from holofsd.sync.parts import Part

NO_LIMIT: Final = MAX_FILE_SIZE + 1
"""Content of this size or above cannot exist, whatever a record says."""
HEDGE: Final = 2.0
"""Seconds after which content that a program waits for is asked of a second device."""
HEDGE_REST: Final = 10.0
"""Seconds after which other content is asked of a second device that has nothing else to do."""

IDLE_LEAST: Final = 0.1
"""Seconds after which a device that did not have something is first asked again; doubles each time."""
SELDOM: Final = 12
"""So often a device is asked for what it does not have; from then on as many times more seldom..."""
RAREST: Final = 4
"""... and half as often each time, so many times."""


COMES_MOST: Final = 8
"""So many times as long a program waits for content that keeps coming: less than a mount waits for its daemon."""


JobKey = tuple[BlobHash, bool]
"""Content, and whether it has a list."""


@dataclass(slots=True)
class FetchCounts:
    """Figures of one fetcher, for warnings."""

    wrong: dict[DeviceId, int] = field(default_factory=dict)
    """How often each device sent something else than it was asked for."""
    no_space: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """Some content to fetch. `done` resolves when it is here, or fails with a HoloError for whoever waits."""

    is_body: ClassVar[bool] = False
    """It has a list of chunks, which come by themselves: `BodyJob`."""
    blob: BlobHash
    """Hash of all of it; of its list, if `is_body`."""
    least: int
    most: int
    """Between these sizes it is, by what records say. `most` bounds what is accepted, `least` says whether it fits."""
    urgent: bool
    author: AuthorId | None = None
    """Whose version needs it, for a fair share of turns."""
    since: float = 0.0
    """Loop time at which it was added, or given back."""
    not_from: dict[DeviceId, float] = field(default_factory=dict)
    """Until when (loop time) a device is not asked: it did not have it, or sent something else."""
    misses: dict[DeviceId, int] = field(default_factory=dict)
    wrong: dict[DeviceId, int] = field(default_factory=dict)
    """How often a device sent other bytes."""
    takers: dict[DeviceId, float] = field(default_factory=dict)
    """Devices that are being asked, since when (loop time)."""
    progress: dict[DeviceId, int] = field(default_factory=dict)
    """How many bytes of it devices have sent, or had before they sent."""
    came_at: float = 0.0
    """Loop time at which the last bytes came."""
    solo: bool = False
    """It goes on a trip alone: records and devices disagree about its size."""
    apart: bool = False
    """Bytes of several devices did not hash right together: each one sends all of it, into a file of its own."""
    suspects: set[DeviceId] = field(default_factory=set)
    """Those that had sent some of it then."""
    part: Part | None = None
    """What is here of it so far; None until a device sends some."""
    waiters: int = 0
    queued: set[QueuedWork[Any]] = field(default_factory=set)
    """What is done for it in threads, as long as no program waits."""
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def key(self) -> JobKey:
        return self.blob, self.is_body

    @property
    def taken(self) -> bool:
        return bool(self.takers)

    def enter(self, device: DeviceId, now: float) -> None:
        """Notes that a device is asked for it from now on."""
        self.takers[device] = now

    def leave(self, device: DeviceId) -> None:
        """Ends `enter`."""
        self.takers.pop(device, None)

    def is_open_to(self, device: DeviceId, now: float, urgent_only: bool) -> bool:
        """Whether something of it can be asked of that device which no other one is asked for."""
        return not self.takers

    def begin_wait(self) -> None:
        """A program waits for it from now on, and for what is being done for it."""
        self.waiters += 1
        for work in self.queued:
            work.promote()

    @property
    def patience(self) -> float:
        """Seconds that a device has for it until another one is asked, too."""
        return HEDGE if self.waiters else HEDGE_REST

    def may_ask(self, device: DeviceId, now: float) -> bool:
        return self.not_from.get(device, 0.0) <= now

    def progressed(self, device: DeviceId, size: int) -> None:
        """Notes how many bytes of it a device has sent."""
        self.progress[device] = size
        self.came_at = asyncio.get_running_loop().time()

    async def while_it_comes(self, timeout: float) -> None:
        """Waits for the content, up to `COMES_MOST` times as long while it keeps coming. Raises TimeoutError after
        `timeout` seconds without a byte, and whatever `done` fails with."""
        began = asyncio.get_running_loop().time()
        ends = began + timeout
        while True:
            try:
                async with asyncio.timeout_at(ends):
                    return await asyncio.shield(self.done)
            except TimeoutError:
                later = min(self.came_at + timeout, began + COMES_MOST * timeout)
                if later <= ends:
                    raise
                ends = later

    def needs_another(self, now: float, limited: bool = False) -> bool:
        """The devices that are asked for it have had their time; the more there are, the longer that is.

        `limited`: a limit of this device is what makes them slow, unless nothing comes.
        """
        if not self.takers:
            return False
        return now >= self.hedge_at(limited)

    def hedge_at(self, limited: bool) -> float:
        """Loop time at which one more device is asked than those that are being asked."""
        since = max(self.takers.values())
        return (max(since, self.came_at) if limited else since) + self.patience * len(self.takers)

    def missed_by_all(self, devices: Collection[DeviceId]) -> bool:
        """Each of these devices said that it does not have it, or sent something else."""
        return not self.takers and all(d in self.misses or d in self.wrong for d in devices)


@dataclass(frozen=True, slots=True)
class Asker:
    """A device that has time to be asked. `better`: other devices in reach, if this one is to be asked last."""

    device: DeviceId
    now: float
    room: int = NO_LIMIT
    """Content of this size or above does not fit on the disk, and is asked for only if a program waits for it."""
    better: Collection[DeviceId] = ()
    urgent_only: bool = False
    limited: bool = False
    """This device has a limit for what it fetches."""
    small_first: bool = False
    """The stream brings chunks of large content only where there is nothing else to bring: it would not end soon."""
    small_only: bool = False
    """The stream brings no chunks at all: others do, and may all be held up by a device that is slow."""

    def takes(self, job: Job) -> bool:
        if not job.may_ask(self.device, self.now) or not fits(job, self.room) or (job.is_body and self.small_only):
            return False
        if not job.is_open_to(self.device, self.now, self.urgent_only):
            return False
        if self.now >= job.since + job.patience:
            return True
        return not any(job.may_ask(device, self.now) for device in self.better)

    def helps_with(self, job: Job) -> bool:
        if self.device in job.takers or not job.needs_another(self.now, self.limited):
            return False
        if not job.may_ask(self.device, self.now) or not fits(job, self.room) or (job.is_body and self.small_only):
            return False
        return not any(device not in job.takers and job.may_ask(device, self.now) for device in self.better)

    def when(self, job: Job) -> float:
        """Loop time from which on it takes a job, or helps with it, that it does not now: not later than this, as far
        as time alone decides. One that has passed says that something else does."""
        allowed = job.not_from.get(self.device, 0.0)
        if job.takers:
            return max(allowed, job.hedge_at(self.limited))
        return max(allowed, job.since + job.patience) if self.better else allowed


class Jobs:
    """Jobs by content: those a program waits for first, then in the order in which they were added.

    One hash that versions call both that of content and that of a list has two jobs: one of them is a lie.
    """

    def __init__(self) -> None:
        self._urgent: OrderedDict[JobKey, Job] = OrderedDict()
        self._rest: OrderedDict[JobKey, Job] = OrderedDict()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._rest)

    def __iter__(self) -> Iterator[Job]:
        return iter([*self._urgent.values(), *self._rest.values()])

    def get(self, blob: BlobHash, is_body: bool = False) -> Job | None:
        key = blob, is_body
        return self._urgent.get(key) or self._rest.get(key)

    def add(
        self,
        blob: BlobHash,
        least: int,
        most: int,
        urgent: bool,
        author: AuthorId | None = None,
        now: float = 0.0,
        kind: type[Job] = Job,
    ) -> Job:
        """The job of some content, made if there is none. `kind`: `BodyJob` for what has a list."""
        job = self.get(blob, kind.is_body)
        if job is None:
            job = kind(blob, least, most, urgent, author, now)
        else:
            if urgent and not job.urgent:
                self._rest.pop(job.key, None)
                job.urgent = True
            job.least, job.most = min(job.least, least), max(job.most, most)
        (self._urgent if job.urgent else self._rest)[job.key] = job
        return job

    def remove(self, job: Job) -> None:
        for table in (self._urgent, self._rest):
            if table.get(job.key) is job:
                del table[job.key]

    def fail(self, job: Job, error: HoloError) -> None:
        """Ends a job that a program waits for. Others stay."""
        if job.waiters and not job.done.done():
            self.remove(job)
            job.done.set_exception(error)

    def prune(self, wanted: Collection[JobKey]) -> None:
        """Forgets what no file wants and no program waits for any more."""
        for job in self:
            if job.key not in wanted and not job.taken and not job.waiters:
                self.remove(job)

    def retry(self, device: DeviceId) -> None:
        """Lets a device be asked again for all jobs: it may have by now what it did not have before."""
        for job in self:
            if device not in job.wrong:
                job.not_from.pop(device, None)

    def take(self, asker: Asker, most: int, most_bytes: int, small: int) -> list[Job]:
        """Jobs for one trip to that device: several small ones, or one large one, or one that another device is slow
        with."""
        tables = (self._urgent,) if asker.urgent_only else (self._urgent, self._rest)
        for table in tables:
            found = _fresh(table, asker, most, most_bytes, small) or _slow(table, asker)
            if found:
                for job in found:
                    job.enter(asker.device, asker.now)
                return found
        return []

    def is_any_before(self, job: Job, asker: Asker) -> bool:
        """Whether a stream that brings chunks of this content, one after the other, has something else to do first."""
        if not job.urgent and any(asker.takes(other) for other in self._urgent.values()):
            return True
        table = self._urgent if job.urgent else self._rest
        return asker.small_first and any(not other.is_body and asker.takes(other) for other in table.values())

    def when(self, asker: Asker) -> float | None:
        """Loop time at which that device may be given a job that it is not given now, as far as time alone decides;
        infinity where something else does; None: there is no job."""
        tables = (self._urgent,) if asker.urgent_only else (self._urgent, self._rest)
        jobs = (job for table in tables for job in table.values() if not (job.is_body and asker.small_only))
        times = [asker.when(job) for job in jobs]
        return min((time for time in times if time > asker.now), default=math.inf) if times else None

    def blocked(self, devices: Collection[DeviceId], now: float, room: int = NO_LIMIT) -> Counter[AuthorId | None]:
        """Counts by author the jobs for which none of these devices can be asked now, or that do not fit on the
        disk."""
        return Counter(
            job.author
            for job in self
            if not job.taken and not (fits(job, room) and any(job.may_ask(device, now) for device in devices))
        )

    def by_author(self) -> Counter[AuthorId | None]:
        return Counter(job.author for job in self)


def _fresh(table: OrderedDict[JobKey, Job], asker: Asker, most: int, most_bytes: int, small: int) -> list[Job]:
    found: list[Job] = []
    last: list[Job] = []
    total = 0
    most = 1 if asker.better else most
    for job in table.values():
        if not asker.takes(job):
            continue
        if job.is_body and asker.small_first:
            last = last or [job]
            continue
        if job.is_body or job.most > small or job.solo or job.apart:
            if found:
                continue
            return [job]
        if found and total + job.most > most_bytes:
            break
        found.append(job)
        total += job.most
        if len(found) >= most:
            break
    return found or last


def _slow(table: OrderedDict[JobKey, Job], asker: Asker) -> list[Job]:
    return next(([job] for job in table.values() if asker.helps_with(job)), [])


def fits(job: Job, room: int) -> bool:
    return job.least < NO_LIMIT and (job.least < room or job.waiters > 0)


def miss_delay(blob: BlobHash, misses: int, retry: float) -> float:
    """Seconds until a device is asked again for what it did not have so often. When it has more it says so. Content
    that was looked for at one time is not looked for at one time again and again."""
    if misses < SELDOM:
        return min(retry, IDLE_LEAST * 2.0**misses)
    return (0.5 + blob[0] / 256) * SELDOM * retry * 2.0 ** min(misses - SELDOM, RAREST)


def later(now: float, delay: float) -> float:
    """Returns a time in about so many seconds, on a grid: what is asked for again is asked for together."""
    step = delay / 4
    return math.ceil((now + delay) / step) * step
