# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiving chunks of one content from one device over one content stream, span after span.

Two questions are under way at a time, so that the line is never idle. Spans grow while they come quickly: a device that
is slow is asked for little at once, and the others bring the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from holofsd.core.chunk_list import HEADER, ChunkList, decode, list_id, read_header
from holofsd.core.errors import ProtocolViolation, Refused
from holofsd.core.ids import DeviceId
from holofsd.net.api import Stream
from holofsd.store.threads import in_thread
from holofsd.sync import chunk_frames
from holofsd.sync.body_jobs import BodyJob
from holofsd.sync.chunk_frames import ListRequest, PiecesRequest
from holofsd.sync.exchange import ContentExchange, Stalled, Stopped
from holofsd.sync.jobs import Job
from holofsd.sync.pacing import TrafficLimits
from holofsd.sync.pieces import Pieces
from holofsd.sync.receiving import Trip
from holofsd.sync.spans import SPAN_BYTES, Span
from holofsd.sync.turns import pool_of

UNDER_WAY: Final = 2
"""Questions to one device over one stream."""
FIRST_BYTES: Final = 512 << 10
"""Bytes of the first span of a stream."""
QUICK_S: Final = 1.0
SLOW_S: Final = 4.0
"""Spans that come within so many seconds grow, those that take longer than this shrink."""
MEMORY: Final = 256 << 20
"""Bytes of unfinished chunks in memory, of all streams of the process together."""


@dataclass(slots=True, eq=False)
class _Question:
    """One span that the device was asked for. `asked_at`: loop time."""

    number: int
    span: Span
    pieces: Pieces
    asked_at: float


class _Memory:
    """Memory of unfinished chunks. Beyond `MEMORY` the one that has been coming for longest is given up."""

    def __init__(self) -> None:
        self._sizes: dict[BodyReceiver, int] = {}

    def hold(self, receiver: BodyReceiver, size: int) -> None:
        """Notes the bytes that one stream has of a chunk which is not whole."""
        if not size:
            self._sizes.pop(receiver, None)
            return
        self._sizes[receiver] = size
        if sum(self._sizes.values()) > MEMORY:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            oldest.stop()


_memory = _Memory()


