# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the garbage collector: content that a pass found unneeded, and everything in the index that may need content.

What the rows mean is decided in `holofsd.tree.garbage`.
"""

from __future__ import annotations

from collections.abc import Iterable

from holofsd.core.ids import BlobHash, NodeId
from holofsd.store.database import Database


class Garbage:
    """All writes belong inside `db.transaction()`. Reads without a limit are of tables that are nearly always small."""

    def __init__(self, db: Database) -> None:
        self.db = db

    # ---- what was found to be unneeded
    def all(self) -> set[BlobHash]:
        """Returns the content that the last pass found unneeded."""
        return {row[0] for row in self.db.all("SELECT hash FROM garbage")}

    def due(self, before_ms: int) -> list[BlobHash]:
        """Lists the content that has been unneeded since that time or longer."""
        return [row[0] for row in self.db.all("SELECT hash FROM garbage WHERE since_ms<=?", (before_ms,))]

    def begin_again(self, now_ms: int) -> None:
        """Counts from now what was noted at a time that has not come: the clock was set back since."""
        self.db.run("UPDATE garbage SET since_ms=?1 WHERE since_ms>?1", (now_ms,))

    def add(self, blobs: Iterable[BlobHash], now_ms: int) -> None:
        """Notes since when content is unneeded; none of it may be noted already."""
        self.db.run_many("INSERT INTO garbage VALUES (?,?)", [(blob, now_ms) for blob in blobs])

    def remove(self, blobs: Iterable[BlobHash]) -> None:
        """Deletes the notes of content that is needed again, or that went."""
        self.db.run_many("DELETE FROM garbage WHERE hash=?", [(blob,) for blob in blobs])

    # ---- what may need content
    def states_after(self, node: bytes, limit: int) -> list[tuple[NodeId, bytes, bytes | None]]:
        """(node, state, version that is held) of the next nodes in order of id."""
        sql = "SELECT node, state, held FROM nodes WHERE node>? ORDER BY node LIMIT ?"
        return self.db.all(sql, (node, limit))

    def history_after(self, id: int, limit: int) -> list[tuple[int, BlobHash | None, bytes | None]]:
        """(id, blob, version) of the next replaced versions in order of id. `version` is None where `blob` is all that
        the version needs."""
        sql = "SELECT id, blob, CASE WHEN blob IS NULL THEN version END FROM history WHERE id>? ORDER BY id LIMIT ?"
        return self.db.all(sql, (id, limit))

    def detached_versions(self) -> list[bytes]:
        """Lists the versions that open files keep under detached inode numbers."""
        return [row[0] for row in self.db.all("SELECT detached FROM inodes WHERE detached NOT NULL")]

    def wanted(self) -> set[BlobHash]:
        """Returns all content that versions need and that is not here."""
        return {row[0] for row in self.db.all("SELECT DISTINCT hash FROM wanted")}

    def unmerged_payloads(self) -> list[bytes]:
        """Lists the payloads of records whose content is in no state yet."""
        joined = "SELECT e.payload FROM {} AS q JOIN envelopes AS e ON e.author=q.author AND e.key=q.key"
        tables = ("merge_queue", "waiting", "quarantine")
        found = [row[0] for table in tables for row in self.db.all(joined.format(table))]
        return found + [row[0] for row in self.db.all("SELECT payload FROM incoming")]

    def states_of_purged(self) -> list[tuple[NodeId, bytes]]:
        """(node, state) of nodes that the trash was emptied of."""
        return self.db.all("SELECT p.node, n.state FROM trash_purged AS p JOIN nodes AS n ON n.node=p.node")
