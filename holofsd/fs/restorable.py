# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be brought back: the versions of a file that are kept, and the items that a call to restore consists of.

Reads only. `restoring` carries it out, so whatever is listed here can be restored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from holofsd.core.edit import check_name
from holofsd.core.errors import BadArgument, IsADirectory, NoSuchName, ReadOnly
from holofsd.core.ids import ROOT_ID, Dot, NodeId
from holofsd.core.node import is_alive
from holofsd.core.state import Kind, Version
from holofsd.fs.scope import Scope
from holofsd.tree.past import Past, PastEntry, PastVersion, Trashed

_ONE_GO_MS: Final = 60_000
"""Removals with shorter pauses between them were one: `rm -r` takes a while, and so does hearing of it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One name to bring back, below the target. Directories come before what is in them. `entry` None: it is known
    that the name was there, and nothing of it is kept."""

    path: bytes
    entry: PastEntry | None


@dataclass(slots=True)
class Plan:
    """What one call brings back. `revive`: under its own names, so that removed nodes live again; else as new files.

    `made`: the new file for each version of a node, so that names of one file are names of one file again.
    """

    items: list[Item]
    revive: bool
    made: dict[tuple[NodeId, Dot], NodeId] = field(default_factory=dict)


class Restorable:
    def __init__(self, scope: Scope, past: Past) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._past = past

    def history(self, path: bytes) -> list[PastVersion]:
        """Newest first, of the file that is at a path, or was last, and of removed ones that had the name before.

        Raises NoSuchName, IsADirectory.
        """
        node = self.known(path) if path else ROOT_ID
        state = self._tree.state(node)
        if state is None or state.kind is Kind.DIRECTORY:
            raise IsADirectory("This is a folder: only files have versions; `holofsctl trash list` shows what went.")
        return [past for _node, past in self._versions_at(path, node)]

    def _versions_at(self, path: bytes, node: NodeId) -> list[tuple[NodeId, PastVersion]]:
        """Newest first, each once: of this node, and of files of the same kind that were removed from the path."""
        present = self.find(path)
        found: dict[Dot, tuple[NodeId, PastVersion]] = {}
        state = self._tree.state(node)
        for other in dict.fromkeys([node, *self._files_removed_from(path)]):
            kind = self._tree.state(other)
            if kind is None or state is None or (present is not None and kind.kind is not state.kind):
                continue
            until_ms = 0 if other == present else self._left_ms(path, other)
            for past in self._past.versions(other):
                if until_ms and not past.ended_ms:
                    past = replace(past, ended_ms=until_ms, shown=False)
                found.setdefault(past.version.dot, (other, past))
        return sorted(found.values(), key=lambda pair: (pair[1].version.stamp, pair[1].version.dot), reverse=True)

    def _left_ms(self, path: bytes, node: NodeId) -> int:
        """When a node that may go on under another name gave this one up; 0 if that is not known."""
        directory, _, name = path.rpartition(b"/")
        rows = [row for above in self._folders(directory) for row in self._past.places_named(above, name)]
        return max((row.until_ms for row in rows if row.node == node), default=0)

    def _files_removed_from(self, path: bytes) -> list[NodeId]:
        """Also those that were removed later, under another name: a conflict's copies get names of their own first."""
        directory, _, name = path.rpartition(b"/")
        found: list[NodeId] = []
        for above in self._folders(directory):
            found += [item.node for item in self._past.removed_from(above, name) if item.kind is not Kind.DIRECTORY]
            nodes = (row.node for row in self._past.places_named(above, name))
            trashed = (self._past.trashed(node) for node in nodes)
            found += [item.node for item in trashed if item is not None and item.kind is not Kind.DIRECTORY]
        return found

    def _folders(self, path: bytes) -> list[NodeId]:
        """The directories that this path leads to, or led to before they were removed."""
        found = [ROOT_ID]
        for name in path.split(b"/") if path else ():
            below: dict[NodeId, None] = {}
            for parent in found:
                entry = self._tree.lookup(parent, name)
                if entry is not None and entry.view.kind is Kind.DIRECTORY:
                    below[entry.node] = None
                removed = self._past.removed_from(parent, name)
                below.update((item.node, None) for item in removed if item.kind is Kind.DIRECTORY)
            found = list(below)
        return found

    # ---- what to bring back
    def plan(
        self, path: bytes, *, version: str = "", at_ms: int = 0, to: bytes = b"", from_trash: bool = False
    ) -> Plan:
        """As `restore`; raises what that does before anything is changed."""
        if not self._scope.remote.can_write:
            raise ReadOnly("This device may only read this volume: it cannot restore anything in it.")
        if not path:
            raise BadArgument("Say which file or folder to restore.")
        for name in (to or path).split(b"/"):
            check_name(name)
        return Plan(self._items(path, to or path, version, at_ms, from_trash), revive=not to)

    def _items(self, path: bytes, target: bytes, version: str, at_ms: int, from_trash: bool) -> list[Item]:
        if version:
            return [Item(target, self._chosen(path, version))]
        if at_ms:
            entry = self._past.find(path, at_ms)
            if entry is None:
                raise NoSuchName("Nothing that is still kept was at this path then.")
            return self._as_then(target, entry, at_ms)
        present = None if from_trash else self.find(path)
        if present is None:
            removed = self.removed(path)
            if removed is not None:
                return self._as_removed(target, removed)
            if from_trash:
                raise NoSuchName("There is no such file, and none that was removed from there is kept.")
            return [Item(target, self._before_it_left(path))]
        state = self._tree.state(present)
        if state is None or state.kind is Kind.DIRECTORY:
            raise BadArgument("This is a folder: say --at TIME to bring it back as it was, or name what is missing.")
        return [Item(target, self._before(path, present))]

    def find(self, path: bytes) -> NodeId | None:
        """The node that a path leads to now."""
        node = ROOT_ID
        for name in path.split(b"/"):
            entry = self._tree.lookup(node, name)
            if entry is None:
                return None
            node = entry.node
        return node

    def removed(self, path: bytes) -> Trashed | None:
        """What was removed last from a path, which may lead through removed directories."""
        directory, _, name = path.rpartition(b"/")
        found = [item for parent in self._folders(directory) if (item := self._past.removed_at(parent, name))]
        if not found:
            found = [item for item in self._past.lost() if self._past.resting_path(item.parent, item.name) == path]
        return max(found, key=lambda item: item.removed_ms, default=None)

    def known(self, path: bytes) -> NodeId:
        """The node that is, or was last, at a path. Raises NoSuchName."""
        node = self.find(path)
        if node is None and (removed := self.removed(path)) is not None:
            node = removed.node
        if node is None and (left := self._left(path)) is not None:
            node = left[0]
        if node is None:
            raise NoSuchName("There is no such file, and nothing is known of one that was there.")
        return node

    def _left(self, path: bytes) -> tuple[NodeId, int] | None:
        """The node that had this path last, and lives under another one, with the time when it left."""
        directory, _, name = path.rpartition(b"/")
        rows = [row for parent in self._folders(directory) for row in self._past.places_named(parent, name)]
        for row in sorted(rows, key=lambda row: row.until_ms, reverse=True):
            state = self._tree.state(row.node)
            if state is not None and is_alive(state):
                return row.node, row.until_ms
        return None

    def _chosen(self, path: bytes, told: str) -> PastEntry:
        known = self._versions_at(path, self.known(path))
        found = [(node, past) for node, past in known if past.id.startswith(told.lower())]
        if not found or any(past.version.body != found[0][1].version.body for _node, past in found):
            problem = "has no version" if not found else "has several versions"
            raise NoSuchName(f"The file {problem} {told!r}; `holofsctl history` lists those that are kept.")
        node, past = found[0]
        return self._entry(path, node, past.version)

    def _before(self, path: bytes, node: NodeId) -> PastEntry:
        """The version that was replaced, or removed from this path, last, of those that `history` lists; one with
        other content than is shown, if there is one."""
        known = self._versions_at(path, node)
        shown = [past.version.body for other, past in known if other == node and past.shown]
        earlier = [(other, past) for other, past in known if past.ended_ms and not (other == node and past.shown)]
        different = [(other, past) for other, past in earlier if past.version.body not in shown] or earlier
        if not different:
            raise NoSuchName("No earlier version of this file is kept.")
        other, past = max(different, key=lambda pair: (pair[1].ended_ms, pair[1].version.stamp))
        return self._entry(path, other, past.version)

    def _before_it_left(self, path: bytes) -> PastEntry:
        """What a file that was moved to another path was when it had this one."""
        left = self._left(path)
        state = self._tree.state(left[0]) if left is not None else None
        if left is None or state is None:
            raise NoSuchName("There is no such file, and none that was removed from there is kept.")
        if state.kind is Kind.DIRECTORY:
            now = self._tree.path_of(left[0]) or b"another path"
            raise NoSuchName(f"This folder was not removed: it was moved to {now.decode('utf-8', 'replace')!r}.")
        version = self._past.version_then(*left)
        if version is None:
            raise NoSuchName("This file is not kept any more.")
        return self._entry(path, left[0], version)

    def _entry(self, path: bytes, node: NodeId, version: Version) -> PastEntry:
        entry = self._past.entry_of(node, path.rpartition(b"/")[2], version.stamp.wall_ms)
        if entry is None:
            raise NoSuchName("This file is not kept any more.")
        return replace(entry, version=version)

    def _as_then(self, target: bytes, entry: PastEntry, at_ms: int) -> list[Item]:
        items = [Item(target, entry)]
        if entry.kind is Kind.DIRECTORY:
            for name, node in self._past.names(entry.node, at_ms):
                child = self._past.entry_of(node, name, at_ms)
                path = target + b"/" + name
                items += self._as_then(path, child, at_ms) if child is not None else [Item(path, None)]
        return items

    def _as_removed(self, target: bytes, root: Trashed) -> list[Item]:
        """A removed node, and what was removed from below it in one go with it."""
        below = self._below(target, root)
        oldest = root.removed_ms
        for item in sorted((trashed for _path, trashed in below), key=lambda t: t.removed_ms, reverse=True):
            if item.removed_ms < oldest - _ONE_GO_MS:
                break
            oldest = min(oldest, item.removed_ms)
        wanted = [(path, item) for path, item in below if item.removed_ms >= oldest]
        latest = dict(sorted(wanted, key=lambda pair: pair[1].removed_ms))
        return [Item(path, self.entry_of(item)) for path, item in sorted({target: root, **latest}.items())]

    def _below(self, path: bytes, root: Trashed) -> list[tuple[bytes, Trashed]]:
        found: list[tuple[bytes, Trashed]] = []
        if root.kind is Kind.DIRECTORY:
            for item in self._past.removed_in(root.node):
                found.append((path + b"/" + item.name, item))
                found += self._below(path + b"/" + item.name, item)
        return found

    def entry_of(self, item: Trashed) -> PastEntry | None:
        entry = self._past.entry_of(item.node, item.name, item.removed_ms) if item.kept else None
        return replace(entry, version=item.version) if entry is not None else None
