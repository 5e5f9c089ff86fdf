# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that rules in a `.holofsignore` keep on this device. Nothing of them was ever published."""

from __future__ import annotations

import time
from typing import Final

from holofsd.core.ids import NodeId
from holofsd.store.database import Database

_RULES_HERE: Final = "SELECT parent FROM entries INDEXED BY entries_of_rules WHERE name = x'2e686f6c6f667369676e6f7265'"
_ANEW: Final = "ignored-anew"
_FILE: Final = 1
_SLOW_S: Final = 0.005
_REST: Final = 100


class IgnoredNodes:
    """All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._is_any: bool | None = None
        self._counted = 0, 0
        self._counted_until = float("-inf")
        db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._is_any = None

    @property
    def is_any(self) -> bool:
        """Whether there may be rows. Without any, no question about a node costs a statement."""
        if self._is_any is None:
            self._is_any = self.db.one("SELECT 1 FROM ignored LIMIT 1") is not None
        return self._is_any

    def has(self, node: NodeId) -> bool:
        return self.is_any and self.db.one("SELECT 1 FROM ignored WHERE node=?", (node,)) is not None

    def add(self, node: NodeId) -> None:
        """The caller makes sure that the node is not in the outbox."""
        self._is_any = True
        self.db.run("INSERT OR IGNORE INTO ignored VALUES (?,0)", (node,))

    def doubt(self, node: NodeId) -> None:
        """Notes that a node is to be looked at again soon."""
        self.db.run("UPDATE ignored SET doubtful=1 WHERE node=?", (node,))

    def believe(self, node: NodeId) -> None:
        self.db.run("UPDATE ignored SET doubtful=0 WHERE node=? AND doubtful=1", (node,))

    def doubtful(self, limit: int) -> list[NodeId]:
        rows = self.db.all(
            "SELECT node FROM ignored INDEXED BY ignored_doubtful WHERE doubtful=1 ORDER BY node LIMIT ?", (limit,)
        )
        return [row[0] for row in rows]

    # ---- all of them are to be looked at
    def doubt_all(self) -> None:
        self.db.run("INSERT OR REPLACE INTO meta VALUES (?,?)", (_ANEW, b"\x01"))

    def believe_all(self) -> None:
        self.db.run("DELETE FROM meta WHERE name=?", (_ANEW,))

    def are_all_doubtful(self) -> bool:
        return self.db.one("SELECT 1 FROM meta WHERE name=?", (_ANEW,)) is not None

    def count_doubtful(self) -> int:
        """Counts the nodes that perhaps are to be published, at least: all of them count as one."""
        if not self.is_any:
            return 0
        return self.are_all_doubtful() + self.db.number("SELECT count(*) FROM ignored WHERE doubtful=1")

    def remove(self, node: NodeId) -> None:
        self.db.run("DELETE FROM ignored WHERE node=?", (node,))
        self._is_any = None

    def after(self, node: NodeId, limit: int) -> list[NodeId]:
        """Nodes in order of id, those after `node`."""
        rows = self.db.all("SELECT node FROM ignored WHERE node>? ORDER BY node LIMIT ?", (node, limit))
        return [row[0] for row in rows]

    def topmost_after(self, node: NodeId, limit: int) -> tuple[list[NodeId], NodeId | None]:
        """Looks at so many nodes in order of id, those after `node`. Returns those of them that are shown and not in an
        ignored directory, and the last one that was looked at; None: there are no more."""
        rows = self.db.all(
            "SELECT i.node, n.visible>0 AND NOT EXISTS (SELECT 1 FROM placements AS p JOIN ignored AS above"
            " ON above.node=coalesce(p.real, p.parent) WHERE p.node=i.node)"
            " FROM ignored AS i JOIN nodes AS n ON n.node=i.node WHERE i.node>? ORDER BY i.node LIMIT ?",
            (node, limit),
        )
        return [row[0] for row in rows if row[1]], rows[-1][0] if len(rows) == limit else None

    def all(self) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT node FROM ignored")]

    def count(self) -> tuple[int, int]:
        """(regular files with a name, their sizes added up). Reads every row, and not again for a hundred times as long
        as that took."""
        if not self.is_any:
            return 0, 0
        began = time.monotonic()
        if began < self._counted_until:
            return self._counted
        row = self.db.one(
            "SELECT count(*), CAST(total(n.size) AS INTEGER) FROM ignored AS i JOIN nodes AS n ON n.node=i.node"
            " WHERE n.kind=? AND n.visible>0",
            (_FILE,),
        )
        self._counted = (row[0], row[1]) if row else (0, 0)
        took = time.monotonic() - began
        self._counted_until = began + _REST * took if took > _SLOW_S else float("-inf")
        return self._counted

    # ---- around them
    def published_in(self, directory: NodeId) -> list[tuple[NodeId, int]]:
        """(node, visible) of other nodes with a link that names a directory."""
        rows = self.db.all(
            "SELECT DISTINCT p.node, n.visible FROM placements AS p JOIN nodes AS n ON n.node=p.node"
            " WHERE p.parent=?1 AND p.real IS NULL AND NOT EXISTS (SELECT 1 FROM ignored AS i WHERE i.node=p.node)"
            " UNION SELECT DISTINCT p.node, n.visible FROM placements AS p JOIN nodes AS n ON n.node=p.node"
            " WHERE p.real=?1 AND NOT EXISTS (SELECT 1 FROM ignored AS i WHERE i.node=p.node)",
            (directory,),
        )
        return [(row[0], row[1]) for row in rows]

    def folders_with_rules(self) -> list[NodeId]:
        """Lists the directories that have an entry `.holofsignore`."""
        return [row[0] for row in self.db.all(_RULES_HERE)]
