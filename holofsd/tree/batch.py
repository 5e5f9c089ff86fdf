# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes that one update of the tree is about: their rows before and after, and what has to be looked at again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from holofsd.codec.records import encode_state
from holofsd.core.ids import AuthorId, BlobHash, NodeId
from holofsd.core.project import token
from holofsd.core.state import Kind, NodeState, Pending, Version
from holofsd.store.nodes import NodeRow, PlacementRow
from holofsd.store.volume import VolumeStore
from holofsd.tree.changes import TreeChange
from holofsd.tree.facts import Facts, facts_of, false_claims
from holofsd.tree.plain import Plain
from holofsd.tree.recording import Recorder
from holofsd.tree.states import States, decode_version, encode_version
from holofsd.tree.work import Work

Slot = tuple[NodeId, bytes]


@dataclass(slots=True)
class Batch:
    """Nodes of one update of the tree, with their states and rows before and after."""

    store: VolumeStore
    states: States
    now_ns: int
    recorder: Recorder
    plain: Plain
    works: dict[NodeId, Work] = field(default_factory=dict)
    dirty: dict[Slot, None] = field(default_factory=dict)
    """Slots to project again, in order of discovery."""
    gathered: dict[Slot, None] = field(default_factory=dict)
    """Slots to which a directory came or which one left: those that are there may be shown as one now, or apart."""
    without_place: list[NodeId] = field(default_factory=list)
    """Directories that are at no name."""
    regrouped: dict[NodeId, NodeId] = field(default_factory=dict)
    """Directories that are shown as another one than before this update, or by themselves: as which before."""
    carried: list[tuple[NodeId, NodeId, NodeId, bytes]] = field(default_factory=list)
    """(node, directory that showed it, directory that shows it, name) of entries that went there as they are."""
    cycles_anew: bool = False
    """Cycles are resolved whether or not a directory of this update changed its place."""
    change: TreeChange = field(default_factory=TreeChange)
    on_false_size: Callable[[NodeId, AuthorId, int, int], None] = lambda node, author, said, size: None
    """Told of an author whose version names another size than its content has."""
    _sizes: dict[BlobHash, int | None] = field(default_factory=dict)
    _glances: dict[NodeId, tuple[int, int]] = field(default_factory=dict)
    """(kind, visible) of directories above, as they are in the index."""

    # ---- nodes
    def put(self, state: NodeState, old_state: NodeState | None = None) -> Work:
        """Replaces the state of a node."""
        node = state.id
        earlier = self.works.get(node)
        old = earlier.old if earlier else self.store.nodes.get(node)
        if old_state is None and earlier is not None:
            old_state = earlier.old_state
        if old is not None and old_state is None:
            old_state = self.states.decoded(node, old.state)
        before = earlier.state if earlier is not None else old_state
        if before is not None:
            self.recorder.replaced(before, state)
        if state.removed.context and state is not old_state:
            self.recorder.removed(before, state)
        facts = facts_of(state, self.size_of, lambda: _as_now_in(state, _shown_before(old, old_state)))
        work = Work(state, old, self._row(state, old, old_state, facts), facts.shown, old_state)
        self.works[node] = work
        self.states.put(state, len(work.row.state))
        # A node that is only looked at again may be wanted by mistake: then what is written down counts, not its row.
        self._note(work, facts, state is old_state or _may_want(earlier.row if earlier else old))
        return work

    def pull(self, node: NodeId) -> Work | None:
        """A node whose state stays, but whose row or placements have to be looked at again."""
        work = self.works.get(node)
        if work is None:
            state = self.states.get(node)
            if state is not None:
                work = self.put(state, state)
        return work

    def _row(self, state: NodeState, old: NodeRow | None, old_state: NodeState | None, facts: Facts) -> NodeRow:
        shown = facts.shown
        return NodeRow(
            node=state.id,
            kind=int(state.kind),
            state=old.state if old is not None and state is old_state else encode_state(state),
            shown=token(shown.dot) if shown else b"",
            earlier=encode_version(state.id, state.kind, shown) if shown and facts.shows_earlier else None,
            size=facts.size,
            mtime_ns=self._mtime(state, old, old_state, shown),
            ctime_ns=old.ctime_ns if old is not None and state is old_state else self.now_ns,
            mode=facts.mode,
            nlink=old.nlink if old else 0,
            xattrs=facts.xattrs,
            remote=int(facts.remote),
            versions=facts.versions,
            visible=old.visible if old else 0,
        )

    def _mtime(self, state: NodeState, old: NodeRow | None, old_state: NodeState | None, shown: Version | None) -> int:
        if state.kind is not Kind.DIRECTORY:
            return shown.mtime.value if shown else 0
        # A directory's time is when its entries last changed here, unless somebody set it since.
        if state.times is not None and (old_state is None or old_state.times != state.times):
            return state.times.value
        return old.mtime_ns if old else state.created_ns

    def _note(self, work: Work, facts: Facts, may_want: bool) -> None:
        """Keeps `wanted` and `pending_bodies` in step."""
        content = self.store.content
        before = content.wanted_for(work.node) if may_want else {}
        for (blob, author), size in facts.wanted.items():
            if before.get((blob, author)) != size:
                content.want(blob, work.node, author, size, self.now_ns // 1_000_000, blob in facts.lists)
                self.change.wants_content = True
        for blob, author in before.keys() - facts.wanted.keys():
            content.unwant(blob, work.node, author)
        self._judge_sizes(work, before)
        noted = _pending_in(work.old_state) if facts.pending else ()
        for staging in facts.pending:
            if staging not in noted:
                self.store.nodes.note_pending(staging, work.node)

    def _judge_sizes(self, work: Work, waited_for: Mapping[tuple[BlobHash, AuthorId], int]) -> None:
        """Tells once of each author that named another size than content has: when the content comes, or with the
        version."""
        for (blob, author), said in waited_for.items():
            size = self.size_of(blob)
            if size is not None and size != said:
                self.on_false_size(work.node, author, said, size)
        if work.state is work.old_state or work.state.kind is not Kind.FILE:
            return
        known = work.old_state.versions if work.old_state is not None else {}
        for dot, version in work.state.versions.items():
            if dot not in known:
                for _blob, said, size in false_claims(version, self.size_of):
                    self.on_false_size(work.node, dot.author, said, size)

    # ---- what was, what is
    def size_of(self, blob: BlobHash) -> int | None:
        """Size of content that is here; None for what is not."""
        if blob not in self._sizes:
            self._sizes[blob] = self.store.content.size(blob)
        return self._sizes[blob]

    def shown_before(self, work: Work) -> Version | None:
        return _shown_before(work.old, work.old_state)

    def shown_token(self, node: NodeId, earlier: bool = False) -> bytes:
        """Token of the version that a node shows, or showed before this update; b"" for none."""
        work = self.works.get(node)
        row = self.store.nodes.get(node) if work is None else work.old if earlier else work.row
        return row.shown if row is not None else b""

    def kind(self, node: NodeId, earlier: bool = False) -> int:
        """Kind of a node, or the one that it had before this update; 0 for none."""
        work = self.works.get(node)
        if work is not None:
            row = work.old if earlier else work.row
            return row.kind if row is not None else 0
        glance = self.store.nodes.glance(node)
        return glance[0] if glance else 0

    def versions(self, node: NodeId) -> int:
        work = self.works.get(node)
        if work is not None:
            return work.row.versions
        glance = self.store.nodes.glance(node)
        return glance[2] if glance else 0

    def glance(self, node: NodeId) -> tuple[int, int]:
        """(kind, visible), both 0 for an unknown node."""
        work = self.works.get(node)
        if work is not None:
            return work.row.kind, work.row.visible
        known = self._glances.get(node)
        if known is None:
            found = self.store.nodes.glance(node)
            known = self._glances[node] = (found[0], found[1]) if found else (0, 0)
        return known

    def state(self, node: NodeId) -> NodeState | None:
        work = self.works.get(node)
        return work.state if work is not None else self.states.get(node)

    def placed(self, work: Work) -> list[PlacementRow]:
        if work.placed is None:
            work.placed = self.store.nodes.placements(work.node) if work.old is not None else []
        return work.placed

    def save(self) -> None:
        """Writes the rows."""
        for work in self.works.values():
            if work.row != work.old:
                if work.old is not None:
                    work.row.ctime_ns = self.now_ns
                self.store.nodes.put(work.row)
            self.change.nodes.append(work.node)
            if work.old is None:
                self.change.new.append(work.node)


def _may_want(row: NodeRow | None) -> bool:
    """Whether there may be rows in `wanted` for a node that had this row."""
    return row is not None and (row.versions > 1 or bool(row.remote) or row.earlier is not None)


def _pending_in(state: NodeState | None) -> set[str]:
    return {v.body.staging for v in state.versions.values() if isinstance(v.body, Pending)} if state else set()


def _as_now_in(state: NodeState, version: Version | None) -> Version | None:
    """A version shown before, with what became known of it since: its hash, or another dot from a new author."""
    if version is None:
        return None
    same = state.versions.get(version.dot)
    if same is None and isinstance(version.body, Pending):
        same = next((v for v in state.versions.values() if v.stamp == version.stamp), None)
    return same or version


def _shown_before(old: NodeRow | None, old_state: NodeState | None) -> Version | None:
    if old is None or not old.shown:
        return None
    if old.earlier is not None:
        return decode_version(old.earlier)
    if old_state is None:
        return None
    return next((v for d, v in old_state.versions.items() if token(d) == old.shown), None)
