# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiving blobs from one device over one content stream: asked for in batches, verified, put in their place."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar
from weakref import WeakSet

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.errors import ConnectionLost, NoSpace, ProtocolViolation, Refused
from holofsd.core.ids import BlobHash
from holofsd.net.api import Stream
from holofsd.store import faults
from holofsd.store.content import Content, IncomingBlob
from holofsd.sync import frames
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.jobs import Job

T = TypeVar("T")

WRITE_BYTES = 1024 * 1024
"""A large blob is written in pieces of about this size: fewer trips to a thread."""
SILENCE = 20.0
"""Seconds without a frame after which a content stream is given up."""
LEAST = 4096
"""Bytes of a blob that have to come in that time: who sends less keeps others from being asked."""


@dataclass(slots=True)
class Trip:
    """What came of asking one device for some blobs."""

    arrived: list[Job] = field(default_factory=list)
    missing: list[Job] = field(default_factory=list)
    wrong: list[Job] = field(default_factory=list)
    """The bytes were not those of the hash."""
    asked: bool = False
    """Answers may be on their way: a stream that is left before they came is of no use."""
    stalled: bool = False
    """The other side stopped, or is too slow to wait for."""


class _Stalled(ConnectionLost):
    """Given up although the connection may live."""


class _Window:
    """Whether enough comes: looked at each time SILENCE has passed, inside a blob."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bytes = 0

    def arrived(self, count: int, end: bool) -> None:
        """Raises _Stalled."""
        self._bytes += count
        now = time.monotonic()
        if now - self._began > SILENCE:
            if self._bytes < LEAST and not end:
                raise _Stalled("The other device sends content too slowly to wait for it.")
            self._began, self._bytes = now, 0


class Receiver:
    """`reserve` is how many bytes of the disk stay free."""

    _active: ClassVar[WeakSet[Receiver]] = WeakSet()
    """All of this process, which has one state directory: the room that one of them counts on is no other's."""

    def __init__(self, content: Content, stream: Stream, reserve: int) -> None:
        self._content = content
        self._stream = stream
        self._reserve = reserve
        self._next = 1
        self._window = _Window()
        self._promised = 0
        """Bytes that are still to be written of what is being fetched."""
        self._active.add(self)

    async def fetch(self, jobs: Sequence[Job], trip: Trip) -> None:
        """Fills `trip`, also when it raises: ConnectionLost, ProtocolViolation, NoSpace."""
        self._check_space(sum(job.size for job in jobs))
        trip.asked = True
        try:
            if len(jobs) == 1 and jobs[0].size > BLOB_FRAME:
                await self._fetch_large(jobs[0], trip)
            else:
                await self._fetch_small(jobs, trip)
        except _Stalled:
            trip.stalled = True
            raise
        finally:
            self._promised = 0

    def _check_space(self, needed: int) -> None:
        disk = os.statvfs(self._content.path(BlobHash(b"\0" * 32)).parent.parent)
        others = sum(other._promised for other in self._active if other is not self)
        if disk.f_bavail * disk.f_frsize < needed + others + self._reserve:
            raise NoSpace("The disk is nearly full: content from other devices waits until there is room.")
        self._promised = needed

    # ---- small: the answers of a whole batch in memory, then on disk at once
    async def _fetch_small(self, jobs: Sequence[Job], trip: Trip) -> None:
        numbers = [self._number() for _ in jobs]
        for number, job in zip(numbers, jobs, strict=True):
            await self._stream.send(frames.get(number, job.blob, 0))
        received: list[tuple[Job, bytes]] = []
        try:
            for number, job in zip(numbers, jobs, strict=True):
                data = await self._collect(number, job)
                if data is None:
                    trip.missing.append(job)
                else:
                    received.append((job, data))
        finally:
            await self._store_small(received, trip)

    async def _collect(self, number: int, job: Job) -> bytes | None:
        pieces: list[bytes] = []
        size = 0
        while True:
            answer = await self._answer(number)
            if answer.missing:
                return None
            pieces.append(answer.data)
            size += len(answer.data)
            if size > job.size:
                raise ProtocolViolation("A device sent more content than there is.")
            if answer.end:
                return b"".join(pieces)

    async def _store_small(self, received: list[tuple[Job, bytes]], trip: Trip) -> None:
        """Written here, made durable in a thread: there each call would wait for its turn to run Python again."""
        written: list[tuple[Job, str]] = []
        try:
            for job, data in received:
                try:
                    written.append((job, self._content.write_fresh(job.blob, data)))
                except Refused:
                    trip.wrong.append(job)
        except OSError as error:
            raise _told(error) from error
        await _in_thread(lambda: _make_durable([path for _job, path in written]))
        for job, path in written:
            self._content.place_fresh(path, job.blob)
            trip.arrived.append(job)

    # ---- large: straight to a file, going on where an earlier attempt stopped
    async def _fetch_large(self, job: Job, trip: Trip) -> None:
        incoming = await _in_thread(lambda: self._content.receive(job.blob))
        try:
            resumed = incoming.offset
            whole = resumed <= job.size and await self._stream_into(incoming, job)
        except BaseException:
            incoming.abandon()
            raise
        if not whole:
            incoming.abandon(keep=resumed <= job.size)
            trip.missing.append(job)
            return
        try:
            path = await _in_thread(incoming.finish)
        except Refused:
            # A part that came from somebody else may be to blame: only who sent all of it is distrusted.
            (trip.missing if resumed else trip.wrong).append(job)
            return
        await _in_thread(lambda: self._content.place(path, job.blob, move=True))
        trip.arrived.append(job)

    async def _stream_into(self, incoming: IncomingBlob, job: Job) -> bool:
        """False if the other side does not have it, or means another size."""
        number = self._number()
        await self._stream.send(frames.get(number, job.blob, incoming.offset))
        received = bytearray()
        while True:
            answer = await self._answer(number)
            if answer.missing:
                return False
            received += answer.data
            if incoming.offset + len(received) > job.size:
                raise ProtocolViolation("A device sent more content than there is.")
            if len(received) >= WRITE_BYTES or answer.end:
                data, received = bytes(received), bytearray()
                await _in_thread(lambda data=data: incoming.write(data))  # type: ignore[misc]
                self._promised = max(self._promised - len(data), 0)
                faults.reach("fetching.part")
            if answer.end:
                return incoming.offset == job.size

    # ---- frames
    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    async def _answer(self, number: int) -> pb.Blob:
        try:
            async with asyncio.timeout(SILENCE):
                data = await self._stream.receive()
        except TimeoutError:
            raise _Stalled("The other device stopped in the middle of some content.") from None
        if data is None:
            raise ConnectionLost("The other device closed the content stream.")
        frame = frames.parse(data)
        if frame.WhichOneof("frame") != "blob" or frame.blob.id != number:
            raise ProtocolViolation("A device answered another question than it was asked.")
        if len(frame.blob.data) > BLOB_FRAME:
            raise ProtocolViolation("A device sent a piece of content above the limit.")
        if not (frame.blob.data or frame.blob.end or frame.blob.missing):
            raise ProtocolViolation("A device answered with nothing, and not at the end.")
        self._window.arrived(len(frame.blob.data), frame.blob.end)
        return frame.blob


def _make_durable(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # a program here wrote the same bytes meanwhile, and they are in their place
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


async def _in_thread(work: Callable[[], T]) -> T:
    """A full disk becomes NoSpace, whichever call met it."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise _told(error) from error


def _told(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("The disk is full: content from other devices waits until there is room.")
    return error
