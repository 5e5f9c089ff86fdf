# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes whose current record has no number yet."""

from __future__ import annotations

from typing import Final

from holofsd.core.ids import NodeId
from holofsd.store.database import Database

LONGEST_HOLD_MS: Final = 60_000
"""A hold that ends later than this was made before the clock was set back: it does not count any more."""


class Outbox:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        # Nodes that are known to be queued without a hold: a file that is copied changes four times.
        self._due: set[NodeId] = set()
        db.on_rollback.append(self._due.clear)

    def add(self, node: NodeId, now_ms: int, publication_hold_ms: int = 0) -> None:
        """Marks a change. `publication_hold_ms` is a wall time before which it is not published; 0 keeps an existing
        hold."""
        if not publication_hold_ms and node in self._due:
            return
        self._due.discard(node)
        self.db.run(
            "INSERT INTO outbox VALUES (?,?,?) ON CONFLICT (node) DO UPDATE SET"
            " hold_ms=CASE WHEN excluded.hold_ms>0 THEN excluded.hold_ms ELSE hold_ms END",
            (node, now_ms, publication_hold_ms),
        )

    def release(self, node: NodeId) -> None:
        if node in self._due:
            return
        if self.db.run("UPDATE outbox SET hold_ms=0 WHERE node=?", (node,)).rowcount:
            self._due.add(node)

    def has(self, node: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM outbox WHERE node=?", (node,)) is not None

    def due(self, now_ms: int, limit: int) -> list[NodeId]:
        """Lists nodes to be published, in order of change. Those whose content is not hashed yet come last, so that
        they do not hold up others."""
        rows = self.db.all(
            "SELECT node FROM outbox WHERE hold_ms<=?1 OR hold_ms>?1+?3"
            " ORDER BY node IN (SELECT node FROM pending_bodies), changed_ms LIMIT ?2",
            (now_ms, limit, LONGEST_HOLD_MS),
        )
        return [row[0] for row in rows]

    def next_hold_ms(self) -> int | None:
        row = self.db.one("SELECT min(hold_ms) FROM outbox WHERE hold_ms>0")
        return row[0] if row else None

    def remove(self, node: NodeId) -> None:
        self._due.discard(node)
        self.db.run("DELETE FROM outbox WHERE node=?", (node,))

    def all(self) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT node FROM outbox ORDER BY changed_ms")]

    def count(self) -> int:
        return self.db.number("SELECT count(*) FROM outbox")
