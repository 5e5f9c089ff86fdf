# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for what can be brought back: the versions of a file that are kept, and the items that a call to restore
consists of.

Reads only. `restoring` carries it out, so whatever is listed here can be restored.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from holofsd.core.edit import check_name
from holofsd.core.errors import BadArgument, HoloError, IsADirectory, NameExists, NoSuchName, ReadOnly
from holofsd.core.ids import ROOT_ID, Dot, NodeId
from holofsd.core.node import is_alive
from holofsd.core.state import Kind, NodeState, Place
from holofsd.fs.shared.scope import Scope
from holofsd.tree.past import Past, PastEntry, PastVersion, Trashed, taken_from
from holofsd.tree.stays import Stay, Stays

_ONE_GO_MS: Final = 60_000
"""Removals with shorter pauses between them were one: `rm -r` takes a while, and so does hearing of it."""

_FLEETING_MS: Final = 5_000
"""For so long, at most, a file is empty only because a program is about to write it (O_TRUNC)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One name to bring back. Directories come before what is in them. `entry` None: it is known that the name was
    there, and nothing of it is kept.

    `origin`: the name that was taken from the node, if the item stands for that name; None for a copy. `returns`: it
    was taken from this very path, so a removed node lives again. Else the trash keeps it, for the path it is known by.
    """

    path: bytes
    entry: PastEntry | None
    origin: Place | None = None
    returns: bool = False


