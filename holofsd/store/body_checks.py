# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at whether the chunks of a body are on the disk as its rows say: in full length, or to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from blake3 import blake3

from holofsd.core.ids import BlobHash
from holofsd.core.runs import ZEROS
from holofsd.store.bodies import Bodies


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Place of one chunk that is said to be here: a number in a segment, and bytes of its file."""

    segment: int
    place: int
    path: Path
    offset: int
    size: int
    hash: BlobHash


BadPlaces = dict[int, list[range]]
"""Places without their chunk, by segment: what `Bodies.lost` takes."""


def chunk_places(bodies: Bodies, cid: BlobHash, part: range | None = None) -> list[ChunkPlace]:
    """Chunks that are said to be here, in the order of the content; of a part of it, or all. Raises Refused without a
    list."""
    body, chunks, found = bodies.get(cid), bodies.list_of(cid), list[ChunkPlace]()
    part = range(chunks.count) if part is None else part
    for run in body.layout if body is not None else ():
        segment = bodies.segments.get(run.segment) if run.segment != ZEROS else None
        if segment is None:
            continue
        path = bodies.segments.files.path(segment.name)
        for index in range(max(run.first, part.start), min(run.end, part.stop)):
            place = run.place + index - run.first
            if segment.places.has(place):
                listed = chunks.chunk(index)
                offset = run.offset + listed.offset - chunks.start(run.first)
                found.append(ChunkPlace(run.segment, place, path, offset, listed.size, listed.hash))
    return found


def looks_whole(bodies: Bodies, cid: BlobHash) -> bool:
    """Whether the segments of content that is said to be whole are there in full length. Quick, for each time that it
    is opened."""
    for extent in bodies.whole_extents(cid):
        if extent.segment == ZEROS:
            continue
        path = bodies.segments.path(extent.segment) if extent.segment is not None else None
        try:
            if path is None or path.stat().st_size < extent.source + extent.length:
                return False
        except OSError:
            return False
    return True


def too_short(places: Iterable[ChunkPlace]) -> BadPlaces:
    """Lists those that are beyond the end of their file. Blocking, and quick."""
    return _bad(place for place in places if not _reaches(place))


def altered(places: Iterable[ChunkPlace]) -> BadPlaces:
    """Lists those whose bytes do not have their hash. Blocking: it reads all of them."""
    return _bad(_altered(places))


def _altered(places: Iterable[ChunkPlace]) -> Iterator[ChunkPlace]:
    for path, group in groupby(places, lambda place: place.path):
        there = list(group)
        try:
            with path.open("rb", buffering=0) as file:
                while there:
                    file.seek(there[0].offset)
                    if blake3(file.read(there[0].size)).digest() != there[0].hash:
                        yield there[0]
                    del there[0]
        except OSError:
            yield from there


def _reaches(place: ChunkPlace) -> bool:
    try:
        return place.path.stat().st_size >= place.offset + place.size
    except OSError:
        return False


def _bad(places: Iterable[ChunkPlace]) -> BadPlaces:
    found: BadPlaces = {}
    for place in places:
        found.setdefault(place.segment, []).append(range(place.place, place.place + 1))
    return found
