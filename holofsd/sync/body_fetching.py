# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies that are being fetched: made ready for their chunks when their list comes, and closed when no stream brings
more."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from functools import partial

import structlog

from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import HoloError, Refused
from holofsd.core.ids import BlobHash
from holofsd.store import faults
from holofsd.store.bodies import BodyChange
from holofsd.store.threads import Pool
from holofsd.sync.arriving import ArrivingBody
from holofsd.sync.body_jobs import BodyJob
from holofsd.sync.config import SyncConfig
from holofsd.sync.content_threads import in_thread_for
from holofsd.sync.promised_room import PromisedRoom
from holofsd.sync.spans import Spans
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)


class BodyFetching:
    """Fetching of bodies in one volume. `on_whole` is called with content of which every chunk is here, and which the
    tree shows."""

    def __init__(
        self,
        volume: LocalVolume,
        now_ms: Callable[[], int],
        config: SyncConfig,
        on_whole: Callable[[tuple[BlobHash, ...]], None],
    ) -> None:
        self._volume = volume
        self._bodies = volume.store.bodies
        self._now_ms = now_ms
        self._config = config
        self._on_whole = on_whole
        self._left_over: list[BodyChange] = []
        """Files that nothing needs once the index is synced."""

    async def resume(self, job: BodyJob) -> bool:
        """Makes a job ready whose list is here; False if it is not. Raises OSError."""
        if job.spans is None and self._bodies.is_body(job.blob):
            chunks = await in_thread_for([job], lambda: self._bodies.chunk_list(job.blob))
            if chunks is not None and job.spans is None:
                self._make_ready(job, chunks)
        return job.spans is not None

    async def begin(self, job: BodyJob, chunks: ChunkList) -> None:
        """Notes the list of a job: from now on parts of it can be asked for. Raises OSError, NoSpace."""
        room = PromisedRoom(self._volume.store.directory, self._config.reserve_bytes)
        room.claim(len(chunks.data))
        await in_thread_for([job], lambda: self._bodies.place_list(chunks))
        if job.spans is None:  # else two devices were asked for it
            self.tell(lambda now_ms: self._bodies.begin(chunks, now_ms))
            faults.reach("spans.listed", self._volume.store)
            self._make_ready(job, chunks)

    def _make_ready(self, job: BodyJob, chunks: ChunkList) -> None:
        try:
            lacking = self._bodies.missing(job.blob, 0, chunks.size)
        except Refused as error:
            raise OSError(errno.EIO, error.message) from error
        spans = job.spans = Spans(chunks, lacking)
        job.chunks = chunks
        in_thread = partial(in_thread_for, [job])
        job.arriving = ArrivingBody(self._bodies, job.blob, chunks, in_thread, self.tell, spans.lost)
        job.room = PromisedRoom(self._volume.store.directory, self._config.reserve_bytes)
        if spans.is_whole:
            self._on_whole((job.blob,))

    def tell(self, make: Callable[[int], BodyChange]) -> None:
        """Makes a change of rows, and tells the tree in the same transaction; see `Tell`."""
        with self._volume.store.db.transaction():
            change = make(self._now_ms())
            self._volume.content_arrived(*change.whole)
        if change.segments or change.lists:
            self._left_over.append(change)
        if change.whole:
            self._on_whole(change.whole)

    async def after_trip(self, job: BodyJob) -> None:
        """Makes what came count, and lets go of the room where no stream brings more of it."""
        if job.arriving is None:
            return
        try:
            await job.arriving.settle()
            if self._left_over:
                left_over, self._left_over = self._left_over, []
                await self._volume.store.db.sync(Pool.BACKGROUND)  # files go after rows, also if the power fails
                for change in left_over:
                    self._bodies.unlink(change)
        except (HoloError, OSError, sqlite3.Error) as error:
            log.warning("content cannot be stored now; it is tried again", content=job.blob.hex()[:8], why=str(error))
        if job.takers:
            return
        if job.room is not None:
            job.room.give_up()
        job.start_over()  # thousands of lists would not fit into memory, and what rows say may have changed
