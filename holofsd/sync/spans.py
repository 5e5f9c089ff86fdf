# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans of one large content that is being fetched: which device is asked for which of its chunks (ADR 16). Pure.

A span is what one question asks for: chunks that follow one another, of up to `SPAN_BYTES`. Every stream to every
device takes the next one that nobody has; so several devices, and several connections to one of them, bring parts of
one content. Where nothing is left to take, a device that has time is asked for what another one takes long over. Each
chunk is verified by itself, so it does not matter who was asked, and the first one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from holofsd.core.chunk_list import ChunkList
from holofsd.core.ids import DeviceId
from holofsd.core.runs import Places

SPAN_BYTES: Final = 4 << 20
"""Bytes of one span, unless a single chunk has more."""
SPAN_CHUNKS: Final = 1024
"""Chunks of one span."""
AHEAD_BYTES: Final = 16 << 20
"""So much behind the place where a program waits goes before all else."""
_HERE, _FREE, _TAKEN = 0, 1, 2


@dataclass(slots=True, eq=False)
class Span:
    """Chunks that one device is asked for. `came_at`: loop time at which the last of them came, or it was asked."""

    device: DeviceId
    chunks: range
    came_at: float


class Spans:
    """`lacking`: chunks that are not here. Numbers of chunks are those of the list."""

    def __init__(self, chunks: ChunkList, lacking: Iterable[range]) -> None:
        self._chunks = chunks
        self._states = bytearray(chunks.count)
        self.lacking_bytes = 0
        for part in lacking:
            self._states[part.start : part.stop] = bytes([_FREE]) * len(part)
            self.lacking_bytes += chunks.start(part.stop) - chunks.start(part.start)
        self.lacking = len(self._states) - self._states.count(_HERE)
        """Chunks that are not here yet."""
        self._spans: list[Span] = []
        self._first: list[int] = []
        """Chunks at which programs wait, the one that waits longest first."""

    @property
    def is_whole(self) -> bool:
        return self.lacking == 0

    def lacks(self, chunk: int) -> bool:
        return self._states[chunk] != _HERE

    # ---- programs
    def begin_wait(self, offset: int) -> None:
        """Notes that a program waits for the byte there. Raises IndexError."""
        self._first.append(self._chunks.at(offset))

    def end_wait(self, offset: int) -> None:
        """Ends a `begin_wait`."""
        self._first.remove(self._chunks.at(offset))

    def is_urgent(self, span: Span) -> bool:
        """Whether a program waits for a chunk of it that is not here."""
        return any(chunk in span.chunks and self.lacks(chunk) for chunk in self._first)

    # ---- devices
    def has_work(self, device: DeviceId, now: float, has: Places, patience: float, urgent_only: bool = False) -> bool:
        """Whether `take` would give one."""
        return self._next(device, now, has, patience, urgent_only, SPAN_BYTES) is not None

    def slow_at(self, patience: float) -> float:
        """Loop time from which on the first of the spans that devices are asked for counts as late; infinity without
        any."""
        return min((span.came_at + patience for span in self._spans), default=math.inf)

    def take(
        self,
        device: DeviceId,
        now: float,
        has: Places,
        patience: float,
        urgent_only: bool = False,
        most: int = SPAN_BYTES,
    ) -> Span | None:
        """The next span for a device that has these chunks, or None. `patience`: seconds that another device has for a
        span, without a chunk of it, until this one is asked for the rest of it, too. `most`: bytes, but one chunk at
        least."""
        chunks = self._next(device, now, has, patience, urgent_only, most)
        if chunks is None:
            return None
        span = Span(device, chunks, now)
        for chunk in chunks:
            if self.lacks(chunk):
                self._states[chunk] = _TAKEN
        self._spans.append(span)
        return span

    def _next(
        self, device: DeviceId, now: float, has: Places, patience: float, urgent_only: bool, most: int
    ) -> range | None:
        found = self._next_free(has, urgent_only, most)
        return found or self._next_slow(device, now, has, patience, urgent_only)

    def _next_free(self, has: Places, urgent_only: bool, most: int) -> range | None:
        for chunk in self._first:
            end = self._chunks.covering(self._chunks.start(chunk), AHEAD_BYTES).stop
            if (found := self._free_in(range(chunk, end), has, most)) is not None:
                return found
        return None if urgent_only else self._free_in(range(len(self._states)), has, most)

    def _free_in(self, part: range, has: Places, most: int) -> range | None:
        start = self._states.find(_FREE, part.start, part.stop)
        for first, end, is_there in has.parts(start, part.stop) if start >= 0 else ():
            if is_there and (found := self._states.find(_FREE, first, end)) >= 0:
                return self._as_long_as_may_be(found, end, most)
        return None

    def _as_long_as_may_be(self, first: int, end: int, most: int) -> range:
        """Free chunks from the first one, which is free, up to before `end`."""
        stop, last = first + 1, self._chunks.start(first) + min(most, SPAN_BYTES)
        end = min(end, first + SPAN_CHUNKS)
        while stop < end and self._states[stop] == _FREE and self._chunks.start(stop + 1) <= last:
            stop += 1
        return range(first, stop)

    def _next_slow(self, device: DeviceId, now: float, has: Places, patience: float, urgent_only: bool) -> range | None:
        """Rest of a span that one other device alone is asked for, and is slow with."""
        for span in sorted(self._spans, key=lambda span: (not self.is_urgent(span), span.came_at)):
            if urgent_only and not self.is_urgent(span):
                return None
            if span.device == device or now - span.came_at < patience:
                continue
            rest = self._rest_of(span)
            if rest and self._may_help(rest, device, now, patience) and has.has(rest.start):
                _, end, _ = next(has.parts(rest.start, rest.stop))
                return range(rest.start, end)
        return None

    def _may_help(self, rest: range, device: DeviceId, now: float, patience: float) -> bool:
        """Whether that device is not asked for any of it, and all that are had their time: the more, the longer."""
        askers = [span for span in self._spans if _overlap(span.chunks, rest)]
        latest = patience * len(askers)
        return all(span.device != device and now - span.came_at >= latest for span in askers)

    def _rest_of(self, span: Span) -> range:
        """Chunks of it from the first to the last one that is not here."""
        lacking = [chunk for chunk in span.chunks if self.lacks(chunk)]
        return range(lacking[0], lacking[-1] + 1) if lacking else range(0)

    # ---- chunks
    def arrived(self, span: Span, chunk: int, now: float) -> bool:
        """A chunk of it came and is right. False where it was here already."""
        span.came_at = now
        if not self.lacks(chunk):
            return False
        self._states[chunk] = _HERE
        self.lacking -= 1
        self.lacking_bytes -= self._size(chunk)
        return True

    def is_done(self, span: Span) -> bool:
        """Whether all of it is here, from whomever: nothing that still comes of it is of use."""
        return not any(map(self.lacks, span.chunks))

    def give_back(self, span: Span) -> None:
        """Ends a question. What did not come, and no other device is asked for, is free again."""
        self._spans.remove(span)
        for chunk in span.chunks:
            if self.lacks(chunk) and not any(chunk in other.chunks for other in self._spans):
                self._states[chunk] = _FREE

    def lost(self, part: range) -> None:
        """Chunks that were here and are damaged."""
        for chunk in part:
            if not self.lacks(chunk):
                self._states[chunk] = _FREE
                self.lacking += 1
                self.lacking_bytes += self._size(chunk)

    def _size(self, chunk: int) -> int:
        return self._chunks.start(chunk + 1) - self._chunks.start(chunk)


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
