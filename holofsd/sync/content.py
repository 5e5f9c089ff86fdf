# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching content: everything that is wanted in the background, and at once what somebody waits for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from holofsd.core.errors import (
    ConnectionLost,
    ContentTimeout,
    ContentUnavailable,
    HoloError,
    NoSpace,
    ProtocolViolation,
)
from holofsd.core.ids import BlobHash, DeviceId
from holofsd.net.api import CloseCode, Stream
from holofsd.store import faults
from holofsd.sync.config import BLOB_FRAME, SyncConfig
from holofsd.sync.jobs import NO_LIMIT, Job, Jobs
from holofsd.sync.receiving import Receiver, Trip
from holofsd.sync.tasks import Tasks
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

BATCH = 32
BATCH_BYTES = 1024 * 1024
LOOK_AHEAD = 512
IDLE_LEAST = 0.1
"""Seconds after which a device that did not have something is first asked again; doubles each time."""
PAUSE = 2.0
"""Seconds until a device whose content stream failed is asked again."""
WRONG_MOST = 3600.0
"""Most seconds until a device that sent other bytes than it was asked for is asked for them again."""

OpenStream = Callable[[], Awaitable[Stream]]


@dataclass(slots=True)
class FetchCounts:
    wrong: dict[DeviceId, int] = field(default_factory=dict)
    no_space: bool = False