@dataclass(slots=True)
class Plan:
    """Plan of one call to restore. `made`: the new file for each version of a node, so that names of one file are
    names of one file again."""

    items: list[Item]
    made: dict[tuple[NodeId, Dot], NodeId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """A version that a path had, of this node. `place`: the name at that path."""

    node: NodeId
    past: PastVersion
    place: Place


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
        known = self._versions_at(path, node) if path else []
        if not known and self._is_folder(node):
            raise IsADirectory("This is a folder: only files have versions, and the trash has what was removed.")
        if not known:
            raise NoSuchName("There is no such file, and nothing is kept of one that was there.")
        return [one.past for one in known]

    def taken_without_version(self, path: bytes, listed: list[PastVersion]) -> PastVersion | None:
        """Picks, of what `history` lists, the version that `restore` takes if none is said."""
        try:
            first = self._items(path, "", 0, False, True)[0]
        except HoloError:
            return None
        version = first.entry.version if first.entry is not None else None
        if version is None:
            return None
        same = [past for past in listed if past.version.body == version.body]
        return next((past for past in same if past.version.dot == version.dot), same[0] if same else None)

    def _is_folder(self, node: NodeId | None) -> bool:
        state = self._tree.state(node) if node is not None else None
        return node == ROOT_ID or (state is not None and state.kind is Kind.DIRECTORY)

    def _versions_at(self, path: bytes, node: NodeId) -> list[Known]:
        """Newest first, each once: of this node, and what others were while they had this path. Beside a file or
        symlink that is there, those of the same kind."""
        present = self.find(path)
        state = self._tree.state(node)
        kind = state.kind if state is not None and present is not None and not self._is_folder(present) else None
        stays = [stay for stay in self._stays.at(path) if stay.node != present]
        found: dict[Dot, Known] = {}
        if all(stay.node != node for stay in stays) and not self._is_folder(node):
            place = self._place_of(node, path)
            found = {past.version.dot: Known(node, past, place) for past in self._past.versions(node)}
        for stay in stays:
            other = self._tree.state(stay.node)
            if kind is not None and (other is None or other.kind is not kind):
                continue
            for past in self._stays.versions(stay):
                found.setdefault(past.version.dot, Known(stay.node, past, Place(stay.row.parent, stay.row.name)))
        return sorted(found.values(), key=lambda one: (one.past.version.stamp, one.past.version.dot), reverse=True)

    def _place_of(self, node: NodeId, path: bytes) -> Place:
        trashed = self._past.trashed(node)
        return Place(trashed.parent, trashed.name) if trashed is not None else Place(ROOT_ID, path.rpartition(b"/")[2])

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
        items = self._items(path, version, at_ms, from_trash, bool(to))
        return Plan([Item(to + item.path.removeprefix(path), item.entry) for item in items] if to else items)

    def _items(self, path: bytes, version: str, at_ms: int, from_trash: bool, elsewhere: bool) -> list[Item]:
        if version:
            return [self._chosen(path, version)]
        if at_ms:
            entry = self._past.find(path, at_ms)
            if entry is None:
                raise NoSuchName("Nothing that is still kept was at this path then.")
            above = self._past.find(path.rpartition(b"/")[0], at_ms) if b"/" in path else None
            return self._as_then(path, entry, above.node if above is not None else ROOT_ID, at_ms)
        present = self.find(path)
        if present is None or from_trash:
            return self._taken_away(path, present, from_trash)
        if self._is_folder(present):
            return [self._file_before(path, present, elsewhere)]
        try:
            return [self._before(path, present)]
        except NoSuchName:
            return self._of_another_kind(path, present, elsewhere)

    def _file_before(self, path: bytes, folder: NodeId, elsewhere: bool) -> Item:
        """The last version of a file that was at the path of a folder."""
        if not self._versions_at(path, folder):
            raise BadArgument(
                "This is a folder: say --at TIME to bring it back as it was, or name what is missing; trash restore"
                " brings back all that was removed from it."
            )
        if not elsewhere:
            raise BadArgument(
                "This is a folder now: say --to PATH to bring back the file that was here, or --at TIME to bring back"
                " the folder as it was."
            )
        return self._before(path, folder)

    def _taken_away(self, path: bytes, present: NodeId | None, from_trash: bool) -> list[Item]:
        """Plans to restore what was removed from this path; of a folder that is there, what was removed from it."""
        removed = self.removed(path)
        items = self._as_removed(path, removed) if removed is not None else []
        if present is None or not self._is_folder(present):
            return items or self._as_it_left(path, from_trash)
        if len(items) > 1 or (removed is not None and removed.kind is not Kind.DIRECTORY):
            return items
        missing = self._missing_in(path, present)
        if not missing and not items:
            raise NoSuchName("Nothing that was removed from this folder is kept.")
        return sorted(missing.values(), key=lambda item: item.path) or items

    def _of_another_kind(self, path: bytes, present: NodeId, elsewhere: bool) -> list[Item]:
        """Plans to restore what was removed from the path of a file that has no earlier version."""
        state = self._tree.state(present)
        removed = self.removed(path, state.kind if state is not None else None)
        if removed is None:
            raise NoSuchName("No earlier version of this file is kept.")
        if not elsewhere:
            raise NameExists("Something of another kind was removed from this path: say --to PATH to bring it back.")
        return self._as_removed(path, removed)

    def _missing_in(self, path: bytes, folder: NodeId) -> dict[bytes, Item]:
        """Finds all kept items removed below a folder, where nothing has their path now: the latest of each path."""
        found: dict[bytes, Item] = {}
        for item in self._past.removed_in(folder):
            below = path + b"/" + item.name
            if item.kept and self.find(below) is None:
                for where, trashed in [(below, item), *self._below(below, item)]:
                    if trashed.kept:
                        found[where] = self._of(where, trashed)
        for entry in self._tree.children(folder):
            if entry.view.kind is Kind.DIRECTORY:
                found |= self._missing_in(path + b"/" + entry.name, entry.node)
        return found

    def find(self, path: bytes) -> NodeId | None:
        """The node that a path leads to now."""
        entry = self._tree.entry_at(path)
        return entry.node if entry is not None else None

    def removed(self, path: bytes, but: Kind | None = None) -> Trashed | None:
        """Finds what was removed last from a path, which may lead through directories that were removed or are
        elsewhere. `but`: not of this kind."""
        for stay in self._stays.at(path):
            if (item := self._stays.removed(stay)) is not None and item.kind is not but:
                return item
        found = [item for item in self._past.lost() if self._past.resting_path(item.parent, item.name) == path]
        return max((item for item in found if item.kind is not but), key=lambda item: item.removed_ms, default=None)

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

    def _chosen(self, path: bytes, told: str) -> Item:
        known = self._versions_at(path, self.known(path))
        found = [one for one in known if one.past.id.startswith(told.lower())]
        if not found or any(one.past.version.body != found[0].past.version.body for one in found):
            problem = "has no version" if not found else "has several versions"
            raise NoSuchName(f"The file {problem} {told!r}; its history lists those that are kept.")
        return self._version_item(path, found[0])

    def _before(self, path: bytes, node: NodeId) -> Item:
        """The version that was replaced, or removed from this path, last, of those that `history` lists; one with
        other content than is shown, if there is one."""
        known = self._versions_at(path, node)
        shown = [one.past.version.body for one in known if one.node == node and one.past.shown]
        earlier = [one for one in _without_fleeting(known) if one.past.ended_ms and not one.past.shown]
        different = [one for one in earlier if one.past.version.body not in shown] or earlier
        if not different:
            raise NoSuchName("No earlier version of this file is kept.")
        return self._version_item(path, max(different, key=lambda one: (one.past.ended_ms, one.past.version.stamp)))

    def _as_it_left(self, path: bytes, from_trash: bool) -> list[Item]:
        """Plans to restore what is elsewhere now, or was removed there: a file as it was when it had this path, a
        folder as it was removed."""
        left = self._left(path)
        trashed = self._past.trashed(left.node) if left is not None else None
        if left is None or (from_trash and trashed is None):
            raise NoSuchName("There is no such file, and none that was removed from there is kept.")
        if self._is_folder(left.node):
            if trashed is not None:
                return self._as_removed(path, trashed)
            now = self._tree.path_of(left.node) or b"another path"
            raise NoSuchName(f"This folder was not removed: it was moved to {now.decode('utf-8', 'replace')!r}.")
        versions = self._stays.versions(left)
        if not versions:
            raise NoSuchName("This file is not kept any more.")
        return [self._version_item(path, Known(left.node, versions[0], Place(left.row.parent, left.row.name)))]

    def _version_item(self, path: bytes, known: Known) -> Item:
        version = known.past.version
        entry = self._past.entry_of(known.node, path.rpartition(b"/")[2], version.stamp.wall_ms)
        if entry is None:
            raise NoSuchName("This file is not kept any more.")
        return self._item(path, replace(entry, version=version), known.place)

    def _item(self, path: bytes, entry: PastEntry, place: Place) -> Item:
        """The entry at a path; `place`: the name that it had there."""
        state = self._tree.state(entry.node)
        taken = taken_from(state) if state is not None else []
        here = [each for each in taken if self._past.resting_path(each.parent, each.name) == path]
        origin = here[0] if here else place if place in taken else None
        return Item(path, entry, origin, bool(here))

    def _as_then(self, path: bytes, entry: PastEntry, parent: NodeId, at_ms: int) -> list[Item]:
        items = [self._item(path, entry, Place(parent, entry.name))]
        if entry.kind is Kind.DIRECTORY:
            for name, node in self._past.names(entry.node, at_ms):
                child = self._past.entry_of(node, name, at_ms)
                below = path + b"/" + name
                items += self._as_then(below, child, entry.node, at_ms) if child is not None else [Item(below, None)]
        return items

    def _as_removed(self, path: bytes, root: Trashed) -> list[Item]:
        """A removed node, and what was removed from below it in one go with it."""
        below = self._below(path, root)
        oldest = root.removed_ms
        for item in sorted((trashed for _path, trashed in below), key=lambda t: t.removed_ms, reverse=True):
            if item.removed_ms < oldest - _ONE_GO_MS:
                break
            oldest = min(oldest, item.removed_ms)
        wanted = [(where, item) for where, item in below if item.removed_ms >= oldest]
        latest = dict(sorted(wanted, key=lambda pair: pair[1].removed_ms))
        return [self._of(where, item) for where, item in sorted({path: root, **latest}.items())]

    def _of(self, path: bytes, item: Trashed) -> Item:
        entry = self.entry_of(item)
        return self._item(path, entry, Place(item.parent, item.name)) if entry is not None else Item(path, None)

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


def _without_fleeting(known: list[Known]) -> list[Known]:
    """Leaves out versions that were empty for a moment, until the program that had emptied the file wrote to it."""
    newer: dict[NodeId, PastVersion] = {}
    found: list[Known] = []
    for one in known:
        after, version = newer.get(one.node), one.past.version
        soon = after is not None and after.version.stamp.wall_ms - version.stamp.wall_ms < _FLEETING_MS
        if version.size or not soon:
            found.append(one)
        newer[one.node] = one.past
    return found
