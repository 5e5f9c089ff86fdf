# SPDX-License-Identifier: GPL-3.0-or-later
"""Unlinking: the end of names and nodes. Open files of a node that ends keep what they had, as orphans."""

from __future__ import annotations

import secrets

from holofsd.core.edit import link_id, unlinked, without_links
from holofsd.core.errors import NoSuchName
from holofsd.core.ids import Ino, LinkId, NodeId
from holofsd.core.node import live_links, live_xattrs
from holofsd.core.state import Kind, NodeState
from holofsd.fs.nodes.drafts import Draft, shown_of, unseen_of
from holofsd.fs.shared.attrs import Attributes, OrphanAttrs
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.store.nodes import NodeRow
from holofsd.tree.states import encode_version


class Unlinking:
    """End of names, of nodes with their last name, and of inodes with their last handle."""

    def __init__(self, scope: Scope, attributes: Attributes, staged: StagedFiles) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._attributes = attributes
        self.staged = staged

    def link_at(self, node: NodeId, parent: NodeId, name: bytes) -> LinkId:
        """Finds the link register by which a node has this name."""
        for placement in self._nodes.placements(node):
            if placement.parent == parent and placement.name == name:
                return placement.link or link_id(node)
        raise NoSuchName("This name is not there any more.")

    def only_link_at(self, draft: Draft, node: NodeId, parent: NodeId, name: bytes) -> LinkId:
        """Gives up all links that make the same name but one, and returns that one as `link_at` does. Their directories
        are shown as one."""
        link, state = self.link_at(node, parent, name), draft.state(node)
        if len(state.links) > 1 and self._nodes.aliases:
            shown_as = self._nodes.aliases.shown_as
            others = [
                other
                for other, value in live_links(state).items()
                if other != link and value.place and (shown_as(value.place.parent), value.place.name) == (parent, name)
            ]
            draft.put(without_links(state, others, self._scope.volume.stamp()))
        return link

    def end_name(self, draft: Draft, node: NodeId, parent: NodeId, name: bytes, *, meant: bool = False) -> None:
        """Unlinks one name; with the last one the node is removed, and open files of it become orphans.

        `meant`: a program removed just this name, rather than put something else in its place.
        """
        link = self.only_link_at(draft, node, parent, name)
        state, row = draft.state(node), self._nodes.get(node)
        if row is not None and row.nlink <= 1:
            self.release_inode(row, state)
        unseen = unseen_of(self._scope, row, state) if row else []
        stamp = self._scope.volume.stamp()
        draft.put(unlinked(state, link, stamp, unseen, stamp if meant else None))

    def release_inode(self, row: NodeRow, state: NodeState) -> None:
        """Detaches the inode number from its node. Open files keep it with their content, as orphans."""
        ino = self._nodes.find_ino(row.node)
        if ino is None:
            return
        version = shown_of(row, state)
        if version is not None and self._scope.files.is_open(ino):
            self._make_orphan(ino, row, encode_version(row.node, Kind(row.kind), version))
            return
        left = self.staged.of(ino)
        if left is not None:
            self.staged.remove(left)
        self._nodes.drop_inode(ino)

    def _make_orphan(self, ino: Ino, row: NodeRow, version: bytes) -> None:
        # A node id that no node has: nothing that happens to the volume can meet this file again.
        orphan = NodeId(secrets.token_bytes(16))
        self._nodes.rebind(ino, orphan)
        self._nodes.detach(ino, version)
        self.staged.rebind(ino, orphan)
        state = self._scope.tree.state(row.node)
        attrs = OrphanAttrs(row.mode, self._scope.now_ns(), live_xattrs(state) if state is not None else {})
        self._scope.db.after_commit(lambda: self._attributes.orphans.__setitem__(ino, attrs))

    def forget_detached(self, ino: Ino) -> None:
        """Forgets a detached inode. Called when its last handle is closed."""
        left = self.staged.of(ino)
        if left is not None:
            self.staged.remove(left)
        self._scope.tree.forget_detached(ino)
        self._attributes.orphans.pop(ino, None)
