# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about the tree: names, attributes, paths, counts. Nothing here changes what is shown."""

from __future__ import annotations

from dataclasses import replace

from holofsd.core.folders import settings_of
from holofsd.core.ids import ROOT_ID, BlobHash, Ino, NodeId
from holofsd.core.project import token
from holofsd.core.state import Blob, Chunks, Kind, Manifest, NodeState, Version
from holofsd.store.database import Row
from holofsd.store.nodes import EntryRow
from holofsd.store.volume import VolumeStore
from holofsd.tree.facts import blobs_of, true_size
from holofsd.tree.states import States, decode_version
from holofsd.tree.views import Entry, NodeView


class TreeReading:
    """Reading of the tree of one VolumeStore. Methods that may give an inode number write it: call them inside a
    transaction or not, a single number is committed at once."""

    def __init__(self, store: VolumeStore) -> None:
        self.store = store
        self._nodes = store.nodes
        self._states = States(store)

    # ---- nodes and inodes
    def state(self, node: NodeId) -> NodeState | None:
        """None for the root, which has no record, and for nodes that are not known."""
        return self._states.get(node)

    def ino_of(self, node: NodeId, dot: bytes = b"") -> Ino:
        """Given now if it has none."""
        return self._nodes.ino_of(node, dot)

    def find_ino(self, node: NodeId, dot: bytes = b"") -> Ino | None:
        return self._nodes.find_ino(node, dot)

    def view(self, ino: Ino) -> NodeView | None:
        """Attributes of an inode, also of conflict copies and detached ones; None if there is no such inode."""
        row = self._nodes.view_inode(ino)
        if row is None:
            return None
        if row[12] is not None:
            return self._detached_view(row)
        if row[1] in self._nodes.aliases:
            return self._alias_view(row)
        if row[3] is None:
            return None
        return self._view(row)

    def _alias_view(self, row: Row) -> NodeView | None:
        """Returns the view of a directory that is shown as part of another one: that one, under its own number."""
        shown = self._nodes.view_node(self._nodes.aliases.shown_as(row[1]))
        return self._view((row[0], *shown)) if shown is not None else None

    def version(self, ino: Ino) -> Version | None:
        """Returns the version that an inode shows: the node's shown (or held) version, a copy's, or the one a detached
        inode keeps."""
        inode = self._nodes.inode(ino)
        if inode is None:
            return None
        if inode.detached is not None:
            return self.sized(decode_version(inode.detached))
        return self.version_of(inode.node, inode.dot)

    def version_of(self, node: NodeId, dot: bytes = b"") -> Version | None:
        """The version shown by the node, or the live version with this token; `sized`."""
        row = self._nodes.get(node)
        if row is None or not row.state:
            return None
        if not dot and row.earlier is not None:
            return self.sized(decode_version(row.earlier))
        wanted = dot or row.shown
        versions = self._states.decoded(node, row.state).versions
        found = next((v for d, v in versions.items() if token(d) == wanted), None)
        return self.sized(found) if found is not None else None

    def sized(self, version: Version) -> Version:
        """The same version with the size that its content has, where that is here. Not to be put into a state."""
        if not isinstance(version.body, Blob | Manifest | Chunks):
            return version
        size = true_size(version, self.store.content.size)
        return version if size == version.size else replace(version, size=size)

    def is_here(self, version: Version) -> bool:
        """Whether its whole content can be read on this device now."""
        return all(self.store.content.has(blob) for blob, _ in blobs_of(version.body, version.size))

    def missing(self, version: Version) -> list[tuple[BlobHash, int]]:
        """(hash, size) of what has to be fetched before it can be read."""
        return [(b, size) for b, size in blobs_of(version.body, version.size) if not self.store.content.has(b)]

    # ---- names
    def lookup(self, parent: NodeId, name: bytes) -> Entry | None:
        row = self._nodes.view_entry(parent, name)
        return self._entry(row) if row else None

    def entry_at(self, path: bytes) -> Entry | None:
        """Entry that a path leads to; None for the root, which is no entry, and where there is nothing.

        Symlinks are not followed: they lead to paths of the machine, not of the volume.
        """
        parent: NodeId = ROOT_ID
        entry: Entry | None = None
        for name in path.split(b"/"):
            entry = self.lookup(parent, name)
            if entry is None:
                return None
            parent = entry.node
        return entry

    def children(self, parent: NodeId, after: bytes = b"", limit: int = 0) -> list[Entry]:
        """Lists entries in order of name, names after `after`; limit 0: all. Every entry gets an inode number."""
        rows = self._nodes.view_children(parent, after, limit)
        missing = [(row[1], row[2]) for row in rows if row[0] is None]
        if missing:
            with self.store.db.transaction():
                for node, dot in dict.fromkeys(missing):
                    self._nodes.new_ino(node, dot)
            rows = self._nodes.view_children(parent, after, limit)
        return [self._entry(row) for row in rows]

    def following(self, ino: Ino, limit: int) -> list[Entry]:
        """The names after the first name of this inode, in the same directory."""
        inode = self._nodes.inode(ino)
        entry = self._first_entry(inode.node, inode.dot) if inode is not None and inode.detached is None else None
        return self.children(entry.parent, entry.name, limit) if entry is not None else []

    def has_children(self, parent: NodeId) -> bool:
        """Whether any name is shown in a directory."""
        return self._nodes.has_entries(parent)

    def at_slot(self, parent: NodeId, slot: bytes) -> list[NodeId]:
        """Every node that wants this name: the one shown, those beside it as conflict copies, and twins shown once."""
        return list(dict.fromkeys(row.node for row in self._nodes.slot(parent, slot)))

    def twins(self, entry: Entry) -> list[NodeId]:
        """Other files that this name stands for, being of the same content."""
        if entry.view.kind is Kind.DIRECTORY:
            return []
        shown = {row.node for row in self._nodes.entries_of_slot(entry.parent, entry.slot)}
        hidden = [node for node in self.at_slot(entry.parent, entry.slot) if node not in shown]
        mine = self.version_of(entry.node, entry.dot)
        return [n for n in hidden if mine is not None and (v := self.version_of(n)) is not None and v.body == mine.body]

    def siblings(self, parent: NodeId, slot: bytes) -> list[Entry]:
        """The name and its conflict copies, as shown, the name itself first."""
        entries = [self.lookup(row.parent, row.name) for row in self._nodes.entries_of_slot(parent, slot)]
        found = [entry for entry in entries if entry is not None]
        return sorted(found, key=lambda entry: (entry.is_copy, entry.name))

    def path_of(self, node: NodeId, dot: bytes = b"") -> bytes | None:
        """A path from the root that leads to the node or copy, without a leading slash; None if none does."""
        names: list[bytes] = []
        seen: set[NodeId] = set()
        node = self._nodes.aliases.shown_as(node)
        while node != ROOT_ID:
            entry = self._first_entry(node, dot)
            if entry is None or node in seen:
                return None
            seen.add(node)
            names.append(entry.name)
            node, dot = entry.parent, b""
        return b"/".join(reversed(names))

    def _first_entry(self, node: NodeId, dot: bytes) -> EntryRow | None:
        entries = [entry for entry in self._nodes.entries_of_node(node) if entry.dot == dot]
        return min(entries, key=lambda entry: (entry.parent, entry.name), default=None)

    def settings_of(self, node: NodeId) -> NodeState | None:
        """The state of a node, a directory with the settings of all that are shown as one with it."""
        state = self.state(node)
        if state is None or state.kind is not Kind.DIRECTORY or not self._nodes.aliases.of(node):
            return state
        others = (self.state(alias) for alias in self._nodes.aliases.of(node))
        return settings_of([state, *(other for other in others if other is not None)])

    # ---- rows to views
    def _entry(self, row: Row) -> Entry:
        view = self._view(row)
        return Entry(row[12], row[13], row[14], view)

    def _view(self, row: Row) -> NodeView:
        ino, node, dot, kind, mode, size, nlink, mtime_ns, ctime_ns, shown, xattrs, remote = row[:12]
        if ino is None:
            ino = self._nodes.new_ino(node, dot)
        if dot:
            version = self.version_of(node, dot)
            if version is not None:
                size, mtime_ns, shown = version.size, version.mtime.value, dot
                remote = not self.is_here(version)
        elif kind == Kind.DIRECTORY:
            nlink += 2
        return NodeView(
            Ino(ino), node, dot, Kind(kind), mode, size, nlink, mtime_ns, ctime_ns, shown, xattrs, bool(remote)
        )

    def _detached_view(self, row: Row) -> NodeView:
        version = self.sized(decode_version(row[12]))
        state = self.state(row[1])
        kind = Kind(row[3]) if row[3] is not None else state.kind if state else Kind.FILE
        mode = row[4] if row[4] is not None else 0o644
        return NodeView(
            Ino(row[0]),
            row[1],
            row[2],
            kind,
            mode,
            version.size,
            0,
            version.mtime.value,
            row[8] if row[8] is not None else version.mtime.value,
            token(version.dot),
            row[10] or 0,
            not self.is_here(version),
            detached=True,
        )
