# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing back what was: an old version becomes the newest one, a removed file or directory gets its name again.

Nothing is taken away by it: what the name shows now goes to the history, and files that were not there then stay. Bytes
are not copied: a restored file refers to the content that its old version referred to.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from holofsd.codec.node_ids import new_node_id
from holofsd.core.edit import (
    link_for,
    link_id,
    moved,
    new_node,
    reasserted,
    with_link,
    with_mode,
    with_version,
    with_xattr,
)
from holofsd.core.errors import (
    FileBusy,
    HoloError,
    NameExists,
    NoSuchName,
)
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.node import is_alive, live_xattrs, placements
from holofsd.core.state import Kind, Marker, NodeState, Pending, Place, Version
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.versions import NewContent, Versions
from holofsd.fs.nodes.drafts import Draft
from holofsd.fs.past.restorable import Item, Plan, Restorable
from holofsd.fs.shared.scope import Scope
from holofsd.fs.types import Restored
from holofsd.tree.past import Past, PastEntry, PastVersion, was_unlinked
from holofsd.tree.past_settings import Settings

_SLICE: Final = 50

RESTORED: Final = "restored"
SAME: Final = "same"
MISSING: Final = "missing"


_NOT_KEPT: Final = "Nothing of it is kept any more."


class Restoring:
    """Restores what a plan says, one transaction for each item."""

    def __init__(self, scope: Scope, contents: Contents, versions: Versions, past: Past, hasher: Hasher) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._contents = contents
        self._versions = versions
        self._past = past
        self._restorable = Restorable(scope, past)
        self._hasher = hasher
        self._plans: list[Plan] = []

    def history(self, path: bytes) -> list[PastVersion]:
        """See `Restorable.history`."""
        return self._restorable.history(path)

    def taken_without_version(self, path: bytes, listed: list[PastVersion]) -> PastVersion | None:
        """See `Restorable.taken_without_version`."""
        return self._restorable.taken_without_version(path, listed)

    def plan(
        self, path: bytes, *, version: str = "", at_ms: int = 0, to: bytes = b"", from_trash: bool = False
    ) -> Plan:
        """See `Restorable.plan`."""
        return self._restorable.plan(path, version=version, at_ms=at_ms, to=to, from_trash=from_trash)

    def in_use(self) -> list[PastEntry]:
        """Lists what calls that are under way are going to bring back."""
        return [item.entry for plan in self._plans for item in plan.items if item.entry is not None]

    async def restore(
        self, path: bytes, *, version: str = "", at_ms: int = 0, to: bytes = b"", from_trash: bool = False
    ) -> list[Restored]:
        """Restores a path. Without `version` and `at_ms`: what was removed from that path last, or the version before
        the present one.

        `from_trash`: what was removed, though something has its name now. `to`: as new files there. Raises NoSuchName,
        NameExists, BadArgument, ReadOnly, and what keeps a single file from being restored, ContentUnavailable for
        example; of several items, each one that cannot be restored is reported as MISSING.
        """
        plan = self._restorable.plan(path, version=version, at_ms=at_ms, to=to, from_trash=from_trash)
        self._plans.append(plan)
        try:
            return await self._carry_out(plan)
        finally:
            self._plans.remove(plan)

    async def _carry_out(self, plan: Plan) -> list[Restored]:
        done: list[Restored] = []
        for number, item in enumerate(plan.items):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            try:
                done.append(await self.put(plan, item))
            except HoloError as error:
                if len(plan.items) == 1:
                    raise
                done.append(Restored(item.path, MISSING, error.message))
        return done

    # ---- bringing it back
    async def put(self, plan: Plan, item: Item) -> Restored:
        """Raises HoloError, and then nothing of this item is changed."""
        entry = item.entry
        if entry is None:
            raise NoSuchName(_NOT_KEPT)
        if entry.version is not None:
            await self._contents.bring(entry.node, entry.version)
            await self._hash_present(item.path)
        with self._scope.change(None), self._tree.keeping_all():
            directory, _, name = item.path.rpartition(b"/")
            parent = self._folder(directory)
            if entry.kind is Kind.DIRECTORY:
                made = self._put_directory(parent, name, entry if item.returns else None, entry.settings)
            else:
                made = self._put_file(Place(parent, name), item, entry, plan)
        return Restored(item.path, RESTORED if made else SAME)

    async def _hash_present(self, path: bytes) -> None:
        """Has the present content hashed that the restored version is going to replace: it goes to the history, which
        keeps content by its hash."""
        if self._is_pending(path):
            await self._hasher.drain()
        if self._is_pending(path):
            raise FileBusy("What has this name now is still being stored: try again in a moment.")

    def _is_pending(self, path: bytes) -> bool:
        node = self._restorable.find(path)
        version = self._tree.version_of(node) if node is not None else None
        return version is not None and isinstance(version.body, Pending)

    def _folder(self, path: bytes) -> NodeId:
        """The directory of this path, made where it is missing: as it was, if one was removed from there."""
        node = ROOT_ID
        for name in path.split(b"/") if path else ():
            entry = self._tree.lookup(node, name)
            if entry is None:
                removed = self._past.removed_at(node, name)
                was = self._restorable.entry_of(removed) if removed and removed.kind is Kind.DIRECTORY else None
                self._put_directory(node, name, was, was.settings if was else _PLAIN)
                entry = self._tree.lookup(node, name)
            if entry is None or entry.view.kind is not Kind.DIRECTORY:
                raise NameExists("A file has the name of a folder on the way: say --to PATH.")
            node = entry.node
        return node

    def _put_directory(self, parent: NodeId, name: bytes, was: PastEntry | None, settings: Settings) -> bool:
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
            node = new_node_id(Kind.DIRECTORY)
            made = new_node(node, Kind.DIRECTORY, now_ns, place, link_id(node), version, settings.mode, version.stamp)
        self._write(_with_settings(made, settings))
        return True

    def _put_file(self, place: Place, item: Item, entry: PastEntry, plan: Plan) -> bool:
        old = entry.version
        assert old is not None
        there = self._tree.lookup(place.parent, place.name)
        if there is not None:
            if there.view.kind is not entry.kind:
                raise NameExists("Something of another kind has this name now: say --to PATH.")
            shown = self._tree.version_of(there.node, there.dot)
            if shown is not None and shown.body == old.body:
                return False
            self._versions.write(there.ino, NewContent(old.body, old.size, old.mtime.value))
            return True
        made = self._as_link(item, entry, place, plan) or self._as_it_was(item, entry, old, place)
        if made is None:
            made = self._fresh(entry, place, self._scope.volume.new_version(old.body, old.size, old.mtime.value))
            plan.made[entry.node, old.dot] = made.id
        self._write(made)
        return True

    def _as_link(self, item: Item, entry: PastEntry, place: Place, plan: Plan) -> NodeState | None:
        """One more name of a file that has this content: it was unlinked from it, or this call made the file."""
        old, state = entry.version, self._tree.state(entry.node)
        assert old is not None
        lives = state is not None and is_alive(state) and _shows(self._tree.version_of(state.id), old)
        if state is not None and lives and item.origin is not None and was_unlinked(state, item.origin):
            stamp = self._scope.volume.stamp()
            if item.returns:
                return moved(state, link_for(state, item.origin), place, stamp)
            return with_link(state, link_id(state.id, secrets.token_bytes(16)), place, stamp)
        made = plan.made.get((entry.node, old.dot))
        state = self._tree.state(made) if made is not None else None
        if made is None or state is None or not _shows(self._tree.version_of(made), old):
            return None
        return with_link(state, link_id(made, secrets.token_bytes(16)), place, self._scope.volume.stamp())

    def _as_it_was(self, item: Item, entry: PastEntry, old: Version, place: Place) -> NodeState | None:
        """The removed node, alive again; None where it lives, or was removed from another path."""
        state = self._tree.state(entry.node)
        if not item.returns or item.origin is None or state is None or is_alive(state):
            return None
        version = self._scope.volume.new_version(old.body, old.size, old.mtime.value)
        # The link first: a removed node that lives by a version alone has the name that it was removed from last.
        made = moved(state, link_for(state, item.origin), place, version.stamp)
        made = with_version(made, version, list(state.versions))
        return _with_settings(made, entry.settings)

    def _fresh(self, entry: PastEntry, place: Place, version: Version) -> NodeState:
        node = new_node_id(entry.kind)
        now_ns, mode = self._scope.now_ns(), entry.settings.mode
        made = new_node(node, entry.kind, now_ns, place, link_id(node), version, mode, version.stamp)
        return _with_settings(made, entry.settings)

    def _write(self, state: NodeState) -> None:
        draft = Draft(self._scope)
        draft.put(state)
        if self._tree.state(state.id) is None:
            draft.fresh.add(state.id)
        draft.write(None)


def _shows(shown: Version | None, old: Version) -> bool:
    return shown is not None and shown.body == old.body


_PLAIN: Final = Settings(0o755, {}, 0)


def _with_settings(state: NodeState, was: Settings) -> NodeState:
    """Returns the state with the mode and the extended attributes that it had, where it has others."""
    stamp = max(version.stamp for version in state.versions.values())
    if state.mode is None or state.mode.value != was.mode:
        state = with_mode(state, was.mode, stamp)
    now = live_xattrs(state)
    for name in now.keys() | was.xattrs.keys():
        if now.get(name) != was.xattrs.get(name):
            state = with_xattr(state, name, was.xattrs.get(name), stamp)
    return state
