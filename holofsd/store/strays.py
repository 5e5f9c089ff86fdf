# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes with a link into a directory that is unknown, or that is no directory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holofsd.core.ids import NodeId
from holofsd.store.database import Database


class Strays:
    """The tables `strays` and `given_up`, nearly always empty. All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._any: bool | None = None
        db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._any = None

    def __bool__(self) -> bool:
        """Whether there may be any."""
        if self._any is None:
            self._any = self.db.one("SELECT 1 FROM strays LIMIT 1") is not None
        return self._any

    def __contains__(self, node: NodeId) -> bool:
        return bool(self) and self.db.one("SELECT 1 FROM strays WHERE node=? LIMIT 1", (node,)) is not None

    def put(self, node: NodeId, parents: Sequence[NodeId], now_ms: int) -> None:
        """The directories of this kind that its links name: all of them."""
        if parents or self:
            known = {row[0] for row in self.db.all("SELECT parent FROM strays WHERE node=?", (node,))}
            gone = [(node, parent) for parent in known.difference(parents)]
            self.db.run_many("DELETE FROM strays WHERE node=? AND parent=?", gone)
            fresh = [(node, parent, now_ms) for parent in parents if parent not in known]
            self.db.run_many("INSERT OR IGNORE INTO strays VALUES (?,?,?)", fresh)
        if parents:
            self._any = True

    def forget(self, node: NodeId) -> None:
        if self:
            self.db.run("DELETE FROM strays WHERE node=?", (node,))

    def of_parent(self, parent: NodeId) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT node FROM strays WHERE parent=?", (parent,))]

    def all(self) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT DISTINCT node FROM strays")]

    # ---- unknown directories
    def waited_for(self, limit: int) -> list[tuple[NodeId, int]]:
        """(unknown directory, since when something in it waits), the longest wait first."""
        rows = self.db.all(
            "SELECT s.parent, min(s.since_ms) AS since FROM strays AS s"
            " WHERE NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node=s.parent)"
            " AND NOT EXISTS (SELECT 1 FROM given_up AS g WHERE g.parent=s.parent)"
            " GROUP BY s.parent ORDER BY since LIMIT ?",
            (limit,),
        )
        return [(row[0], row[1]) for row in rows]

    def give_up(self, parents: Iterable[NodeId]) -> None:
        self.db.run_many("INSERT OR IGNORE INTO given_up VALUES (?)", [(parent,) for parent in parents])

    def is_given_up(self, parent: NodeId) -> bool:
        return self.db.one("SELECT 1 FROM given_up WHERE parent=?", (parent,)) is not None

    def came(self, parent: NodeId) -> None:
        """It is known now."""
        self.db.run("DELETE FROM given_up WHERE parent=?", (parent,))
