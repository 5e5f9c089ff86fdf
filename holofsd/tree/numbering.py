# SPDX-License-Identifier: GPL-3.0-or-later
"""Inode numbers of directories that are shown as one: the number stays with the name.

A group has one node whose number its name leads to. When another member comes to stand for it, that number goes along,
so that open handles and working directories stay where they are. A member that had a number of its own keeps one, for
whoever is in it: such a number answers as the directory that is shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holofsd.core.ids import Ino, NodeId
from holofsd.store.nodes import EntryRow
from holofsd.tree.batch import Batch, Slot
from holofsd.tree.changes import EntryUpdate

Names = dict[Slot, tuple[EntryRow | None, EntryRow | None]]


@dataclass(frozen=True, slots=True)
class Shows:
    """A number, and the directory whose names it showed before."""

    ino: Ino
    before: NodeId


def keep_numbers(batch: Batch, names: Names) -> dict[NodeId, Shows]:
    """Keeps inode numbers where a directory is shown as another node than before; called after the projection. Returns
    the directories that have another number than before."""
    renumbered: dict[NodeId, Shows] = {}
    if not batch.regrouped:
        return renumbered
    for before, now in names.values():
        if before is None or now is None or before.node == now.node or before.dot or now.dot:
            continue
        if _goes_on_as(batch, before.node, now.node):
            _exchange(batch, before.node, now.node, renumbered)
    return renumbered


def _goes_on_as(batch: Batch, before: NodeId, now: NodeId) -> bool:
    """One directory stands where the other did, both being shown as one: now, or until the first one was removed."""
    if batch.store.nodes.aliases.shown_as(before) == now:
        return True
    glance = batch.works[before].row.visible if before in batch.works else 1
    return not glance and batch.regrouped.get(now) == before


def _exchange(batch: Batch, one: NodeId, other: NodeId, renumbered: dict[NodeId, Shows]) -> None:
    nodes = batch.store.nodes
    first, second = nodes.find_ino(one), nodes.find_ino(other)
    if first is None:
        return
    if second is not None:
        nodes.rebind(second, NodeId(secrets.token_bytes(16)))
    nodes.rebind(first, other)
    renumbered[other] = Shows(first, one)
    if second is not None:
        nodes.rebind(second, one)
        renumbered[one] = Shows(second, batch.regrouped.get(other, other))


def doubled(batch: Batch, changes: Sequence[EntryUpdate], renumbered: Mapping[NodeId, Shows]) -> list[EntryUpdate]:
    """The same names for the numbers that members of a group have beside its own; and all of them for a number that
    shows another directory than before."""
    nodes, aliases = batch.store.nodes, batch.store.nodes.aliases
    if not aliases and not batch.regrouped:
        return []
    found: list[EntryUpdate] = []
    for change in changes:
        for alias in aliases.of(change.parent):
            ino = nodes.find_ino(alias)
            if ino is not None:
                found.append(EntryUpdate(change.parent, ino, change.name, change.ino, change.gone))
    for directory, before in batch.regrouped.items():
        ino = nodes.find_ino(directory)
        if ino is not None:
            found += _all_names(batch, changes, Shows(ino, before), aliases.shown_as(directory))
    for directory, shows in renumbered.items():
        found += _all_names(batch, changes, shows, aliases.shown_as(directory))
    return found


def _all_names(batch: Batch, changes: Sequence[EntryUpdate], shows: Shows, now: NodeId) -> list[EntryUpdate]:
    nodes = batch.store.nodes
    present = {entry.name: entry for entry in nodes.children(now, b"", 0)}
    had = {entry.name for entry in nodes.children(shows.before, b"", 0)}
    had.update(change.name for change in changes if change.parent == shows.before and change.gone)
    gone = [EntryUpdate(now, shows.ino, name, None, gone=True) for name in sorted(had - present.keys())]
    return gone + [
        EntryUpdate(now, shows.ino, name, nodes.find_ino(entry.node, entry.dot), gone=False)
        for name, entry in present.items()
    ]
