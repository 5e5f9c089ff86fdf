# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about what was: versions of a file, a directory at some time, and what was removed. Reads only.

A time is a wall time in ms. Where a version begins is its stamp, so devices agree; where a removal or a replacement
falls is when this device saw it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from blake3 import blake3

from holofsd.codec.records import decode_local_state
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.lost import LOST_NAME
from holofsd.core.node import is_alive, is_live, live_versions, placements
from holofsd.core.project import token
from holofsd.core.state import Kind, NodeState, Place, Version
from holofsd.store.history import NOW, PastPlaceRow
from holofsd.tree.past_settings import Settings, settings_at
from holofsd.tree.recording import last_versions, removed_ms
from holofsd.tree.states import decode_version
from holofsd.tree.tree import Tree

_SLICE: Final = 200
_TOO_DEEP: Final = 4096


def short_id(dot: Dot) -> str:
    """Returns the name of a version for people: eight hex digits, as in conflict names."""
    return blake3(token(dot)).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class PastVersion:
    """A version of a file. `ended_ms` 0: the file has it now (shown, or beside it as a conflict)."""

    version: Version
    ended_ms: int
    here: bool
    shown: bool = False

    @property
    def id(self) -> str:
        return short_id(self.version.dot)


@dataclass(frozen=True, slots=True)
class PastEntry:
    """A name at some time. `version` is None for directories."""

    name: bytes
    node: NodeId
    kind: Kind
    settings: Settings
    version: Version | None


@dataclass(frozen=True, slots=True)
class Trashed:
    """A removed node at the place that it had last, or a name that was unlinked from a node that has or had others.

    `version`: what it held then; None for directories, and where nothing is kept (`kept` is False then).
    """

    node: NodeId
    kind: Kind
    parent: NodeId
    name: bytes
    removed_ms: int
    version: Version | None
    kept: bool = True


