# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of history and trash on the disk, and the order in which they may go. Rows and triggers of format 0020.

Triggers keep the totals right with every row of `history`, `trash_content` and `content` that comes or goes, whoever
writes it, so asking costs one look-up. Each content counts once, and only while it is on this device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from holofsd.core.ids import BlobHash, NodeId
from holofsd.store.database import Database

INLINE: Final = BlobHash(b"")
"""In the place of a hash: bytes inside the record."""

Cursor = tuple[int, bytes]
"""Place in an order of age: (time in ms, id)."""
START: Final[Cursor] = (-1, b"")


@dataclass(frozen=True, slots=True)
class Totals:
    """`versions`: replaced versions that are kept. Bytes: those of history, and those that only the trash has."""

    versions: int
    history: int
    trash: int

    @property
    def all(self) -> int:
        return self.history + self.trash


@dataclass(frozen=True, slots=True)
class Aged:
    """One row that may go. `id`: of the row in `history`, 0 for a node in the trash; `dot`: of its version. `frees`:
    content that is here."""

    id: int
    node: NodeId
    dot: bytes
    blob: BlobHash | None
    frees: bool
    at: Cursor


class PastSizes:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def totals(self) -> Totals:
        found: dict[str, int] = dict(self.db.all("SELECT name, value FROM past_sizes"))
        return Totals(found["versions"], found["history"], found["all"] - found["history"])

    def all_bytes(self) -> int:
        return self.db.number("SELECT value FROM past_sizes WHERE name='all'")

    def garbage(self) -> int:
        """Bytes of content that nothing needs and that waits for its day."""
        return self.db.number("SELECT sum(c.size) FROM garbage AS g JOIN content AS c ON c.hash=g.hash")

    def is_past(self, blob: BlobHash) -> bool:
        return self.db.one("SELECT 1 FROM past_content WHERE hash=?", (blob,)) is not None

    # ---- the trash
    def set_trash(self, node: NodeId, content: Mapping[BlobHash, int], now_ms: int) -> None:
        """Notes the content of a removed node; nothing for one that lives, or is not kept."""
        rows = self.db.all("SELECT hash, size, removed_ms FROM trash_content WHERE node=?", (node,))
        known = {BlobHash(row[0]): row[1] for row in rows}
        if known == content:
            return
        since = min((row[2] for row in rows), default=now_ms)
        if rows:
            self.db.run("DELETE FROM trash_content WHERE node=?", (node,))
        self.db.run_many(
            "INSERT INTO trash_content VALUES (?,?,?,?)", [(node, hash, size, since) for hash, size in content.items()]
        )

    def add_trash(self, removed: Iterable[tuple[NodeId, Mapping[BlobHash, int]]], now_ms: int) -> None:
        """Notes the content of newly removed nodes. Skips those of which this device keeps nothing."""
        self.db.run_many(
            "INSERT OR IGNORE INTO trash_content SELECT ?1,?2,?3,?4"
            " WHERE NOT EXISTS (SELECT 1 FROM trash_purged WHERE node=?1)",
            ((node, hash, size, now_ms) for node, content in removed for hash, size in content.items()),
        )

    def trash_nodes(self, after: NodeId, limit: int) -> list[NodeId]:
        sql = "SELECT DISTINCT node FROM trash_content WHERE node>? ORDER BY node LIMIT ?"
        return [row[0] for row in self.db.all(sql, (after, limit))]

    # ---- which goes first: a page at a time, oldest first
    def short_lived(self, after: Cursor, stood_ms: int, every_ms: int, limit: int) -> tuple[list[Aged], Cursor | None]:
        """Versions that stood for less than `stood_ms`, and of whose file another one ended later in the same
        `every_ms`. The cursor is where the page ended; None: there is nothing behind it."""
        rows = self.db.all(
            "SELECT h.id, h.ended_ms, h.node, h.dot, h.blob, h.ended_ms-h.began_ms<?3 AND EXISTS ("
            " SELECT 1 FROM history AS l WHERE l.node=h.node AND l.ended_ms>=h.ended_ms"
            " AND l.ended_ms<(h.ended_ms/?4+1)*?4 AND (l.ended_ms, l.id)>(h.ended_ms, h.id)), c.hash"
            " FROM (SELECT id, ended_ms, began_ms, node, dot, blob FROM history WHERE (ended_ms, id)>(?1, ?2)"
            "  ORDER BY ended_ms, id LIMIT ?5) AS h LEFT JOIN content AS c ON c.hash=h.blob ORDER BY h.ended_ms, h.id",
            (after[0], int.from_bytes(after[1]), stood_ms, every_ms, limit),
        )
        page = [_aged(row[0], row[2], row[3], row[4], row[6], row[1]) for row in rows if row[5]]
        return page, (rows[-1][1], _id(rows[-1][0])) if rows else None

    def oldest_versions(self, after: Cursor, limit: int) -> list[Aged]:
        rows = self.db.all(
            "SELECT h.id, h.ended_ms, h.node, h.dot, h.blob, c.hash"
            " FROM (SELECT id, ended_ms, node, dot, blob FROM history WHERE (ended_ms, id)>(?,?)"
            "  ORDER BY ended_ms, id LIMIT ?) AS h"
            " LEFT JOIN content AS c ON c.hash=h.blob ORDER BY h.ended_ms, h.id",
            (after[0], int.from_bytes(after[1]), limit),
        )
        return [_aged(row[0], row[2], row[3], row[4], row[5], row[1]) for row in rows]

    def oldest_trash(self, after: Cursor, limit: int) -> list[Aged]:
        rows = self.db.all(
            "SELECT t.removed_ms, t.node, t.hash, c.hash FROM (SELECT removed_ms, node, hash FROM trash_content"
            "  WHERE (removed_ms, node)>(?,?) ORDER BY removed_ms, node LIMIT ?) AS t"
            " LEFT JOIN content AS c ON c.hash=t.hash ORDER BY t.removed_ms, t.node",
            (*after, limit),
        )
        return [Aged(0, row[1], b"", row[2] or None, row[3] is not None, (row[0], row[1])) for row in rows]

    # ---- letting go
    def drop_version(self, id: int) -> None:
        self.db.run("DELETE FROM history WHERE id=?", (id,))

    def note_let_go(self, node: NodeId, parent: NodeId, name: bytes, removed_ms: int) -> None:
        self.db.run("INSERT OR REPLACE INTO let_go VALUES (?,?,?,?)", (node, parent, name, removed_ms))

    def let_go_from(self, parent: NodeId) -> list[tuple[NodeId, bytes, int]]:
        """(node, name, removed_ms) of files that went from the trash to make room."""
        rows = self.db.all("SELECT node, name, removed_ms FROM let_go WHERE parent=?", (parent,))
        return [(row[0], row[1], row[2]) for row in rows]


def _id(row: int) -> bytes:
    return row.to_bytes(8)


def _aged(id: int, node: NodeId, dot: bytes, blob: BlobHash | None, here: bytes | None, ended_ms: int) -> Aged:
    return Aged(id, node, dot, blob, here is not None, (ended_ms, _id(id)))
