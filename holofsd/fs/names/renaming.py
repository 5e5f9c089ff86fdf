# SPDX-License-Identifier: GPL-3.0-or-later
"""Rename in all flavours. A file renamed over a file is a write to the file that was there (docs/model.md)."""

from __future__ import annotations

from dataclasses import replace

from holofsd.core.edit import check_name, link_for, moved, replace_content, unlinked
from holofsd.core.errors import (
    BadArgument,
    DirectoryNotEmpty,
    FileBusy,
    IsADirectory,
    NameExists,
    NoSuchName,
    NotADirectory,
)
from holofsd.core.ids import ROOT_ID, Dot, NodeId
from holofsd.core.lost import LOST_ID
from holofsd.core.project import token
from holofsd.core.state import Kind, NodeState, Place
from holofsd.fs.content.versions import Versions
from holofsd.fs.names.freed import FreedNames
from holofsd.fs.nodes.conflicts import Conflicts
from holofsd.fs.nodes.drafts import Draft, shown_of, unseen_of
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.types import Attachment, RenameFlags, RenameRequest
from holofsd.tree.views import Entry


class Renaming:
    """Renames: to a free name, over another one, and exchanges."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        conflicts: Conflicts,
        unlinking: Unlinking,
        freed: FreedNames,
        versions: Versions,
        staged: StagedFiles,
    ) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._attributes = attributes
        self._conflicts = conflicts
        self._unlinking = unlinking
        self._freed = freed
        self._versions = versions
        self._staged = staged

    def rename(self, att: Attachment, request: RenameRequest) -> None:
        name, new_name, flags = request.name, request.new_name, request.flags
        check_name(name)
        check_name(new_name)
        if flags == RenameFlags.NO_REPLACE | RenameFlags.EXCHANGE:
            raise BadArgument("A rename cannot exchange and refuse to replace.")
        directory = self._attributes.directory(request.parent)
        new_directory = self._attributes.directory(request.new_parent)
        source = self._scope.tree.lookup(directory, name)
        target = self._scope.tree.lookup(new_directory, new_name)
        if source is None or (target is None and flags & RenameFlags.EXCHANGE):
            raise NoSuchName("There is no such file or directory.")
        if target is not None and flags & RenameFlags.NO_REPLACE:
            raise NameExists("The new name exists already.")
        exchange = bool(flags & RenameFlags.EXCHANGE)
        if directory != new_directory:
            self._check_stays(source)
            if target is not None and exchange:
                self._check_stays(target)
        self._check_loop(source, new_directory, "A directory cannot be moved into itself.")
        if target is not None:
            if exchange:
                self._check_loop(target, directory, "A directory cannot be moved into itself.")
            elif self._is_above(target.node, directory):
                raise DirectoryNotEmpty("The directory that would be replaced is not empty.")
            if (source.node, source.dot) == (target.node, target.dot):
                return
            self._conflicts.require_told_apart(source, target)
            if not exchange:
                self._check_kinds(source, target)
        with self._scope.change(att, needs_space=False):
            place = Place(new_directory, new_name)
            origin = Origin(att, {(directory, name), (new_directory, new_name)})
            source = self._conflicts.settle_name(source, origin)
            # Looked up again: where the two share a name, settling one settled the other.
            target = self._scope.tree.lookup(new_directory, new_name)
            if target is not None:
                target = self._conflicts.settle_name(target, origin, ending=not exchange)
            if exchange and target is not None:
                self._exchange(source, target, origin)
            else:
                self._move(source, target, place, request.base, origin)

    # ---- checks
    def _check_stays(self, entry: Entry) -> None:
        if LOST_ID in self._nodes.aliases.together(entry.node):
            raise FileBusy("The folder lost+found stays where it is: move what is in it instead.")

    def _check_loop(self, moving: Entry, into: NodeId, problem: str) -> None:
        if moving.view.kind is Kind.DIRECTORY and self._is_above(moving.node, into):
            raise BadArgument(problem)

    def _is_above(self, node: NodeId, below: NodeId) -> bool:
        """Whether `below` is that directory or somewhere in it."""
        while below != ROOT_ID:
            if below == node:
                return True
            placed = self._nodes.placed_under(below)
            if placed is None:
                return False
            below = placed[0]
        return False

    def _check_kinds(self, source: Entry, target: Entry) -> None:
        if source.view.kind is Kind.DIRECTORY:
            if target.view.kind is not Kind.DIRECTORY:
                raise NotADirectory("A directory cannot replace a file.")
            if self._scope.tree.has_children(target.node):
                raise DirectoryNotEmpty("The directory that would be replaced is not empty.")
        elif target.view.kind is Kind.DIRECTORY:
            raise IsADirectory("A file cannot replace a directory.")

    # ---- flavours
    def _move(self, source: Entry, target: Entry | None, place: Place, base: bytes, origin: Origin) -> None:
        plain = self._can_be_rewritten(source)
        if plain and target is not None and _is_plain(target):
            self._replace(source, target, base, origin)
        elif plain and target is None and (known := self._freed.take(place.parent, place.name)) is not None:
            self._refill(source, known, place, origin)
        else:
            draft = Draft(self._scope)
            if target is not None:
                for node in (target.node, *self._conflicts.hidden_at(target)):
                    self._unlinking.end_name(draft, node, target.parent, target.slot)
            self._put_moved(draft, source, place)
            draft.write(origin)
        if source.view.kind is Kind.FILE:
            self._freed.leave(source.parent, source.name, source.node)

    def _can_be_rewritten(self, source: Entry) -> bool:
        """Whether what the source shows may become a version of another file: all of it is shown, and it is here."""
        if not _is_plain(source):
            return False
        row, state = self._nodes.get(source.node), self._scope.tree.state(source.node)
        shown = shown_of(row, state) if row is not None and state is not None else None
        if row is None or state is None or shown is None or not self._scope.tree.is_here(shown):
            return False
        return len(unseen_of(self._scope, row, state)) == (row.earlier is not None)

    def take_name(self, source: Entry, target: Entry, origin: Origin) -> None:
        """`mv source target` inside a transaction, both being alone at their names; the content stays its writer's."""
        if self._can_be_rewritten(source) and _is_plain(target):
            written = self._scope.tree.version(source.ino)
            self._replace(source, target, b"", origin, written.device_name if written is not None else "")
        else:
            self._move(source, target, Place(target.parent, target.name), b"", origin)

    def _put_moved(self, draft: Draft, entry: Entry, place: Place) -> None:
        for node in (entry.node, *self._conflicts.hidden_at(entry)):
            link = self._unlinking.only_link_at(draft, node, entry.parent, entry.slot)
            state = draft.state(node)
            fallen = self._nodes.override(node)
            if fallen is not None:
                # The place before is where this directory was seen, rather than the place that a cycle kept it from.
                state = moved(state, link, Place(*fallen), self._scope.volume.stamp())
            draft.put(moved(state, link, place, self._scope.volume.stamp()))

    def _exchange(self, source: Entry, target: Entry, origin: Origin) -> None:
        draft = Draft(self._scope)
        here, there = Place(source.parent, source.name), Place(target.parent, target.name)
        if source.node == target.node:
            return
        self._put_moved(draft, source, there)
        self._put_moved(draft, target, here)
        draft.write(origin)

    # ---- replacing a file is a write
    def _replace(self, source: Entry, target: Entry, base: bytes, origin: Origin, by: str = "") -> None:
        draft = Draft(self._scope)
        state, row = draft.state(target.node), self._nodes.get(target.node)
        assert row is not None
        self._unlinking.release_inode(row, state)
        version = self._put_content(draft, source, state, [*self._versions.superseded(row.shown, base)], by)
        self._take_over(draft, source, target.node, version, origin)

    def _refill(self, source: Entry, known: NodeId, place: Place, origin: Origin) -> None:
        """The name belonged to `known` a moment ago: it is that file again, with the source's content."""
        draft = Draft(self._scope)
        if known == source.node:
            # Renamed away and back.
            self._put_moved(draft, source, place)
            draft.write(origin)
            return
        state = self._freed.reclaim(draft, known)
        state = moved(state, link_for(state, place), place, self._scope.volume.stamp())
        version = self._put_content(draft, source, state, list(state.versions))
        self._take_over(draft, source, known, version, origin)

    def _put_content(self, draft: Draft, source: Entry, state: NodeState, supersedes: list[Dot], by: str = "") -> bytes:
        """`state` with what the source shows; returns the token of the new version. `by`: who wrote it, if not we."""
        source_state, source_row = draft.state(source.node), self._nodes.get(source.node)
        shown = shown_of(source_row, source_state) if source_row is not None else None
        if shown is None:
            raise NoSuchName("This file has no content any more.")
        version = self._scope.volume.new_version(shown.body, shown.size, shown.mtime.value)
        version = replace(version, device_name=by or version.device_name)
        self._scope.lineage.follows(version.dot, supersedes)
        draft.put(replace_content(state, source_state, version, supersedes, version.stamp))
        return token(version.dot)

    def _take_over(self, draft: Draft, source: Entry, node: NodeId, version: bytes, origin: Origin) -> None:
        """The source's inode number means the target from now on; the source's node ends."""
        ino = source.ino
        draft.takeover[ino] = node
        staged = self._staged.of(ino)
        if staged is not None:
            self._staged.rebind(ino, node)
            self._staged.based_on(staged, version)
        link = self._unlinking.only_link_at(draft, source.node, source.parent, source.slot)
        state, row = draft.state(source.node), self._nodes.get(source.node)
        unseen = unseen_of(self._scope, row, state) if row is not None else []
        draft.put(unlinked(state, link, self._scope.volume.stamp(), unseen))
        writers = [opened for opened in self._scope.files.of_ino(ino) if opened.write]
        for opened in writers:
            opened.holds_publication = True
        publication_hold_ms = self._scope.publication_hold_ms() if writers else 0
        draft.write(origin, publication_hold_ms)
        if not writers:
            self._scope.volume.release(node)


def _is_plain(entry: Entry) -> bool:
    return entry.view.kind is Kind.FILE and entry.view.nlink == 1
