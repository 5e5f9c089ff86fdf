# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `placements` right: the names each node has, with removed directories that a visible child needs."""

from __future__ import annotations

from holofsd.core.ids import ROOT_ID, Hlc, LinkId, NodeId
from holofsd.core.lost import LOST_ID, sorted_placements
from holofsd.core.node import is_alive
from holofsd.core.state import Kind
from holofsd.store.nodes import PlacementRow
from holofsd.tree.batch import Batch
from holofsd.tree.cycles import Overrides
from holofsd.tree.work import Work

_REVIVED = 2
MOST_STRAYS = 500
"""So many nodes in directories that were unknown are placed anew in one transaction; `LostFolders` goes on with the
others."""


def encode_stamp(stamp: Hlc) -> bytes:
    """Compares like the stamp."""
    return stamp.wall_ms.to_bytes(8, "big") + stamp.counter.to_bytes(4, "big") + stamp.author


def derive_placements(batch: Batch) -> None:
    """Writes the placements of every node of the batch, and of directories above that come or go with them.

    Walks upwards only, in a graph without cycles (`break_cycles` came first), so it ends.
    """
    overrides: Overrides | None = None
    queue = {node: None for node, work in batch.works.items() if not batch.plain.stays_plain(work)}
    for changed in batch.works.values():
        if changed.old is not None and changed.old.kind == Kind.DIRECTORY and changed.row.kind != Kind.DIRECTORY:
            batch.store.nodes.strays.orphan(changed.node, batch.now_ns // 1_000_000)
    if batch.store.nodes.strays:
        queue.update(dict.fromkeys(_strays_below(batch)))
    batch.plain.forget(queue)
    while queue:
        node = next(iter(queue))
        del queue[node]
        work = batch.pull(node)
        if work is None:
            continue
        if overrides is None and work.state.kind is Kind.DIRECTORY:
            overrides = batch.store.nodes.overrides()
        before, now = place(batch, work, overrides or {})
        for parent in _parents_to_ask(batch, before, now):
            queue[parent] = None


def _strays_below(batch: Batch) -> list[NodeId]:
    """Lists nodes to be placed anew: one of their links names a node that was unknown, or of another kind, before."""
    strays = batch.store.nodes.strays
    found: list[NodeId] = []
    for node, work in batch.works.items():
        if work.old is None or work.old.kind != work.row.kind:
            is_directory = work.row.kind == Kind.DIRECTORY
            found += strays.came(node, is_directory, work.old is None, max(MOST_STRAYS - len(found), 0))
    return found


def place(batch: Batch, work: Work, overrides: Overrides) -> tuple[list[PlacementRow], list[PlacementRow]]:
    """Writes the placements of one node. Returns those before and those now; all their names are projected again."""
    before = list(batch.placed(work))
    _write_rows(batch, work, overrides)
    now = batch.placed(work)
    was_directory = work.old is not None and work.old.kind == Kind.DIRECTORY
    for row in (*before, *now):
        batch.dirty[(row.parent, row.name)] = None
        if work.row.kind == Kind.DIRECTORY or was_directory:
            batch.gathered[(row.parent, row.name)] = None
    if not now and work.row.kind == Kind.DIRECTORY:
        batch.without_place.append(work.node)
    return before, now


def _write_rows(batch: Batch, work: Work, overrides: Overrides) -> None:
    nodes = batch.store.nodes
    rows, bad, strays = _wanted_rows(batch, work, overrides)
    before = batch.placed(work)
    if rows != before:
        if before:
            nodes.clear_placements(work.node)
            batch.recorder.left(before, rows)
            if not rows and not is_alive(work.state):
                batch.recorder.arrived_removed(work.state, before)
        for row in rows:
            nodes.add_placement(row)
        work.placed = rows
        work.moved = True
    elif not rows and work.old is None and not is_alive(work.state):
        batch.recorder.arrived_removed(work.state)
    if bad or work.old is not None:
        nodes.set_bad_names(work.node, bad)
    if strays or (work.old is not None and nodes.strays):
        nodes.strays.put(work.node, strays, batch.now_ns // 1_000_000, work.old is None)
    mine = work.row
    if mine.kind == Kind.DIRECTORY:
        if work.old is None or work.old.kind != mine.kind:
            mine.nlink = nodes.subdirectories(work.node)
        mine.visible = 0 if not rows else 1 if is_alive(work.state) else _REVIVED
    else:
        mine.nlink = len(rows)
        mine.visible = 1 if rows else 0


def _wanted_rows(
    batch: Batch, work: Work, overrides: Overrides
) -> tuple[list[PlacementRow], list[LinkId], list[NodeId]]:
    """The rows, links whose names cannot be shown, and directories that its links name and that are none (yet)."""
    state = work.state
    needed = state.kind is Kind.DIRECTORY and not is_alive(state) and batch.store.nodes.has_children(work.node)
    rows: list[PlacementRow] = []
    fallen = overrides.get(work.node)
    aliases = batch.store.nodes.aliases
    found, bad = sorted_placements(state, needed)
    wanted = [(p, *(fallen if fallen is not None else (p.place.parent, p.place.name))) for p in found]
    strays = [real for _, real, _ in wanted if real != ROOT_ID and batch.glance(real)[0] != Kind.DIRECTORY]
    nowhere = len(strays) == len(wanted)
    for placement, real, name in wanted:
        if nowhere and _is_lost(batch, real):
            real = LOST_ID
        parent = aliases.shown_as(real)
        link, stamp = placement.link or LinkId(b""), encode_stamp(placement.stamp)
        rows.append(PlacementRow(work.node, link, parent, name, stamp, real if real != parent else None))
    if len(rows) > 1:
        # Two links whose directories are shown as one make one name: the latest of them does.
        latest = {(row.parent, row.name): row for row in reversed(rows)}
        rows = sorted(latest.values(), key=lambda row: row.link)
    return rows, [placement.link or LinkId(b"") for placement in bad], strays


def _is_lost(batch: Batch, parent: NodeId) -> bool:
    """Whether what is no directory will never be one: it is of another kind, or is not waited for any more."""
    return batch.glance(parent)[0] != 0 or batch.store.nodes.strays.is_given_up(parent)


def _parents_to_ask(batch: Batch, before: list[PlacementRow], now: list[PlacementRow]) -> list[NodeId]:
    """Removed directories that are needed from now on, or may not be needed any more."""
    had = {row.under for row in before}
    have = {row.under for row in now}
    asked: list[NodeId] = []
    for parent in had ^ have:
        if parent == ROOT_ID:
            continue
        kind, visible = batch.glance(parent)
        if kind == Kind.DIRECTORY and visible == (0 if parent in have else _REVIVED):
            asked.append(parent)
    return asked
