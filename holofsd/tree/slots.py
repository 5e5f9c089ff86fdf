# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps `entries` right: projects each name whose candidates changed (rules: `core.project`).

The result depends on the placements alone and never on earlier entries, so the order of arrival does not matter. The
exception is a conflict name that two slots claim, which takes a stem cut at 255 bytes (or a liar): then the slot with
the smaller name has it, and both are projected again when it comes free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from holofsd.core.ids import ROOT_ID, LinkId, NodeId
from holofsd.core.lost import shown_placements
from holofsd.core.node import Placement
from holofsd.core.project import Candidate, SlotEntry, base_of_conflict_name, project_slot, token
from holofsd.core.state import Kind, Place
from holofsd.store.nodes import EntryRow, PlacementRow
from holofsd.tree.batch import Batch, Slot

_CONFLICT_MARK: Final = b" (conflict "
_GIT: Final = b".git"
_MAYBE_CUT: Final = 200
"""Conflict names at least this long may have a shortened stem."""


@dataclass(slots=True)
class Projection:
    """Changes that projecting made: names, with what they led to before, and conflict copies that lost a name."""

    batch: Batch
    names: dict[Slot, EntryRow | None] = field(default_factory=dict)
    """(parent, name) -> the entry before this update."""
    now: dict[Slot, EntryRow | None] = field(default_factory=dict)
    """(parent, name) -> the entry after it, for the same keys."""
    lost_copies: dict[tuple[NodeId, bytes], None] = field(default_factory=dict)
    _git: dict[NodeId, bool] = field(default_factory=dict)

    def run(self) -> None:
        batch = self.batch
        for node, before, shown, name in batch.carried:
            self.names.setdefault((before, name), EntryRow(before, name, node, b"", name))
            self.now[(before, name)] = None
            self.names.setdefault((shown, name), None)
            self.now[(shown, name)] = EntryRow(shown, name, node, b"", name)
        if any(w.moved and w.row.kind == Kind.DIRECTORY and self._has_below(w.node) for w in batch.works.values()):
            # A subtree may have moved into a `.git`, or out of it.
            batch.dirty.update(dict.fromkeys(batch.store.nodes.conflict_slots()))
        # Which directory is `.git` decides what is shown below it.
        for slot in [slot for slot in batch.dirty if slot[1] == _GIT]:
            del batch.dirty[slot]
            self._project(*slot)
        while batch.dirty:
            slot = next(iter(batch.dirty))
            del batch.dirty[slot]
            self._project(*slot)

    def _has_below(self, node: NodeId) -> bool:
        return self.batch.store.nodes.has_children(node)

    # ---- one slot
    def _project(self, parent: NodeId, slot: bytes) -> None:
        nodes = self.batch.store.nodes
        rows = nodes.slot(parent, slot)
        old = nodes.entries_of_slot(parent, slot)
        if rows and all(row.node == rows[0].node for row in rows) and self.batch.versions(rows[0].node) <= 1:
            new = [EntryRow(parent, slot, rows[0].node, b"", slot)]
            hidden: list[SlotEntry] = []
            if len(rows) == 1 and _CONFLICT_MARK not in slot:
                self.batch.plain.alone_at_its_name(self.batch.works.get(rows[0].node))
        else:
            self.batch.plain.shares_a_name(rows)
            new, hidden = self._contested(parent, slot, rows)
        if old or hidden:
            nodes.set_hidden_copies(parent, slot, [(e.node, token(e.dot) if e.dot else b"") for e in hidden])
        self._write(parent, slot, old, new)
        if slot == _GIT and _nodes_at(old, slot) != _nodes_at(new, slot):
            self._git.clear()
            self.batch.dirty.update(dict.fromkeys(nodes.conflict_slots()))
        if not rows:
            self._name_is_free(parent, slot)

    def _contested(
        self, parent: NodeId, slot: bytes, rows: list[PlacementRow]
    ) -> tuple[list[EntryRow], list[SlotEntry]]:
        nodes = self.batch.store.nodes
        candidates = [c for row in rows if (c := self._candidate(row)) is not None]
        shown = project_slot(slot, candidates, lambda name: nodes.is_placed_at(parent, name))
        hidden: list[SlotEntry] = []
        if len(shown) > 1 and self._inside_git(parent):
            shown, hidden = shown[:1], list(shown[1:])
        entries = [EntryRow(parent, e.name, e.node, token(e.dot) if e.dot else b"", slot) for e in shown]
        return entries, hidden

    def _candidate(self, row: PlacementRow) -> Candidate | None:
        state = self.batch.state(row.node)
        if state is None:
            return None
        place = Place(row.parent, row.name)
        for placement in shown_placements(state, True):
            if (placement.link or LinkId(b"")) == row.link:
                if placement.place != place:
                    placement = Placement(placement.link, place, placement.stamp, placement.before, placement.revived)
                return Candidate(state, placement)
        return None

    def _inside_git(self, directory: NodeId) -> bool:
        path: list[NodeId] = []
        node = directory
        inside = False
        while node != ROOT_ID and node not in path:
            if node in self._git:
                inside = self._git[node]
                break
            path.append(node)
            placed = self.batch.store.nodes.placed_under(node)
            if placed is None:
                break
            if placed[1] == _GIT and self._has_its_name(node, *placed):
                inside = True
                break
            node = placed[0]
        for passed in path:
            self._git[passed] = inside
        return inside

    def _has_its_name(self, node: NodeId, parent: NodeId, name: bytes) -> bool:
        entry = self.batch.store.nodes.entry(parent, name)
        return entry is not None and entry.node == node

    # ---- differences
    def _write(self, parent: NodeId, slot: bytes, old: list[EntryRow], new: list[EntryRow]) -> None:
        before = {entry.name: entry for entry in old}
        names = {entry.name for entry in new}
        for name, entry in before.items():
            if name not in names:
                self._record(parent, name, entry)
                self.now[(parent, name)] = None
                self.batch.store.nodes.delete_entry(parent, name)
                if name != slot:
                    self._name_is_free(parent, name)
        for entry in new:
            if before.get(entry.name) != entry and self._may_have(entry):
                if entry.name in before:
                    self._record(parent, entry.name, before[entry.name])
                self.names.setdefault((parent, entry.name), None)
                self.now[(parent, entry.name)] = entry
                self.batch.store.nodes.put_entry(entry)

    def _may_have(self, entry: EntryRow) -> bool:
        """Whether another slot made an entry of this name that stays; if not, it gives way."""
        if _CONFLICT_MARK not in entry.name:
            return True
        there = self.batch.store.nodes.entry(entry.parent, entry.name)
        if there is None or there.slot == entry.slot:
            return True
        if there.name == there.slot or (entry.name != entry.slot and there.slot < entry.slot):
            return False
        self._record(entry.parent, entry.name, there)
        self.batch.dirty[(there.parent, there.slot)] = None
        return True

    def _record(self, parent: NodeId, name: bytes, before: EntryRow) -> None:
        self.names.setdefault((parent, name), before)
        if before.dot:
            self.lost_copies[(before.node, before.dot)] = None

    def _name_is_free(self, parent: NodeId, name: bytes) -> None:
        """Slots whose conflict copies would like to have this name are projected again."""
        if _CONFLICT_MARK not in name:
            return
        base = base_of_conflict_name(name)
        if base is None:
            return
        slots = [base]
        if len(name) > _MAYBE_CUT:
            stem = name[: name.rfind(_CONFLICT_MARK)]
            slots = self.batch.store.nodes.slots_between(parent, stem, stem + b"\xff" * 256)
        for slot in slots:
            if slot != name:
                self.batch.dirty[(parent, slot)] = None


def _nodes_at(entries: list[EntryRow], name: bytes) -> list[NodeId]:
    return [entry.node for entry in entries if entry.name == name]
