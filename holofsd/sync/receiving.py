# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiving blobs from one device over one content stream: asked for in batches, verified, put in their place.

Nothing here believes the size in a record: the device that sends says one too, and the bytes have the last word.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from holofs_api.numbers import MAX_FILE_SIZE
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.errors import ProtocolViolation, Refused
from holofsd.core.ids import BlobHash, DeviceId
from holofsd.net.api import Stream
from holofsd.store.content import Content
from holofsd.sync import frames
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.content_threads import as_no_space, in_thread_for
from holofsd.sync.exchange import ContentExchange, Stalled, Stopped
from holofsd.sync.jobs import Job
from holofsd.sync.pacing import NO_LIMITS, TrafficLimits
from holofsd.sync.parts import Feeder, Part
from holofsd.sync.promised_room import PromisedRoom

T = TypeVar("T")

WRITE_BYTES: Final = 1024 * 1024
"""A large blob is written in pieces of about this size: fewer trips to a thread."""


@dataclass(slots=True)
class Trip:
    """Result of asking one device for some blobs."""

    arrived: list[tuple[Job, int]] = field(default_factory=list)
    """With the size that the bytes have."""
    missing: list[Job] = field(default_factory=list)
    wrong: list[Job] = field(default_factory=list)
    """The bytes were not those of the hash, and all of them came from this device."""
    otherwise: list[Job] = field(default_factory=list)
    """The device says a size that no record says. Who is wrong is not known."""
    asked: bool = False
    """Answers may be on their way: a stream that is left before they came is of no use."""
    stalled: bool = False
    """The other side stopped, or is too slow to wait for."""
    needed: int = 0
    """Bytes that are to come, as the device says."""


