# SPDX-License-Identifier: GPL-3.0-or-later
"""The states that one operation changes: read through, edited, and written together."""

from __future__ import annotations

from holofsd.core.errors import NoSuchName
from holofsd.core.ids import Dot, Ino, NodeId
from holofsd.core.join import join
from holofsd.core.node import live_versions
from holofsd.core.project import parse_token, token
from holofsd.core.state import NodeState, Version
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.store.nodes import NodeRow
from holofsd.tree.states import decode_version


class Draft:
    """Lives inside one transaction."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._states: dict[NodeId, NodeState] = {}
        self.takeover: dict[Ino, NodeId] = {}
        """Inodes that mean these nodes from now on."""
        self.fresh: set[NodeId] = set()
        """Nodes that a program has just made, with nothing in them that was in another node: rules may ignore them."""

    def find(self, node: NodeId) -> NodeState | None:
        return self._states.get(node) or self._scope.tree.state(node)

    def state(self, node: NodeId) -> NodeState:
        found = self.find(node)
        if found is None:
            raise NoSuchName("This file does not exist any more.")
        return found

    def put(self, state: NodeState) -> None:
        self._states[state.id] = state

    def join(self, state: NodeState) -> None:
        """A node that another device may have made in the same way."""
        known = self.find(state.id)
        self.put(join(known, state) if known else state)

    def write(
        self,
        origin: Origin | None,
        publication_hold_ms: int = 0,
        held_node: NodeId | None = None,
        *,
        detach_open: bool = False,
    ) -> None:
        """Writes all states in one go.

        `publication_hold_ms` is for `held_node` alone where that is given: what else changed with it is whole already.
        `detach_open`: see Tree.apply.
        """
        if not self._states:
            return
        self._scope.volume.write(
            self._states.values(),
            publication_hold_ms=publication_hold_ms,
            origin=origin,
            takeover=self.takeover or None,
            detach_open=detach_open,
            fresh=self.fresh,
        )
        if publication_hold_ms and held_node is not None:
            for node in self._states:
                if node != held_node:
                    self._scope.volume.release(node)


def shown_of(row: NodeRow, state: NodeState) -> Version | None:
    """The version that the name of a node shows: perhaps one that is superseded, while the newer one is on its way."""
    if row.earlier is not None:
        return decode_version(row.earlier)
    return state.versions.get(parse_token(row.shown)) if row.shown else None


def unseen_of(scope: Scope, row: NodeRow, state: NodeState) -> list[Dot]:
    """Live versions whose content was never here, apart from the one that the name of the node shows.

    An operation on the name leaves them as they are: a version made here of content that is elsewhere would need that
    content for ever, also after its writer has replaced it and collected it.
    """
    live = live_versions(state)
    unseen = [version.dot for version in live[:1]] if row.earlier is not None else []
    if len(live) < 2:
        return unseen
    own = set(scope.store.own_authors())
    copies = {entry.dot for entry in scope.nodes.entries_of_node(row.node)}
    beside = [version for version in live if version.dot not in unseen and token(version.dot) in copies]
    return unseen + [v.dot for v in beside if v.dot.author not in own and not scope.tree.is_here(v)]