class BodyReceiver:
    """One trip to one device for one content.

    `resume` makes a job ready whose list is here; `on_list` is called with a list that is right, and makes the job
    ready for its chunks; `has_better()`: whether the stream has something to do that goes before this.
    """

    def __init__(
        self,
        stream: Stream,
        device: DeviceId,
        limits: TrafficLimits,
        resume: Callable[[BodyJob], Awaitable[bool]],
        on_list: Callable[[BodyJob, ChunkList], Awaitable[None]],
        has_better: Callable[[], bool],
    ) -> None:
        self.device = device
        self._exchange = ContentExchange(stream, limits, lambda: self.is_urgent)
        self._resume = resume
        self._on_list = on_list
        self._has_better = has_better
        self._job: BodyJob | None = None
        self._under_way: deque[_Question] = deque()
        self._most = FIRST_BYTES

    @property
    def is_urgent(self) -> bool:
        """Whether a program waits for something that this trip may bring."""
        return self._job is not None and self._job.waiters > 0

    def stop(self) -> None:
        """Ends the trip soon: `fetch` raises Stopped."""
        self._exchange.stop()

    def was_asked_early(self, job: object) -> bool:
        """Never: spans are short, and the next one is asked for as urgently as is needed by then."""
        return False

    def is_done_elsewhere(self, job: object) -> None:
        """Ends a trip that can bring nothing else."""
        if job is self._job:
            self.stop()

    @property
    def pending(self) -> list[Job]:
        """Job of which this trip may still bring something."""
        return [] if self._job is None else [self._job]

    async def fetch(self, jobs: Sequence[Job], trip: Trip) -> None:
        """Brings chunks of one content, as long as there are some for this device. Fills `trip`, also when it raises:
        ConnectionLost, ProtocolViolation, NoSpace."""
        (job,) = jobs
        assert isinstance(job, BodyJob)
        self._job, trip.asked = job, True
        try:
            if job.chunks is None and not await self._resume(job) and not await self._bring_list(job, trip):
                return
            trip.needed = job.claim_room()
            await self._bring_chunks(job, trip)
        except Stalled:
            trip.stalled = True
            raise
        finally:
            _memory.hold(self, 0)
            for question in self._under_way:
                assert job.spans is not None
                job.spans.give_back(question.span)
            self._under_way.clear()

    # ---- the list
    async def _bring_list(self, job: BodyJob, trip: Trip) -> bool:
        number = self._exchange.number()
        urgent = job.waiters > 0
        request = ListRequest(number, job.blob, urgent=urgent, most=self._exchange.most())
        await self._exchange.send(chunk_frames.get_list(request))
        data, length = bytearray(), HEADER
        while True:
            part = chunk_frames.read_list_part(await self._exchange.receive(), number)
            if part.missing:
                if data:
                    raise ProtocolViolation("A device sent part of a list, and that it does not have it.")
                trip.missing.append(job)
                return False
            self._exchange.arrived(len(part.data), part.end)
            data += part.data
            _memory.hold(self, len(data))
            if length == HEADER:
                length = self._length(job, bytes(data), trip)
            if len(data) > length or (part.end and len(data) < length):
                raise ProtocolViolation("A device sent a list that is longer or shorter than it says.")
            if part.end:
                break
        try:
            chunks = await in_thread(pool_of(urgent), _read_list, bytes(data), job)
        except Refused:
            trip.wrong.append(job)
            return False
        _memory.hold(self, 0)
        await self._on_list(job, chunks)
        return True

    def _length(self, job: BodyJob, data: bytes, trip: Trip) -> int:
        """Bytes of the whole list. Raises Stopped where it cannot be the one, before it takes memory."""
        try:
            header = read_header(data)
        except Refused:
            trip.wrong.append(job)
            raise Stopped("The other device sent something else than a list.") from None
        if not job.least <= header.size <= job.most:
            trip.otherwise.append(job)
            raise Stopped("The other device has a list of another size than any record says.")
        return header.length

    # ---- chunks
    async def _bring_chunks(self, job: BodyJob, trip: Trip) -> None:
        lacked: list[int] = []
        has_told = False
        while True:
            while len(self._under_way) < UNDER_WAY and not self._has_better() and await self._ask(job):
                pass
            if not self._under_way:
                break
            question = self._under_way[0]
            await self._take_answer(job, question, trip)
            self._under_way.popleft()
            assert job.spans is not None
            job.spans.give_back(question.span)
            if question.pieces.missing:
                lacked += question.pieces.missing
                job.lacks_at(self.device, question.pieces.missing)
                if has_told:
                    break  # it lacks what it said it has: others are asked, and this one again after a while
                if not self._under_way:  # answers come in the order of the questions
                    has_told = True
                    await self._ask_what_it_has(job)
                    job.lacks_at(self.device, lacked)
        if lacked:
            trip.missing.append(job)
        if self._under_way:
            raise Stopped("The other device lacks what it said it has.")

    async def _ask(self, job: BodyJob) -> bool:
        """Asks for one more span; False if there is none for this device."""
        assert job.chunks is not None
        span = job.take(self.device, self._most)
        if span is None:
            return False
        assert job.spans is not None
        number, now = self._exchange.number(), asyncio.get_running_loop().time()
        self._under_way.append(_Question(number, span, Pieces(job.chunks, span.chunks), now))
        request = PiecesRequest(number, job.blob, span.chunks, job.waiters > 0, self._exchange.most())
        await self._exchange.send(chunk_frames.get_pieces(request))
        return True

    async def _take_answer(self, job: BodyJob, question: _Question, trip: Trip) -> None:
        assert job.spans is not None
        assert job.arriving is not None
        pieces, loop = question.pieces, asyncio.get_running_loop()
        while not pieces.is_over:
            piece = chunk_frames.read_piece(await self._exchange.receive(), question.number)
            try:
                arrived = pieces.take(piece)
            except Refused:
                trip.wrong.append(job)
                raise Stopped("The other device sent a chunk that does not match its hash.") from None
            self._exchange.arrived(len(piece.data), pieces.is_over)
            job.came_at = loop.time()
            _memory.hold(self, pieces.held)
            if arrived is not None and job.spans.lacks(arrived.index):
                await job.arriving.write(arrived.index, arrived.data)
                job.spans.arrived(question.span, arrived.index, loop.time())
                job.misses.pop(self.device, None)
                if job.room is not None:
                    job.room.bytes = max(job.room.bytes - len(arrived.data), 0)
                if job.arriving.is_due or job.spans.is_whole:
                    await job.arriving.settle()
        self._adapt(loop.time() - question.asked_at)

    def _adapt(self, took: float) -> None:
        if took < QUICK_S:
            self._most = min(self._most * 2, SPAN_BYTES)
        elif took > SLOW_S:
            self._most = max(self._most // 2, FIRST_BYTES)

    async def _ask_what_it_has(self, job: BodyJob) -> None:
        assert job.chunks is not None
        number = self._exchange.number()
        await self._exchange.send(chunk_frames.ask(number, job.blob))
        job.has[self.device] = chunk_frames.read_has(await self._exchange.receive(), number, job.chunks.count)


def _read_list(data: bytes, job: BodyJob) -> ChunkList:
    """Blocking. Raises Refused."""
    if list_id(data) != job.blob:
        raise Refused("A device sent another list than it was asked for.")
    return decode(data)
