# SPDX-License-Identifier: GPL-3.0-or-later
"""Serving of chunks: members ask for the list of some content, and for chunks of it by their number.

Of content that is here in part what is here is served. Answers are read from the disk in pieces of some frames, like
blobs, and are not verified here: who asks verifies each chunk.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import structlog

from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import BlobHash, DeviceId
from holofsd.core.runs import ZEROS, BodyExtent, extents
from holofsd.net.api import CloseCode, Stream
from holofsd.store.bodies import Bodies
from holofsd.store.threads import in_thread
from holofsd.sync import chunk_frames
from holofsd.sync.chunk_frames import ListRequest, PiecesRequest
from holofsd.sync.turns import ServingTurns, now, pool_of

log = structlog.get_logger(__name__)

READ_BYTES = 1 << 20
"""Bytes of a chunk that are read from the disk at once."""


@dataclass(frozen=True, slots=True)
class _Served:
    """Content that one question is about. `whole`: bytes of the content and its list."""

    stream: Stream
    peer: DeviceId
    id: int
    cid: BlobHash
    chunks: ChunkList
    urgent: bool
    most: int

    @property
    def whole(self) -> int:
        return self.chunks.size + len(self.chunks.data)


class PieceServer:
    """Answers of one volume. `on_unreadable(cid)` is told of content that is said to be here and could not be read."""

    def __init__(self, bodies: Bodies, turns: ServingTurns, on_unreadable: Callable[[BlobHash], None]) -> None:
        self._bodies = bodies
        self._turns = turns
        self._on_unreadable = on_unreadable

    def is_body(self, cid: BlobHash) -> bool:
        """Whether this is content that is served in chunks alone."""
        return self._bodies.is_body(cid)

    async def get_list(self, stream: Stream, request: ListRequest, peer: DeviceId) -> None:
        chunks = await self._list(request.cid, request.urgent)
        if chunks is None:
            await stream.send(chunk_frames.list_missing(request.id))
            await self._turns.wait(self._turns.of(peer).talked(0.5, now()))
            return
        asked = _Served(stream, peer, request.id, request.cid, chunks, request.urgent, request.most)
        size = self._turns.frame_bytes(stream, request.most)
        for start in range(0, len(chunks.data), size):
            data = chunks.data[start : start + size]
            await self._may_send(asked, len(data))
            frame = chunk_frames.list_part(request.id, data, start + size >= len(chunks.data))
            await self._turns.send(stream, frame, len(data), request.urgent)
        if request.chunks and request.offset < chunks.size:
            first = chunks.at(request.offset)
            await self._send_chunks(asked, range(first, min(first + request.chunks, chunks.count)))

    async def get_pieces(self, stream: Stream, request: PiecesRequest, peer: DeviceId) -> None:
        chunks = await self._list(request.cid, request.urgent)
        if chunks is None or request.chunks.stop > chunks.count:
            await stream.send(chunk_frames.piece_missing(request.id, request.chunks))
            await self._turns.wait(self._turns.of(peer).talked(0.5, now()))
            return
        asked = _Served(stream, peer, request.id, request.cid, chunks, request.urgent, request.most)
        await self._send_chunks(asked, request.chunks)

    async def ask(self, stream: Stream, number: int, cid: BlobHash, peer: DeviceId) -> None:
        places, count = self._bodies.here(cid)
        await stream.send(chunk_frames.has(number, places, count))
        await self._turns.wait(self._turns.of(peer).talked(1 + count / 4096, now()))

    async def _list(self, cid: BlobHash, urgent: bool) -> ChunkList | None:
        if not self._bodies.is_body(cid):
            return None
        if self._bodies.is_read(cid):
            return self._bodies.chunk_list(cid)
        return await in_thread(pool_of(urgent), self._bodies.chunk_list, cid)

    # ---- chunks
    async def _send_chunks(self, asked: _Served, indexes: range) -> None:
        """Sends them. What cannot be read counts as missing: another device may have it."""
        body, start = self._bodies.get(asked.cid), asked.chunks.start(indexes.start)
        layout, length = body.layout if body else (), asked.chunks.start(indexes.stop) - start
        found = deque(extents(asked.chunks, layout, self._bodies.presence(asked.cid), start, length))
        files: dict[int, BinaryIO] = {}
        try:
            index = indexes.start
            while index < indexes.stop:
                start, end = asked.chunks.start(index), asked.chunks.start(index + 1)
                while found[0].offset + found[0].length <= start:
                    found.popleft()
                if found[0].segment is None:  # an extent ends where a chunk does
                    stop = asked.chunks.covering(start, found[0].offset + found[0].length - start).stop
                    await self._send_missing(asked, range(index, stop))
                    index = stop
                    continue
                into = start - found[0].offset
                place = BodyExtent(start, end - start, found[0].segment, found[0].source + into)
                await self._send_chunk(asked, index, place, files)
                index += 1
        finally:
            for file in files.values():
                file.close()

    async def _send_chunk(self, asked: _Served, index: int, extent: BodyExtent, files: dict[int, BinaryIO]) -> None:
        data = await self._read(asked, extent, files, 0)
        if data is None:
            await self._send_missing(asked, range(index, index + 1))
            return
        sent = 0
        while True:
            size = self._turns.frame_bytes(asked.stream, asked.most)
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                sent += len(piece)
                await self._may_send(asked, len(piece))
                frame = chunk_frames.piece(asked.id, index, piece, sent >= extent.length)
                await self._turns.send(asked.stream, frame, len(piece), asked.urgent)
            if sent >= extent.length:
                return
            data = await self._read(asked, extent, files, sent)
            if data is None:
                asked.stream.abort(CloseCode.NORMAL)
                raise ConnectionLost("Content went, or became unreadable, while it was sent.")

    async def _send_missing(self, asked: _Served, indexes: range) -> None:
        await asked.stream.send(chunk_frames.piece_missing(asked.id, indexes))
        await self._turns.wait(self._turns.of(asked.peer).talked(0.5, now()))

    async def _read(self, asked: _Served, extent: BodyExtent, files: dict[int, BinaryIO], done: int) -> bytes | None:
        """Bytes of a chunk after the first `done` ones; None where it is not here, or cannot be read."""
        size = min(READ_BYTES, extent.length - done)
        if extent.segment is None:
            return None
        if extent.segment == ZEROS:
            return bytes(size)
        pool = pool_of(asked.urgent)
        try:
            file = files.get(extent.segment)
            if file is None:
                path = self._bodies.segments.path(extent.segment)
                if path is None:
                    return None
                file = files[extent.segment] = await in_thread(pool, open, path, "rb", 0)
            data = await in_thread(pool, os.pread, file.fileno(), size, extent.source + done)
            if len(data) == size:
                return data
            why = "the file is not as long as it was"
        except OSError as error:
            why = str(error)
        if self._bodies.segments.get(extent.segment) is not None:
            log.error("content cannot be read", content=asked.cid.hex()[:8], why=why)
            self._on_unreadable(asked.cid)
        return None

    async def _may_send(self, asked: _Served, size: int) -> None:
        wait = self._turns.of(asked.peer).chunk_wanted(asked.cid, asked.whole, size, now())
        await self._turns.wait_as_member(asked.stream, asked.peer, wait)
