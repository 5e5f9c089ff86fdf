# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaced nodes: something that stays has their path, so they were not removed but made anew.

The path counts, not the directory: a folder may have been removed and unpacked again with all that is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from holofsd.core.ids import NodeId
from holofsd.core.node import is_alive, live_links, placements
from holofsd.core.state import Kind, NodeState, Place
from holofsd.store.nodes import PlacementRow
from holofsd.tree.local import LocalVolume

_DEEPEST: Final = 200
"""Directories above a path that are followed."""
_THERE: Final = 1
"""`visible` of a node that lives; 0: it has no name, 2: a removed directory that a visible child needs."""


class Replacing:
    """The tree as it is when `dying` are gone and `coming` are here. Good for one transaction."""

    def __init__(self, volume: LocalVolume, dying: Collection[NodeId], coming: Iterable[NodeState] = ()) -> None:
        self._tree = volume.tree
        self._nodes = volume.store.nodes
        self._dying = dying
        self._coming: dict[Place, list[NodeState]] = {}
        for state in coming:
            if is_alive(state) and state.id not in dying:
                for place in places_of(state):
                    self._coming.setdefault(place, []).append(state)

    def is_replaced(self, node: NodeId) -> bool:
        """A node that stays has every name that this one has here."""
        stored = self._tree.state(node)
        return stored is not None and self.were_taken(places_of(stored))

    def were_taken(self, places: Collection[Place]) -> bool:
        """Nodes that stay have all of these names, from which one was removed before."""
        return bool(places) and all(self._is_taken(place) for place in places)

    def _is_taken(self, place: Place) -> bool:
        parents = [place.parent, *self._successors(place.parent, _DEEPEST)]
        return any(True for parent in parents for _ in self._staying(Place(parent, place.name)))

    def _successors(self, directory: NodeId, depth: int) -> list[NodeId]:
        """Directories that stay, at the path of one that goes."""
        stored = self._tree.state(directory) if depth and self._goes(directory) else None
        found: list[NodeId] = []
        for place in last_places_of(stored) if stored is not None else ():
            for parent in (place.parent, *self._successors(place.parent, depth - 1)):
                staying = self._staying(Place(parent, place.name))
                found += [node for node, kind in staying if kind == Kind.DIRECTORY]
        return found

    def _staying(self, place: Place) -> Iterator[tuple[NodeId, int]]:
        for state in self._coming.get(place, ()):
            yield state.id, state.kind
        for row in self._slot(place.parent, place.name):
            found = self._nodes.get(row.node)
            if found is not None and not self._goes(row.node):
                yield row.node, found.kind

    def _slot(self, parent: NodeId, name: bytes) -> list[PlacementRow]:
        """Lists the placements that want a name, also where its directory is shown as part of another one."""
        return self._nodes.slot(self._nodes.aliases.shown_as(parent), name)

    def met_by(self, came: Sequence[NodeState]) -> list[NodeId]:
        """Nodes that go, at the paths of these, or below the paths of directories: what is in one may be here first."""
        found: dict[NodeId, None] = {}
        for place in {place for state in came for place in places_of(state)}:
            for parent in (place.parent, *self._predecessors(place.parent, _DEEPEST)):
                rows = self._slot(parent, place.name)
                found.update((row.node, None) for row in rows if row.node in self._dying)
        for state in came:
            if state.kind is Kind.DIRECTORY and is_alive(state):
                there = [row.node for place in places_of(state) for row in self._slot(place.parent, place.name)]
                replaced = [node for node in there if self._goes(node)]
                found.update((node, None) for node in self._dying_in([state.id, *replaced] if replaced else []))
        return list(found)

    def _dying_in(self, directories: Iterable[NodeId]) -> Iterator[NodeId]:
        """All that is dying in these, and in the directories in them that go."""
        todo, seen = list(directories), set(directories)
        while todo:
            for node, kind in self._nodes.placed_in(self._nodes.aliases.shown_as(todo.pop())):
                if node in self._dying:
                    yield node
                if kind == Kind.DIRECTORY and node not in seen and self._goes(node):
                    seen.add(node)
                    todo.append(node)

    def _predecessors(self, directory: NodeId, depth: int) -> list[NodeId]:
        """Directories that go, at the path of one that stays."""
        stored = self._tree.state(directory) if depth else None
        found: list[NodeId] = []
        for place in last_places_of(stored) if stored is not None else ():
            for parent in (place.parent, *self._predecessors(place.parent, depth - 1)):
                found += [row.node for row in self._slot(parent, place.name) if self._goes(row.node)]
        return found

    def _goes(self, node: NodeId) -> bool:
        """Whether a node is dying, went before, or is there only because of what is in it."""
        row = self._nodes.get(node)
        return node in self._dying or (row is not None and row.visible != _THERE)


def places_of(state: NodeState) -> list[Place]:
    """Names of a node by its live links."""
    return [link.place for link in live_links(state).values() if link.place is not None]


def last_places_of(state: NodeState) -> list[Place]:
    """Names of a directory, also of one that was removed."""
    return [placement.place for placement in placements(state, needed=True)]
