# SPDX-License-Identifier: GPL-3.0-or-later
"""Serving content: members ask for blobs of one volume by hash, and get what this device holds whole."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import structlog

from holofsd.core.errors import ConnectionLost, ProtocolViolation
from holofsd.core.ids import BlobHash, DeviceId
from holofsd.core.pacing import LEAST_PIECE, TrafficLane
from holofsd.net.api import CloseCode, Stream
from holofsd.store.content import Content
from holofsd.store.threads import Pool, in_thread
from holofsd.sync import frames
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.dealings import AllDealings
from holofsd.sync.members import Members
from holofsd.sync.pacing import NO_LIMITS

log = structlog.get_logger(__name__)

READ_INLINE = 64 * 1024
"""Files up to this size are read on the loop: a thread costs more than the read."""
FRAMES_AT_ONCE = 4
"""Frames of content that are read from the disk at once."""
MAX_REQUEST = 64 * 1024
HOLD_SLICE = 128
"""So many hashes are looked up before others have a turn."""


class ContentServer:
    """Answers requests for content that is here.

    `on_unreadable(blob)` is told of content that is said to be here and could not be read.
    """

    def __init__(
        self,
        content: Content,
        members: Members,
        on_unreadable: Callable[[BlobHash], None],
        dealings: AllDealings,
    ) -> None:
        self._content = content
        self._members = members
        self._on_unreadable = on_unreadable
        self._dealings = dealings
        self.limits = NO_LIMITS
        """The device's own, from `SyncHub.add` on."""

    async def serve(self, stream: Stream, peer: DeviceId) -> None:
        """Answers requests in their order until the other side finishes. One blob at a time: back-pressure is the
        stream's, and memory is one frame."""
        while (data := await stream.receive(MAX_REQUEST)) is not None:
            if not self._members.is_member(peer):
                stream.abort(CloseCode.REFUSED)
                return
            frame = frames.parse(data)
            kind = frame.WhichOneof("frame")
            if kind == "get":
                await self._get(stream, frames.read_get(frame.get), peer)
            elif kind == "hold":
                await self._hold(stream, *frames.read_hold(frame.hold), peer)
            elif kind is not None:
                raise ProtocolViolation(f"A device sent a {kind} frame on a content stream.")
            else:
                await self._wait(self._dealings.of(peer).talked(1, _now()))
        await stream.finish()

    @staticmethod
    async def _wait(seconds: float) -> None:
        """Longer than the other side would like: it asks for more than its allowance."""
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _get(self, stream: Stream, request: frames.Request, peer: DeviceId) -> None:
        blob, size = request.blob, self._content.size(request.blob)
        if size is None or request.offset > size:
            await stream.send(frames.blob_missing(request.id))
            await self._wait(self._dealings.of(peer).talked(0.5, _now()))
            return
        try:
            await self._send(stream, request, self._content.path(blob), size, peer)
        except OSError as error:
            log.error("content cannot be read", blob=blob.hex()[:8], why=str(error))
            self._on_unreadable(blob)
            await stream.send(frames.blob_missing(request.id))

    async def _send(self, stream: Stream, request: frames.Request, path: Path, size: int, peer: DeviceId) -> None:
        if size <= READ_INLINE and size - request.offset <= self._piece(stream, request):
            await self._may_send(stream, request.blob, request.offset, size, peer)
            await self.limits.sending(stream, size - request.offset, _lane(request))
            data = path.read_bytes()
            if len(data) != size:
                raise _shorter()
            data = data[request.offset :]
            await stream.send(frames.blob(request.id, data, True, size))
            return
        file = await in_thread(_pool(request), open, path, "rb", 0)
        try:
            await self._send_pieces(stream, request, file, size, peer)
        finally:
            file.close()

    async def _send_pieces(
        self, stream: Stream, request: frames.Request, file: BinaryIO, size: int, peer: DeviceId
    ) -> None:
        offset = request.offset
        while True:
            piece = self._piece(stream, request)
            most = FRAMES_AT_ONCE * piece
            await self._may_send(stream, request.blob, offset, min(offset + most, size), peer)
            read = await in_thread(_pool(request), os.pread, file.fileno(), most, offset)
            if not read and offset < size:
                raise _shorter()
            for start in range(0, max(len(read), 1), piece):
                data = read[start : start + piece]
                offset += len(data)
                end = offset >= size or not data
                await self.limits.sending(stream, len(data), _lane(request))
                await stream.send(frames.blob(request.id, data, end, size))
            if end:
                return

    def _piece(self, stream: Stream, request: frames.Request) -> int:
        """Bytes of content in one frame."""
        most = max(request.most, LEAST_PIECE) if request.most else BLOB_FRAME
        return self.limits.most_sent(stream, min(most, BLOB_FRAME))

    async def _may_send(self, stream: Stream, blob: BlobHash, start: int, end: int, peer: DeviceId) -> None:
        """Waits for the turn of these bytes. Raises ConnectionLost for a device that was removed from the volume."""
        await self._wait(self._dealings.of(peer).piece_wanted(blob, start, end, _now()))
        if not self._members.is_member(peer):
            stream.abort(CloseCode.REFUSED)
            raise ConnectionLost("Removed from the volume before all of it was sent.")

    async def _hold(self, stream: Stream, number: int, blobs: list[BlobHash], peer: DeviceId) -> None:
        answers: list[bool] = []
        for start in range(0, len(blobs), HOLD_SLICE):
            answers += map(self._content.has, blobs[start : start + HOLD_SLICE])
            await asyncio.sleep(0)
        await stream.send(frames.held(number, answers))
        await self._wait(self._dealings.of(peer).talked(1 + len(blobs) / 4, _now()))


def _lane(request: frames.Request) -> TrafficLane:
    return TrafficLane.URGENT if request.urgent else TrafficLane.REST


def _pool(request: frames.Request) -> Pool:
    return Pool.FOREGROUND if request.urgent else Pool.BACKGROUND


def _now() -> float:
    return asyncio.get_running_loop().time()


def _shorter() -> OSError:
    return OSError(errno.EIO, "the file is not as long as it was")
