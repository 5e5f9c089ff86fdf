# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that were shown as one at some time, computed from the places that they have and had (ADR 12)."""

from __future__ import annotations

from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.store.aliases import Aliases
from holofsd.store.database import Database

_TOO_DEEP = 4096
_DIRECTORY = 2


class Families:
    def __init__(self, db: Database, aliases: Aliases) -> None:
        self.db = db
        self._aliases = aliases

    def now(self, directory: NodeId) -> list[NodeId]:
        """This directory first, then all that are shown as one with it, and removed ones that had its name last."""
        if directory == ROOT_ID:
            return [directory]
        found = dict.fromkeys([directory, *self._aliases.together(directory)])
        place = self.db.one("SELECT coalesce(real, parent), name FROM placements WHERE node=? LIMIT 1", (directory,))
        place = place or self._last_place(directory)
        if place is not None:
            for parent in self._aliases.together(place[0]):
                found.update(dict.fromkeys(self._removed_from(parent, place[1])))
        return list(found)

    def _last_place(self, node: NodeId) -> tuple[NodeId, bytes] | None:
        row = self.db.one(
            "SELECT parent, name FROM past_places WHERE node=? ORDER BY until_ms DESC, id DESC LIMIT 1", (node,)
        )
        return (row[0], row[1]) if row else None

    def _removed_from(self, parent: NodeId, name: bytes) -> list[NodeId]:
        rows = self.db.all(
            "SELECT DISTINCT p.node FROM past_places AS p JOIN nodes AS n ON n.node=p.node"
            f" WHERE p.parent=? AND p.name=? AND n.kind={_DIRECTORY} AND n.visible=0",
            (parent, name),
        )
        return [row[0] for row in rows if self._last_place(row[0]) == (parent, name)]

    def then(self, directory: NodeId, at_ms: int) -> list[NodeId]:
        """This directory first, then all that were shown as one with it at that time: those that had the same path."""
        names: list[bytes] = []
        node = directory
        while node != ROOT_ID and len(names) < _TOO_DEEP:
            place = self._place_then(node, at_ms)
            if place is None:
                break
            node = place[0]
            names.append(place[1])
        group = [node]
        for name in reversed(names):
            found = (below for above in group for below in self._directories_then(above, name, at_ms))
            group = list(dict.fromkeys(found))
        return list(dict.fromkeys([directory, *group]))

    def _place_then(self, node: NodeId, at_ms: int) -> tuple[NodeId, bytes] | None:
        row = self.db.one(
            "SELECT parent, name FROM past_places WHERE node=?1 AND from_ms<=?2 AND until_ms>?2"
            " ORDER BY until_ms DESC, id DESC LIMIT 1",
            (node, at_ms),
        )
        row = row or self.db.one(
            "SELECT coalesce(real, parent), name FROM placements WHERE node=? AND stamp<? LIMIT 1",
            (node, _stamps_until(at_ms)),
        )
        return (row[0], row[1]) if row else None

    def _directories_then(self, parent: NodeId, name: bytes, at_ms: int) -> list[NodeId]:
        rows = self.db.all(
            "SELECT p.node FROM past_places AS p JOIN nodes AS n ON n.node=p.node"
            f" WHERE p.parent=?1 AND p.name=?2 AND p.from_ms<=?3 AND p.until_ms>?3 AND n.kind={_DIRECTORY}"
            f" UNION SELECT p.node FROM placements AS p JOIN nodes AS n ON n.node=p.node AND n.kind={_DIRECTORY}"
            " WHERE p.parent=?1 AND p.real IS NULL AND p.name=?2 AND p.stamp<?4"
            f" UNION SELECT p.node FROM placements AS p JOIN nodes AS n ON n.node=p.node AND n.kind={_DIRECTORY}"
            " WHERE p.real=?1 AND p.name=?2 AND p.stamp<?4",
            (parent, name, at_ms, _stamps_until(at_ms)),
        )
        return [row[0] for row in rows]


def _stamps_until(at_ms: int) -> bytes:
    """Less than every stored stamp of a later millisecond."""
    return (at_ms + 1).to_bytes(8, "big")
