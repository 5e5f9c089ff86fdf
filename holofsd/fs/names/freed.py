# SPDX-License-Identifier: GPL-3.0-or-later
"""Recently freed names, which still mean their node: docs/model.md#replacing-a-file-is-a-write.

Editors that keep a backup rename the file away and write a new one; `git checkout` unlinks and creates. Within 15 s the
name keeps its node, and the file moved away gets a fresh one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from holofsd.codec.node_ids import new_node_id
from holofsd.core.edit import link_for, link_id, moved, new_node, with_mode, with_version, with_xattr
from holofsd.core.ids import NodeId
from holofsd.core.node import live_xattrs
from holofsd.core.project import token
from holofsd.core.state import Kind, NodeState, Place, Register, Version
from holofsd.fs.nodes.drafts import Draft, shown_of
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.store.nodes import NodeRow

_Slot = tuple[NodeId, bytes]


class FreedNames:
    """Memory of names that were given up a moment ago, and the way back for their nodes."""

    def __init__(self, scope: Scope, staged: StagedFiles) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._staged = staged
        self._names: OrderedDict[_Slot, tuple[NodeId, int]] = OrderedDict()

    # ---- memory
    def leave(self, parent: NodeId, name: bytes, node: NodeId) -> None:
        """Notes that a file had this name until now."""
        self._names.pop((parent, name), None)
        self._names[(parent, name)] = (node, self._scope.now_ms())
        oldest = self._scope.now_ms() - int(self._scope.settings.refill * 1000)
        while self._names:
            slot, (_, at_ms) = next(iter(self._names.items()))
            if at_ms >= oldest and len(self._names) <= self._scope.settings.refill_names:
                return
            del self._names[slot]

    def take(self, parent: NodeId, name: bytes) -> NodeId | None:
        """Takes the node that a new file of this name goes on as; None if there is none, or if it cannot."""
        node, at_ms = self._names.pop((parent, name), (None, 0))
        # The distance, for the clock may have been set back since.
        if node is None or abs(self._scope.now_ms() - at_ms) > int(self._scope.settings.refill * 1000):
            return None
        row = self._nodes.get(node)
        # Forgotten, because it was never published; or in conflict, with other names, or not here in full.
        if row is None or row.kind != Kind.FILE or row.versions > 1 or row.nlink > 1:
            return None
        if row.earlier is not None or row.remote:
            return None
        return node if self._has_no_other_name(node, Place(parent, name)) else None

    def _has_no_other_name(self, node: NodeId, place: Place) -> bool:
        """False where it goes on under another link, as a file of two names does of which one was unlinked."""
        placed = self._nodes.placements(node)
        state = self._scope.tree.state(node)
        return not placed or (state is not None and placed[0].link in (None, link_for(state, place)))

    # ---- coming back
    def reclaim(self, draft: Draft, node: NodeId) -> NodeState:
        """The state of a node that gets its old name back. The file that was moved away goes on as a fresh node."""
        state, row = draft.state(node), self._nodes.get(node)
        if row is not None and row.visible:
            self._go_on_fresh(draft, state, row)
        return state

    def _go_on_fresh(self, draft: Draft, state: NodeState, row: NodeRow) -> None:
        shown = shown_of(row, state)
        (placed,) = self._nodes.placements(state.id)
        if shown is None:
            return
        fresh = new_node_id(Kind.FILE)
        version = self._scope.volume.new_version(shown.body, shown.size, shown.mtime.value)
        stamp = version.stamp
        place = Place(placed.parent, placed.name)
        made = new_node(fresh, Kind.FILE, state.created_ns, place, link_id(fresh), version, row.mode, stamp)
        xattrs: dict[bytes, Register[bytes | None]] = {
            name: Register(value, stamp) for name, value in live_xattrs(state).items()
        }
        draft.put(replace(made, xattrs=xattrs))
        ino = self._nodes.find_ino(state.id)
        if ino is not None:
            self._nodes.rebind(ino, fresh)
            self._staged.rebind(ino, fresh)
            staged = self._staged.of(ino)
            if staged is not None:
                self._staged.based_on(staged, token(version.dot))

    def refilled(self, state: NodeState, place: Place, version: Version, mode: int) -> NodeState:
        """The state with new content and none of the old attributes, as for a name that is created again."""
        self._scope.lineage.follows(version.dot, state.versions)
        # The link first: a removed node that lives by a version alone has the name that it was removed from last.
        state = moved(state, link_for(state, place), place, version.stamp)
        state = with_version(state, version, list(state.versions))
        for name in live_xattrs(state):
            state = with_xattr(state, name, None, version.stamp)
        return with_mode(state, mode, version.stamp)
