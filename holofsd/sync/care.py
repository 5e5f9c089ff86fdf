# SPDX-License-Identifier: GPL-3.0-or-later
"""Care of content: what is found damaged or gone is marked missing and fetched again; a scrub looks at all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from holofsd.core.errors import HoloError, Refused
from holofsd.core.ids import BlobHash, NodeId
from holofsd.store.body_checks import BadPlaces, ChunkPlace, altered, chunk_places, too_short
from holofsd.store.body_checks import looks_whole as looks_whole_in_chunks
from holofsd.store.content import hash_file
from holofsd.store.damage import is_whole, looks_whole
from holofsd.store.threads import Pool, in_thread
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.content import Fetcher
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

PAGE: Final = 64
"""Content files looked at between two reports of a scrub."""
ROWS: Final = 20_000
"""Comparisons of a state with a hash between two turns of the loop: about 10 ms."""
REFRESH: Final = 100
REPAIR_TIMEOUT: Final = 30.0
"""Seconds for which a scrub waits for each damaged content to come from somebody else."""
AT_ONCE: Final = 16
CHUNKS: Final = 2048
"""Chunks that are looked at in one go."""
PATHS: Final = 1000


@dataclass(frozen=True, slots=True)
class ScrubStep:
    """Progress of a scrub. `paths`: at the end, files that cannot be read now."""

    paths: tuple[bytes, ...]
    files: int
    files_total: int
    bytes: int
    damaged: int
    repaired: int
    done: bool = False


class ContentCare:
    """Call `run` once; `suspect` and `lost` from anywhere on the loop."""

    def __init__(self, volume: LocalVolume, fetcher: Fetcher, now_ms: Callable[[], int]) -> None:
        self._volume = volume
        self._content = volume.store.content
        self._damage = volume.store.damage
        self._bodies = volume.store.bodies
        self._fetcher = fetcher
        self._now_ms = now_ms
        self._suspects: dict[BlobHash, None] = {}
        self._lost: dict[BlobHash, None] = {}
        self._wake = asyncio.Event()
        self._any_damaged = self._damage.count() > 0
        self.on_lost: Callable[[], None] = lambda: None
        """Told when every file that needs lost content is known to want it."""

    # ---- what others notice
    def suspect(self, blob: BlobHash) -> None:
        """Reading it failed: it is looked at soon, whole."""
        self._suspects[blob] = None
        self._wake.set()

    def looks_whole(self, blob: BlobHash, node: NodeId) -> bool:
        """Is what should be here there, in full length? If not, it is missing from now on, for `node` at once."""
        size = self._content.size(blob)
        if size is None:
            return False
        if self._bodies.is_body(blob):
            return self._are_there(blob, node)
        if looks_whole(self._content.path(blob), size) or self._is_of_another_size(blob, [node]):
            return True
        self._mark(blob, size, [node])
        return False

    async def is_whole(self, blob: BlobHash, node: NodeId, thorough: bool) -> bool:
        """Whether content that a program is about to read is what it should be; see `fs.ports`."""
        return self.looks_whole(blob, node) and (not thorough or await self.check(blob, Pool.FOREGROUND, [node]))

    async def check(self, blob: BlobHash, pool: Pool, nodes: Iterable[NodeId] = ()) -> bool:
        """Reads all of it; whether it is here and whole."""
        if self._bodies.is_body(blob):
            return await self._check_chunks(blob, pool, nodes)
        path = self._content.path(blob)
        while (size := self._content.size(blob)) is not None:
            file = _identity(path)
            if await in_thread(pool, is_whole, path, blob, size):
                return True
            if _identity(path) != file:
                continue  # the same was written here meanwhile
            if self._is_of_another_size(blob, nodes):
                return True
            if self._content.size(blob) is not None:  # nobody else noticed meanwhile
                self._mark(blob, size, nodes)
            return False
        return False

    async def _check_chunks(self, cid: BlobHash, pool: Pool, nodes: Iterable[NodeId]) -> bool:
        """Reads each chunk that is here. Those that are damaged are fetched again, and no others."""
        first, body = 0, self._bodies.get(cid)
        while body is not None and first < body.count:
            part = range(first, first + CHUNKS)
            bad = await in_thread(pool, altered, self._places(cid, part))
            # A segment that went while it was read is no damage.
            self._lose(cid, {id: bad[id] for id in bad if self._bodies.segments.get(id) is not None}, nodes)
            first, body = part.stop, self._bodies.get(cid)
        return self._content.has(cid)

    def _are_there(self, cid: BlobHash, node: NodeId) -> bool:
        with suppress(Refused):
            if looks_whole_in_chunks(self._bodies, cid):
                return True
        return not self._lose(cid, too_short(self._places(cid)), [node])

    def _places(self, cid: BlobHash, part: range | None = None) -> list[ChunkPlace]:
        try:
            return chunk_places(self._bodies, cid, part)
        except Refused:
            return []  # its list went, or is damaged

    def _lose(self, cid: BlobHash, bad: BadPlaces, nodes: Iterable[NodeId]) -> bool:
        """Notes damaged chunks, of all content that shares them, or that the list is gone; whether there is any of
        that."""
        is_listed = self._bodies.chunk_list(cid) is not None
        if is_listed and not bad:
            return False
        log.error("chunks of content, or its list, are damaged or gone: fetched again", content=cid.hex()[:8])
        self._any_damaged = True
        with self._volume.store.db.transaction():
            change = self._bodies.lost(bad, self._now_ms()) if is_listed else self._bodies.list_lost(cid)
            for broken in change.broken:
                body = self._bodies.get(broken)
                self._damage.found_in_chunks(broken, body.size if body is not None else 0, self._now_ms())
            self._volume.content_lost(cid, nodes)
        self._lost.update(dict.fromkeys(change.broken))
        self._wake.set()
        return True

    def _is_of_another_size(self, blob: BlobHash, nodes: Iterable[NodeId]) -> bool:
        """Whether the bytes are right: an earlier program wrote down the size that a record said of small content."""
        path = self._content.path(blob)
        try:
            size = path.stat().st_size
            if size > BLOB_FRAME or size == self._content.size(blob) or hash_file(path)[0] != blob:
                return False
        except OSError:
            return False
        log.warning("content has another size than was written down", blob=blob.hex()[:8], size=size)
        with self._volume.store.db.transaction():
            self._content.add(blob, size, self._now_ms())
            self._volume.content_lost(blob, nodes)
        self._lost[blob] = None  # every file that has it is looked at again
        self._wake.set()
        return True

    def _mark(self, blob: BlobHash, size: int, nodes: Iterable[NodeId]) -> None:
        log.error("content is damaged or gone; it is fetched again", blob=blob.hex()[:8], size=size)
        self._any_damaged = True
        with self._volume.store.db.transaction():
            self._damage.found(blob, size, self._now_ms())
            self._volume.content_lost(blob, nodes)
        self._lost[blob] = None
        self._wake.set()

    def arrived(self) -> None:
        """Content came: perhaps some that was damaged."""
        if not self._any_damaged:
            return
        whole = [blob for blob, _size in self._damage.all() if self._content.has(blob)]
        if whole:
            with self._volume.store.db.transaction():
                for blob in whole:
                    self._damage.whole_again(blob)
            log.info("damaged content is whole again", count=len(whole))
        self._any_damaged = self._damage.count() > 0

    def is_damaged(self, blob: BlobHash) -> bool:
        return self._any_damaged and self._damage.has(blob)

    def damaged(self) -> int:
        return self._damage.count() if self._any_damaged else 0

    # ---- in the background
    async def run(self) -> None:
        self._damage.sweep()
        self.arrived()
        # What was found before a restart may not have been told to every file that has it.
        self._lost.update(dict.fromkeys(blob for blob, _size in self._damage.all()))
        while True:
            while self._suspects:
                await self.check(self._suspects.popitem()[0], Pool.BACKGROUND)
            if self._lost:
                lost, self._lost = list(self._lost), {}
                await self._tell_users(lost)
            self._wake.clear()
            if not self._suspects and not self._lost:
                await self._wake.wait()

    async def _tell_users(self, lost: list[BlobHash]) -> None:
        """Every file with that content wants it from now on. Which those are only their states say."""
        after: NodeId | None = NodeId(b"")
        while after is not None:
            users, after = self._damage.users_among(after, max(ROWS // len(lost), 100), lost)
            for start in range(0, len(users), REFRESH):
                with self._volume.store.db.transaction():
                    self._volume.content_lost(lost[0], users[start : start + REFRESH])
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        self.on_lost()

    # ---- all of it
    async def scrub(self, wait: bool) -> AsyncIterator[ScrubStep]:
        """Reads every content file here. With `wait`, gives what is damaged time to come from other devices."""
        total, files, size, known = self._content.count(), 0, 0, self._damage.count()
        self._any_damaged = known > 0
        await self._take_back()
        after = b""
        while page := self._content.after(after, PAGE):
            for blob, length in page:
                await self.check(blob, Pool.BACKGROUND)
                files, size, after = files + 1, size + length, blob
            yield ScrubStep((), files, max(total, files), size, self._damage.count(), 0)
        lost = self._damage.all()
        if wait and lost:
            await self._tell_users([blob for blob, _size in lost])
            await self._fetch(lost)
            self.arrived()
        left = self._damage.count()
        damaged = max(len(lost), known)
        yield ScrubStep(tuple(self._unreadable()), files, files, size, damaged, damaged - left, True)

    async def _take_back(self) -> None:
        """Takes back content that was put aside because a disk failed for a moment, if it is whole after all."""
        for blob, _size in self._damage.all():
            if self._bodies.is_body(blob):
                continue
            path = self._damage.path(blob)
            found, size = await in_thread(Pool.BACKGROUND, _look_at, path)
            if not self._content.has(blob) and found == blob:
                await in_thread(Pool.BACKGROUND, self._content.place, path, blob, True)
                with self._volume.store.db.transaction():
                    self._content.add(blob, size, self._now_ms())
                    self._volume.content_arrived(blob)
        self.arrived()

    async def _fetch(self, lost: list[tuple[BlobHash, int]]) -> None:
        for start in range(0, len(lost), AT_ONCE):
            group = [self._fetch_one(blob, size) for blob, size in lost[start : start + AT_ONCE]]
            if not any(await asyncio.gather(*group)):
                return  # nobody in reach has any of these: the rest comes in the background, if at all

    async def _fetch_one(self, blob: BlobHash, size: int) -> bool:
        try:
            await self._fetcher.fetch(blob, size, REPAIR_TIMEOUT, self._bodies.is_body(blob))
        except HoloError as error:
            log.info("damaged content did not come", blob=blob.hex()[:8], why=error.message)
            return False
        return True

    def _unreadable(self) -> list[bytes]:
        nodes = {node for blob, _size in self._damage.all() for node in self._content.wanted_by(blob)}
        paths = (self._volume.tree.path_of(node) for node in list(nodes)[:PATHS])
        return sorted(path for path in paths if path is not None)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Inode number, time and size of a content file, which tell it from another in its place. None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _look_at(path: Path) -> tuple[BlobHash | None, int]:
    """Hash and size of what was put aside, if it can be read. Blocking."""
    try:
        return hash_file(path)
    except OSError:
        return None, 0
