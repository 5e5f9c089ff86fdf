# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that are shown as part of another one, because both want one name (ADR 12)."""

from __future__ import annotations

from holofsd.core.ids import NodeId
from holofsd.store.database import Database


class Aliases:
    """The table `aliases`, held in memory: nearly always empty. All writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._shown: dict[NodeId, NodeId] | None = None
        self._members: dict[NodeId, set[NodeId]] = {}
        db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._shown = None

    def _all(self) -> dict[NodeId, NodeId]:
        if self._shown is None:
            self._shown, self._members = {}, {}
            for node, shown in self.db.all("SELECT node, shown FROM aliases"):
                self._note(node, shown)
        return self._shown

    def _note(self, node: NodeId, shown: NodeId) -> None:
        assert self._shown is not None
        self._shown[node] = shown
        self._members.setdefault(shown, set()).add(node)

    def __bool__(self) -> bool:
        return bool(self._all())

    def __contains__(self, node: NodeId) -> bool:
        return node in self._all()

    def shown_as(self, node: NodeId) -> NodeId:
        """The directory whose names and attributes are shown for this one: itself, if it is not an alias."""
        return self._all().get(node, node)

    def of(self, shown: NodeId) -> list[NodeId]:
        """The aliases of a directory, in order of id."""
        return sorted(self._members.get(shown, ())) if self._all() else []

    def together(self, node: NodeId) -> list[NodeId]:
        """All directories that are shown as one with this one, itself among them; the one whose id is shown first."""
        shown = self.shown_as(node)
        return [shown, *self.of(shown)]

    def put(self, node: NodeId, shown: NodeId) -> None:
        """`shown` is `node` itself for a directory that stands alone."""
        known = self._all()
        before = known.pop(node, None)
        if before is not None:
            self._members[before].discard(node)
        if shown == node:
            self.db.run("DELETE FROM aliases WHERE node=?", (node,))
        else:
            self._note(node, shown)
            self.db.run("INSERT OR REPLACE INTO aliases VALUES (?,?)", (node, shown))
