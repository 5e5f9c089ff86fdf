# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `inodes` right, and tells what each inode shows now.

An inode follows its node (or conflict copy). It is detached, keeping the version it showed, when somebody has it open
and it would otherwise show something else (a version from elsewhere) or nothing (removed); nobody having it open, it
stays in the first case and is dropped in the second. Numbers are never used again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from holofsd.core.ids import Ino, NodeId
from holofsd.core.project import token
from holofsd.core.state import Kind, Version
from holofsd.store.nodes import EntryRow, InodeRow, NodeRow
from holofsd.tree.batch import Batch, Slot
from holofsd.tree.changes import EntryUpdate, InodeUpdate
from holofsd.tree.numbering import Shows, keep_numbers
from holofsd.tree.states import decode_version, encode_version
from holofsd.tree.work import Work


@dataclass(slots=True)
class Inodes:
    """Inode numbers in one batch of changes: kept, detached or dropped, and what to tell of them."""

    batch: Batch
    is_open: Callable[[Ino], bool]
    detach_open: bool
    """Whether open inodes keep their version when another one is shown (changes from elsewhere)."""
    elsewhere: bool
    names: dict[Slot, tuple[EntryRow | None, EntryRow | None]] = field(default_factory=dict)
    """Names to tell of: the entry before and after."""
    renumbered: dict[NodeId, Shows] = field(default_factory=dict)
    _took_from: dict[NodeId, tuple[bytes, Version | None]] = field(default_factory=dict)
    """What inodes that were taken over showed before: token and version."""

    def take_over(self, takeover: Mapping[Ino, NodeId]) -> None:
        """Each inode now means that node, whatever it meant before (rename over, split)."""
        nodes = self.batch.store.nodes
        for ino, node in takeover.items():
            target = self.batch.pull(node)
            inode = nodes.inode(ino)
            if target is None or inode is None:
                continue
            self._took_from[node] = self._shown_by(inode)
            current = nodes.find_ino(node)
            if current is not None and current != ino:
                self._let_go(current, target, self.batch.shown_before(target))
            nodes.rebind(ino, node)

    def _shown_by(self, inode: InodeRow) -> tuple[bytes, Version | None]:
        if inode.detached is not None:
            version: Version | None = decode_version(inode.detached)
        else:
            source = self.batch.pull(inode.node)
            if source is None:
                version = None
            elif inode.dot:
                version = self._copy(source, inode.dot)
            else:
                version = self.batch.shown_before(source)
        return (token(version.dot) if version else b"", version)

    def update(self, lost_copies: Mapping[tuple[NodeId, bytes], None]) -> None:
        """Gives and takes inode numbers after the projection."""
        nodes = self.batch.store.nodes
        self.renumbered = keep_numbers(self.batch, self.names)
        self._tell_of_folders()
        for work in self.batch.works.values():
            if work.old is None and work.node not in self._took_from:
                continue
            ino = nodes.find_ino(work.node)
            if ino is not None:
                self._update_one(work, ino)
        for node, dot in lost_copies:
            ino = nodes.find_ino(node, dot)
            if ino is not None and not any(entry.dot == dot for entry in nodes.entries_of_node(node)):
                self._let_go_of_copy(ino, node, dot)

    def _update_one(self, work: Work, ino: Ino) -> None:
        took = self._took_from.get(work.node)
        old, row = work.old, work.row
        if took is not None:
            self._all_names(work.node)
        if not row.visible:
            self._let_go(ino, work, self.batch.shown_before(work))
        elif row.kind == Kind.DIRECTORY and self._is_told(work):
            pass
        elif took is not None:
            self._shows_another(work, ino, *took)
        elif old is not None and old.shown != row.shown:
            self._shows_another(work, ino, old.shown, self.batch.shown_before(work))
            self._update_aliases(work, old.shown)
        elif old is not None and _attributes(old) != _attributes(row):
            self._update(ino, False, row.shown, row.shown)
            self._update_aliases(work, row.shown)

    def _shows_another(self, work: Work, ino: Ino, previous: bytes, before: Version | None) -> None:
        row = work.row
        content = before is None or work.shown is None or before.body != work.shown.body
        if content and self.detach_open and row.kind == Kind.FILE and before is not None and self.is_open(ino):
            nodes = self.batch.store.nodes
            nodes.detach(ino, encode_version(work.node, work.state.kind, before))
            nodes.ino_of(work.node)
            self._all_names(work.node)
        else:
            self._update(ino, content, previous, row.shown)

    def _update(self, ino: Ino, content: bool, previous: bytes, now: bytes) -> None:
        self.batch.change.inodes.append(InodeUpdate(ino, content, previous, now, self.elsewhere))

    # ---- directories that are shown as one
    def _tell_of_folders(self) -> None:
        """Numbers that show another directory than before have its attributes now."""
        nodes = self.batch.store.nodes
        shows = dict(self.renumbered)
        for node, before in self.batch.regrouped.items():
            ino = nodes.find_ino(node)
            if ino is not None and node not in shows:
                shows[node] = Shows(ino, before)
        for node, item in shows.items():
            now = self.batch.shown_token(nodes.aliases.shown_as(node))
            self._update(item.ino, False, self.batch.shown_token(item.before, earlier=True), now)

    def _is_told(self, work: Work) -> bool:
        node = work.node
        return node in self.renumbered or node in self.batch.regrouped or node in self.batch.store.nodes.aliases

    def _update_aliases(self, shown: Work, previous: bytes) -> None:
        """Numbers that are shown as part of this directory have its attributes."""
        for alias in self.batch.store.nodes.aliases.of(shown.node):
            ino = self.batch.store.nodes.find_ino(alias)
            if ino is not None and alias not in self.batch.regrouped and alias not in self.renumbered:
                self._update(ino, False, previous, shown.row.shown)

    def _let_go(self, ino: Ino, work: Work, version: Version | None) -> None:
        nodes = self.batch.store.nodes
        if version is not None and self.is_open(ino):
            nodes.detach(ino, encode_version(work.node, work.state.kind, version))
        else:
            nodes.drop_inode(ino)

    def _let_go_of_copy(self, ino: Ino, node: NodeId, dot: bytes) -> None:
        work = self.batch.pull(node)
        if work is None:
            self.batch.store.nodes.drop_inode(ino)
            return
        self._let_go(ino, work, self._copy(work, dot))

    def _copy(self, work: Work, dot: bytes) -> Version | None:
        versions = {**work.state.versions, **(work.old_state.versions if work.old_state else {})}
        return next((v for d, v in versions.items() if token(d) == dot), None)

    def _all_names(self, node: NodeId) -> None:
        """Every name of the node leads to another inode now."""
        for entry in self.batch.store.nodes.entries_of_node(node):
            if not entry.dot:
                self.names.setdefault((entry.parent, entry.name), (entry, entry))

    # ---- what to tell
    def entry_changes(self) -> list[EntryUpdate]:
        nodes = self.batch.store.nodes
        parents: dict[NodeId, Ino | None] = {}
        changes: list[EntryUpdate] = []
        for (parent, name), (before, now) in self.names.items():
            if parent not in parents:
                parents[parent] = nodes.find_ino(parent)
            if now is not None:
                ino = None if self._is_unseen(now) else nodes.find_ino(now.node, now.dot)
                changes.append(EntryUpdate(parent, parents[parent], name, ino, gone=False))
            elif before is not None:
                changes.append(EntryUpdate(parent, parents[parent], name, None, gone=True))
        return changes

    def _is_unseen(self, entry: EntryRow) -> bool:
        """New in this update: it cannot have an inode yet."""
        work = self.batch.works.get(entry.node)
        known = entry.node in self._took_from or entry.node in self.renumbered
        return work is not None and work.old is None and not known


def _attributes(row: NodeRow) -> tuple[int, ...]:
    return (row.mode, row.size, row.mtime_ns, row.xattrs, row.remote, row.kind, row.nlink if row.kind != 2 else 0)
