# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `aliases` right: directories that want one name are shown as one (rules: `core.folders`).

Walks downwards, in a graph without cycles (`break_cycles` came first), so it ends: a directory that becomes part of
another one brings its names there, and those of its subdirectories that meet one of the same name become part of that.
"""

from __future__ import annotations

from holofsd.core.folders import seniority, settings_of
from holofsd.core.ids import NodeId
from holofsd.core.state import Kind, NodeState
from holofsd.tree.batch import Batch
from holofsd.tree.cycles import Overrides
from holofsd.tree.facts import mode_of, xattrs_of
from holofsd.tree.placing import place


def derive_folders(batch: Batch) -> None:
    """Brings `aliases` up to date, and the placements of all that is in directories that are shown otherwise now."""
    overrides: Overrides | None = None
    aliases = batch.store.nodes.aliases
    moving = [(node, node) for node in batch.without_place if node in aliases]
    while moving or batch.gathered:
        if not moving:
            slot = next(iter(batch.gathered))
            del batch.gathered[slot]
            moving = _regrouped(batch, *slot)
            continue
        if overrides is None:
            overrides = batch.store.nodes.overrides()
        _show_as(batch, *moving.pop(), overrides)
    _derive_attributes(batch)


def _regrouped(batch: Batch, parent: NodeId, name: bytes) -> list[tuple[NodeId, NodeId]]:
    """(directory, as which it is shown now) for those at one name that were shown as another one."""
    rows = batch.store.nodes.slot(parent, name)
    aliases = batch.store.nodes.aliases
    if len(rows) < 2 and not aliases:
        return []
    found = [row.node for row in rows if batch.kind(row.node) == Kind.DIRECTORY]
    if len(found) < 2:
        return [(node, node) for node in found if node in aliases]
    shown = min((state for node in found if (state := batch.state(node))), key=seniority).id
    return [(node, shown) for node in found if aliases.shown_as(node) != shown]


def _show_as(batch: Batch, directory: NodeId, shown: NodeId, overrides: Overrides) -> None:
    nodes = batch.store.nodes
    before = nodes.aliases.shown_as(directory)
    batch.regrouped.setdefault(directory, before)
    carried = _carry(batch, directory, before, shown)
    children = [child for child in nodes.really_in(directory) if child not in carried]
    nodes.aliases.put(directory, shown)
    batch.plain.forget(children)
    for child in children:
        work = batch.pull(child)
        if work is not None:
            place(batch, work, overrides)


def _carry(batch: Batch, directory: NodeId, before: NodeId, shown: NodeId) -> set[NodeId]:
    """Most of what is in a directory: files that have no part in this update and that nothing stands beside."""
    found = [
        (node, name)
        for node, name in batch.store.nodes.alone_in(directory, shown)
        if node not in batch.works and (before, name) not in batch.dirty and (shown, name) not in batch.dirty
    ]
    batch.store.nodes.carry(directory, before, shown, found)
    batch.carried += [(node, before, shown, name) for node, name in found]
    return {node for node, _ in found}


def _derive_attributes(batch: Batch) -> None:
    aliases = batch.store.nodes.aliases
    if not aliases and not batch.regrouped:
        return
    changed = {work.node for work in batch.works.values() if work.row.kind == Kind.DIRECTORY}
    changed.update(batch.regrouped.values(), batch.regrouped)
    shown = {aliases.shown_as(node) for node in changed}
    for node in sorted(shown.union(batch.regrouped)):
        work = batch.pull(node)
        if work is not None:
            # One that showed others and is shown as another one now goes back to its own.
            settings = (group_settings(batch, node) if node in shown else None) or work.state
            work.row.mode, work.row.xattrs = mode_of(settings), xattrs_of(settings)


def group_settings(batch: Batch, shown: NodeId) -> NodeState | None:
    """The state of this directory with the settings of all that are shown as one with it; None if it has no state."""
    states = [batch.state(node) for node in batch.store.nodes.aliases.together(shown)]
    group = [state for state in states if state is not None]
    return settings_of(group) if states[0] is not None else None
