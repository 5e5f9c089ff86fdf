# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes with a link into a directory that is unknown, or that is no directory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from holofsd.core.ids import NodeId
from holofsd.store.database import Database

_DUE: Final = "placing-lost"
"""In `meta`: more has to be placed anew than one transaction did."""


class Strays:
    """The tables `strays` and `given_up`, nearly always empty. All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._any: bool | None = None
        self._any_given_up: bool | None = None
        self._due: dict[NodeId, NodeId] | None = None
        db.on_rollback.append(self.look_again)

    def look_again(self) -> None:
        """Forgets whether the tables are empty."""
        self._any = self._any_given_up = self._due = None

    def __bool__(self) -> bool:
        """Whether there may be any."""
        if self._any is None:
            self._any = self.db.one("SELECT 1 FROM strays LIMIT 1") is not None
        return self._any

    def __contains__(self, node: NodeId) -> bool:
        return bool(self) and self.db.one("SELECT 1 FROM strays WHERE node=? LIMIT 1", (node,)) is not None

    def put(self, node: NodeId, parents: Sequence[NodeId], now_ms: int, is_new: bool) -> None:
        """The directories of this kind that its links name: all of them. `is_new`: nothing was known of the node."""
        known: set[NodeId] = set()
        if self and not is_new:
            known = {row[0] for row in self.db.all("SELECT parent FROM strays WHERE node=?", (node,))}
            if gone := [(node, parent) for parent in known.difference(parents)]:
                self.db.run_many("DELETE FROM strays WHERE node=? AND parent=?", gone)
        if fresh := [(node, parent, now_ms) for parent in parents if parent not in known]:
            self.db.run_many("INSERT OR IGNORE INTO strays VALUES (?,?,?)", fresh)
            self._any = True

    def orphan(self, parent: NodeId, now_ms: int) -> None:
        """Notes what has a place in this node, which was a directory and is none any more."""
        self.db.run(
            "INSERT OR IGNORE INTO strays SELECT node, ?1, ?2 FROM placements WHERE real=?1"
            " UNION SELECT node, ?1, ?2 FROM placements WHERE parent=?1 AND real IS NULL",
            (parent, now_ms),
        )
        self._any = None

    def forget(self, node: NodeId) -> None:
        if self:
            self.db.run("DELETE FROM strays WHERE node=?", (node,))

    def is_any_in(self, parent: NodeId) -> bool:
        return bool(self) and self.db.one("SELECT 1 FROM strays WHERE parent=? LIMIT 1", (parent,)) is not None

    def of_parent(self, parent: NodeId, after: NodeId, limit: int) -> list[NodeId]:
        sql = "SELECT node FROM strays WHERE parent=? AND node>? ORDER BY node LIMIT ?"
        return [row[0] for row in self.db.all(sql, (parent, after, limit))]

    def all(self) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT DISTINCT node FROM strays")]

    # ---- directories that come
    def came(self, parent: NodeId, is_directory: bool, is_new: bool, limit: int) -> list[NodeId]:
        """Returns the nodes in `parent` to be placed anew, now that something is known of it. See `below` for `limit`.

        Usually a directory comes after what is in it: that stays where it is, however much it is. Only what was given a
        place in `lost+found`, or may lose the one that another link has there, is placed anew.
        """
        was_given_up = self._is_any_given_up() and self.is_given_up(parent)
        if was_given_up:
            self.db.run("DELETE FROM given_up WHERE parent=?", (parent,))
        if not self.is_any_in(parent):
            return []
        if was_given_up or not is_directory or not is_new:
            return self.below(parent, limit)
        rows = self.db.all(
            "SELECT s.node FROM strays AS s WHERE s.parent=? AND EXISTS"
            " (SELECT 1 FROM strays AS o WHERE o.node=s.node AND o.parent!=s.parent) LIMIT ?",
            (parent, limit + 1),
        )
        if len(rows) > limit:
            return self.below(parent, limit)
        self.db.run("DELETE FROM strays WHERE parent=?", (parent,))
        return [row[0] for row in rows]

    # ---- more than fits into a transaction
    def below(self, parent: NodeId, limit: int) -> list[NodeId]:
        """Lists nodes in a directory, at most so many. If there are more, all of them are due."""
        found = self.of_parent(parent, NodeId(b""), limit + 1)
        if len(found) > limit:
            self.db.run("INSERT OR REPLACE INTO meta VALUES (?, x'01')", (_DUE,))
            self.due()[parent] = NodeId(b"")
        return found[:limit]

    def due(self) -> dict[NodeId, NodeId]:
        """Directories of which everything in them has to be placed anew, bit by bit; after which node to go on."""
        if self._due is None:
            self._due = {}
            if self.db.one("SELECT 1 FROM meta WHERE name=?", (_DUE,)) is not None:
                rows = self.db.all(  # which ones is not written down: what is right already stays as it is
                    "SELECT DISTINCT s.parent FROM strays AS s"
                    " WHERE EXISTS (SELECT 1 FROM nodes AS n WHERE n.node=s.parent)"
                    " OR EXISTS (SELECT 1 FROM given_up AS g WHERE g.parent=s.parent)"
                )
                self._due = dict.fromkeys((row[0] for row in rows), NodeId(b""))
        return self._due

    def next_due(self, limit: int) -> list[NodeId] | None:
        """Some of what has to be placed anew; None if nothing has to be."""
        for parent, after in list(self.due().items()):
            if nodes := self.of_parent(parent, after, limit):
                self.due()[parent] = nodes[-1]
                return nodes
            del self.due()[parent]
        self.db.run("DELETE FROM meta WHERE name=?", (_DUE,))
        return None

    # ---- unknown directories
    def waiting(self, after: NodeId, limit: int) -> tuple[list[tuple[NodeId, int]], NodeId | None]:
        """(unknown directory, since when something in it waits) of the next so many directories, without those that are
        known or given up; and after which to go on, None at the end."""
        rows = self.db.all(
            "WITH RECURSIVE found (parent, number) AS (SELECT min(parent), 1 FROM strays WHERE parent>? UNION ALL"
            " SELECT (SELECT min(s.parent) FROM strays AS s WHERE s.parent>found.parent), number + 1 FROM found"
            " WHERE found.parent IS NOT NULL AND number<?)"
            " SELECT parent, (SELECT min(since_ms) FROM strays AS s WHERE s.parent=found.parent),"
            " EXISTS (SELECT 1 FROM nodes AS n WHERE n.node=found.parent)"
            " OR EXISTS (SELECT 1 FROM given_up AS g WHERE g.parent=found.parent)"
            " FROM found WHERE parent IS NOT NULL",
            (after, limit),
        )
        found = [(NodeId(row[0]), int(row[1])) for row in rows if not row[2]]
        return found, NodeId(rows[-1][0]) if len(rows) == limit else None

    def give_up(self, parents: Iterable[NodeId]) -> None:
        self.db.run_many("INSERT OR IGNORE INTO given_up VALUES (?)", [(parent,) for parent in parents])
        self._any_given_up = True

    def is_given_up(self, parent: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM given_up WHERE parent=?", (parent,)) is not None

    def _is_any_given_up(self) -> bool:
        if self._any_given_up is None:
            self._any_given_up = self.db.one("SELECT 1 FROM given_up LIMIT 1") is not None
        return self._any_given_up
