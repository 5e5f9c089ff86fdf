# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching content: everything that is wanted in the background, and at once what somebody waits for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from itertools import islice
from typing import Final

import structlog

from holofsd.core.errors import (
    ConnectionLost,
    ContentTimeout,
    ContentUnavailable,
    HoloError,
    NoSpace,
    ProtocolViolation,
)
from holofsd.core.ids import AuthorId, BlobHash, DeviceId
from holofsd.net.api import CloseCode, Connection, Stream
from holofsd.store import faults
from holofsd.sync.body_fetching import BodyFetching
from holofsd.sync.body_jobs import BodyJob
from holofsd.sync.config import BLOB_FRAME, SyncConfig
from holofsd.sync.content_connections import ContentConnections, Supplier
from holofsd.sync.exchange import Stopped
from holofsd.sync.jobs import HEDGE, IDLE_LEAST, NO_LIMIT, Asker, FetchCounts, Job, JobKey, Jobs, fits
from holofsd.sync.pacing import NO_LIMITS
from holofsd.sync.parts import UNKNOWN
from holofsd.sync.piece_receiving import BodyReceiver
from holofsd.sync.receiving import Receiver, Trip
from holofsd.sync.room import Room
from holofsd.sync.tasks import Tasks
from holofsd.sync.verdicts import Verdicts
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