class Receiver:
    """One trip to one device. `reserve` is how many bytes of the disk stay free. `on_lead(job, device, is_slow)` is
    told of a device that need not go on with a job, because another one is faster."""

    def __init__(
        self,
        content: Content,
        stream: Stream,
        device: DeviceId,
        reserve: int,
        on_lead: Callable[[Job, DeviceId, bool], None] = lambda job, device, is_slow: None,
        limits: TrafficLimits = NO_LIMITS,
    ) -> None:
        self._content = content
        self._exchange = ContentExchange(stream, limits, lambda: self.is_urgent)
        self.device = device
        self._room = PromisedRoom(content.folder, reserve)
        self._on_lead = on_lead
        self._asked: dict[Job, bool] = {}
        """Jobs that the device was asked for, and whether as urgent ones."""
        self.pending: list[Job] = []
        """What this trip may still bring."""

    async def fetch(self, jobs: Sequence[Job], trip: Trip) -> None:
        """Fills `trip`, also when it raises: ConnectionLost, ProtocolViolation, NoSpace."""
        self.pending = list(jobs)
        large = len(jobs) == 1 and (jobs[0].most > BLOB_FRAME or jobs[0].apart)
        self._check_space(0 if large else sum(job.most for job in jobs), trip)
        trip.asked = True
        try:
            if large:
                await self._fetch_large(jobs[0], trip)
            else:
                await self._fetch_small(jobs, trip)
        except Stalled:
            trip.stalled = True
            raise
        finally:
            self._room.give_up()

    @property
    def is_urgent(self) -> bool:
        """Whether a program waits for something that this trip may bring."""
        return any(job.waiters for job in self.pending)

    def stop(self) -> None:
        """Ends the trip soon: `fetch` raises Stopped."""
        self._exchange.stop()

    def was_asked_early(self, job: Job) -> bool:
        """Whether the device was asked for it before a program waited, and has not begun to answer."""
        return job in self.pending and self._asked.get(job) is False and self.device not in job.progress

    def is_done_elsewhere(self, job: Job) -> None:
        """Takes a job off that another device has done. A trip that can bring nothing else ends."""
        if job in self.pending:
            self.pending.remove(job)
            if not self.pending:
                self.stop()

    def _check_space(self, needed: int, trip: Trip) -> None:
        trip.needed = needed
        self._room.claim(needed)

    # ---- small: the answers of a whole batch in memory, then on disk at once
    async def _fetch_small(self, jobs: Sequence[Job], trip: Trip) -> None:
        numbers = [self._exchange.number() for _ in jobs]
        for number, job in zip(numbers, jobs, strict=True):
            await self._ask(number, job, 0)
        received: list[tuple[Job, bytes]] = []
        try:
            for number, job in zip(numbers, jobs, strict=True):
                data = await self._collect(number, job, trip)
                if data is None:
                    trip.missing.append(job)
                else:
                    received.append((job, data))
                if job in self.pending:
                    self.pending.remove(job)
        finally:
            await self._store_small(received, trip)

    async def _collect(self, number: int, job: Job, trip: Trip) -> bytes | None:
        pieces: list[bytes] = []
        size = 0
        expected: int | None = None
        while True:
            answer = await self._answer(number)
            if answer.missing:
                return None
            expected = self._expected(answer, expected, job, trip)
            pieces.append(answer.data)
            size += len(answer.data)
            job.progressed(self.device, size)
            if _is_last(answer, size, expected):
                return b"".join(pieces)

    def _expected(self, answer: pb.Blob, before: int | None, job: Job, trip: Trip) -> int:
        """The size that the device says. Raises ProtocolViolation if it changes, and gives up what no record bears."""
        size: int = answer.size
        if size > MAX_FILE_SIZE or (before is not None and size != before):
            raise ProtocolViolation("A device said two sizes of one content, or one that no content has.")
        if size > job.most:
            trip.otherwise.append(job)
            raise Stopped("The other device has larger content under this hash than any record says.")
        return size

    async def _store_small(self, received: list[tuple[Job, bytes]], trip: Trip) -> None:
        """Written here, made durable in a thread: there each call would wait for its turn to run Python again."""
        written: list[tuple[Job, str, int]] = []
        try:
            for job, data in received:
                if job.done.done():
                    continue
                try:
                    written.append((job, self._content.write_fresh(job.blob, data), len(data)))
                except Refused:
                    trip.wrong.append(job)
        except OSError as error:
            raise as_no_space(error) from error
        paths = [path for _job, path, _size in written]
        await in_thread_for([job for job, _path, _size in written], lambda: _make_durable(paths))
        for job, path, size in written:
            self._content.place_fresh(path, job.blob)
            trip.arrived.append((job, size))

    # ---- large: straight to a file, going on where an earlier attempt, or a slower device, is
    async def _fetch_large(self, job: Job, trip: Trip) -> None:
        part = self._part(job)
        self._room.file = None if job.apart else part
        feeder = await part.join(self.device, self.device if job.apart else None)
        try:
            await self._feed(job, part, feeder, trip)
        finally:
            await part.leave(feeder)

    def _part(self, job: Job) -> Part:
        if job.apart:
            return Part(self._content, job.blob, partial(in_thread_for, [job]))
        if job.part is None or job.part.is_over:
            job.part = Part(self._content, job.blob, partial(in_thread_for, [job]))
        return job.part

    async def _feed(self, job: Job, part: Part, feeder: Feeder, trip: Trip) -> None:
        resumed = feeder.position
        number = self._exchange.number()
        await self._ask(number, job, resumed)
        expected: int | None = None
        while True:
            answer = await self._answer(number)
            if answer.missing:
                if resumed and part.sources - {self.device} and await self._holds(job.blob):
                    self._part_ways(job, part)  # it has less than this part is long: some of that is made up
                else:
                    trip.missing.append(job)
                return
            first = expected is None
            expected = self._expected(answer, expected, job, trip)
            if first:
                if part.size not in (None, expected):
                    self._part_ways(job, part)
                    raise Stopped("Two devices say different sizes of one content.")
                part.size = expected
                self._check_space(max(expected - resumed, 0), trip)
            feeder.take(answer.data)
            job.progressed(self.device, feeder.position)
            last = _is_last(answer, feeder.position, expected)
            if len(feeder.buffer) >= WRITE_BYTES or last:
                await part.write(feeder)
                self._room.bytes = max(expected - feeder.position, 0)
            if last:
                await self._finish(job, part, expected, trip)
                return
            lead = part.loser(asyncio.get_running_loop().time())
            if lead is not None:
                self._on_lead(job, *lead)

    async def _finish(self, job: Job, part: Part, size: int, trip: Trip) -> None:
        try:
            path = await part.finish()
        except Refused:
            if part.sources <= {self.device}:  # or of nobody: it was nothing but an end
                trip.wrong.append(job)
            else:
                self._part_ways(job, part)
            return
        if path is None:
            return
        await in_thread_for([job], lambda: self._content.place(path, job.blob, move=True))
        await in_thread_for([job], lambda: self._content.drop_parts(job.blob, job.progress))
        trip.arrived.append((job, size))

    def _part_ways(self, job: Job, part: Part) -> None:
        """Makes each device send all of the content from now on: one that has sent something else is found out."""
        job.apart = True
        job.suspects |= part.sources

    # ---- frames
    async def _ask(self, number: int, job: Job, offset: int) -> None:
        urgent = self._asked[job] = job.waiters > 0
        await self._exchange.send(frames.get(number, job.blob, offset, urgent, self._exchange.most()))

    async def _holds(self, blob: BlobHash) -> bool:
        number = self._exchange.number()
        await self._exchange.send(frames.hold(number, [blob]))
        frame = await self._exchange.receive()
        if frame.WhichOneof("frame") != "held" or frame.held.id != number:
            raise ProtocolViolation("A device answered another question than it was asked.")
        return list(frame.held.held) == [True]

    async def _answer(self, number: int) -> pb.Blob:
        frame = await self._exchange.receive()
        if frame.WhichOneof("frame") != "blob" or frame.blob.id != number:
            raise ProtocolViolation("A device answered another question than it was asked.")
        if len(frame.blob.data) > BLOB_FRAME:
            raise ProtocolViolation("A device sent a piece of content above the limit.")
        if not (frame.blob.data or frame.blob.end or frame.blob.missing):
            raise ProtocolViolation("A device answered with nothing, and not at the end.")
        self._exchange.arrived(len(frame.blob.data), frame.blob.end)
        return frame.blob


def _is_last(answer: pb.Blob, position: int, expected: int) -> bool:
    """Raises ProtocolViolation for an answer that is longer or shorter than it says."""
    if position > expected:
        raise ProtocolViolation("A device sent more content than there is.")
    if answer.end and position < expected:
        raise ProtocolViolation("A device sent less content than it said.")
    return answer.end


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
