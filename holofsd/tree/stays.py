# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for what was at a path, whose folders may have been elsewhere since: each component as it was at that time.

A folder that left its name took along what was in it, so a path through that name leads to what was in it by then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holofsd.core.ids import ROOT_ID, AuthorId, Hlc, NodeId
from holofsd.core.node import is_alive
from holofsd.core.state import Kind, NodeState, Place
from holofsd.store.history import NOW, PastPlaceRow
from holofsd.tree.past import Past, PastVersion, Trashed, left_at
from holofsd.tree.tree import Tree


@dataclass(frozen=True, slots=True)
class End:
    """End of a stay at a path: `until_ms` as this device saw it, `left` on everybody's clock."""

    until_ms: int
    left: Hlc


_NEVER = End(NOW, Hlc(NOW, 0, AuthorId(b"")))


@dataclass(frozen=True, slots=True)
class Stay:
    """A node that had a path and has it no more. `carried`: it was not taken from its folder, that one left."""

    row: PastPlaceRow
    left: Hlc | None
    carried: bool

    @property
    def node(self) -> NodeId:
        return self.row.node


class Stays:
    """Search for the nodes that had a path, each with the end of its stay there."""

    def __init__(self, tree: Tree, past: Past) -> None:
        self._tree = tree
        self._past = past
        self._history = tree.store.history

    def at(self, path: bytes) -> list[Stay]:
        """The last stay of each node that had this path and has it no more, the latest first; also of those that are
        not kept."""
        directory, _, name = path.rpartition(b"/")
        found: dict[NodeId, Stay] = {}
        for folder, end in self._folders(directory).items():
            for row in self._rows(folder, name, end):
                stay = _stay(row, end)
                known = found.get(row.node)
                if stay.row.until_ms < NOW and (known is None or known.row.until_ms < stay.row.until_ms):
                    found[row.node] = stay
        return sorted(found.values(), key=lambda stay: stay.row.until_ms, reverse=True)

    def _folders(self, path: bytes) -> dict[NodeId, End]:
        """The directories that this path leads to, or led to. One that was removed from there ends never: whatever was
        in it had this path."""
        found = {ROOT_ID: _NEVER}
        for name in path.split(b"/") if path else ():
            below: dict[NodeId, End] = {}
            for parent, end in found.items():
                for node, left in self._directories(parent, name, end):
                    if node not in below or below[node].until_ms < left.until_ms:
                        below[node] = left
            found = below
        return found

    def _directories(self, parent: NodeId, name: bytes, end: End) -> list[tuple[NodeId, End]]:
        found: list[tuple[NodeId, End]] = []
        entry = self._tree.lookup(parent, name) if end is _NEVER else None
        if entry is not None and entry.view.kind is Kind.DIRECTORY:
            found.append((entry.node, _NEVER))
        for row in self._rows(parent, name, end):
            state = self._tree.state(row.node)
            if state is not None and state.kind is Kind.DIRECTORY:
                found.append((row.node, self._end_of(state, row, end)))
        return found

    def _end_of(self, state: NodeState, row: PastPlaceRow, end: End) -> End:
        if row.until_ms > end.until_ms or row.until_ms == NOW:
            return end
        places = self._history.places_of(row.node)
        if not is_alive(state) and places and (places[0].parent, places[0].name) == (row.parent, row.name):
            return _NEVER
        return End(row.until_ms, left_at(state, Place(row.parent, row.name), row.until_ms))

    def _rows(self, parent: NodeId, name: bytes, end: End) -> list[PastPlaceRow]:
        latest = max(end.until_ms, end.left.wall_ms)
        return [row for row in self._history.stays(parent, name) if row.from_ms <= latest]

    # ---- what is kept of it
    def versions(self, stay: Stay) -> list[PastVersion]:
        """Lists the versions of a file that it had by the end of the stay, newest first; empty where nothing of it is
        kept."""
        state = self._tree.state(stay.node)
        if state is None or state.kind is Kind.DIRECTORY:
            return []
        if not is_alive(state) and self._past.trashed(stay.node) is None:
            return []
        return self._past.stood(stay.row, stay.left)

    def removed(self, stay: Stay) -> Trashed | None:
        """Returns what was removed or unlinked from this path, and is kept."""
        item = self._past.gone(stay.row) if not stay.carried else None
        return item if item is not None and item.kept else None


def _stay(row: PastPlaceRow, end: End) -> Stay:
    if row.until_ms <= end.until_ms:
        return Stay(row, None, False)
    return Stay(replace(row, until_ms=end.until_ms), end.left, True)
