# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of bodies made anew from their files alone, for an index that was lost or is older than they are.

A list says what its chunks are, and the name of a segment which of them are in it: each chunk is hashed, and what is
right counts as here. Blocking; nothing else uses the volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from blake3 import blake3

from holofsd.core.chunk_list import ChunkList
from holofsd.core.ids import BlobHash
from holofsd.core.runs import ChunkRun, Places, in_one_segment, of_zeros
from holofsd.store.bodies import Bodies
from holofsd.store.segments import WHOLE, chunks_named, parse_name


def remake(bodies: Bodies) -> None:
    """Adds what the rows do not know. Call it inside a transaction; the tree is derived after it."""
    for name, chunks, first in _named(bodies):
        segment = bodies.segments.named(name)
        if segment is None or segment.places.stored is not None:
            _take(bodies, name, chunks, first)


def found_in_files(bodies: Bodies) -> Iterator[tuple[BlobHash, int]]:
    """(cid, size) of content that is whole in its own segments, as `remake` would find it. Changes nothing."""
    there: dict[BlobHash, set[int]] = {}
    sizes: dict[BlobHash, ChunkList] = {}
    for name, chunks, first in _named(bodies):
        cid = chunks.cid()
        sizes[cid] = chunks
        right = _right(bodies.segments.files.path(name), chunks, chunks_named(chunks, first))
        there.setdefault(cid, {index for run in of_zeros(chunks) for index in range(run.first, run.end)}).update(right)
    yield from ((cid, sizes[cid].size) for cid, found in there.items() if len(found) == sizes[cid].count)


def _named(bodies: Bodies) -> Iterator[tuple[str, ChunkList, int]]:
    """(name, list, first chunk) of each segment of which the list is here."""
    for name in sorted(bodies.segments.files.names()):
        parsed = parse_name(name)
        chunks = bodies.chunk_list(parsed[0]) if parsed is not None else None
        if parsed is not None and chunks is not None:
            yield name, chunks, parsed[1]


def _take(bodies: Bodies, name: str, chunks: ChunkList, first: int) -> None:
    """Looks at one segment, and lays what is in it where the rows have nothing."""
    named = chunks_named(chunks, first)
    found = list(_right(bodies.segments.files.path(name), chunks, named))
    if not found:
        return
    places = Places(b"").marked((range(i - named.start, i - named.start + 1) for i in found), len(named))
    bodies.begin(chunks, 0)
    id = bodies.segments.add(name, len(named), places)
    if first == WHOLE and places.stored is None:
        bodies.lay(chunks.cid(), in_one_segment(chunks, id), 0)
        return
    start = chunks.start(named.start)
    lacking = {index for part in bodies.missing(chunks.cid(), 0, chunks.size) for index in part}
    runs = [
        ChunkRun(part[0], len(part), id, part[0] - named.start, chunks.start(part[0]) - start)
        for part in _stretches([index for index in found if index in lacking])
    ]
    bodies.lay(chunks.cid(), runs, 0)


def _right(path: Path, chunks: ChunkList, named: range) -> Iterator[int]:
    """Chunks that are in the file as their hash says."""
    base = chunks.start(named.start)
    try:
        with path.open("rb", buffering=0) as file:
            for index in named:
                chunk = chunks.chunk(index)
                file.seek(chunk.offset - base)
                data = file.read(chunk.size)
                if len(data) == chunk.size and BlobHash(blake3(data).digest()) == chunk.hash:
                    yield index
    except OSError:
        return


def _stretches(indexes: list[int]) -> Iterator[list[int]]:
    for _, group in groupby(enumerate(indexes), lambda pair: pair[1] - pair[0]):
        yield [index for _, index in group]
