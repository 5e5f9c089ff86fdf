# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for what can be brought back: the versions of a file that are kept, and the items that a call to restore
consists of.

Reads only. `restoring` carries it out, so whatever is listed here can be restored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from holofsd.core.edit import check_name
from holofsd.core.errors import BadArgument, IsADirectory, NoSuchName, ReadOnly
from holofsd.core.ids import ROOT_ID, Dot, NodeId
from holofsd.core.node import is_alive
from holofsd.core.state import Kind, NodeState, Version
from holofsd.fs.shared.scope import Scope
from holofsd.tree.past import Past, PastEntry, PastVersion, Trashed
from holofsd.tree.stays import Stay, Stays

_ONE_GO_MS: Final = 60_000
"""Removals with shorter pauses between them were one: `rm -r` takes a while, and so does hearing of it."""

_FLEETING_MS: Final = 5_000
"""For so long, at most, a file is empty only because a program is about to write it (O_TRUNC)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One name to bring back, below the target. Directories come before what is in them. `entry` None: it is known
    that the name was there, and nothing of it is kept."""

    path: bytes
    entry: PastEntry | None


@dataclass(slots=True)
class Plan:
    """Plan of one call to restore. `revive`: under its own names, so that removed nodes live again; else as new files.

    `made`: the new file for each version of a node, so that names of one file are names of one file again.
    """

    items: list[Item]
    revive: bool
    made: dict[tuple[NodeId, Dot], NodeId] = field(default_factory=dict)


class Restorable:
    """Search for what can be restored, and the maker of plans."""

    def __init__(self, scope: Scope, past: Past) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._past = past
        self._stays = Stays(scope.tree, past)

    def history(self, path: bytes) -> list[PastVersion]:
        """Newest first, of the file that is at a path, or was last, and of others that had this path before, each up
        to when it left.

        Raises NoSuchName, IsADirectory.
        """
        node = self.known(path) if path else ROOT_ID
        state = self._tree.state(node)
        if state is None or state.kind is Kind.DIRECTORY:
            raise IsADirectory("This is a folder: only files have versions, and the trash has what was removed.")
        known = self._versions_at(path, node)
        if not known:
            raise NoSuchName("There is no such file, and nothing is kept of one that was there.")
        return [past for _node, past in known]

    def _versions_at(self, path: bytes, node: NodeId) -> list[tuple[NodeId, PastVersion]]:
        """Newest first, each once: of this node, and what others of the same kind were while they had this path."""
        present = self.find(path)
        state = self._tree.state(node)
        stays = [stay for stay in self._stays.at(path) if stay.node != present]
        found: dict[Dot, tuple[NodeId, PastVersion]] = {}
        if all(stay.node != node for stay in stays):
            found = {past.version.dot: (node, past) for past in self._past.versions(node)}
        for stay in stays:
            other = self._tree.state(stay.node)
            if present is not None and (other is None or state is None or other.kind is not state.kind):
                continue
            for past in self._stays.versions(stay):
                found.setdefault(past.version.dot, (stay.node, past))
        return sorted(found.values(), key=lambda pair: (pair[1].version.stamp, pair[1].version.dot), reverse=True)

    # ---- what to bring back
    def plan(
        self, path: bytes, *, version: str = "", at_ms: int = 0, to: bytes = b"", from_trash: bool = False
    ) -> Plan:
        """Plans a call to `restore`; raises what that does before anything is changed."""
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
            return self._as_it_left(path, target, from_trash)
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
        """Finds what was removed last from a path, which may lead through directories that were removed or are
        elsewhere."""
        for stay in self._stays.at(path):
            if (item := self._stays.removed(stay)) is not None:
                return item
        found = [item for item in self._past.lost() if self._past.resting_path(item.parent, item.name) == path]
        return max(found, key=lambda item: item.removed_ms, default=None)

    def known(self, path: bytes) -> NodeId:
        """The node that is, or was last, at a path. Raises NoSuchName."""
        node = self.find(path)
        if node is None and (removed := self.removed(path)) is not None:
            node = removed.node
        if node is None and (left := self._left(path)) is not None:
            node = left.node
        if node is None:
            raise NoSuchName("There is no such file, and nothing is known of one that was there.")
        return node

    def _left(self, path: bytes) -> Stay | None:
        """The last stay of what left this path for another one, and lives there or was removed there: of a folder, or
        of a file of which something is kept, as `history` lists it."""
        for stay in self._stays.at(path):
            state = self._tree.state(stay.node)
            if state is None:
                continue
            is_folder = state.kind is Kind.DIRECTORY
            if self._is_there(state) if is_folder else self._stays.versions(stay):
                return stay
        return None

    def _is_there(self, state: NodeState) -> bool:
        return is_alive(state) or self._past.trashed(state.id) is not None

    def _chosen(self, path: bytes, told: str) -> PastEntry:
        known = self._versions_at(path, self.known(path))
        found = [(node, past) for node, past in known if past.id.startswith(told.lower())]
        if not found or any(past.version.body != found[0][1].version.body for _node, past in found):
            problem = "has no version" if not found else "has several versions"
            raise NoSuchName(f"The file {problem} {told!r}; its history lists those that are kept.")
        node, past = found[0]
        return self._entry(path, node, past.version)

    def _before(self, path: bytes, node: NodeId) -> PastEntry:
        """The version that was replaced, or removed from this path, last, of those that `history` lists; one with
        other content than is shown, if there is one."""
        known = self._versions_at(path, node)
        shown = [past.version.body for other, past in known if other == node and past.shown]
        earlier = [pair for pair in _without_fleeting(known) if pair[1].ended_ms and not pair[1].shown]
        different = [(other, past) for other, past in earlier if past.version.body not in shown] or earlier
        if not different:
            raise NoSuchName("No earlier version of this file is kept.")
        other, past = max(different, key=lambda pair: (pair[1].ended_ms, pair[1].version.stamp))
        return self._entry(path, other, past.version)

    def _as_it_left(self, path: bytes, target: bytes, from_trash: bool) -> list[Item]:
        """Plans to restore what is elsewhere now, or was removed there: a file as it was when it had this path, a
        folder as it was removed."""
        left = self._left(path)
        trashed = self._past.trashed(left.node) if left is not None else None
        if left is None or (from_trash and trashed is None):
            raise NoSuchName("There is no such file, and none that was removed from there is kept.")
        state = self._tree.state(left.node)
        if state is not None and state.kind is Kind.DIRECTORY:
            if trashed is not None:
                return self._as_removed(target, trashed)
            now = self._tree.path_of(left.node) or b"another path"
            raise NoSuchName(f"This folder was not removed: it was moved to {now.decode('utf-8', 'replace')!r}.")
        versions = self._stays.versions(left)
        if not versions:
            raise NoSuchName("This file is not kept any more.")
        return [Item(target, self._entry(path, left.node, versions[0].version))]

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


def _without_fleeting(known: list[tuple[NodeId, PastVersion]]) -> list[tuple[NodeId, PastVersion]]:
    """Leaves out versions that were empty for a moment, until the program that had emptied the file wrote to it."""
    newer: dict[NodeId, PastVersion] = {}
    found: list[tuple[NodeId, PastVersion]] = []
    for node, past in known:
        after = newer.get(node)
        soon = after is not None and after.version.stamp.wall_ms - past.version.stamp.wall_ms < _FLEETING_MS
        if past.version.size or not soon:
            found.append((node, past))
        newer[node] = past
    return found
