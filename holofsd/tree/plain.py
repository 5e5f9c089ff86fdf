# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain files: visible, with one name that nobody shares and one version. Nearly all are.

What a program does to such a file (writing it, its mode, its times) cannot change any name, so nothing has to be
projected. This is remembered, not stored: a file that is not known to be plain is looked at the long way, which finds
out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holofsd.core.ids import NodeId
from holofsd.core.state import Kind
from holofsd.store.database import Database
from holofsd.store.nodes import PlacementRow
from holofsd.tree.work import Work

_KEPT: Final = 20_000


class Plain:
    """Emptied when a transaction fails, for it is written inside of them."""

    def __init__(self, db: Database) -> None:
        self._nodes: set[NodeId] = set()
        db.on_rollback.append(self._nodes.clear)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._nodes

    def alone_at_its_name(self, work: Work | None) -> None:
        """The projection found that only this node wants a certain name."""
        if work is None or work.row.kind == Kind.DIRECTORY:
            return
        row = work.row
        if row.nlink == 1 and row.visible == 1 and row.versions == 1:
            if len(self._nodes) >= _KEPT:
                self._nodes.clear()
            self._nodes.add(work.node)

    def shares_a_name(self, rows: list[PlacementRow]) -> None:
        self._nodes.difference_update(row.node for row in rows)

    def forget(self, nodes: Iterable[NodeId]) -> None:
        self._nodes.difference_update(nodes)

    def stays_plain(self, work: Work) -> bool:
        """Whether this change of a plain file leaves its names as they are."""
        before = work.old_state
        if work.node not in self._nodes or work.old is None or before is None:
            return False
        state = work.state
        return (
            state.kind is before.kind
            and state.links is before.links
            and state.removed is before.removed
            and work.row.versions == 1
        )
