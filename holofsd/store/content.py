# SPDX-License-Identifier: GPL-3.0-or-later
"""Immutable files named by BLAKE3 hash, and which of them are here or wanted.

A blob counts as here when its row in `content` exists; the row is committed only after the file is whole, verified
and in place. A file without a row is harmless and is adopted or overwritten.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, BlobHash, NodeId
from holofsd.store.database import Database

_READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """Content that is not here, and between which sizes it is by what versions say."""

    blob: BlobHash
    least: int
    most: int
    is_list: bool = False
    """It has a list of chunks, and this is the list's id."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Content that an author's version needs and that is not here. `seq`: its author's record of the node."""

    blob: BlobHash
    node: NodeId
    author: AuthorId
    seq: int


def hash_file(path: Path) -> tuple[BlobHash, int]:
    """BLAKE3 and size of a file. Blocking: call it in a thread."""
    hasher = blake3()
    size = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_READ_SIZE):
            hasher.update(piece)
            size += len(piece)
    return BlobHash(hasher.digest()), size


class IncomingBlob:
    """A blob that is being received; resumes where an earlier attempt stopped. Blocking methods: small writes only."""

    def __init__(self, path: Path, expected: BlobHash) -> None:
        self._path = path
        self._expected = expected
        self._hasher = blake3()
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by finish or abandon)
        self._file.seek(0)
        self.offset = 0
        while piece := self._file.read(_READ_SIZE):
            self._hasher.update(piece)
            self.offset += len(piece)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)
        self.offset += len(data)

    def finish(self, durable: bool = True) -> Path:
        """Verifies the whole; raises Refused and deletes the file if the hash differs."""
        if durable:
            os.fdatasync(self._file.fileno())
        self._file.close()
        if self._hasher.digest() != self._expected:
            self._path.unlink(missing_ok=True)
            raise Refused("A device sent content that does not match its hash.")
        return self._path

    def abandon(self) -> None:
        """Stops receiving. The next attempt goes on where this one ended."""
        self._file.close()


