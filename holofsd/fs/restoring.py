# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing back what was: an old version becomes the newest one, a removed file or directory gets its name again.

Nothing is taken away by it: what the name shows now goes to the history, and files that were not there then stay. Bytes
are not copied: a restored file refers to the content that its old version referred to.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from holofsd.core.edit import check_name, link_id, moved, new_node, reasserted, with_version
from holofsd.core.errors import (
    BadArgument,
    ContentDamaged,
    ContentTimeout,
    ContentUnavailable,
    IsADirectory,
    NameExists,
    NoSuchName,
    ReadOnly,
)
from holofsd.core.ids import ROOT_ID, LinkId, NodeId
from holofsd.core.node import is_alive, placements
from holofsd.core.state import Kind, Marker, NodeState, Place, Register, Version
from holofsd.fs.contents import Contents
from holofsd.fs.drafts import Draft
from holofsd.fs.scope import Scope
from holofsd.fs.versions import Versions
from holofsd.tree.past import Past, PastEntry, PastVersion, Trashed

_ONE_GO_MS: Final = 60_000
"""Removals with shorter pauses between them were one: `rm -r` takes a while, and so does hearing of it."""
_SLICE: Final = 50

RESTORED: Final = "restored"
SAME: Final = "same"
MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one path. `what`: "restored", "same" (it is so already) or "missing" (`why` says why)."""

    path: bytes
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Item:
    """One name to bring back, below the target. Directories come before what is in them."""

    path: bytes
    entry: PastEntry


class Restoring:
    def __init__(self, scope: Scope, contents: Contents, versions: Versions, past: Past) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._contents = contents
        self._versions = versions
        self._past = past

    def history(self, path: bytes) -> list[PastVersion]:
        """Newest first, of the file that is at a path, or was last, and of removed ones that had the name before.

        Raises NoSuchName, IsADirectory.
        """
        node = self.known(path) if path else ROOT_ID
        state = self._tree.state(node)
        if state is None or state.kind is Kind.DIRECTORY:
            raise IsADirectory("This is a folder: only files have versions; `holofsctl trash list` shows what went.")
        versions = [past for _node, past in self._versions_at(path, node)]
        return sorted(versions, key=lambda past: (past.version.stamp, past.version.dot), reverse=True)

    def _versions_at(self, path: bytes, node: NodeId) -> list[tuple[NodeId, PastVersion]]:
        directory, _, name = path.rpartition(b"/")
        above = self.find(directory) if directory else ROOT_ID
        places = self._scope.store.history.places_named(above, name) if above is not None else []
        nodes = dict.fromkeys([node, *(place.node for place in places)])
        files = [n for n in nodes if n == node or self._is_removed_file(n)]
        return [(n, past) for n in files for past in self._past.versions(n)]

    def _is_removed_file(self, node: NodeId) -> bool:
        trashed = self._past.trashed(node)
        return trashed is not None and trashed.kind is not Kind.DIRECTORY

    async def restore(
        self, path: bytes, *, version: str = "", at_ms: int = 0, to: bytes = b"", from_trash: bool = False
    ) -> list[Restored]:
        """Without `version` and `at_ms`: what was removed from that path last, or the version before the present one.

        `from_trash`: what was removed, though something has its name now. `to`: as new files there. Raises NoSuchName,
        NameExists, BadArgument, ReadOnly, and ContentUnavailable where a single file is on no device within reach.
        """
        if not self._scope.remote.can_write:
            raise ReadOnly("This device may only read this volume: it cannot restore anything in it.")
        if not path:
            raise BadArgument("Say which file or folder to restore.")
        for name in (to or path).split(b"/"):
            check_name(name)
        items = self._items(path, to or path, version, at_ms, from_trash)
        alone = len(items) == 1
        done: list[Restored] = []
        for number, item in enumerate(items):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            try:
                done.append(await self._put(item, revive=not to))
            except (ContentUnavailable, ContentDamaged, ContentTimeout, NameExists) as error:
                if alone:
                    raise
                done.append(Restored(item.path, MISSING, error.message))
        return done

    # ---- what to bring back
    def _items(self, path: bytes, target: bytes, version: str, at_ms: int, from_trash: bool) -> list[_Item]:
        if version:
            return [_Item(target, self._chosen(path, version))]
        if at_ms:
            entry = self._past.find(path, at_ms)
            if entry is None:
                raise NoSuchName("Nothing that is still kept was at this path then.")
            return self._as_then(target, entry, at_ms)
        present = None if from_trash else self.find(path)
        if present is None:
            removed = self.removed(path)
            if removed is None:
                raise NoSuchName("There is no such file, and none that was removed from there is kept.")
            return self._as_removed(target, removed)
        state = self._tree.state(present)
        if state is None or state.kind is Kind.DIRECTORY:
            raise BadArgument("This is a folder: say --at TIME to bring it back as it was, or name what is missing.")
        return [_Item(target, self._before(path, present))]

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
        parent, found = ROOT_ID, None
        for name in path.split(b"/"):
            found = self._past.removed_at(parent, name)
            entry = self._tree.lookup(parent, name)
            if entry is None and found is None:
                return None
            parent = entry.node if entry is not None else found.node if found is not None else parent
        return found

    def known(self, path: bytes) -> NodeId:
        """The node that is, or was last, at a path. Raises NoSuchName."""
        node = self.find(path)
        if node is None and (removed := self.removed(path)) is not None:
            node = removed.node
        if node is None:
            parent, _, name = path.rpartition(b"/")
            above = ROOT_ID if not parent else self.find(parent)
            places = self._scope.store.history.places_named(above, name) if above is not None else []
            node = next((place.node for place in places if self._tree.state(place.node) is not None), None)
        if node is None:
            raise NoSuchName("There is no such file, and nothing is known of one that was there.")
        return node

    def _chosen(self, path: bytes, told: str) -> PastEntry:
        known = self._versions_at(path, self.known(path))
        found = [(node, past) for node, past in known if past.id.startswith(told.lower())]
        if len(found) != 1:
            problem = "has no version" if not found else "has several versions"
            raise NoSuchName(f"The file {problem} {told!r}; `holofsctl history` lists those that are kept.")
        node, past = found[0]
        return self._entry(path, node, past.version)

    def _before(self, path: bytes, node: NodeId) -> PastEntry:
        """The version before the one that is shown."""
        earlier = [past for past in self._past.versions(node) if past.ended_ms and not past.shown]
        if not earlier:
            raise NoSuchName("No earlier version of this file is kept.")
        return self._entry(path, node, earlier[0].version)

    def _entry(self, path: bytes, node: NodeId, version: Version) -> PastEntry:
        entry = self._past.entry_of(node, path.rpartition(b"/")[2], version.stamp.wall_ms)
        if entry is None:
            raise NoSuchName("This file is not kept any more.")
        return replace(entry, version=version)

    def _as_then(self, target: bytes, entry: PastEntry, at_ms: int) -> list[_Item]:
        items = [_Item(target, entry)]
        if entry.kind is Kind.DIRECTORY:
            for child in self._past.children(entry.node, at_ms):
                items += self._as_then(target + b"/" + child.name, child, at_ms)
        return items

    def _as_removed(self, target: bytes, root: Trashed) -> list[_Item]:
        """A removed node, and what was removed from below it in one go with it."""
        below = self._below(target, root)
        oldest = root.removed_ms
        for item in sorted((trashed for _path, trashed in below), key=lambda t: t.removed_ms, reverse=True):
            if item.removed_ms < oldest - _ONE_GO_MS:
                break
            oldest = min(oldest, item.removed_ms)
        wanted = [(path, item) for path, item in below if item.removed_ms >= oldest]
        latest = dict(sorted(wanted, key=lambda pair: pair[1].removed_ms))
        return [_Item(path, self._entry_of(item)) for path, item in sorted({target: root, **latest}.items())]

    def _below(self, path: bytes, root: Trashed) -> list[tuple[bytes, Trashed]]:
        found: list[tuple[bytes, Trashed]] = []
        if root.kind is Kind.DIRECTORY:
            for item in self._past.removed_in(root.node):
                found.append((path + b"/" + item.name, item))
                found += self._below(path + b"/" + item.name, item)
        return found

    def _entry_of(self, item: Trashed) -> PastEntry:
        entry = self._past.entry_of(item.node, item.name, item.removed_ms)
        if entry is None:
            raise NoSuchName("This file is not kept any more.")
        return replace(entry, version=item.version)

    # ---- bringing it back
    async def _put(self, item: _Item, revive: bool) -> Restored:
        entry = item.entry
        if entry.version is not None:
            await self._contents.bring(entry.node, entry.version)
        with self._scope.change(None):
            directory, _, name = item.path.rpartition(b"/")
            parent = self._folder(directory)
            if entry.kind is Kind.DIRECTORY:
                made = self._put_directory(parent, name, entry if revive else None, entry.settings.mode)
            else:
                made = self._put_file(parent, name, entry, revive)
        return Restored(item.path, RESTORED if made else SAME)

    def _folder(self, path: bytes) -> NodeId:
        """The directory of this path, made where it is missing: as it was, if one was removed from there."""
        node = ROOT_ID
        for name in path.split(b"/") if path else ():
            entry = self._tree.lookup(node, name)
            if entry is None:
                removed = self._past.removed_at(node, name)
                was = self._entry_of(removed) if removed and removed.kind is Kind.DIRECTORY else None
                self._put_directory(node, name, was, was.settings.mode if was else 0o755)
                entry = self._tree.lookup(node, name)
            if entry is None or entry.view.kind is not Kind.DIRECTORY:
                raise NameExists("A file has the name of a folder on the way: say --to PATH.")
            node = entry.node
        return node

    def _put_directory(self, parent: NodeId, name: bytes, was: PastEntry | None, mode: int) -> bool:
        entry = self._tree.lookup(parent, name)
        if entry is not None and entry.view.kind is Kind.DIRECTORY:
            return False
        if entry is not None:
            raise NameExists("A file has the name of this folder now: say --to PATH.")
        place = Place(parent, name)
        now_ns = self._scope.now_ns()
        version = self._scope.volume.new_version(Marker(), 0, now_ns)
        state = self._tree.state(was.node) if was is not None else None
        if state is not None and not is_alive(state) and [p.place for p in placements(state, True)] == [place]:
            made = reasserted(state, version, version.stamp)
        else:
            node = self._tree.new_directory_id(parent, name)
            made = new_node(node, Kind.DIRECTORY, now_ns, place, link_id(node), version, mode, version.stamp)
        self._write(made)
        return True

    def _put_file(self, parent: NodeId, name: bytes, entry: PastEntry, revive: bool) -> bool:
        old = entry.version
        assert old is not None
        there = self._tree.lookup(parent, name)
        if there is not None:
            if there.view.kind is not entry.kind:
                raise NameExists("Something of another kind has this name now: say --to PATH.")
            shown = self._tree.version_of(there.node, there.dot)
            if shown is not None and shown.body == old.body:
                return False
            self._versions.write(there.ino, old.body, old.size, old.mtime.value)
            return True
        version = self._scope.volume.new_version(old.body, old.size, old.mtime.value)
        state = self._tree.state(entry.node)
        place = Place(parent, name)
        if revive and state is not None and not is_alive(state):
            made = with_version(state, version, list(state.versions))
            made = moved(made, _link_to(state, place), place, version.stamp)
        else:
            made = self._fresh(entry, place, version)
        self._write(made)
        return True

    def _fresh(self, entry: PastEntry, place: Place, version: Version) -> NodeState:
        was = entry.settings
        node = NodeId(secrets.token_bytes(16))
        now_ns = self._scope.now_ns()
        made = new_node(node, entry.kind, now_ns, place, link_id(node), version, was.mode, version.stamp)
        xattrs: dict[bytes, Register[bytes | None]] = {
            name: Register(value, version.stamp) for name, value in was.xattrs.items()
        }
        return replace(made, xattrs=xattrs)

    def _write(self, state: NodeState) -> None:
        draft = Draft(self._scope)
        draft.put(state)
        draft.write(None)


def _link_to(state: NodeState, place: Place) -> LinkId:
    same: Sequence[LinkId] = [id for id, link in state.links.items() if place in (link.place, link.before)]
    return same[0] if same else next(iter(state.links), link_id(state.id))
