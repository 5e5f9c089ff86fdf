# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments: files with the bytes of large content, and which of its chunks are in them (ADR 16).

Contents share segments, so whether a chunk is here is known by segment. A segment only gains bytes, and is unlinked as
a whole: a mount may have it open. Its name says what is in it, so that a row can be made anew from a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holofsd.core.chunk_list import ChunkList
from holofsd.core.ids import BlobHash
from holofsd.core.runs import Places
from holofsd.store.database import Database
from holofsd.store.stored_files import StoredFiles

SEGMENT_BYTES: Final = 256 << 20
"""Bytes of a segment that is filled bit by bit, unless a single chunk has more."""
WHOLE: Final = -1
"""In the place of a first chunk: the segment has all of them."""


def borders(chunks: ChunkList) -> list[int]:
    """First chunk of each segment that this content is fetched into. They follow from the list: a second question for
    it never makes a shorter file in the place of a longer one, which other content uses."""
    found, start = list[int](), 0
    while start < chunks.count:
        found.append(start)
        most = chunks.start(start) + SEGMENT_BYTES
        start = chunks.count if most >= chunks.size else max(chunks.at(most), start + 1)
    return found


def chunks_named(chunks: ChunkList, first: int) -> range:
    """The chunks for which a segment has places, by the first one in its name, or `WHOLE`."""
    if first == WHOLE:
        return range(chunks.count)
    ends = (start for start in borders(chunks) if start > first)
    return range(first, next(ends, chunks.count))


@dataclass(frozen=True, slots=True)
class Segment:
    """One row. `chunks`: its places, whether something is there or not."""

    id: int
    name: str
    chunks: int
    places: Places


def name_of_whole(cid: BlobHash) -> str:
    """Name of a segment with all chunks of that content, one after the other."""
    return f"{cid.hex()}.whole"


def name_of_span(cid: BlobHash, first: int) -> str:
    """Name of a segment with chunks of that content, from this one on."""
    return f"{cid.hex()}.{first}"


def parse_name(name: str) -> tuple[BlobHash, int] | None:
    """The content after whose list a segment is named, and its first chunk or `WHOLE`; None for another name."""
    owner, _, what = name.partition(".")
    try:
        cid = BlobHash(bytes.fromhex(owner))
        first = WHOLE if what == "whole" else int(what)
    except ValueError:
        return None
    return (cid, first) if len(cid) == 32 and (first >= 0 or what == "whole") else None


def owner_of(name: str) -> BlobHash:
    """The content after whose list a segment is named."""
    return BlobHash(bytes.fromhex(name.partition(".")[0]))


class Segments:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database, root: Path, fresh: Path) -> None:
        self.db = db
        self.files = StoredFiles(root, fresh, self._has_row)

    def _has_row(self, name: str) -> bool:
        return self.db.one("SELECT 1 FROM segments WHERE name=?", (name,)) is not None

    def path(self, id: int) -> Path | None:
        row = self.db.one("SELECT name FROM segments WHERE id=?", (id,))
        return self.files.path(row[0]) if row else None

    def get(self, id: int) -> Segment | None:
        row = self.db.one("SELECT id, name, chunks, have FROM segments WHERE id=?", (id,))
        return _segment(row) if row else None

    def named(self, name: str) -> Segment | None:
        row = self.db.one("SELECT id, name, chunks, have FROM segments WHERE name=?", (name,))
        return _segment(row) if row else None

    def of(self, cid: BlobHash) -> dict[int, Segment]:
        """The segments of some content, by id."""
        rows = self.db.all(
            "SELECT s.id, s.name, s.chunks, s.have FROM body_segments AS b JOIN segments AS s ON s.id=b.segment"
            " WHERE b.cid=?",
            (cid,),
        )
        return {row[0]: _segment(row) for row in rows}

    def users(self, id: int) -> list[BlobHash]:
        """Contents that have chunks in a segment."""
        return [BlobHash(row[0]) for row in self.db.all("SELECT cid FROM body_segments WHERE segment=?", (id,))]

    # ---- coming
    def add(self, name: str, chunks: int, places: Places) -> int:
        """The id of a segment whose file is in its place; that of an earlier row of this name, if there is one, which
        has these places from now on, for its file was replaced."""
        self.db.run(
            "INSERT INTO segments (name, chunks, have) VALUES (?,?,?)"
            " ON CONFLICT (name) DO UPDATE SET chunks=excluded.chunks, have=excluded.have",
            (name, chunks, places.stored),
        )
        self.db.after_commit(lambda: self.files.arrived(name))
        return self.db.number("SELECT id FROM segments WHERE name=?", (name,))

    def named_or_new(self, name: str, chunks: int) -> Segment:
        """The segment of this name, or a new row without any chunk."""
        if self.named(name) is None:
            self.add(name, chunks, Places(b""))
        found = self.named(name)
        assert found is not None
        return found

    def set_places(self, id: int, places: Places) -> None:
        """Sets which places have a verified chunk that is on the disk."""
        self.db.run("UPDATE segments SET have=? WHERE id=?", (places.stored, id))

    def use(self, cid: BlobHash, ids: Iterable[int]) -> list[Segment]:
        """Makes these the segments of some content. Returns those that no content needs any more; their rows are gone,
        and their files are to go after the transaction (`StoredFiles.unlink`)."""
        wanted, known = (
            set(ids),
            {row[0] for row in self.db.all("SELECT segment FROM body_segments WHERE cid=?", (cid,))},
        )
        self.db.run_many("INSERT INTO body_segments VALUES (?,?)", [(id, cid) for id in wanted - known])
        self.db.run_many("DELETE FROM body_segments WHERE segment=? AND cid=?", [(id, cid) for id in known - wanted])
        return [gone for id in known - wanted if (gone := self._drop_if_unused(id)) is not None]

    def _drop_if_unused(self, id: int) -> Segment | None:
        segment = self.get(id)
        if segment is None or self.users(id):
            return None
        self.db.run("DELETE FROM segments WHERE id=?", (id,))
        return segment

    def is_any_named_after(self, cid: BlobHash) -> bool:
        """Whether a segment says by its name that the list of this content tells what is in it."""
        sql = "SELECT 1 FROM segments WHERE name>? AND name<? LIMIT 1"
        return self.db.one(sql, (f"{cid.hex()}.", f"{cid.hex()}/")) is not None  # "/" comes after "."


def _segment(row: tuple[int, str, int, bytes | None]) -> Segment:
    return Segment(row[0], row[1], row[2], Places(row[3]))
