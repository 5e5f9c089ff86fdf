# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `overrides` right: directories that concurrent moves put into each other (rules: `core.cycles`).

The graph has every directory of which a state is here, removed ones at the place where they would come back: whether
one of them is needed then depends on the result, and not the other way round. As long as no cycle is found by walking
up from the directories that changed, nothing has to be computed; else all directories are.
"""

from __future__ import annotations

from collections.abc import Iterable

from holofsd.core.cycles import Moved, resolve_cycles
from holofsd.core.edit import is_valid_name
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.lost import shown_placements
from holofsd.core.node import Placement, is_alive
from holofsd.core.state import Kind, NodeState, Place
from holofsd.tree.batch import Batch
from holofsd.tree.work import Work

Overrides = dict[NodeId, tuple[NodeId, bytes]]


def wanted_place(state: NodeState) -> Placement | None:
    """Returns where a directory wants to be, as if it were needed. None: nowhere, as the root."""
    found = shown_placements(state, True)
    return found[0] if found else None


def break_cycles(batch: Batch) -> None:
    """Brings `overrides` up to date, and pulls directories that are elsewhere now into the batch."""
    changed = [work for work in batch.works.values() if _place_changed(work)]
    if not changed and not batch.cycles_anew:
        return
    overrides = batch.store.nodes.overrides()
    # A directory that was unknown cannot undo a fall-back: if it matters, a walk up from it finds a cycle. But one that
    # was moved may have to fall back with another one.
    simple = not overrides or all(work.old is None and not _was_moved(work) for work in changed)
    if simple and not batch.cycles_anew and not _is_any_in_cycle(batch, overrides, [work.node for work in changed]):
        return
    resolved = _resolve_all(batch)
    if resolved != overrides:
        batch.store.nodes.set_overrides(resolved)
        for node in overrides.keys() | resolved.keys():
            if overrides.get(node) != resolved.get(node):
                batch.pull(node)


def _place_changed(work: Work) -> bool:
    """Returns whether a directory is at another place than before, or was none before, or is none now."""
    is_directory = work.state.kind is Kind.DIRECTORY
    if work.old is None or work.old_state is None:
        return is_directory
    if work.old_state is work.state:
        return False
    if not is_directory or work.old_state.kind is not Kind.DIRECTORY:
        return is_directory != (work.old_state.kind is Kind.DIRECTORY)
    before, now = wanted_place(work.old_state), wanted_place(work.state)
    if before is None or now is None:
        return before is not now
    if now.before is not None and is_alive(work.old_state) != is_alive(work.state):
        return True  # a removed one does not fall back with others
    return (before.place, before.stamp, before.before) != (now.place, now.stamp, now.before)


def _was_moved(work: Work) -> bool:
    wanted = wanted_place(work.state)
    return wanted is not None and wanted.before is not None


def _is_any_in_cycle(batch: Batch, overrides: Overrides, starts: Iterable[NodeId]) -> bool:
    """Walks up from each directory, and over no other one twice: a member can nest thousands of them."""
    finished: set[NodeId] = set()
    for start in starts:
        path: set[NodeId] = set()
        node: NodeId | None = start
        while node is not None and node != ROOT_ID and node not in finished:
            if node in path:
                return True
            path.add(node)
            node = _parent(batch, overrides, node)
        finished |= path
    return False


def _parent(batch: Batch, overrides: Overrides, node: NodeId) -> NodeId | None:
    fallen = overrides.get(node)
    if fallen is not None:
        return fallen[0]
    if node not in batch.works and node not in batch.store.nodes.strays:
        parent = batch.store.nodes.real_parent(node)
        if parent is not None:
            return parent
    state = batch.state(node)
    if state is None or state.kind is not Kind.DIRECTORY:
        return None
    wanted = wanted_place(state)
    return wanted.place.parent if wanted else None


def _resolve_all(batch: Batch) -> Overrides:
    wanted: dict[NodeId, Moved] = {}
    for node in {*batch.store.nodes.directories(), *batch.works}:
        state = batch.state(node)
        place = wanted_place(state) if state is not None and state.kind is Kind.DIRECTORY else None
        if place is not None:
            wanted[node] = Moved(place.place, place.stamp, _usable(place.before), state is not None and is_alive(state))
    return {node: (place.parent, place.name) for node, place in resolve_cycles(wanted).items()}


def _usable(before: Place | None) -> Place | None:
    return before if before is not None and is_valid_name(before.name) else None
