# SPDX-License-Identifier: GPL-3.0-or-later
"""Chunks of one content on their way to the disk: verified bytes go into segments, and count when they are synced.

At each point where a crash can fall: `spans.written` bytes without bits, which are fetched again; `spans.synced` the
same; `spans.known` the transaction with the bits is whole or not there: fetching goes on from them, and hashes nothing
again. The last bits make the content whole, in the transaction that tells the tree.
"""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import Refused
from holofsd.core.ids import BlobHash
from holofsd.core.runs import ChunkRun
from holofsd.store import faults
from holofsd.store.bodies import Bodies, BodyChange
from holofsd.store.copies import sync_path
from holofsd.store.segments import Segment, borders, chunks_named, name_of_span

SETTLE_BYTES: Final = 16 << 20
SETTLE_S: Final = 1.0
"""What has come is made to count after so many bytes, or seconds."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
Tell = Callable[[Callable[[int], BodyChange]], None]
"""Makes a change of rows at a wall time in ms, tells the tree of it in the same transaction, and keeps what is left
over to be unlinked."""


class ArrivingBody:
    """Content of which the list and a row are here. `in_thread` runs what blocks; `on_lost` is told of chunks that were
    written and cannot be made to count.

    Each write opens its segment anew: a descriptor that is kept could be closed, and be that of another file, while a
    thread still writes.
    """

    def __init__(
        self,
        bodies: Bodies,
        cid: BlobHash,
        chunks: ChunkList,
        in_thread: InThread,
        tell: Tell,
        on_lost: Callable[[range], None],
    ) -> None:
        self._bodies = bodies
        self._chunks = chunks
        self._cid = cid
        self._on_lost = on_lost
        self._in_thread = in_thread
        self._tell = tell
        self._borders = borders(chunks)
        self._lock = asyncio.Lock()
        self._segments: dict[int, Segment] = {}
        """By their first chunk."""
        self._fresh: dict[int, list[range]] = {}
        """Places that were written and do not count yet, by the first chunk of their segment."""
        self._bytes = 0
        self._settled_at = asyncio.get_running_loop().time()

    async def write(self, index: int, data: bytes) -> None:
        """Writes a verified chunk. Raises OSError, also where nothing is known of the content any more."""
        first = self._borders[bisect_right(self._borders, index) - 1]
        async with self._lock:
            if first not in self._segments:
                await self._make(first)
        path, offset = self._path(first), self._chunks.start(index) - self._chunks.start(first)
        try:
            await self._in_thread(lambda: _write(path, data, offset))
        except FileNotFoundError:
            self._segments.pop(first, None)
            self._lose(first, self._fresh.pop(first, []))
            raise
        faults.reach("spans.written")
        self._fresh.setdefault(first, []).append(range(index - first, index - first + 1))
        self._bytes += len(data)

    def _path(self, first: int) -> Path:
        return self._bodies.segments.files.path(name_of_span(self._cid, first))

    @property
    def is_due(self) -> bool:
        """Whether so much has come, or so long ago, that it is to count now."""
        late = asyncio.get_running_loop().time() - self._settled_at >= SETTLE_S
        return bool(self._fresh) and (late or self._bytes >= SETTLE_BYTES)

    async def settle(self) -> None:
        """Makes what was written count. Raises OSError; then it is fetched again."""
        async with self._lock:
            fresh, self._fresh, self._bytes = self._fresh, {}, 0
            self._settled_at = asyncio.get_running_loop().time()
            if not fresh:
                return
            known = self._known(fresh)
            try:
                paths = [self._path(first) for first in fresh if first in known]
                for path in paths:
                    await self._in_thread(partial(sync_path, path))
                faults.reach("spans.synced")
                places = {id: fresh[first] for first, id in known.items()}
                self._tell(lambda now_ms: self._bodies.arrived(places, now_ms))
            except BaseException:
                known = {}
                raise
            finally:
                for first, found in fresh.items():
                    if first not in known:
                        self._lose(first, found)
            faults.reach("spans.known")

    def _lose(self, first: int, places: Iterable[range]) -> None:
        for part in places:
            self._on_lost(range(first + part.start, first + part.stop))

    def _known(self, fresh: Iterable[int]) -> dict[int, int]:
        """Ids of segments that are still there, by first chunk: garbage collection takes what nothing needs."""
        ids = {first: self._segments[first].id for first in fresh if first in self._segments}
        return {first: id for first, id in ids.items() if self._bodies.segments.get(id) is not None}

    # ---- segments
    async def _make(self, first: int) -> None:
        """Makes a segment, if there is none: then what lacks in its part of the content is laid there."""
        name, path = name_of_span(self._cid, first), self._path(first)
        known = self._bodies.segments.named(name)
        if known is not None and not path.exists():  # a disk lost it: nothing of it counts any more
            self._tell(lambda now_ms: self._bodies.lost({known.id: [range(known.chunks)]}, now_ms))
        if not path.exists():
            await self._in_thread(lambda: self._bodies.segments.files.write(name, b"", True, mode=0o600))
        self._segments[first] = self._laid(first, name)

    def _laid(self, first: int, name: str) -> Segment:
        end, start = chunks_named(self._chunks, first).stop, self._chunks.start(first)
        found: list[Segment] = []

        def lay(now_ms: int) -> BodyChange:
            lacking = self._bodies.missing(self._cid, start, self._chunks.start(end) - start)
            if not lacking:
                raise Refused("All of this content came from somewhere else.")
            segment = self._bodies.segments.named_or_new(name, end - first)
            found.append(segment)
            runs = [
                ChunkRun(part.start, len(part), segment.id, part.start - first, self._chunks.start(part.start) - start)
                for part in lacking
            ]
            return self._bodies.lay(self._cid, runs, now_ms)

        try:
            self._tell(lay)
        except Refused as error:
            raise OSError(errno.ENOENT, error.message) from error
        return found[0]


def _write(path: Path, data: bytes, offset: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            count = os.pwrite(descriptor, view, offset)
            view, offset = view[count:], offset + count
    finally:
        os.close(descriptor)