class Past:
    """The tree as it was: versions, names and places of nodes at any time that is kept."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._store = tree.store
        self._history = tree.store.history

    # ---- versions
    def versions(self, node: NodeId) -> list[PastVersion]:
        """Newest first: those that it has, and those that were replaced. What was written anew with the same content
        is one of them."""
        return _without_repeats(self._each_version(node))

    def _each_version(self, node: NodeId) -> list[PastVersion]:
        """Newest first, repeats too: for all that asks what stood at a time, when a repeat had not been written yet."""
        state = self.tree.state(node)
        row = self._store.nodes.get(node)
        shown = row.shown if row is not None and row.visible else b""
        found: dict[Dot, PastVersion] = {}
        if state is not None:
            # Of a version of which a removal is all that is left, the place's end is the end.
            ended = 0 if is_alive(state) else removed_ms(self._store, node)
            live = {version.dot for version in live_versions(state)}
            for dot, version in state.versions.items():
                end = ended if dot in live or ended else removed_ms(self._store, node, version)
                here = self.tree.is_here(version)
                found[dot] = PastVersion(self.tree.sized(version), end, here, token(dot) == shown)
        for past in self._history.of_node(node):
            version = self.tree.sized(decode_version(past.version))
            here = self.tree.is_here(version)
            found.setdefault(version.dot, PastVersion(version, past.ended_ms, here, past.dot == shown))
        return sorted(found.values(), key=lambda item: (item.version.stamp, item.version.dot), reverse=True)

    def version_at(self, node: NodeId, at_ms: int) -> Version | None:
        """Returns the version of a file at that time: the last one written until then that is still known, else the
        first one known."""
        known = [past.version for past in self._each_version(node)]
        before = [version for version in known if version.stamp.wall_ms <= at_ms]
        return before[0] if before else known[-1] if known else None

    def stood(self, stay: PastPlaceRow, left: Hlc | None = None) -> list[PastVersion]:
        """Newest first: versions that a node had by the end of a stay at a name, each ended by then at the latest.

        `left`: when it left, on everybody's clock, if it left with its folder. Empty where nothing of then is kept.
        """
        state = self.tree.state(stay.node)
        if state is None:
            return []
        known = self._each_version(stay.node)
        if not is_alive(state) and self._is_last(stay):
            found = known
        else:
            left = left or left_at(state, Place(stay.parent, stay.name), stay.until_ms)
            found = [past for past in known if past.version.stamp < left or 0 < past.ended_ms <= stay.until_ms]
        if not found and stay.from_ms >= stay.until_ms:
            found = self._earliest_after(known, stay.until_ms)
        return _without_repeats([replace(past, ended_ms=_end(past, stay.until_ms), shown=False) for past in found])

    def _is_last(self, stay: PastPlaceRow) -> bool:
        places = self._history.places_of(stay.node)
        return bool(places) and replace(places[0], from_ms=stay.from_ms) == stay

    def _earliest_after(self, known: list[PastVersion], at_ms: int) -> list[PastVersion]:
        """Picks the version that stood at that time by this device's clock alone: the stamps are from one that was
        ahead of it."""
        standing = [past for past in known if not past.ended_ms or past.ended_ms > at_ms]
        return [min(standing, key=lambda past: past.ended_ms or NOW)] if standing else []

    # ---- a directory at some time
    def names(self, parent: NodeId, at_ms: int, only: bytes | None = None) -> list[tuple[bytes, NodeId]]:
        """Lists the names that a directory had at that time, in order of name. Of several nodes at one name, the one
        that came last."""
        names: dict[bytes, tuple[int, NodeId]] = {}
        for node, name, since in self._history.placed_in(parent, at_ms, only):
            if name not in names or names[name] < (since, node):
                names[name] = (since, node)
        return [(name, node) for name, (_since, node) in sorted(names.items())]

    def children(self, parent: NodeId, at_ms: int) -> list[PastEntry]:
        found = (self._entry(name, node, at_ms) for name, node in self.names(parent, at_ms))
        return [entry for entry in found if entry is not None]

    def child(self, parent: NodeId, name: bytes, at_ms: int) -> PastEntry | None:
        found = self.names(parent, at_ms, name)
        return self._entry(name, found[0][1], at_ms) if found else None

    def root(self, at_ms: int) -> PastEntry:
        changed_ns = self._history.names_changed_ms(ROOT_ID, at_ms) * 1_000_000
        return PastEntry(b"", ROOT_ID, Kind.DIRECTORY, Settings(0o755, {}, changed_ns), None)

    def entry_of(self, node: NodeId, name: bytes, at_ms: int) -> PastEntry | None:
        return self._entry(name, node, at_ms)

    def find(self, path: bytes, at_ms: int) -> PastEntry | None:
        """Finds the entry that a path led to at that time; None if there was none, and for the root."""
        entry: PastEntry | None = None
        parent = ROOT_ID
        for name in path.split(b"/"):
            entry = self.child(parent, name, at_ms)
            if entry is None:
                return None
            parent = entry.node
        return entry

    def _entry(self, name: bytes, node: NodeId, at_ms: int) -> PastEntry | None:
        state = self.tree.state(node)
        if state is None or (not is_alive(state) and self._history.is_purged(node)):
            return None
        version = None if state.kind is Kind.DIRECTORY else self.version_at(node, at_ms)
        if version is None and state.kind is not Kind.DIRECTORY:
            return None
        return PastEntry(name, node, state.kind, settings_at(self._history, state, version, at_ms), version)

    # ---- what was removed
    def trashed(self, node: NodeId) -> Trashed | None:
        """A node that was removed and is still kept; None otherwise."""
        if self._history.is_purged(node):
            return None
        state = self.tree.state(node)
        return self._trashed(state) if state is not None else None

    def _trashed(self, state: NodeState) -> Trashed | None:
        if is_alive(state):
            return None
        versions = last_versions(self._store, state)
        if not versions:
            return None
        places = self._history.places_of(state.id)
        if places:
            place: PastPlaceRow | None = places[0]
        else:
            place = self._place_by_state(state)
        if place is None:
            return None
        version = None
        if state.kind is not Kind.DIRECTORY:
            version = self.tree.sized(max(versions.values(), key=lambda v: (v.stamp, v.dot)))
        return Trashed(state.id, state.kind, place.parent, place.name, place.until_ms, version)

    def _place_by_state(self, state: NodeState) -> PastPlaceRow | None:
        """Derives the past place of a node from what its links remember, where none was written down."""
        links = [link for link in state.links.values() if link.place is not None]
        row = self._store.nodes.get(state.id)
        if not links or row is None:
            return None
        last = max(links, key=lambda link: link.stamp)
        assert last.place is not None
        removed_ms = row.ctime_ns // 1_000_000
        return PastPlaceRow(state.id, last.place.parent, last.place.name, last.stamp.wall_ms, removed_ms)

    def trash(self) -> Iterator[list[Trashed]]:
        """Yields everything that was removed and is kept, in slices: the caller lets other tasks run between them."""
        after = NodeId(b"")
        while rows := self._history.gone_nodes(after, _SLICE):
            after = rows[-1][0]
            states = (decode_local_state(payload) for _node, payload in rows)
            yield [item for state in states if (item := self._trashed(state)) is not None]

    def together(self, directory: NodeId) -> list[NodeId]:
        """This directory, those shown as one with it, and removed ones that had its name last."""
        return self._history.families.now(directory)

    def removed_at(self, parent: NodeId, name: bytes) -> Trashed | None:
        """Returns what was removed or unlinked from this name last, and is kept."""
        for row in self._history.places_named(parent, name):
            item = self.gone(row)
            if item is not None and item.kept:
                return item
        return None

    def lost(self) -> Iterator[Trashed]:
        """Yields items of the trash whose directory is unknown. Reads the whole trash."""
        for items in self.trash():
            yield from (item for item in items if self._is_lost(item))

    def _is_lost(self, item: Trashed) -> bool:
        return self.resting_path(item.parent, item.name).startswith(LOST_NAME + b"/")

    def removed_in(self, parent: NodeId) -> list[Trashed]:
        """Lists what was removed or unlinked from a directory, oldest first; also what is not kept any more."""
        latest = {(row.node, row.name): row for row in self._history.last_in(parent)}
        found = [item for row in latest.values() if (item := self.gone(row)) is not None]
        found += [
            Trashed(node, Kind.FILE, directory, name, removed_ms, None, kept=False)
            for directory in self._history.families.now(parent)
            for node, name, removed_ms in self._store.past_sizes.let_go_from(directory)
        ]
        return sorted(found, key=lambda item: item.removed_ms)

    def gone(self, row: PastPlaceRow) -> Trashed | None:
        """None for a name that a node gave up by moving, and where nothing is known of the node."""
        state = self.tree.state(row.node)
        if state is None:
            return None
        alive = is_alive(state)
        if not alive:
            item = self._trashed(state)
            if item is not None and (item.parent, item.name) == (row.parent, row.name):
                return item if not self._history.is_purged(row.node) else replace(item, version=None, kept=False)
        if not was_unlinked(state, Place(row.parent, row.name)) or state.kind is Kind.DIRECTORY:
            return None
        kept = alive or not self._history.is_purged(row.node)
        stood = self.stood(row) if kept else []
        version = stood[0].version if stood else None
        return Trashed(row.node, state.kind, row.parent, row.name, row.until_ms, version, version is not None)

    def resting_path(self, parent: NodeId, name: bytes) -> bytes:
        """The path that a place has or had, through directories that may be removed themselves."""
        names = [name]
        for _ in range(_TOO_DEEP):
            if parent == ROOT_ID:
                break
            path = self.tree.path_of(parent)
            if path is not None:
                return b"/".join([path, *reversed(names)])
            places = self._history.places_of(parent)
            if not places:
                return b"/".join([LOST_NAME, *reversed(names)])
            parent, above = places[0].parent, places[0].name
            names.append(above)
        return b"/".join(reversed(names))

    def is_taken(self, path: bytes, kind: Kind) -> bool:
        """Whether what is at a path now, or on the way to it, is of a kind that keeps this kind from being there."""
        node, names = ROOT_ID, path.split(b"/")
        for number, name in enumerate(names, 1):
            entry = self.tree.lookup(node, name)
            if entry is None:
                return False
            if entry.view.kind is not (kind if number == len(names) else Kind.DIRECTORY):
                return True
            node = entry.node
        return False


def was_unlinked(state: NodeState, place: Place) -> bool:
    """Whether a node lost this name by an unlink or its end. False where it has the name, or moved away from it.

    A node that a record left without versions has ended, though nothing removed its links.
    """
    if any(shown.place == place for shown in placements(state)):
        return False
    for id, link in state.links.items():
        if link.place == place and not (is_alive(state) and is_live(state, id, link)):
            return True
        if link.place is None and link.before == place:
            return True
    return False


def taken_from(state: NodeState) -> list[Place]:
    """Names that a node lost by an unlink or its removal, as far as it remembers them."""
    places = dict.fromkeys(place for link in state.links.values() if (place := link.place or link.before) is not None)
    return [place for place in places if was_unlinked(state, place)]


def left_at(state: NodeState, place: Place, until_ms: int) -> Hlc:
    """The stamp with which a node left a place, as far as it remembers; else one just after that time."""
    stamps = [link.stamp for link in state.links.values() if link.before == place and link.place != place]
    return max(stamps, default=Hlc(until_ms + 1, 0, AuthorId(b"")))


def _end(past: PastVersion, until_ms: int) -> int:
    return min(past.ended_ms or until_ms, until_ms)


def _without_repeats(versions: list[PastVersion]) -> list[PastVersion]:
    """Merges versions that were written anew with the same content. To a person they are one, the newest of them.

    Versions that the file has now at once, with one content, are one as well: the one that is shown. Two devices leave
    them that settled one conflict.
    """
    kept: list[PastVersion] = []
    standing = [item.version.body for item in versions if item.shown]
    for item in versions:
        if item.ended_ms:
            repeats = bool(kept) and kept[-1].version.body == item.version.body
        else:
            repeats = not item.shown and item.version.body in standing
            standing.append(item.version.body)
        if not repeats:
            kept.append(item)
    return kept
