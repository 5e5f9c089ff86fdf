# SPDX-License-Identifier: GPL-3.0-or-later
"""Preparation of a name or file that is not alone, before an operation touches it (docs/model.md).

Each method writes what it changes at once, inside the caller's transaction, so that the operation itself then meets a
plain node. In the usual case, one node with one version at the name, nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from holofsd.core.brake import restored
from holofsd.core.edit import materialise, moved, split_id
from holofsd.core.errors import ContentUnavailable, NoSuchName
from holofsd.core.ids import Dot, Ino, NodeId
from holofsd.core.node import is_alive, live_versions
from holofsd.core.project import conflict_name, parse_token, token
from holofsd.core.state import Kind, Marker, NodeState, Place, Version
from holofsd.fs.nodes.drafts import Draft, shown_of, unseen_of
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.store.nodes import EntryRow
from holofsd.tree.views import Entry, NodeView


class Conflicts:
    """Makes a contested name plain before an operation: each copy becomes a node of its own."""

    def __init__(self, scope: Scope, unlinking: Unlinking) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._unlinking = unlinking

    # ---- names
    def settle_name(self, entry: Entry, origin: Origin | None, *, ending: bool = False) -> Entry:
        """Settles the conflicts of a name before it is unlinked, renamed or replaced: its siblings become files of
        their own, its twins end.

        `ending`: what the name shows goes. Raises ContentUnavailable for a copy that is to stay and is not here.
        """
        placed = self._nodes.slot(entry.parent, entry.slot)
        if len(placed) == 1 and not entry.is_copy:
            glance = self._nodes.glance(entry.node)
            if glance is not None and glance[2] <= 1:
                return entry
        if entry.dot and not ending:
            self._require_here(entry.node, entry.dot)
        entries = self._nodes.entries_of_slot(entry.parent, entry.slot)
        if len(entries) > 1:
            last = entry.view.nlink <= 1
            self._materialise_slot(entries, origin, acted={entry.dot}, ended=entry.node if ending and last else None)
        self._end_twins(entry.parent, entry.slot, origin)
        found = self._scope.tree.lookup(entry.parent, entry.name)
        if found is None:
            raise NoSuchName("This name is not there any more.")
        return found

    def require_told_apart(self, one: Entry, other: Entry) -> None:
        """Raises ContentUnavailable where a name and its copy show the same version, because the newest one is on its
        way: what is done to one of them with the other would be done to the newest one, which nobody saw."""
        row = self._nodes.get(one.node) if one.node == other.node else None
        if row is not None and row.earlier is not None and row.shown in (one.dot, other.dot):
            raise ContentUnavailable(
                "The newest content of this file is still on its way: try again when it has arrived."
            )

    def hidden_at(self, entry: Entry) -> list[NodeId]:
        """Nodes that want this name and are not shown, as inside `.git`: they go when the name goes, but for files that
        a program writes."""
        placed = self._nodes.slot(entry.parent, entry.slot)
        if len(placed) < 2:
            return []
        shown = {row.node for row in self._nodes.entries_of_slot(entry.parent, entry.slot)}
        return [row.node for row in placed if row.node not in shown and not self._is_written(row.node)]

    def _is_written(self, node: NodeId) -> bool:
        """Whether a program writes the file: its version does not say what it will be."""
        ino = self._nodes.find_ino(node)
        return ino is not None and (
            self._scope.files.is_open_for_writing(ino) or self._unlinking.staged.of(ino) is not None
        )

    def split(self, rows: Sequence[EntryRow], kept: Version | None, origin: Origin) -> list[bytes]:
        """All that stands for one name becomes a file of its own, also what is hidden. The name goes on with `kept`, a
        version of its node; None: with what it shows. Returns what each of `rows` is called then, in order.

        `rows`: all of them, the name itself first.
        """
        named: list[EntryRow] = []
        for row in rows:
            named.append(row if row.name else replace(row, name=self._free_name(row, {r.name for r in named})))
        bodies = [v.body for row in rows if (v := self._scope.tree.version_of(row.node, row.dot)) is not None]
        self._materialise_slot(named, origin, kept, acted={row.dot for row in rows})
        shown, draft = rows[0], Draft(self._scope)
        for node in {row.node for row in self._nodes.slot(shown.parent, shown.slot)} - {shown.node}:
            twin = self._scope.tree.version_of(node)
            is_same = twin is not None and not isinstance(twin.body, Marker) and twin.body in bodies
            if is_same and not self._is_written(node):
                self._unlinking.end_name(draft, node, shown.parent, shown.slot)
        draft.write(origin)
        return [row.name for row in named]

    def _free_name(self, row: EntryRow, used: set[bytes]) -> bytes:
        """Finds the name of a hidden copy that becomes a file."""
        version = self._scope.tree.version_of(row.node, row.dot)
        if version is None:
            raise NoSuchName("This copy is not there any more.")
        names = [
            conflict_name(row.slot, version.device_name, version.stamp.wall_ms, version.dot, digits)
            for digits in (8, 16, 32, 64)
        ]
        taken = self._scope.tree.lookup
        return next((n for n in names if n not in used and taken(row.parent, n) is None), names[-1])

    def _require_here(self, node: NodeId, dot: bytes) -> None:
        """A copy becomes a file of its own only where its content is: elsewhere it may have been replaced by now."""
        version = self._scope.tree.version_of(node, dot)
        if version is not None and not self._scope.tree.is_here(version):
            raise ContentUnavailable(
                "The content of this conflict copy is still on its way: try again when it has arrived, or remove it."
            )

    def _materialise_slot(
        self,
        entries: Sequence[EntryRow],
        origin: Origin | None,
        kept: Version | None = None,
        acted: Collection[bytes] = (),
        ended: NodeId | None = None,
    ) -> None:
        """`acted`: tokens of the copies that the operation is about, by name; `ended`: what this node shows goes."""
        draft = Draft(self._scope)
        for node in {entry.node for entry in entries if entry.dot}:
            self._materialise_node(draft, node, kept, acted, ending=node == ended and b"" in acted)
        for entry in entries:
            if not entry.dot and entry.name != entry.slot:
                self._name_for_good(draft, entry)
        draft.write(origin, detach_open=kept is not None)

    def _materialise_node(
        self,
        draft: Draft,
        node: NodeId,
        wanted: Version | None = None,
        acted: Collection[bytes] = (),
        *,
        ending: bool = False,
    ) -> None:
        """`ending`: what the node shows goes."""
        state, row = draft.state(node), self._nodes.get(node)
        if row is None:
            return
        dot, stamp = self._scope.volume.next_dot(), self._scope.volume.stamp()
        shown = shown_of(row, state)
        if wanted is not None and wanted.dot in state.versions:
            shown = wanted
        unseen = [beside for beside in unseen_of(self._scope, row, state) if token(beside) not in acted]
        if wanted is None and row.earlier is not None and row.shown in acted and b"" not in acted:
            # The copy stands at the name, too, for the newest version, whose content is on its way. That keeps it.
            shown = live_versions(state)[0]
            unseen = [beside for beside in unseen if beside != shown.dot]
        rewrite = ending or shown is None or self._scope.tree.is_here(shown)
        always = ending and _shares_an_author(state, unseen)
        kept, copies = materialise(state, dot, stamp, shown, unseen, rewrite=rewrite, always=always)
        if dot in kept.versions and shown is not None:
            self.rewritten(shown.dot, dot)
        draft.put(kept)
        made = {copy.id for copy in copies}
        for copy in copies:
            draft.join(copy)
            self._let_live(draft, copy.id)
        for copied in {entry.dot for entry in self._nodes.entries_of_node(node) if entry.dot}:
            self._take_over(draft, self._nodes.find_ino(node, copied), split_id(node, parse_token(copied)), made)

    def _let_live(self, draft: Draft, copy: NodeId) -> None:
        """A copy that is shown here was made a file elsewhere and removed there, and that removal waits, or is not all
        here: the file lives, for a program that acts on it, or on what it stands beside, sees it."""
        state = draft.state(copy)
        if is_alive(state):
            return

        def anew(version: Version) -> Version:
            made = self._scope.volume.anew(version)
            self.rewritten(version.dot, made.dot)
            return made

        draft.put(restored(state, anew, self._scope.volume.stamp()))

    def rewritten(self, shown: Dot, anew: Dot) -> None:
        """Makes writers to what was shown go on with the same content under its new dot, also after a restart."""
        self._scope.lineage.rewritten(shown, anew)
        self._scope.store.staging.based_on({token(shown): token(anew)})

    def _take_over(self, draft: Draft, ino: Ino | None, copy: NodeId, made: set[NodeId]) -> None:
        if ino is not None and copy in made:
            draft.takeover[ino] = copy
            self._unlinking.staged.rebind(ino, copy)

    def _name_for_good(self, draft: Draft, entry: EntryRow) -> None:
        """A node that shows under a conflict name, because another has its own, is renamed to it."""
        link = self._unlinking.only_link_at(draft, entry.node, entry.parent, entry.slot)
        stamp = self._scope.volume.stamp()
        draft.put(moved(draft.state(entry.node), link, Place(entry.parent, entry.name), stamp))

    # ---- twins
    def _end_twins(self, parent: NodeId, slot: bytes, origin: Origin | None) -> None:
        """Files of the same content that the name stands for too: the operation does to them what it does to it. One
        that a program writes goes on: what it writes is another content."""
        if len(self._nodes.slot(parent, slot)) < 2:
            return
        entry = self._scope.tree.lookup(parent, slot)
        if entry is None:
            return
        draft = Draft(self._scope)
        for node in self._scope.tree.twins(entry):
            if not self._is_written(node):
                self._unlinking.end_name(draft, node, parent, slot)
        draft.write(origin)

    # ---- directories
    def together(self, entry: Entry) -> list[NodeId]:
        """All directories that this name stands for: what is done to the name is done to each."""
        return self._nodes.aliases.together(entry.node)

    # ---- files by inode
    def settle_ref(self, view: NodeView, origin: Origin | None, *, replacing: bool = False) -> bool:
        """Settles the conflicts of an inode before content or attributes of its file change: a conflict copy becomes a
        file of its own, twins end.

        `replacing`: its content goes. True if the inode number means something else now, and has to be resolved again.
        Raises ContentUnavailable for a copy whose content stays and is not here.
        """
        if view.detached or view.kind is Kind.DIRECTORY:
            return False
        if view.dot:
            if not replacing:
                self._require_here(view.node, view.dot)
            draft = Draft(self._scope)
            self._materialise_node(draft, view.node, acted={view.dot})
            draft.write(origin)
            return True
        if self._scope.tree.is_plain(view.node):
            return False
        changed = False
        for placement in self._nodes.placements(view.node):
            if len(self._nodes.slot(placement.parent, placement.name)) > 1:
                self._settle_shared(view.node, placement.parent, placement.name, origin)
                changed = True
        return changed

    def _settle_shared(self, node: NodeId, parent: NodeId, slot: bytes, origin: Origin | None) -> None:
        mine = [e for e in self._nodes.entries_of_slot(parent, slot) if e.node == node and not e.dot]
        if mine and mine[0].name != slot:
            draft = Draft(self._scope)
            self._name_for_good(draft, mine[0])
            draft.write(origin)
        elif mine:
            self._end_twins(parent, slot, origin)


def _shares_an_author(state: NodeState, unseen: Sequence[Dot]) -> bool:
    """Whether a removal, which counts by author, could not tell what was seen from what was not."""
    seen = [version.dot for version in live_versions(state) if version.dot not in unseen]
    return any(one.author == other.author for one in seen for other in unseen)
