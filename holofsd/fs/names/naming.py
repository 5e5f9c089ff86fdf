# SPDX-License-Identifier: GPL-3.0-or-later
"""Names come and go: create, mkdir, symlink, link, unlink, rmdir. Rename has a module of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from holofsd.codec.node_ids import new_node_id
from holofsd.core.edit import check_name, link_id, new_node, with_link
from holofsd.core.errors import (
    DirectoryNotEmpty,
    IsADirectory,
    NameExists,
    NameTooLong,
    NoSuchName,
    NotADirectory,
    NotPermitted,
)
from holofsd.core.ids import Ino, NodeId
from holofsd.core.state import Body, Inline, Kind, Marker, Place, Target, Version
from holofsd.fs.content.versions import Versions
from holofsd.fs.names.freed import FreedNames
from holofsd.fs.nodes.conflicts import Conflicts
from holofsd.fs.nodes.drafts import Draft
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.settings import MAX_TARGET
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.fs.types import AsyncCreate, Attachment
from holofsd.store import faults
from holofsd.tree.views import Entry


@dataclass(frozen=True, slots=True)
class _New:
    """A node to be made. `mtime_ns` None: now."""

    kind: Kind
    place: Place
    mode: int
    body: Body
    size: int
    mtime_ns: int | None = None


class Naming:
    """Operations on one name: find, create, make a directory or symbolic link, link, unlink."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        conflicts: Conflicts,
        unlinking: Unlinking,
        freed: FreedNames,
        versions: Versions,
    ) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._attributes = attributes
        self._conflicts = conflicts
        self._unlinking = unlinking
        self._freed = freed
        self._versions = versions

    # ---- looking
    def find(self, parent: Ino, name: bytes) -> tuple[NodeId, Entry | None]:
        """The directory's node, and what the name leads to."""
        check_name(name)
        directory = self._attributes.directory(parent)
        return directory, self._scope.tree.lookup(directory, name)

    def must_find(self, parent: Ino, name: bytes) -> Entry:
        entry = self.find(parent, name)[1]
        if entry is None:
            raise NoSuchName("There is no such file or directory.")
        return entry

    # ---- coming
    def create_file(self, att: Attachment, parent: NodeId, name: bytes, mode: int, publication_hold_ms: int) -> Ino:
        """An empty file at a name that is free."""
        place = Place(parent, name)
        with self._scope.change(att):
            draft = Draft(self._scope)
            node = self._draft_file(draft, _New(Kind.FILE, place, mode, Inline(b""), 0))
            return self._write_name(draft, att, node, place, publication_hold_ms)

    def create_leased(
        self, att: Attachment, place: Place, mode: int, file: AsyncCreate, publication_hold_ms: int, *, beside: bool
    ) -> None:
        """Makes a file under the leased inode number that its mount chose. `beside`: something has the name already."""
        data = file.data or b""
        with self._scope.change(att):
            draft = Draft(self._scope)
            new = _New(Kind.FILE, place, mode, self._versions.body_of(data), len(data), file.mtime_ns)
            node = self._draft_file(draft, new, refill=not beside)
            before = self._nodes.find_ino(node) if self._nodes.exists(node) else None
            if before is not None:
                self._nodes.drop_inode(before)
            self._nodes.new_ino(node, ino=file.ino)
            shown = set() if beside else {(place.parent, place.name)}
            draft.write(Origin(att, shown, {file.ino}), publication_hold_ms, held_node=node)
            if file.ctime_ns is not None:
                self._nodes.keep_ctime(node, file.ctime_ns)
            self._scope.db.after_commit(lambda: faults.reach("writing.committed", self._scope.store))

    def _draft_file(self, draft: Draft, new: _New, *, refill: bool = True) -> NodeId:
        """Drafts a file and returns its node: the one that had this name a moment ago, or a new one."""
        known = self._freed.take(new.place.parent, new.place.name) if refill else None
        if known is None:
            return self._draft_new(draft, new)
        state = self._freed.reclaim(draft, known)
        draft.put(self._freed.refilled(state, new.place, self._version_of(new, self._scope.now_ns()), new.mode))
        return known

    def make_dir(self, att: Attachment, parent: Ino, name: bytes, mode: int) -> Ino:
        return self.make_dir_at(att, self._free_name(parent, name), name, mode)

    def make_dir_at(self, att: Attachment, parent: NodeId, name: bytes, mode: int, ino: Ino | None = None) -> Ino:
        """`ino`: the leased number that it has already; then it stands beside whatever came to the name since."""
        place = Place(parent, name)
        with self._scope.change(att):
            draft = Draft(self._scope)
            node = self._draft_new(draft, _New(Kind.DIRECTORY, place, mode, Marker(), 0))
            return self._write_name(draft, att, node, place, ino=ino)

    def symlink(self, att: Attachment, parent: Ino, name: bytes, target: bytes) -> Ino:
        if not target:
            raise NoSuchName("The target of a symlink cannot be empty.")
        if len(target) > MAX_TARGET:
            raise NameTooLong(f"The target of a symlink can have {MAX_TARGET} bytes at most.")
        place = Place(self._free_name(parent, name), name)
        with self._scope.change(att):
            draft = Draft(self._scope)
            node = self._draft_new(draft, _New(Kind.SYMLINK, place, 0o777, Target(target), len(target)))
            return self._write_name(draft, att, node, place)

    def link(self, att: Attachment, ino: Ino, parent: Ino, name: bytes) -> None:
        directory = self._free_name(parent, name)
        view = self._attributes.resolve(ino)
        if view.kind is Kind.DIRECTORY:
            raise NotPermitted("A directory has one name only.")
        if view.detached:
            raise NoSuchName("This file was removed.")
        with self._scope.change(att):
            origin = Origin(att, {(directory, name)}, {ino})
            if self._conflicts.settle_ref(view, origin):
                view = self._attributes.resolve(ino)
            draft = Draft(self._scope)
            link = link_id(view.node, secrets.token_bytes(16))
            stamp = self._scope.volume.stamp()
            draft.put(with_link(draft.state(view.node), link, Place(directory, name), stamp))
            draft.write(origin)

    def _free_name(self, parent: Ino, name: bytes) -> NodeId:
        directory, entry = self.find(parent, name)
        if entry is not None:
            raise NameExists("This name exists already.")
        return directory

    def _draft_new(self, draft: Draft, new: _New) -> NodeId:
        node, now_ns = new_node_id(new.kind), self._scope.now_ns()
        version = self._version_of(new, now_ns)
        draft.put(new_node(node, new.kind, now_ns, new.place, link_id(node), version, new.mode, version.stamp))
        draft.fresh.add(node)
        return node

    def _version_of(self, new: _New, now_ns: int) -> Version:
        return self._scope.volume.new_version(new.body, new.size, now_ns if new.mtime_ns is None else new.mtime_ns)

    def _write_name(
        self,
        draft: Draft,
        att: Attachment,
        node: NodeId,
        place: Place,
        publication_hold_ms: int = 0,
        ino: Ino | None = None,
    ) -> Ino:
        ino = self._nodes.ino_of(node) if self._nodes.exists(node) else self._nodes.new_ino(node, ino=ino)
        draft.write(Origin(att, {(place.parent, place.name)}, {ino}), publication_hold_ms, held_node=node)
        return ino

    # ---- going
    def unlink(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None:
        entry = self._going(parent, name, ino)
        if entry.view.kind is Kind.DIRECTORY:
            raise IsADirectory("This is a directory.")
        with self._scope.change(att, needs_space=False):
            origin = Origin(att, {(entry.parent, name)})
            entry = self._conflicts.settle_name(entry, origin, ending=True)
            draft = Draft(self._scope)
            for node in (entry.node, *self._conflicts.hidden_at(entry)):
                self._unlinking.end_name(draft, node, entry.parent, entry.slot, meant=True)
            draft.write(origin)
            if entry.view.kind is Kind.FILE:
                self._freed.leave(entry.parent, name, entry.node)

    def _going(self, parent: Ino, name: bytes, ino: Ino | None) -> Entry:
        """Finds the entry that is to be removed: only `ino`, if one is given."""
        entry = self.must_find(parent, name)
        if ino not in (None, entry.ino) and not self._is_alias(ino, entry):
            raise NoSuchName("Something else has this name now.")
        return entry

    def _is_alias(self, ino: Ino | None, entry: Entry) -> bool:
        """Whether that number shows the same directory as this name, which leads to another number of it."""
        inode = self._nodes.inode(ino) if ino is not None and self._nodes.aliases else None
        return inode is not None and self._nodes.aliases.shown_as(inode.node) == entry.node

    def remove_dir(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None:
        entry = self._going(parent, name, ino)
        if entry.view.kind is not Kind.DIRECTORY:
            raise NotADirectory("This is not a directory.")
        if self._scope.tree.has_children(entry.node):
            raise DirectoryNotEmpty("This directory is not empty.")
        with self._scope.change(att, needs_space=False):
            origin = Origin(att, {(entry.parent, name)})
            entry = self._conflicts.settle_name(entry, origin, ending=True)
            draft = Draft(self._scope)
            for node in self._conflicts.together(entry):
                self._unlinking.end_name(draft, node, entry.parent, entry.slot, meant=True)
            draft.write(origin)
