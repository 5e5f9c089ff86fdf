# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts of content with a chunk list: where its chunks are, as runs of them in segments (ADR 16). Pure.

A layout says where a chunk is to be looked for. Whether it is there already is known by segment (`Places`), for
contents share segments. Chunks of zeros are in no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from holofsd.core.chunk_list import ENTRY, ChunkList

ZEROS: Final = 0
"""In the place of a segment: chunks of zeros. Segments are numbered from 1."""
_NUMBER_BYTES: Final = 9
"""Of a number in a stored layout, at most: 63 bits."""


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Chunks that follow one another in the content as in a segment.

    `place` is that of the first one among the chunks of the segment, for `Places`; `offset` that of its first byte in
    the file, so that no other list is needed to read.
    """

    first: int
    count: int
    segment: int
    place: int
    offset: int

    @property
    def end(self) -> int:
        return self.first + self.count


Layout = tuple[ChunkRun, ...]
"""Runs in the order of their chunks, none of which is in two; gaps between them are nowhere yet."""


class Places:
    """Presence of the chunks of one segment: one bit for each place, the lowest of each byte first; None: all are
    there."""

    def __init__(self, have: bytes | None) -> None:
        self._have = have

    @property
    def stored(self) -> bytes | None:
        """Returns its bits, or None where all are there."""
        return self._have

    def marked(self, places: Iterable[range], count: int) -> Places:
        """The same with these places there, too; of `count` in all. Raises ValueError where there are fewer."""
        bits = self._changed(places, count, here=True)
        return Places(None if bits == _all_bits(count) else bits)

    def cleared(self, places: Iterable[range], count: int) -> Places:
        """The same without these places. Raises ValueError where there are fewer."""
        return Places(self._changed(places, count, here=False))

    def _changed(self, places: Iterable[range], count: int, here: bool) -> bytes:
        bits = bytearray(_all_bits(count) if self._have is None else self._have.ljust((count + 7) // 8, b"\0"))
        for stretch in places:
            _set(bits, stretch, count, here)
        return bytes(bits)

    def has(self, place: int) -> bool:
        if self._have is None:
            return True
        return place // 8 < len(self._have) and bool(self._have[place // 8] >> place % 8 & 1)

    def parts(self, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Stretches (first, end, is here) of the places from `first` up to before `end`, as long as they can be."""
        start = first
        while start < end:
            here, stop = self.has(start), start + 1
            while stop < end:
                if stop % 8 == 0 and stop + 8 <= end and self._byte(stop // 8) == (0xFF if here else 0):
                    stop += 8
                elif self.has(stop) == here:
                    stop += 1
                else:
                    break
            yield start, stop, here
            start = stop

    def _byte(self, index: int) -> int:
        if self._have is None:
            return 0xFF
        return self._have[index] if index < len(self._have) else 0


def _all_bits(count: int) -> bytes:
    return ((1 << count) - 1).to_bytes((count + 7) // 8, "little")


def _set(bits: bytearray, places: range, count: int, here: bool) -> None:
    if places.start < 0 or places.stop > count:
        raise ValueError("a segment has no such place")
    place = places.start
    while place < places.stop:
        if place % 8 == 0 and place + 8 <= places.stop:
            bits[place // 8] = 0xFF if here else 0
            place += 8
            continue
        if here:
            bits[place // 8] |= 1 << place % 8
        else:
            bits[place // 8] &= ~(1 << place % 8)
        place += 1


NOTHING: Final = Places(b"")
Presence = Mapping[int, Places]
"""Places of each segment. One that is not in it has nothing."""


@dataclass(frozen=True, slots=True)
class BodyExtent:
    """Some bytes of the content, and where they are: in a segment, nowhere (`segment` is None), or zeros."""

    offset: int
    length: int
    segment: int | None
    source: int = 0
    """Offset in the file of the segment."""


# ---- making layouts
def in_one_segment(chunks: ChunkList, segment: int) -> Layout:
    """The layout of content whose bytes are one file, as they are when they were written here."""
    return (ChunkRun(0, chunks.count, segment, 0, 0),)


def of_zeros(chunks: ChunkList) -> Layout:
    """The chunks of zeros of a list. Only the largest ones are known: zeros are cut into them."""
    entry = chunks.profile.zeros + chunks.profile.largest.to_bytes(4, "big")
    data, found = chunks.entries(0, chunks.count), list[ChunkRun]()
    at = data.find(entry)
    while at >= 0:
        if at % ENTRY == 0:
            found.append(ChunkRun(at // ENTRY, 1, ZEROS, 0, 0))
            at = data.find(entry, at + ENTRY)
        else:
            at = data.find(entry, at + 1)
    return _joined(chunks, found)


def laid(chunks: ChunkList, layout: Layout, fresh: Iterable[ChunkRun]) -> Layout:
    """The layout with some chunks at other places than before, or at a first one. Raises ValueError where one of
    `fresh` is not within the content, or two of them have one chunk."""
    over = sorted(fresh, key=lambda run: run.first)
    if any(run.first < 0 or run.count < 1 or run.end > chunks.count for run in over):
        raise ValueError("a run is not within the content")
    if any(one.end > other.first for one, other in pairwise(over)):
        raise ValueError("two runs have one chunk")
    kept: list[ChunkRun] = []
    rest = iter(over)
    covering = next(rest, None)
    for run in layout:
        start = run.first
        while covering is not None and covering.first < run.end:
            if covering.first > start:
                kept.append(part(chunks, run, start, covering.first))
            start = max(start, covering.end)
            if covering.end > run.end:
                break
            covering = next(rest, None)
        if start < run.end:
            kept.append(part(chunks, run, start, run.end))
    return _joined(chunks, sorted((*kept, *over), key=lambda run: run.first))


def part(chunks: ChunkList, run: ChunkRun, first: int, end: int) -> ChunkRun:
    """The chunks of a run from `first` up to before `end`."""
    if run.segment == ZEROS:
        return replace(run, first=first, count=end - first)
    offset = run.offset + chunks.start(first) - chunks.start(run.first)
    return ChunkRun(first, end - first, run.segment, run.place + first - run.first, offset)


def _joined(chunks: ChunkList, runs: Iterable[ChunkRun]) -> Layout:
    """Runs that go on where the one before ends become one."""
    joined: list[ChunkRun] = []
    for run in runs:
        if joined and _goes_on(chunks, joined[-1], run):
            joined[-1] = replace(joined[-1], count=joined[-1].count + run.count)
        else:
            joined.append(run)
    return tuple(joined)


def _goes_on(chunks: ChunkList, run: ChunkRun, other: ChunkRun) -> bool:
    return other.first == run.end and other.segment == run.segment and part(chunks, run, run.end, other.end) == other


# ---- what a layout says
def gaps(layout: Layout, first: int, end: int) -> list[range]:
    """Chunks from `first` up to before `end` that are nowhere."""
    found: list[range] = []
    start = first
    for run in layout:
        if run.end <= start:
            continue
        if run.first >= end:
            break
        if run.first > start:
            found.append(range(start, run.first))
        start = run.end
    if start < end:
        found.append(range(start, end))
    return found


def segments_of(layout: Layout) -> frozenset[int]:
    """Segments without which chunks would be nowhere."""
    return frozenset(run.segment for run in layout) - {ZEROS}


def missing(layout: Layout, presence: Presence, first: int, end: int) -> list[range]:
    """Chunks from `first` up to before `end` that are not here."""
    found: list[range] = []
    for start, stop, run in _stretches(layout, presence, first, end):
        if run is None:
            if found and found[-1].stop == start:
                start = found.pop().start
            found.append(range(start, stop))
    return found


def count_here(layout: Layout, presence: Presence, count: int) -> int:
    """Chunks that are here, of so many."""
    return count - sum(len(each) for each in missing(layout, presence, 0, count))


def extents(chunks: ChunkList, layout: Layout, presence: Presence, offset: int, length: int) -> list[BodyExtent]:
    """Extents of a part of the content, which may reach beyond the end. Adjoining bytes are one extent."""
    covering, found = chunks.covering(offset, length), list[BodyExtent]()
    if not covering:
        return found
    end = min(offset + length, chunks.size)
    for first, stop, run in _stretches(layout, presence, covering.start, covering.stop):
        start, until = max(chunks.start(first), offset), min(chunks.start(stop), end)
        if run is None or run.segment == ZEROS:
            extent = BodyExtent(start, until - start, None if run is None else ZEROS)
        else:
            source = run.offset + start - chunks.start(run.first)
            extent = BodyExtent(start, until - start, run.segment, source)
        if found and _adjoin(found[-1], extent):
            before = found.pop()
            extent = replace(before, length=before.length + extent.length)
        found.append(extent)
    return found


def _adjoin(one: BodyExtent, other: BodyExtent) -> bool:
    if one.segment != other.segment:
        return False
    return one.segment in (None, ZEROS) or one.source + one.length == other.source


def _stretches(layout: Layout, presence: Presence, first: int, end: int) -> Iterator[tuple[int, int, ChunkRun | None]]:
    """(first, end, run) of all chunks of a part; without a run where they are not here."""
    start = first
    for run in layout:
        if run.end <= start:
            continue
        if run.first >= end:
            break
        if run.first > start:
            yield start, run.first, None
            start = run.first
        stop = min(run.end, end)
        if run.segment == ZEROS:
            yield start, stop, run
        else:
            shift = run.place - run.first
            for one, other, here in presence.get(run.segment, NOTHING).parts(start + shift, stop + shift):
                yield one - shift, other - shift, run if here else None
        start = stop
    if start < end:
        yield start, end, None


# ---- sharing
def shared(chunks: ChunkList, other: ChunkList, layout: Layout) -> list[ChunkRun]:
    """Runs for all chunks of some content that another content (`other`, with its layout) has, too.

    What is the same at both ends is found by comparing bytes: an edit in the middle of a large file costs a look at few
    chunks. In between a chunk is found by its entry, where the one before it was if it can be.
    """
    front = _same_front(chunks, other)
    back = _same_back(chunks, other, front)
    pairs = [(0, 0, front), *_in_between(chunks, other, layout, (front, back))]
    if back:
        pairs.append((chunks.count - back, other.count - back, back))
    found: list[ChunkRun] = []
    for mine, theirs, count in pairs:
        for run in layout:
            first, end = max(run.first, theirs), min(run.end, theirs + count)
            if first < end:
                found.append(replace(part(other, run, first, end), first=first - theirs + mine))
    return list(_joined(chunks, found))


def _same_front(one: ChunkList, other: ChunkList) -> int:
    """Chunks that both have from the beginning, in steps that double and halve again."""
    known, most = 0, min(one.count, other.count)
    step = 1
    while step:
        end = min(known + step, most)
        if end > known and one.entries(known, end) == other.entries(known, end):
            known, step = end, step * 2
        elif end - known > 1:
            step = (end - known) // 2
        else:
            break
    return known


def _same_back(one: ChunkList, other: ChunkList, front: int) -> int:
    known, most = 0, min(one.count, other.count) - front
    step = 1
    while step:
        more = min(known + step, most)
        mine = one.entries(one.count - more, one.count - known)
        if more > known and mine == other.entries(other.count - more, other.count - known):
            known, step = more, step * 2
        elif more - known > 1:
            step = (more - known) // 2
        else:
            break
    return known


def _in_between(one: ChunkList, other: ChunkList, layout: Layout, same: tuple[int, int]) -> list[tuple[int, int, int]]:
    """(first, first of the other, count) of what both have, apart from so many chunks at both ends.

    Only entries of what is in between are kept in memory, however long the other list is.
    """
    between = range(same[0], one.count - same[1])
    wanted = {one.entry(index) for index in between}
    where: dict[bytes, int] = {}
    for run in layout if wanted else ():
        for index in range(run.first, run.end):
            if (entry := other.entry(index)) in wanted:
                where.setdefault(entry, index)
    found: list[tuple[int, int, int]] = []
    for index in between:
        entry = one.entry(index)
        first, at, count = found[-1] if found else (0, 0, 0)
        if count and first + count == index and at + count < other.count and other.entry(at + count) == entry:
            found[-1] = (first, at, count + 1)
        elif entry in where:
            found.append((index, where[entry], 1))
    return found


# ---- stored
def encode_layout(layout: Layout) -> bytes:
    """Numbers of 7 bits a byte, the lowest first: for each run the gap before it, count, segment, place, offset."""
    out, end = bytearray(), 0
    for run in layout:
        for number in (run.first - end, run.count, run.segment, run.place, run.offset):
            _put(out, number)
        end = run.end
    return bytes(out)


def decode_layout(data: bytes, count: int) -> Layout:
    """The layout of content with so many chunks. Raises ValueError where the bytes are none."""
    numbers = list(_numbers(data))
    if len(numbers) % 5:
        raise ValueError("a layout ends in the middle of a run")
    found: list[ChunkRun] = []
    end = 0
    for at in range(0, len(numbers), 5):
        gap, length, segment, place, offset = numbers[at : at + 5]
        run = ChunkRun(end + gap, length, segment, place, offset)
        if not length or run.end > count or (segment == ZEROS and (place or offset)):
            raise ValueError("a run of a layout cannot be")
        found.append(run)
        end = run.end
    return tuple(found)


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number
            number = shift = 0
        elif shift >= 7 * _NUMBER_BYTES:
            raise ValueError("a number of a layout is too long")
    if shift:
        raise ValueError("a layout ends in the middle of a number")
