# SPDX-License-Identifier: GPL-3.0-or-later
"""Serving content: members ask for blobs of one volume by hash, and for chunks of what has a list."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import structlog

from holofsd.core.errors import ProtocolViolation
from holofsd.core.ids import BlobHash, DeviceId
from holofsd.net.api import CloseCode, Stream
from holofsd.store.bodies import Bodies
from holofsd.store.content import Content
from holofsd.store.threads import in_thread
from holofsd.sync import chunk_frames, frames
from holofsd.sync.piece_serving import PieceServer
from holofsd.sync.turns import ServingTurns, now, pool_of

log = structlog.get_logger(__name__)

READ_INLINE = 64 * 1024
"""Files up to this size are read on the loop: a thread costs more than the read."""
FRAMES_AT_ONCE = 4
"""Frames of content that are read from the disk at once."""
MAX_REQUEST = 64 * 1024
CHUNK_KINDS = ("get_list", "get_pieces", "ask")
HOLD_SLICE = 128
"""So many hashes are looked up before others have a turn."""


class ContentServer:
    """Answers requests for content that is here.

    `on_unreadable(blob)` is told of content that is said to be here and could not be read.
    """

    def __init__(
        self,
        content: Content,
        bodies: Bodies,
        turns: ServingTurns,
        on_unreadable: Callable[[BlobHash], None],
        lists: bool,
    ) -> None:
        """`lists`: see `SyncConfig`."""
        self._content = content
        self._lists = lists
        self._pieces = PieceServer(bodies, turns, on_unreadable)
        self.turns = turns
        self._on_unreadable = on_unreadable

    async def serve(self, stream: Stream, peer: DeviceId) -> None:
        """Answers requests in their order until the other side finishes. One blob at a time: back-pressure is the
        stream's, and memory is one frame."""
        while (data := await stream.receive(MAX_REQUEST)) is not None:
            if not self.turns.members.is_member(peer):
                stream.abort(CloseCode.REFUSED)
                return
            frame = frames.parse(data)
            kind = frame.WhichOneof("frame")
            if kind == "get":
                await self._get(stream, frames.read_get(frame.get), peer)
            elif kind == "hold":
                await self._hold(stream, *frames.read_hold(frame.hold), peer)
            elif kind in CHUNK_KINDS and not self._lists:
                await self.turns.wait(self.turns.of(peer).talked(1, now()))
            elif kind == "get_list":
                await self._pieces.get_list(stream, chunk_frames.read_get_list(frame.get_list), peer)
            elif kind == "get_pieces":
                await self._pieces.get_pieces(stream, chunk_frames.read_get_pieces(frame.get_pieces), peer)
            elif kind == "ask":
                await self._pieces.ask(stream, *chunk_frames.read_ask(frame.ask), peer)
            elif kind is not None:
                raise ProtocolViolation(f"A device sent a {kind} frame on a content stream.")
            else:
                await self.turns.wait(self.turns.of(peer).talked(1, now()))
        await stream.finish()

    async def _get(self, stream: Stream, request: frames.Request, peer: DeviceId) -> None:
        blob, size = request.blob, self._content.size(request.blob)
        if size is None or request.offset > size or self._pieces.is_body(blob):
            await stream.send(frames.blob_missing(request.id))
            await self.turns.wait(self.turns.of(peer).talked(0.5, now()))
            return
        try:
            await self._send(stream, request, self._content.path(blob), size, peer)
        except OSError as error:
            log.error("content cannot be read", blob=blob.hex()[:8], why=str(error))
            self._on_unreadable(blob)
            await stream.send(frames.blob_missing(request.id))

    async def _send(self, stream: Stream, request: frames.Request, path: Path, size: int, peer: DeviceId) -> None:
        if size <= READ_INLINE and size - request.offset <= self.turns.frame_bytes(stream, request.most):
            await self._may_send(stream, request.blob, request.offset, size, peer)
            data = path.read_bytes()
            if len(data) != size:
                raise shorter()
            data = data[request.offset :]
            await self.turns.send(stream, frames.blob(request.id, data, True, size), len(data), request.urgent)
            return
        file = await in_thread(pool_of(request.urgent), open, path, "rb", 0)
        try:
            await self._send_pieces(stream, request, file, size, peer)
        finally:
            file.close()

    async def _send_pieces(
        self, stream: Stream, request: frames.Request, file: BinaryIO, size: int, peer: DeviceId
    ) -> None:
        offset = request.offset
        while True:
            piece = self.turns.frame_bytes(stream, request.most)
            most = FRAMES_AT_ONCE * piece
            await self._may_send(stream, request.blob, offset, min(offset + most, size), peer)
            read = await in_thread(pool_of(request.urgent), os.pread, file.fileno(), most, offset)
            if not read and offset < size:
                raise shorter()
            for start in range(0, max(len(read), 1), piece):
                data = read[start : start + piece]
                offset += len(data)
                end = offset >= size or not data
                await self.turns.send(stream, frames.blob(request.id, data, end, size), len(data), request.urgent)
            if end:
                return

    async def _may_send(self, stream: Stream, blob: BlobHash, start: int, end: int, peer: DeviceId) -> None:
        wait = self.turns.of(peer).piece_wanted(blob, start, end, now())
        await self.turns.wait_as_member(stream, peer, wait)

    async def _hold(self, stream: Stream, number: int, blobs: list[BlobHash], peer: DeviceId) -> None:
        answers: list[bool] = []
        for start in range(0, len(blobs), HOLD_SLICE):
            answers += map(self._content.has, blobs[start : start + HOLD_SLICE])
            await asyncio.sleep(0)
        await stream.send(frames.held(number, answers))
        await self.turns.wait(self.turns.of(peer).talked(1 + len(blobs) / 4, now()))


def shorter() -> OSError:
    """Error of a file that lacks bytes."""
    return OSError(errno.EIO, "the file is not as long as it was")
