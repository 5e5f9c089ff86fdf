# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies: large content as a list of chunks, whose bytes lie in segments that contents share (ADR 16).

The file of a list is on the disk before the row of its body, and stays as long as a segment is named after it: with
lists and names alone all rows can be made anew. A body of which every chunk is here has a row in `content`, too, which
comes and goes in the transaction that changes the bits of a segment.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from holofsd.core.chunk_list import ChunkList, decode, list_id
from holofsd.core.errors import Refused
from holofsd.core.ids import BlobHash
from holofsd.core.runs import (
    ZEROS,
    BodyExtent,
    ChunkRun,
    Layout,
    Places,
    count_here,
    decode_layout,
    encode_layout,
    extents,
    in_one_segment,
    laid,
    missing,
    of_zeros,
    segments_of,
)
from holofsd.store.content import Content
from holofsd.store.database import Database
from holofsd.store.segments import Segment, Segments, name_of_whole, owner_of
from holofsd.store.stored_files import StoredFiles

_LISTS_KEPT: Final = 8
"""Lists in memory, those that were asked for last: of 44 bytes for each chunk, so at most 46 MB each."""


@dataclass(frozen=True, slots=True)
class Body:
    """Row of a body. `count`: its chunks; `here`: how many of them are here."""

    cid: BlobHash
    size: int
    count: int
    here: int
    layout: Layout

    @property
    def is_whole(self) -> bool:
        return self.here == self.count


@dataclass(frozen=True, slots=True)
class BodyChange:
    """Consequences of a change of rows. Whoever made it tells the tree of `whole` and `broken` in the same transaction,
    and passes it to `Bodies.unlink` after that."""

    whole: tuple[BlobHash, ...] = ()
    """Content of which every chunk is here now."""
    broken: tuple[BlobHash, ...] = ()
    """Content of which that is not so any more."""
    segments: tuple[str, ...] = ()
    """Files of segments that nothing needs any more."""
    lists: tuple[BlobHash, ...] = ()
    """As `segments`: files of lists."""