BATCH: Final = 32
BATCH_BYTES: Final = 1024 * 1024
LOOK_AHEAD: Final = 512
AUTHOR_LEAST: Final = 64
"""Jobs looked ahead for each author, however many there are."""
BLOCKED_MOST: Final = 2048
"""Jobs in memory that no device in reach can be asked for now. More are set back, and their turn comes again later."""
SET_BACK_MS: Final = 10 * 60 * 1000
ALL_AGAIN: Final = 60.0
"""Seconds after which what was set back has its turn at the earliest, if a device comes that may have it."""
PAUSE: Final = 2.0
"""Seconds until a device whose content stream failed is asked again."""
WRONG_MOST: Final = 3600.0
"""Most seconds until a device that sent other bytes than it was asked for is asked for them again."""
PATIENCE: Final = 30.0
"""Seconds for which a program may as well wait for the end of a pause."""
BATCH_S: Final = 2.0
"""Seconds of a limit that one batch takes."""
URGENT_STREAM: Final = -1
"""Number of the stream that is kept free of what no program waits for, which can be large, and the other side slow."""
HOPELESS: Final = 64
"""So many jobs are looked at when a person asks what cannot be had."""


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
        self._peers: dict[DeviceId, Supplier] = {}
        self._streams: dict[Supplier, set[int]] = {}
        """Numbers of the streams to each device in session."""
        self._trips: set[Receiver | BodyReceiver] = set()
        self._bodies = BodyFetching(volume, now_ms, config, self._whole)
        self._body_job: type[Job] = BodyJob if config.lists else Job
        self._refill = asyncio.Event()
        self._refill.set()
        self._news = asyncio.Event()
        """Set, and replaced, whenever a worker should look again."""
        self._blocked = 0
        """Jobs that could not be asked for when it was looked last."""
        self._was_asked = False
        """A device was asked for something since then."""
        self._is_any_set_back = True
        """Perhaps before a restart."""
        self._may_be_had = True
        """A device came, or said more, since what was set back had its turn."""
        self._all_again_at = 0.0
        self._noted_ms = 0
        """Wall time at which it was looked last for what is wanted, or something was. If that is in the future, the
        clock was set back since."""
        self.counts = FetchCounts()
        self._verdicts = Verdicts(config, self.counts)
        self.room = Room(volume.store, config, self.counts)
        self.limits = NO_LIMITS
        """The device's own, from `SyncHub.add` on."""
        self.connections_of: Callable[[Connection], ContentConnections] = partial(ContentConnections, config=config)
        """Connections for content beside that of a session; from `SyncHub.add` on."""
        self.why_paused: Callable[[float], str] = lambda seconds: ""
        """Sentence that says why nothing comes for so many seconds at least; empty where that is not known."""

    # ---- who can be asked
    def add_peer(self, device: DeviceId, source: Supplier) -> None:
        """A session with that device is up: it can be asked for content."""
        self._peers[device] = source
        self._streams[source] = set()
        self._add_streams(device, source)
        self.retry(device)

    def remove_peer(self, device: DeviceId, source: Supplier) -> None:
        if self._peers.get(device) is source:
            del self._peers[device]
        self._streams.pop(source, None)
        self.look_again()

    def _add_streams(self, device: DeviceId, source: Supplier) -> None:
        """Opens as many as there may be now; those that are too many end by themselves."""
        known = self._streams.get(source)
        for number in range(URGENT_STREAM, source.connections.streams):
            if known is not None and number not in known:
                known.add(number)
                self._tasks.spawn(self._work(device, source, number, known), f"stream {number}")

    def retry(self, device: DeviceId) -> None:
        """Asks a device again for everything: it says what it holds, and may have by now what it did not have
        before."""
        self._jobs.retry(device)
        self._may_be_had = True
        self._refill.set()
        self.look_again()

    def obey(self) -> None:
        """Ends what may not be fetched now, after a change of pauses or limits; what came of it stays. A program that
        waits for content is told why, unless the pause ends soon."""
        for receiver in list(self._trips):
            if self.why_paused(0) or (self.limits.background_waits and not receiver.is_urgent):
                receiver.stop()
        if why := self.why_paused(PATIENCE):
            for job in self._jobs:
                self._jobs.fail(job, ContentUnavailable(why))
        self.look_again()

    # ---- what is wanted
    def wanted(self) -> None:
        """There is new content to fetch in the background."""
        self._noted_ms = self._now_ms()
        self._refill.set()

    async def fetch(self, blob: BlobHash, size: int, timeout: float, is_list: bool = False) -> None:
        """Returns when the content is here. Raises ContentUnavailable, ContentTimeout or NoSpace. `timeout`: as of
        `Job.while_it_comes`; `is_list`: the hash is the id of a list of chunks."""
        if self._content.has(blob):
            return
        if why := self.why_paused(timeout):
            raise ContentUnavailable(why)
        loop = asyncio.get_running_loop()
        least, most = self._content.claims(blob)
        least, most = min(least or size, size), max(most, size)
        if least >= NO_LIMIT:
            raise ContentUnavailable("No file can be as large as this one is said to be: who wrote it has to say more.")
        job = self._jobs.add(
            blob, least, most, True, now=loop.time(), kind=BodyJob if is_list and self._config.lists else Job
        )
        job.begin_wait()
        self.look_again()
        hedge = loop.call_later(HEDGE + 0.01, self._hedge, job)
        try:
            await job.while_it_comes(timeout)
        except TimeoutError:
            raise self._not_in_time(job) from None
        finally:
            hedge.cancel()
            job.waiters -= 1

    def _hedge(self, job: Job) -> None:
        """Asks a second device; where there is none, the one anew that was asked before the program waited."""
        now = asyncio.get_running_loop().time()
        if not any(device not in job.takers and job.may_ask(device, now) for device in self._peers):
            for receiver in list(self._trips):
                if receiver.was_asked_early(job):
                    receiver.stop()
        self.look_again()

    def _not_in_time(self, job: Job) -> HoloError:
        now = asyncio.get_running_loop().time()
        if why := self.why_paused(0):
            return ContentUnavailable(why)
        if not any(job.may_ask(device, now) for device in self._peers):
            return ContentUnavailable("No device that holds this content can be reached now: try again later.")
        return ContentTimeout("The content did not arrive in time; it keeps loading, so try again.")

    def hopeless(self) -> list[BlobHash]:
        """Some of the content that each device in reach says it does not have, or sends wrong."""
        peers = list(self._peers)
        if not peers:
            return []
        return list(islice((job.blob for job in self._jobs if job.missed_by_all(peers)), HOPELESS))

    # ---- life
    async def run(self) -> None:
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.missing_retry):
                        await self._refill.wait()
                self._refill.clear()
                self._fill()
                await asyncio.sleep(0.005)  # a burst of changes is one look at the table
        finally:
            await self._tasks.close()

    def _fill(self) -> None:
        """Takes on what is wanted, a fair share of each author: however much one wants, another one's has its turn."""
        if not self._peers:
            return
        now, self._was_asked = asyncio.get_running_loop().time(), False
        self._all_in_turn(now)
        room, peers = min(self.room.limit(), self.room.largest()), list(self._peers)
        authors = self._content.wanting_authors()
        share = max(LOOK_AHEAD // max(len(authors), 1), AUTHOR_LEAST)
        blocked, jobs = self._jobs.blocked(peers, now, room), self._jobs.by_author()
        most_blocked = max(BLOCKED_MOST // max(len(authors), 1), AUTHOR_LEAST)
        self._blocked = blocked.total()
        known, complete, largest = len(self._jobs), self.room.limit() == NO_LIMIT, 0
        found: set[JobKey] = set()
        for author in authors:
            waiting = blocked[author]
            if waiting > most_blocked:
                waiting -= self._set_back(author, waiting - most_blocked // 2)
            if jobs[author] - blocked[author] >= share:
                complete = False
                continue
            limit = 2 * share + waiting
            wanted = self._content.wanted(author, limit, room, self._now_ms())
            complete = complete and len(wanted) < limit
            for item in wanted:
                kind = self._body_job if item.is_list else Job
                job = self._jobs.add(item.blob, item.least, item.most, False, author, now, kind)
                found.add(job.key)
                largest = max(largest, item.least)
        if complete and not self._is_any_set_back:
            self._jobs.prune(found)
            least = self.room.too_large
            if largest < least and all(job.least < least for job in self._jobs if fits(job, room)):
                self.room.fits_again()
        # Only news wakes the workers: each of them asks for more when it finds nothing, and that would never end.
        if len(self._jobs) > known:
            self.look_again()

    def _set_back(self, author: AuthorId, number: int) -> int:
        """Forgets the oldest jobs of an author that nobody can be asked for; how many. Their turn comes later."""
        peers, now = list(self._peers), asyncio.get_running_loop().time()
        stuck = (
            job
            for job in self._jobs
            if job.author == author
            and not (job.taken or job.waiters or any(job.may_ask(device, now) for device in peers))
        )
        chosen = list(islice(stuck, number))
        for job in chosen:
            self._jobs.remove(job)
        with self._volume.store.db.transaction():
            self._content.set_back((job.blob for job in chosen), self._now_ms() + SET_BACK_MS)
        self._is_any_set_back = True
        return len(chosen)

    def _all_in_turn(self, now: float) -> None:
        """Once after a start, after the clock was set back, or when a device came or said more; not too often."""
        if (now_ms := self._now_ms()) < self._noted_ms:
            self._may_be_had = self._is_any_set_back = True
        self._noted_ms = now_ms
        if self._may_be_had and self._is_any_set_back and now >= self._all_again_at:
            self._all_again_at = now + ALL_AGAIN
            self._may_be_had = self._is_any_set_back = False
            with self._volume.store.db.transaction():
                self._content.all_in_turn(now_ms)

    def look_again(self) -> None:
        """Wakes the workers: there is more to fetch, or what may be fetched now has changed."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _work(self, device: DeviceId, source: Supplier, number: int, known: set[int]) -> None:
        """One stream to one device, for as long as it is a peer and there are so many streams."""
        stream: Stream | None = None
        connections = source.connections
        changes = connections.changes
        try:
            while self._peers.get(device) is source and number < connections.streams:
                if changes != connections.changes:
                    changes = connections.changes
                    self._add_streams(device, source)
                    stream = _end(stream)
                news, asker = self._news, self._asker(device, number)
                jobs = self._take(asker)
                if not jobs:
                    await self._wait(news, asker)
                    continue
                usable, failed = False, False
                try:
                    stream = stream or await self._opened(device, source, number)
                    if self._peers.get(device) is not source:
                        raise Stopped("The session ended meanwhile.")
                    with nullcontext() if number < 0 else connections.in_use(stream.connection):
                        usable = await self._trip(device, stream, jobs, number)
                except Stopped:
                    pass
                except (ConnectionLost, ProtocolViolation, OSError, sqlite3.OperationalError) as error:
                    failed = True
                    self._say_why(device, error)
                    self._verdicts.failed(device, jobs, error)
                finally:
                    await self._give_back(device, jobs)
                if not usable:
                    stream = _end(stream)
                if failed:
                    await asyncio.sleep(PAUSE)
        finally:
            known.discard(number)
            _end(stream)

    async def _opened(self, device: DeviceId, source: Supplier, number: int) -> Stream:
        """A new content stream. A device that is slow to welcome it holds up what it is about to be asked for."""
        began = asyncio.get_running_loop().time()
        try:
            return await source.open_stream(number)
        except ConnectionLost:
            if asyncio.get_running_loop().time() - began > HEDGE:
                self._verdicts.ask_last(device)
            raise

    def _say_why(self, device: DeviceId, error: Exception) -> None:
        if isinstance(error, HoloError):
            log.info("content stream ended", peer=device.hex()[:8], why=error.message)
        else:
            log.warning("content cannot be stored now; it is tried again", peer=device.hex()[:8], why=str(error))

    def _asker(self, device: DeviceId, number: int) -> Asker:
        now, source = asyncio.get_running_loop().time(), self._peers.get(device)
        room = min(self.room.limit(), self.room.largest())
        better = self._verdicts.standings.better_than(device, self._peers, now)
        is_limited = self.limits.down.rate is not None
        is_first = number == 0
        has_others = source is not None and source.connections.streams > 1 and not is_limited
        return Asker(
            device, now, room, better, self._is_urgent_only(number), is_limited, is_first, is_first and has_others
        )

    def _take(self, asker: Asker) -> list[Job]:
        limit = self.limits.down
        jobs = self._jobs.take(asker, BATCH, limit.piece(BATCH_BYTES, BATCH_S), BLOB_FRAME)
        if len(jobs) == 1 and len(jobs[0].takers) > 2 and not jobs[0].is_body:
            self._stop_slowest(jobs[0], asker.device)
        if len(self._jobs) - self._blocked < LOOK_AHEAD // 2:
            self._refill.set()
        return jobs

    def _is_urgent_only(self, number: int) -> bool:
        """Whether a stream brings only what a program waits for. Under a limit one stream for the rest is enough: what
        is on its way cannot be held back, and with more streams that is more."""
        waits = self.limits.background_waits or (number > 0 and self.limits.down.rate is not None)
        return waits or number == URGENT_STREAM

    async def _wait(self, news: asyncio.Event, asker: Asker) -> None:
        """Waits until something changes, or it is time to ask that device again. What was asked for in vain since the
        table was read is blocked by now, and there is room for what comes after it."""
        if self._was_asked:
            self._refill.set()
        until = self._jobs.when(asker)
        if until is not None:
            until = min(max(until, asker.now + IDLE_LEAST), asker.now + self._config.missing_retry)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await news.wait()

    async def _trip(self, device: DeviceId, stream: Stream, jobs: list[Job], number: int) -> bool:
        """False if the stream cannot be used any more."""
        trip, self._was_asked = Trip(), True
        receiver = self._receiver(device, stream, jobs[0], number)
        self._trips.add(receiver)
        try:
            await receiver.fetch(jobs, trip)
            if jobs and max(job.least for job in jobs) >= self.room.too_large:
                self.room.fits_again()
        except NoSpace as error:
            self.room.ran_out(jobs, trip.needed)
            self._refill.set()
            for job in jobs:
                self._jobs.fail(job, error)
            return not trip.asked
        finally:
            self._trips.discard(receiver)
            if trip.arrived:
                self._arrived(device, trip.arrived)
            self._verdicts.account(device, trip)
            if trip.stalled:
                self._verdicts.not_soon(device, jobs)
        return True

    def _receiver(self, device: DeviceId, stream: Stream, job: Job, number: int) -> Receiver | BodyReceiver:
        if job.is_body:
            is_any_before = partial(self._is_any_before, job, device, number)
            return BodyReceiver(stream, device, self.limits, self._bodies.resume, self._bodies.begin, is_any_before)
        return Receiver(self._content, stream, device, self._config.reserve_bytes, self._lead, self.limits)

    def _is_any_before(self, job: Job, device: DeviceId, number: int) -> bool:
        return self._jobs.is_any_before(job, self._asker(device, number))

    async def _give_back(self, device: DeviceId, jobs: list[Job]) -> None:
        now = asyncio.get_running_loop().time()
        for job in jobs:
            job.leave(device)
            if not job.takers:
                job.since = now
        self.look_again()
        for job in jobs:
            if isinstance(job, BodyJob):
                await self._bodies.after_trip(job)

    def _arrived(self, device: DeviceId, found: list[tuple[Job, int]]) -> None:
        faults.reach("fetching.placed", self._volume.store)
        with self._volume.store.db.transaction():
            for job, size in found:
                self._content.add(job.blob, size, self._now_ms())
            self._volume.content_arrived(*(job.blob for job, _size in found))
        faults.reach("fetching.known", self._volume.store)
        for job, _size in found:
            for guilty in job.suspects - {device, UNKNOWN}:
                log.warning("a device sent some wrong content", peer=guilty.hex()[:8], blob=job.blob.hex()[:8])
                self._verdicts.count_wrong(guilty)
            job.suspects.clear()
            for other in job.takers.keys() - {device}:
                if self._may_win(job, device, other):
                    self._verdicts.ask_last(other)
            self._done(job, device)
        self._on_arrived()

    def _whole(self, cids: tuple[BlobHash, ...]) -> None:
        """Content with a list is here, and in the tree."""
        for cid in cids:
            job = self._jobs.get(cid, is_body=True)
            if job is not None:
                self._done(job, None)
        self._on_arrived()

    def _done(self, job: Job, by: DeviceId | None) -> None:
        self._jobs.remove(job)
        if not job.done.done():
            job.done.set_result(None)
        for receiver in list(self._trips):
            if receiver.device != by:
                receiver.is_done_elsewhere(job)

    # ---- who is asked first
    def _lead(self, job: Job, behind: DeviceId, is_slow: bool) -> None:
        """Ends a job at the device that is behind, of two that send the same."""
        if is_slow:
            self._verdicts.ask_last(behind)
        job.not_from[behind] = asyncio.get_running_loop().time() + self._config.missing_retry
        self._stop(job, behind)

    def _may_win(self, job: Job, winner: DeviceId, other: DeviceId) -> bool:
        """Whether the other one had more time than the winner, who came later, and brought less."""
        began = job.takers.get(winner, 0.0)
        return job.takers[other] < began and job.progress.get(other, 0) * 4 < job.progress.get(winner, 0)

    def _stop_slowest(self, job: Job, newest: DeviceId) -> None:
        others = [device for device in job.takers if device != newest]
        self._stop(job, min(others, key=lambda device: job.progress.get(device, 0)))

    def _stop(self, job: Job, device: DeviceId) -> None:
        for receiver in list(self._trips):
            if receiver.device == device and job in receiver.pending:
                receiver.is_done_elsewhere(job)


def _end(stream: Stream | None) -> Stream | None:
    """Returns None: there is no stream any more."""
    if stream is not None:
        stream.abort(CloseCode.NORMAL)
    return None