class Fetcher:
    """Owns the content streams that this device opened. `on_arrived` is called after content came."""

    def __init__(
        self, volume: LocalVolume, now_ms: Callable[[], int], config: SyncConfig, on_arrived: Callable[[], None]
    ) -> None:
        self._volume = volume
        self._content = volume.store.content
        self._now_ms = now_ms
        self._config = config
        self._on_arrived = on_arrived
        self._jobs = Jobs()
        self._tasks = Tasks("content")
        self._peers: dict[DeviceId, OpenStream] = {}
        self._refill = asyncio.Event()
        self._refill.set()
        self._news = asyncio.Event()
        """Set, and replaced, whenever a worker should look again."""
        self._too_large = NO_LIMIT
        """Content of this size or above did not fit on the disk. Smaller content is fetched meanwhile..."""
        self._room_again_at = 0.0
        """... and from this loop time on the large one is tried again."""
        self.counts = FetchCounts()
        self.on_no_space: Callable[[int], None] = lambda _bytes: None
        """Told how much has to wait for room."""

    # ---- who can be asked
    def add_peer(self, device: DeviceId, open_stream: OpenStream) -> None:
        """A session with that device is up: it can be asked for content."""
        self._peers[device] = open_stream
        for index in range(self._config.streams_per_peer):
            self._tasks.spawn(self._work(device, open_stream), f"stream {index}")
        self._refill.set()

    def remove_peer(self, device: DeviceId, open_stream: OpenStream) -> None:
        if self._peers.get(device) is open_stream:
            del self._peers[device]
        self._announce()

    def retry(self, device: DeviceId) -> None:
        """That device says that it is complete: what it did not have before, it may have now."""
        self._jobs.retry(device)
        self._announce()

    # ---- what is wanted
    def wanted(self) -> None:
        """There is new content to fetch in the background."""
        self._refill.set()

    async def fetch(self, blob: BlobHash, size: int, timeout: float) -> None:
        """Returns when the blob is here. Raises ContentUnavailable, ContentTimeout or NoSpace."""
        if self._content.has(blob):
            return
        job = self._jobs.add(blob, size, urgent=True)
        job.waiters += 1
        self._announce()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(job.done)
        except TimeoutError:
            raise self._not_in_time(job) from None
        finally:
            job.waiters -= 1

    def _not_in_time(self, job: Job) -> HoloError:
        now = asyncio.get_running_loop().time()
        if not any(job.may_ask(device, now) for device in self._peers):
            return ContentUnavailable("No device that holds this content can be reached now: try again later.")
        return ContentTimeout("The content did not arrive in time; it keeps loading, so try again.")

    # ---- life
    async def run(self) -> None:
        try:
            while True:
                await self._refill.wait()
                self._refill.clear()
                self._fill()
                await asyncio.sleep(0.005)  # a burst of changes is one look at the table
        finally:
            await self._tasks.close()

    def _fill(self) -> None:
        if not self._peers:
            return
        now = asyncio.get_running_loop().time()
        room = self._room(now)
        blocked = self._jobs.blocked(list(self._peers), now, room)
        if len(self._jobs) - blocked >= LOOK_AHEAD:
            return
        limit = 2 * LOOK_AHEAD + blocked
        wanted = self._content.wanted(limit, room)
        if len(wanted) < limit and room == NO_LIMIT:
            self._jobs.prune({blob for blob, _size in wanted})
            if (
                self._jobs.largest() < self._too_large
                and max((size for _, size in wanted), default=0) < self._too_large
            ):
                self._fits_again()
        known = len(self._jobs)
        for blob, size in wanted:
            self._jobs.add(blob, size, urgent=False)
        # Only news wakes the workers: each of them asks for more when it finds nothing, and that would never end.
        if len(self._jobs) > known:
            self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _work(self, device: DeviceId, open_stream: OpenStream) -> None:
        """One stream to one device, for as long as it is a peer."""
        stream: Stream | None = None
        idle = IDLE_LEAST
        try:
            while self._peers.get(device) is open_stream:
                jobs = self._take(device)
                if not jobs:
                    idle = await self._wait(idle)
                    continue
                idle = IDLE_LEAST
                try:
                    stream = stream or await open_stream()
                    if not await self._trip(device, stream, jobs):
                        stream.abort(CloseCode.NORMAL)
                        stream = None
                except (ConnectionLost, ProtocolViolation, OSError, sqlite3.OperationalError) as error:
                    self._say_why(device, error)
                    self._failed(device, jobs, error)
                    if stream is not None:
                        stream.abort(CloseCode.NORMAL)
                    stream = None
                    await asyncio.sleep(PAUSE)
        finally:
            if stream is not None:
                stream.abort(CloseCode.NORMAL)

    def _say_why(self, device: DeviceId, error: Exception) -> None:
        if isinstance(error, HoloError):
            log.info("content stream ended", peer=device.hex()[:8], why=error.message)
        else:
            log.warning("content cannot be stored now; it is tried again", peer=device.hex()[:8], why=str(error))

    def _take(self, device: DeviceId) -> list[Job]:
        now = asyncio.get_running_loop().time()
        jobs = self._jobs.take(device, now, BATCH, BATCH_BYTES, BLOB_FRAME, self._room(now))
        if len(self._jobs) < LOOK_AHEAD // 2:
            self._refill.set()
        return jobs

    async def _wait(self, idle: float) -> float:
        """Until something changes, or it is time to ask again; how long to wait the next time."""
        try:
            async with asyncio.timeout(idle):
                await self._news.wait()
        except TimeoutError:
            self._refill.set()
            return min(idle * 2, self._config.missing_retry / 3)
        return IDLE_LEAST

    async def _trip(self, device: DeviceId, stream: Stream, jobs: list[Job]) -> bool:
        """False if the stream cannot be used any more."""
        trip = Trip()
        try:
            await Receiver(self._content, stream, self._config.reserve_bytes).fetch(jobs, trip)
            if jobs and max(job.size for job in jobs) >= self._too_large:
                self._fits_again()
        except NoSpace as error:
            self._out_of_space(jobs, error)
            return not trip.asked
        finally:
            self._settle(device, trip)
            if trip.stalled:
                self._not_soon(device, jobs)
            for job in jobs:
                job.taken = False
            self._announce()
        return True

    def _not_soon(self, device: DeviceId, jobs: list[Job]) -> None:
        """It stalled, and would again: meanwhile somebody else may deliver."""
        until = asyncio.get_running_loop().time() + self._config.missing_retry
        for job in jobs:
            job.not_from[device] = until

    def _settle(self, device: DeviceId, trip: Trip) -> None:
        now = asyncio.get_running_loop().time()
        if trip.arrived:
            self._arrived(trip.arrived)
        for job in trip.missing:
            misses = job.misses[device] = job.misses.get(device, 0) + 1
            job.not_from[device] = now + min(self._config.missing_retry, IDLE_LEAST * 2.0**misses)
        for job in trip.wrong:
            log.warning("a device sent wrong content", peer=device.hex()[:8], blob=job.blob.hex()[:8])
            # Not believed for a long time, but not for good: a damaged disk may be mended, and nobody else may have it.
            times = job.wrong[device] = job.wrong.get(device, 0) + 1
            job.not_from[device] = now + min(WRONG_MOST, 5 * self._config.missing_retry * 2.0**times)
            self.counts.wrong[device] = self.counts.wrong.get(device, 0) + 1

    def _arrived(self, jobs: list[Job]) -> None:
        faults.reach("fetching.placed", self._volume.store)
        with self._volume.store.db.transaction():
            for job in jobs:
                self._content.add(job.blob, job.size, self._now_ms())
            self._volume.content_arrived(*(job.blob for job in jobs))
        faults.reach("fetching.known", self._volume.store)
        for job in jobs:
            self._jobs.remove(job)
            if not job.done.done():
                job.done.set_result(None)
        self._on_arrived()

    def _failed(self, device: DeviceId, jobs: list[Job], error: Exception) -> None:
        if isinstance(error, ProtocolViolation):
            now = asyncio.get_running_loop().time()
            self.counts.wrong[device] = self.counts.wrong.get(device, 0) + 1
            for job in jobs:
                job.not_from[device] = now + 10 * self._config.missing_retry
        for job in jobs:
            job.taken = False

    # ---- a full disk
    def _room(self, now: float) -> int:
        """Content of this size or above is not tried now."""
        return self._too_large if now < self._room_again_at else NO_LIMIT

    def _fits_again(self) -> None:
        self._too_large = NO_LIMIT
        self.counts.no_space = False

    def _out_of_space(self, jobs: list[Job], error: NoSpace) -> None:
        """What is smaller may fit: one large file keeps nothing else from arriving."""
        now = asyncio.get_running_loop().time()
        largest = max(job.size for job in jobs)
        self._too_large = min(self._room(now), largest)
        self._room_again_at = now + self._config.no_space_retry
        if not self.counts.no_space:
            log.warning("content has to wait for room on the disk", size=largest)
        self.counts.no_space = True
        self.on_no_space(sum(job.size for job in jobs))
        self._refill.set()
        for job in jobs:
            if job.waiters and not job.done.done():
                self._jobs.remove(job)
                job.done.set_exception(error)