class Bodies:
    """Bodies of one volume. All writes of rows belong inside `db.transaction()`."""

    def __init__(self, db: Database, content: Content, directory: Path) -> None:
        self.db = db
        self._content = content
        fresh = directory / "incoming"
        self.segments = Segments(db, directory / "segments", fresh)
        self._lists = StoredFiles(directory / "lists", fresh, self._has_row)
        self._read: OrderedDict[BlobHash, ChunkList] = OrderedDict()
        self._guard = threading.Lock()

    @property
    def files(self) -> tuple[StoredFiles, StoredFiles]:
        """Files of segments, and of lists."""
        return self.segments.files, self._lists

    def _has_row(self, name: str) -> bool:
        cid = BlobHash(bytes.fromhex(name))
        is_known = self.db.one("SELECT 1 FROM bodies WHERE cid=?", (cid,)) is not None
        return is_known or self.segments.is_any_named_after(cid)

    # ---- files, which come before rows. Blocking
    def place_list(self, chunks: ChunkList) -> None:
        """Writes a list, and syncs it: a later sync of the content is one of its segments alone. Raises OSError."""
        cid = chunks.cid()
        self._lists.write(cid.hex(), chunks.data, is_durable=True)
        self._keep(cid, chunks)

    def place_whole(self, source: Path, chunks: ChunkList, move: bool, is_durable: bool) -> None:
        """Puts a file that was just cut into this list in its place, and writes the list. Raises OSError."""
        self.place_list(chunks)
        name = name_of_whole(chunks.cid())
        if move:
            self.segments.files.move(source, name, is_durable)
        else:
            self.segments.files.link(source, name, is_durable)

    # ---- looking
    def get(self, cid: BlobHash) -> Body | None:
        row = self.db.one("SELECT cid, size, count, here, layout FROM bodies WHERE cid=?", (cid,))
        return Body(BlobHash(row[0]), row[1], row[2], row[3], decode_layout(row[4], row[2])) if row else None

    def chunk_list(self, cid: BlobHash) -> ChunkList | None:
        """The list of some content; None if there is none here, or if it is damaged. A large list takes 0.1 s to read
        the first time."""
        chunks = self._read.get(cid)
        if chunks is None:
            try:
                data = self._lists.path(cid.hex()).read_bytes()
                if list_id(data) != cid:
                    return None
                chunks = decode(data)
            except (OSError, Refused):
                return None
        self._keep(cid, chunks)
        return chunks

    def _keep(self, cid: BlobHash, chunks: ChunkList) -> None:
        """Called in any thread."""
        with self._guard:
            self._read[cid] = chunks
            self._read.move_to_end(cid)
            while len(self._read) > _LISTS_KEPT:
                self._read.popitem(last=False)

    def is_body(self, cid: BlobHash) -> bool:
        """Whether this is the id of content with a list of which something may be here."""
        return self.db.one("SELECT 1 FROM bodies WHERE cid=?", (cid,)) is not None

    def is_read(self, cid: BlobHash) -> bool:
        """Whether its list is in memory: then `chunk_list` is quick."""
        return cid in self._read

    def here(self, cid: BlobHash) -> tuple[Places, int]:
        """A bit for each chunk that is here, and how many chunks there are; 0: nothing is known of it."""
        body = self.get(cid)
        if body is None:
            return Places(b""), 0
        lacking = () if body.is_whole else missing(body.layout, self.presence(cid), 0, body.count)
        return Places(None).cleared(lacking, body.count) if lacking else Places(None), body.count

    def presence(self, cid: BlobHash) -> dict[int, Places]:
        """Presence of chunks in each of its segments."""
        return {id: segment.places for id, segment in self.segments.of(cid).items()}

    def missing(self, cid: BlobHash, offset: int, length: int) -> list[range]:
        """Chunks of a part of the content that are not here; all of its chunks if nothing is known of it but its list.
        Raises Refused without a list."""
        chunks, body = self.list_of(cid), self.get(cid)
        part = chunks.covering(offset, length)
        return missing(body.layout if body else (), self.presence(cid), part.start, part.stop)

    def whole_extents(self, cid: BlobHash) -> list[BodyExtent]:
        """Places of all bytes, of content that is whole. Raises Refused where its list is needed, and not here."""
        body = self.get(cid)
        if body is not None and body.is_whole and len(body.layout) == 1 and body.layout[0].segment != ZEROS:
            run = body.layout[0]  # as it was written: then the list, which can be large, need not be read
            return [BodyExtent(0, body.size, run.segment, run.offset)]
        return self.extents(cid, 0, body.size if body else 0)

    def extents(self, cid: BlobHash, offset: int, length: int) -> list[BodyExtent]:
        """Places of the bytes of a part of the content. Raises Refused without a list."""
        body = self.get(cid)
        return extents(self.list_of(cid), body.layout if body else (), self.presence(cid), offset, length)

    def list_of(self, cid: BlobHash) -> ChunkList:
        """The list of some content. Raises Refused where it is not here, or is damaged."""
        chunks = self.chunk_list(cid)
        if chunks is None:
            raise Refused("The list of a large file is not here, or is damaged.")
        return chunks

    # ---- coming
    def add_whole(self, chunks: ChunkList, now_ms: int) -> BodyChange:
        """Content whose file and list were put in place: from this transaction on it is here. What was here of it in
        other segments goes."""
        cid = chunks.cid()
        id = self.segments.add(name_of_whole(cid), chunks.count, Places(None))
        return self._set_layout(cid, chunks, in_one_segment(chunks, id), now_ms, changed=(id,))

    def begin(self, chunks: ChunkList, now_ms: int) -> BodyChange:
        """Content whose list was put in place, and of which nothing but zeros need be here. If it is known, it may be
        whole with its list."""
        if self.get(cid := chunks.cid()) is not None:
            self.db.after_commit(lambda: self._lists.arrived(cid.hex()))
            return self._count_again([cid], now_ms)
        return self._set_layout(cid, chunks, of_zeros(chunks), now_ms)

    def lay(self, cid: BlobHash, fresh: Iterable[ChunkRun], now_ms: int) -> BodyChange:
        """Changes where chunks are: from now on in these segments, which have a row, of another content or new. Raises
        Refused where the content is not known; ValueError where a run is not within it, or a segment has no row."""
        body, chunks = self.get(cid), self.list_of(cid)
        if body is None:
            raise Refused("Nothing is known here of this content.")
        return self._set_layout(cid, chunks, laid(chunks, body.layout, fresh), now_ms)

    def _set_layout(
        self, cid: BlobHash, chunks: ChunkList, layout: Layout, now_ms: int, changed: Iterable[int] = ()
    ) -> BodyChange:
        needed = segments_of(layout)
        if any(self.segments.get(id) is None for id in needed):
            raise ValueError("a layout names a segment that is not there")
        self.db.run(
            "INSERT INTO bodies VALUES (?,?,?,0,?) ON CONFLICT (cid) DO UPDATE SET layout=excluded.layout",
            (cid, chunks.size, chunks.count, encode_layout(layout)),
        )
        self.db.after_commit(lambda: self._lists.arrived(cid.hex()))
        gone = self.segments.use(cid, needed)
        counted = self._count_again({cid, *(user for id in changed for user in self.segments.users(id))}, now_ms)
        return self._with_leftovers(counted, gone)

    def _with_leftovers(self, change: BodyChange, gone: Iterable[Segment], also: Iterable[BlobHash] = ()) -> BodyChange:
        names = tuple(segment.name for segment in gone)
        owners = dict.fromkeys([*also, *map(owner_of, names)])
        return replace(change, segments=names, lists=tuple(cid for cid in owners if not self._has_row(cid.hex())))

    # ---- chunks that come and go
    def arrived(self, places: Mapping[int, Iterable[range]], now_ms: int) -> BodyChange:
        """Notes that these places of segments have their chunk, verified and on the disk. Raises ValueError where there
        is no such segment or place."""
        return self._changed({id: _marked(self._of(id), fresh) for id, fresh in places.items()}, now_ms)

    def lost(self, places: Mapping[int, Iterable[range]], now_ms: int) -> BodyChange:
        """Notes that these places have it no more: it is damaged. Raises ValueError as `arrived`."""
        return self._changed({id: _cleared(self._of(id), bad) for id, bad in places.items()}, now_ms)

    def count_anew(self, cid: BlobHash) -> None:
        """Makes all rows that follow from the layout anew; those of segments that nothing needs by that go."""
        if (body := self.get(cid)) is not None:
            self.segments.use(cid, segments_of(body.layout))
            self._content.lost(cid)
            self._count_again([cid], 0)

    def list_lost(self, cid: BlobHash) -> BodyChange:
        """Notes that a list is gone or damaged: the content is not here until it has come again. Chunks stay."""
        self._read.pop(cid, None)
        if not self._content.has(cid):
            return BodyChange()
        self._content.lost(cid)
        return BodyChange(broken=(cid,))

    def _of(self, id: int) -> Segment:
        segment = self.segments.get(id)
        if segment is None:
            raise ValueError("there is no such segment")
        return segment

    def _changed(self, places: Mapping[int, Places], now_ms: int) -> BodyChange:
        for id, found in places.items():
            self.segments.set_places(id, found)
        return self._count_again({cid for id in places for cid in self.segments.users(id)}, now_ms)

    def _count_again(self, cids: Iterable[BlobHash], now_ms: int) -> BodyChange:
        whole, broken = list[BlobHash](), list[BlobHash]()
        for cid in sorted(cids):
            body = self.get(cid)
            assert body is not None
            here, was_whole = count_here(body.layout, self.presence(cid), body.count), self._content.has(cid)
            self.db.run("UPDATE bodies SET here=? WHERE cid=?", (here, cid))
            if here == body.count and not was_whole:
                self._content.add(cid, body.size, now_ms)
                whole.append(cid)
            elif was_whole and here < body.count:
                self._content.lost(cid)
                broken.append(cid)
        return BodyChange(tuple(whole), tuple(broken))

    def partial(self) -> list[tuple[BlobHash, int]]:
        """(cid, bytes) of content that is known and not whole. How many of the bytes are here is not counted."""
        return self.db.all("SELECT cid, size FROM bodies WHERE here<count")

    # ---- going
    def forget(self, cid: BlobHash) -> BodyChange:
        """Deletes the rows of content that nothing needs any more. What others share of it stays."""
        gone = self.segments.use(cid, ())
        self.db.run("DELETE FROM bodies WHERE cid=?", (cid,))
        self._content.lost(cid)
        self._read.pop(cid, None)
        return self._with_leftovers(BodyChange(), gone, [cid])

    def sweep(self, before: float) -> Iterator[int]:
        """Deletes files that a crash left without a row, last changed before that time in s. Yields the bytes of each.
        Blocking: a step at a time."""
        for files in self.files:
            yield from files.sweep(before)

    def unlink(self, change: BodyChange) -> None:
        """Deletes files that nothing needed after a transaction, unless something needs them again."""
        for name in change.segments:
            self.segments.files.unlink(name)
        for cid in change.lists:
            self._lists.unlink(cid.hex())


def _marked(segment: Segment, places: Iterable[range]) -> Places:
    return segment.places.marked(places, segment.chunks)


def _cleared(segment: Segment, places: Iterable[range]) -> Places:
    return segment.places.cleared(places, segment.chunks)
