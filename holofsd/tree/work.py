# SPDX-License-Identifier: GPL-3.0-or-later
"""One node of a batch: its state and rows, before an update of the tree and after it."""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.core.ids import NodeId
from holofsd.core.state import NodeState, Version
from holofsd.store.nodes import NodeRow, PlacementRow


@dataclass(slots=True)
class Work:
    """One node of a batch. `old` is its row before, `row` what becomes of it."""

    state: NodeState
    old: NodeRow | None
    row: NodeRow
    shown: Version | None
    old_state: NodeState | None = None
    """State before the update; None if there was none."""
    placed: list[PlacementRow] | None = None
    """Its placements as they are in the index now; None: not read yet."""
    moved: bool = False
    """Its placements changed."""

    @property
    def node(self) -> NodeId:
        return self.state.id
