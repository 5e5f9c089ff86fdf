# SPDX-License-Identifier: GPL-3.0-or-later
"""Concurrent moves can put directories into each other: the same way out on every device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holofsd.core.ids import ROOT_ID, Hlc, NodeId
from holofsd.core.state import Place


@dataclass(frozen=True, slots=True)
class Moved:
    """The placement that a directory wants, and the one it had before."""

    place: Place
    stamp: Hlc
    before: Place | None


def resolve_cycles(parents: Mapping[NodeId, Moved]) -> Mapping[NodeId, Place]:
    """The places of those directories that cannot have the one they want.

    In each cycle the latest move falls back to the place before it; a node that already fell back (or has no place
    before) goes to the root. Directories that were moved as one, from one place to one place, fall back as one. All
    cycles that exist at one time are resolved together, then again until none is left: so the result depends on the
    mapping alone. A node changes at most twice, so this ends.
    """
    current = {node: moved.place for node, moved in parents.items()}
    fallen: dict[NodeId, Place] = {}
    together: dict[tuple[Place, Place | None], list[NodeId]] = {}
    suspects = set(current)
    while suspects:
        cycles = _cycles(current, suspects)
        suspects = set()
        if cycles and not together:
            together = _moved_together(parents)
        for cycle in cycles:
            latest = max(cycle, key=lambda node: (parents[node].stamp, node))
            if latest in suspects:
                continue  # it fell back with one of another cycle
            moved = parents[latest]
            before = moved.before
            if before is None or latest in fallen:
                before = Place(ROOT_ID, moved.place.name)
            for node in together[(moved.place, moved.before)] if moved.before else (latest,):
                current[node] = fallen[node] = before
                # A new cycle must run through an edge that changed.
                suspects.add(node)
    return fallen


def _moved_together(parents: Mapping[NodeId, Moved]) -> dict[tuple[Place, Place | None], list[NodeId]]:
    found: dict[tuple[Place, Place | None], list[NodeId]] = {}
    for node, moved in parents.items():
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
