# SPDX-License-Identifier: GPL-3.0-or-later
"""Concurrent moves can put directories into each other: the same way out on every device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from holofsd.core.ids import ROOT_ID, Hlc, NodeId
from holofsd.core.state import Place


@dataclass(frozen=True, slots=True)
class Moved:
    """The placement that a directory wants, and the one it had before."""

    place: Place
    stamp: Hlc
    before: Place | None
    alive: bool = True
    """False for a removed directory, which one device may have forgotten already: it pulls no other one along."""


class _Step(IntEnum):
    """Changes of place, in the order in which a directory can take them."""

    WANTED = 0
    FALLEN = 1
    RETURNED = 2
    ROOT = 3


def resolve_cycles(parents: Mapping[NodeId, Moved]) -> Mapping[NodeId, Place]:
    """The places of those directories that cannot have the one they want.

    Per cycle one directory changes its place, by the first of these rules that applies:
    1. The latest move whose place before is not in the cycle itself falls back to it.
    2. The latest one of those that fell back earlier, and whose wanted place is not in the cycle, returns to it.
    3. The latest move goes to the root: no place outside of the cycle is known for any of its directories.

    All cycles that exist at one time are resolved together, then again until none is left: so the result depends on the
    mapping alone. A directory takes each step at most once, so this ends. Directories that were moved as one, from one
    place to one place, change their place as one.
    """
    return _Resolution(parents).run()


class _Resolution:
    def __init__(self, parents: Mapping[NodeId, Moved]) -> None:
        self._parents = parents
        self._current = {node: moved.place for node, moved in parents.items()}
        self._step: dict[NodeId, _Step] = {}
        """WANTED where it is missing."""
        self._together: dict[tuple[Place, Place | None], list[NodeId]] = {}

    def run(self) -> Mapping[NodeId, Place]:
        suspects = set(self._current)
        while suspects and (cycles := _cycles(self._current, suspects)):
            if not self._together:
                self._together = _moved_together(self._parents)
            suspects = set()
            # In order, for directories that were moved as one can be in two cycles, with a way out of each.
            for step, node in sorted(self._way_out(cycle) for cycle in cycles):
                if self._stands(node) < step:
                    # A new cycle must run through a place that changed.
                    suspects.update(self._change(node, step))
        return {node: self._current[node] for node, step in self._step.items() if step is not _Step.RETURNED}

    def _stands(self, node: NodeId) -> _Step:
        return self._step.get(node, _Step.WANTED)

    def _way_out(self, cycle: list[NodeId]) -> tuple[_Step, NodeId]:
        latest_first = sorted(cycle, key=lambda node: (self._parents[node].stamp, node), reverse=True)
        inside = set(cycle)
        for node in latest_first:
            before = self._parents[node].before
            if self._stands(node) is _Step.WANTED and before is not None and before.parent not in inside:
                return _Step.FALLEN, node
        for node in latest_first:
            if self._stands(node) is _Step.FALLEN and self._parents[node].place.parent not in inside:
                return _Step.RETURNED, node
        return _Step.ROOT, latest_first[0]

    def _change(self, node: NodeId, step: _Step) -> list[NodeId]:
        moved = self._parents[node]
        place = moved.place
        if step is _Step.FALLEN and moved.before is not None:
            place = moved.before
        elif step is _Step.ROOT:
            place = Place(ROOT_ID, moved.place.name)
        as_one = moved.alive and moved.before is not None
        group = self._together[(moved.place, moved.before)] if as_one else [node]
        for member in group:
            self._current[member] = place
            self._step[member] = step
        return group


def _moved_together(parents: Mapping[NodeId, Moved]) -> dict[tuple[Place, Place | None], list[NodeId]]:
    found: dict[tuple[Place, Place | None], list[NodeId]] = {}
    for node, moved in parents.items():
        if moved.alive:
            found.setdefault((moved.place, moved.before), []).append(node)
    return found


def _cycles(current: Mapping[NodeId, Place], starts: set[NodeId]) -> list[list[NodeId]]:
    """Every node has one parent, so cycles are disjoint, and each is found once by walking up."""
    found: list[list[NodeId]] = []
    finished: set[NodeId] = set()
    for start in starts:
        path: list[NodeId] = []
        on_path: set[NodeId] = set()
        node = start
        while node in current and node not in finished and node not in on_path:
            path.append(node)
            on_path.add(node)
            node = current[node].parent
        if node in on_path:
            found.append(path[path.index(node) :])
        finished |= on_path
    return found