class Content:
    """Content store of one volume: blobs as files, and their rows."""

    def __init__(self, db: Database, root: Path, incoming: Path) -> None:
        self.db = db
        self.folder = root
        self._incoming = incoming
        root.mkdir(mode=0o700, exist_ok=True)
        incoming.mkdir(mode=0o700, exist_ok=True)
        for left in (*incoming.glob("*.new"), *incoming.glob("*.link")):
            left.unlink()
        self._arriving: set[BlobHash] = set()
        """Files that were put in place and whose rows come next: garbage collection leaves them alone."""
        self._guard = threading.Lock()

    def path(self, blob: BlobHash) -> Path:
        name = blob.hex()
        return self.folder / name[:2] / name

    def has(self, blob: BlobHash) -> bool:
        return self.db.one("SELECT 1 FROM content WHERE hash=?", (blob,)) is not None

    def size(self, blob: BlobHash) -> int | None:
        row = self.db.one("SELECT size FROM content WHERE hash=?", (blob,))
        return row[0] if row else None

    def receive(self, blob: BlobHash, owner: bytes = b"") -> IncomingBlob:
        """A part that grows. `owner`: it is to come from this device alone."""
        return IncomingBlob(self._part(blob, owner), blob)

    def _part(self, blob: BlobHash, owner: bytes) -> Path:
        return self._incoming / (f"{blob.hex()}.{owner.hex()[:16]}.part" if owner else f"{blob.hex()}.part")

    def drop_parts(self, blob: BlobHash, owners: Iterable[bytes]) -> None:
        """The content is here: what else came of it goes."""
        for owner in (b"", *owners):
            self._part(blob, owner).unlink(missing_ok=True)

    def place(self, source: Path, blob: BlobHash, move: bool) -> None:
        """Puts a verified file in its place: by rename, or by a hard link that leaves the source. Quick."""
        target = self.path(blob)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with self._guard:
            self._arriving.add(blob)
            if move:
                os.replace(source, target)
            else:
                try:
                    os.link(source, target)
                except FileExistsError:
                    # Of the two only this one was just verified: the other may have been damaged since it came.
                    fresh = f"{self._incoming}/{blob.hex()}.link"
                    os.link(source, fresh)
                    os.replace(fresh, target)
                    Path(fresh).unlink(missing_ok=True)  # both were the same file already: then a rename does nothing
        os.chmod(target, 0o400)

    def keep(self, data: bytes) -> BlobHash:
        """Places a small blob that is at hand, for `add` in the same step. Not durable before it is synced.

        What is here already, and undamaged, stays: it may have been synced for somebody else.
        """
        blob = BlobHash(blake3(data).digest())
        if self.has(blob) and self._is_whole(blob):
            return blob
        self.place_fresh(self._write(blob, data), blob)
        return blob

    def _is_whole(self, blob: BlobHash) -> bool:
        try:
            return blake3(self.path(blob).read_bytes()).digest() == blob
        except OSError:
            return False

    def write_fresh(self, blob: BlobHash, data: bytes) -> str:
        """A file with the bytes of a small blob, for `place_fresh`. Raises Refused if they are not, OSError."""
        if blake3(data).digest() != blob:
            raise Refused("A device sent content that does not match its hash.")
        return self._write(blob, data)

    def _write(self, blob: BlobHash, data: bytes) -> str:
        fresh = f"{self._incoming}/{blob.hex()}.new"
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, 0o400)
        except OSError:
            os.unlink(fresh)
            raise
        finally:
            os.close(descriptor)
        return fresh

    def place_fresh(self, fresh: str, blob: BlobHash) -> None:
        name = blob.hex()
        target = f"{self.folder}/{name[:2]}/{name}"
        try:
            os.rename(fresh, target)
        except FileNotFoundError:
            if os.path.exists(target):
                return  # the same bytes came from somewhere else meanwhile
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            os.rename(fresh, target)

    def add(self, blob: BlobHash, size: int, now_ms: int) -> None:
        """The file is in its place: from this transaction on it is here.

        Whoever calls this tells the tree in the same transaction (`LocalVolume.content_arrived`), which shows the nodes
        that waited for it and takes it off the list of wanted content.
        """
        self.db.run(  # not OR REPLACE, which would not tell the triggers of format 0020 of the row that it removes
            "INSERT INTO content VALUES (?,?,?)"
            " ON CONFLICT (hash) DO UPDATE SET size=excluded.size, added_ms=excluded.added_ms",
            (blob, size, now_ms),
        )
        self.db.after_commit(lambda: self._arriving.discard(blob))

    def lost(self, blob: BlobHash) -> None:
        """The file is gone or damaged: it is not here any more."""
        self.db.run("DELETE FROM content WHERE hash=?", (blob,))
        self.path(blob).unlink(missing_ok=True)

    # ---- looking through everything
    def after(self, blob: bytes, limit: int) -> list[tuple[BlobHash, int]]:
        """(hash, size) of the next content that should be here, in order of hash."""
        return self.db.all("SELECT hash, size FROM content WHERE hash>? ORDER BY hash LIMIT ?", (blob, limit))

    def count(self) -> int:
        """Counts all content that should be here."""
        return self.db.number("SELECT count(*) FROM content")

    # ---- garbage collection: rows go before files
    def forget(self, blob: BlobHash) -> bool:
        """Deletes the row of content that nothing needs any more. False if the same content is just arriving again."""
        if blob in self._arriving:
            return False
        return self.db.run("DELETE FROM content WHERE hash=?", (blob,)).rowcount > 0

    def unlink_forgotten(self, blob: BlobHash) -> bool:
        """Deletes the file, unless it came back meanwhile."""
        with self._guard:
            if blob in self._arriving or self.has(blob):
                return False
            try:
                self.path(blob).unlink()
            except FileNotFoundError:
                return False
            return True

    def folders(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.is_dir()]

    def parts(self) -> list[Path]:
        return [path for path in self._incoming.iterdir() if path.suffix == ".part"]

    # ---- wanted: sizes are what versions say of content that is not here
    def want(
        self, blob: BlobHash, node: NodeId, author: AuthorId, size: int, now_ms: int, is_list: bool = False
    ) -> None:
        """`is_list`: this is the id of a list of chunks."""
        self.db.run(
            "INSERT INTO wanted VALUES (?,?,?,?,?,?)"
            " ON CONFLICT DO UPDATE SET size=excluded.size, is_list=excluded.is_list",
            (blob, node, author, size, now_ms, is_list),
        )

    def unwant(self, blob: BlobHash, node: NodeId, author: AuthorId) -> None:
        self.db.run("DELETE FROM wanted WHERE hash=? AND node=? AND author=?", (blob, node, author))

    def wanted_for(self, node: NodeId) -> dict[tuple[BlobHash, AuthorId], int]:
        rows = self.db.all("SELECT hash, author, size FROM wanted WHERE node=?", (node,))
        return {(BlobHash(row[0]), AuthorId(row[1])): row[2] for row in rows}

    def wanting_authors(self) -> list[AuthorId]:
        """Authors of versions whose content is not here. Costs a look-up for each author, not for each row."""
        rows = self.db.all(
            "WITH RECURSIVE found (author) AS (SELECT min(author) FROM wanted UNION ALL"
            " SELECT (SELECT min(w.author) FROM wanted AS w WHERE w.author>found.author) FROM found"
            " WHERE found.author IS NOT NULL) SELECT author FROM found WHERE author IS NOT NULL"
        )
        return [row[0] for row in rows]

    def wanted(self, author: AuthorId, limit: int, below: int, now_ms: int) -> list[Wanted]:
        """Content that versions of this author need, by its turn; only what one of them says is smaller than `below`
        bytes."""
        rows = self.db.all(
            "SELECT w.hash, (SELECT min(size) FROM wanted WHERE hash=w.hash),"
            " (SELECT max(size) FROM wanted WHERE hash=w.hash), w.is_list FROM wanted AS w"
            " WHERE w.author=? AND w.since_ms<=? AND w.size<? ORDER BY w.since_ms LIMIT ?",
            (author, now_ms, below, limit),
        )
        return list(dict.fromkeys(Wanted(BlobHash(row[0]), row[1], row[2], bool(row[3])) for row in rows))

    def claims(self, blob: BlobHash) -> tuple[int, int]:
        """The least and the greatest size that is said of wanted content; (0, 0) if none is."""
        row = self.db.one("SELECT min(size), max(size) FROM wanted WHERE hash=?", (blob,))
        return (row[0], row[1]) if row and row[0] is not None else (0, 0)

    def set_back(self, blobs: Iterable[BlobHash], until_ms: int) -> None:
        """Their turn comes after this time, and after what is wanted until then."""
        self.db.run_many("UPDATE wanted SET since_ms=? WHERE hash=?", [(until_ms, blob) for blob in blobs])

    def all_in_turn(self, now_ms: int) -> None:
        """Ends all delays: content that was set back to a later time is asked for in its turn again."""
        self.db.run("UPDATE wanted SET since_ms=? WHERE since_ms>?", (now_ms, now_ms))

    def wanted_by(self, blob: BlobHash) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT DISTINCT node FROM wanted WHERE hash=?", (blob,))]

    def wanting_nodes(self) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT DISTINCT node FROM wanted")]

    def who_wants(self, blob: BlobHash) -> tuple[NodeId, AuthorId, int] | None:
        """One file that needs it, the author of its version, and the size which that one says."""
        row = self.db.one("SELECT node, author, size FROM wanted WHERE hash=? ORDER BY size LIMIT 1", (blob,))
        return (row[0], row[1], row[2]) if row else None

    def beyond(self, size: int, limit: int) -> list[tuple[BlobHash, int]]:
        """(hash, size): content that is larger than `size`, whatever version one asks."""
        sql = "SELECT hash, min(size) FROM wanted GROUP BY hash HAVING min(size)>? LIMIT ?"
        return [(row[0], row[1]) for row in self.db.all(sql, (size, limit))]

    def holes_after(self, last: Hole | None, limit: int) -> list[Hole]:
        """Wanted content in a fixed order, with the record in which its author says so; 0: it says so in none."""
        rows = self.db.all(
            "SELECT w.hash, w.node, w.author, coalesce(e.seq, 0)"
            " FROM (SELECT hash, node, author FROM wanted WHERE (hash, node, author)>(?,?,?)"
            "  ORDER BY hash, node, author LIMIT ?) AS w"
            " LEFT JOIN envelopes AS e ON e.author=w.author AND e.key=w.node",
            (last.blob, last.node, last.author, limit) if last is not None else (b"", b"", b"", limit),
        )
        return [Hole(*row) for row in rows]

    def is_any_missing(self) -> bool:
        return self.db.one("SELECT 1 FROM wanted LIMIT 1") is not None

    def missing(self) -> tuple[int, int]:
        """(blobs, bytes) wanted and not here."""
        row = self.db.one(
            "SELECT count(*), CAST(total(size) AS INTEGER) FROM (SELECT min(size) AS size FROM wanted GROUP BY hash)"
        )
        return (row[0], row[1]) if row else (0, 0)
