# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes whose current record has no number yet."""

from __future__ import annotations

from typing import Final

from holofsd.core.ids import NodeId
from holofsd.store.database import Database
from holofsd.store.ignored import IgnoredNodes

LONGEST_HOLD_MS: Final = 60_000
"""A hold that ends later than this was made before the clock was set back: it does not count any more."""


class Outbox:
    """All writes belong inside `db.transaction()`. A node that rules keep on this device is not in it: see
    `IgnoredNodes`."""

    def __init__(self, db: Database, ignored: IgnoredNodes) -> None:
        self.db = db
        self._ignored = ignored
        # Nodes that are known to be queued without a hold: a file that is copied changes four times.
        self._due: set[NodeId] = set()
        db.on_rollback.append(self._due.clear)

    def add(self, node: NodeId, now_ms: int, publication_hold_ms: int = 0) -> None:
        """Marks a change. `publication_hold_ms` is a wall time before which it is not published; 0 keeps an existing
        hold. A node that is ignored stays so."""
        if (not publication_hold_ms and node in self._due) or self._ignored.has(node):
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
        """Whether this device knows more of a node than the document: it is to be published, or is ignored."""
        return self.has_row(node) or self._ignored.has(node)

    def has_row(self, node: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM outbox WHERE node=?", (node,)) is not None

    def keep_back(self, node: NodeId) -> None:
        """Makes a node an ignored one. The caller makes sure that it never was published."""
        self.remove(node)
        self._ignored.add(node)

    def let_go(self, node: NodeId) -> None:
        """Forgets that a node is ignored. The caller queues it, or forgets the node."""
        self._ignored.remove(node)

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
        """Counts what is to be published; ignored nodes that perhaps are, too."""
        return self.db.number("SELECT count(*) FROM outbox") + self._ignored.count_doubtful()
