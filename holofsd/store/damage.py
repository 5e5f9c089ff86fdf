# SPDX-License-Identifier: GPL-3.0-or-later
"""Content found missing or altered: not here any more, and what is left of it kept until it is whole again.

What is left is kept because it may be all that there is of a file: a single wrong bit makes a content file damaged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from holofsd.core.ids import BlobHash, NodeId
from holofsd.store import faults
from holofsd.store.content import Content, hash_file
from holofsd.store.database import Database


def is_whole(path: Path, blob: BlobHash, size: int) -> bool:
    """Whether a content file is what its name says. Blocking: call it in a thread."""
    try:
        return path.stat().st_size == size and hash_file(path) == (blob, size)
    except OSError:
        return False


def looks_whole(path: Path, size: int) -> bool:
    """Whether it is there in full length, which costs nothing to ask."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


class Damage:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database, content: Content, aside: Path) -> None:
        self.db = db
        self._content = content
        self._aside = aside

    def path(self, blob: BlobHash) -> Path:
        """Path where the rest of a damaged content file is kept."""
        return self._aside / blob.hex()

    def found(self, blob: BlobHash, size: int, now_ms: int) -> None:
        """Notes damaged content: from this transaction on it counts as absent. After the commit its file is moved
        away."""
        source = self._content.path(blob)
        aside = source.exists()
        self.db.run("DELETE FROM content WHERE hash=?", (blob,))
        self.db.run("INSERT OR REPLACE INTO damaged VALUES (?,?,?,?)", (blob, size, now_ms, int(aside)))
        if aside:
            self.db.after_commit(lambda: self._move(source, blob))

    def found_in_chunks(self, cid: BlobHash, size: int, now_ms: int) -> None:
        """Notes content with a list of which some chunks are damaged: it counts as absent already. What is left of
        them stays where it is, as long as the segment."""
        self.db.run("INSERT OR REPLACE INTO damaged VALUES (?,?,?,0)", (cid, size, now_ms))

    def _move(self, source: Path, blob: BlobHash) -> None:
        faults.reach("damage.marked", blob)
        self._aside.mkdir(mode=0o700, exist_ok=True)
        try:
            os.replace(source, self.path(blob))
        except OSError:  # a disk that fails: what is left stays where it is, without a row
            return
        faults.reach("damage.aside", blob)

    def whole_again(self, blob: BlobHash) -> None:
        self.db.run("DELETE FROM damaged WHERE hash=?", (blob,))
        self.db.after_commit(lambda: self._drop(blob))

    def _drop(self, blob: BlobHash) -> None:
        faults.reach("damage.whole", blob)
        self.path(blob).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Deletes what a crash left of content that is whole."""
        for path in self._aside.glob("*") if self._aside.is_dir() else ():
            if self._content.has(BlobHash(bytes.fromhex(path.name))):
                path.unlink()

    def all(self) -> list[tuple[BlobHash, int]]:
        """(hash, size)."""
        return [(row[0], row[1]) for row in self.db.all("SELECT hash, size FROM damaged ORDER BY found_ms")]

    def has(self, blob: BlobHash) -> bool:
        return self.db.one("SELECT 1 FROM damaged WHERE hash=?", (blob,)) is not None

    def count(self) -> int:
        """Counts damaged contents that are still absent."""
        return self.db.number(
            "SELECT count(*) FROM damaged AS d WHERE NOT EXISTS (SELECT 1 FROM content AS c WHERE c.hash=d.hash)"
        )

    # ---- looking through everything
    def users_among(self, after: NodeId, limit: int, blobs: Sequence[BlobHash]) -> tuple[list[NodeId], NodeId | None]:
        """Searches the next `limit` nodes for those whose state names one of these blobs. Returns them and where to go
        on; None at the end.

        A hash is found in the bytes of a state without reading it: nothing else in there can be mistaken for one.
        """
        rows = self.db.all("SELECT node, state FROM nodes WHERE node>? ORDER BY node LIMIT ?", (after, limit))
        users = [row[0] for row in rows if any(blob in row[1] for blob in blobs)]
        return users, rows[-1][0] if len(rows) == limit else None
