# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of one volume: takes changed states, keeps the index right, and says what changed.

Invariant: whatever the order in which states arrived, the rows of `placements`, `entries`, `overrides`, `hidden_copies`
and `bad_names` are those that a projection of all states from scratch would give.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from holofs_api.numbers import time_in_range
from holofsd.codec.records import decode_local_state
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, Ino, NodeId
from holofsd.core.join import join
from holofsd.core.lost import LOST_ID, UNMADE
from holofsd.core.node import is_alive, is_emptied, may_have_names
from holofsd.core.outliving import outlives
from holofsd.core.state import Kind, NodeState
from holofsd.store.volume import VolumeStore
from holofsd.tree.batch import Batch
from holofsd.tree.census import TreeCounter
from holofsd.tree.changes import TreeChange
from holofsd.tree.cycles import break_cycles
from holofsd.tree.folders import derive_folders, group_settings
from holofsd.tree.inodes import Inodes
from holofsd.tree.numbering import doubled
from holofsd.tree.placing import MOST_STRAYS, derive_placements, encode_stamp
from holofsd.tree.plain import Plain
from holofsd.tree.reading import TreeReading
from holofsd.tree.recording import Recorder, name_content_anew
from holofsd.tree.slots import Projection
from holofsd.tree.views import TreeCensus

_APART: Final = "folders-apart"
"""In `meta`: the volume was used by a program that showed two directories of one name beside each other."""
_CYCLES: Final = "cycles-anew"
"""In `meta`: directories fell back by the rules of an earlier program."""
_LOST: Final = "lost-anew"
"""In `meta`: nodes may be alive without a name, as with an earlier program."""
_SLICE: Final = 500
WANTED_ANEW: Final = "wanted-anew"
"""In `meta`: the list of wanted content was made by a program that noted less of each."""

HISTORY_ANEW: Final = "history-anew"
"""In `meta`: history was written by a program that named the content of some bodies only."""


def _nobody(_ino: Ino) -> bool:
    return False


class Tree(TreeReading):
    """Tree of one VolumeStore, with its changes. Everything that changes the tree is called inside
    `store.db.transaction()`."""

    def __init__(
        self,
        store: VolumeStore,
        now_ms: Callable[[], int],
        is_open: Callable[[Ino], bool] = _nobody,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        """`now_ns`: the clock of the times that programs see on files; None: `now_ms`."""
        super().__init__(store)
        self._now_ns = now_ns or (lambda: now_ms() * 1_000_000)
        self._is_open = is_open
        self._census = TreeCounter(store)
        self._recorder = Recorder(store, now_ms)
        self._plain = Plain(store.db)
        self.told: Callable[[NodeId], NodeState | None] = lambda _node: None
        """Set by sync: what the records alone say of a node, if it is alive by them; None leaves it to the join."""
        self.on_false_size: Callable[[NodeId, AuthorId, int, int], None] = lambda node, author, said, size: None
        """Called inside a transaction with an author whose version of a node says a size that its content, which is
        here, does not have."""
        with store.db.transaction():
            store.nodes.put_root(self._now_ns())
            if not store.nodes.exists(LOST_ID):
                self.apply([UNMADE])
            if store.take_meta(_APART) is not None:
                self.refresh(store.nodes.directories_at_one_name())
            if store.take_meta(WANTED_ANEW) is not None:
                self._refresh_slices(store.content.wanting_nodes())
            if store.take_meta(HISTORY_ANEW) is not None:
                name_content_anew(store)
            if store.take_meta(_CYCLES) is not None:
                self._resolve_cycles_anew()
            if store.take_meta(_LOST) is not None:
                self._find_the_lost()

    # ---- changes
    def apply(
        self, states: Iterable[NodeState], *, takeover: Mapping[Ino, NodeId] | None = None, detach_open: bool = False
    ) -> TreeChange:
        """Replaces the stored states by these, which are joined or edited already.

        `takeover`: inodes that from now on mean these nodes (the source of a rename-over takes over the target, a
        conflict copy that is split the new node). `detach_open`: inodes that are open keep their version if another one
        is shown; changes from elsewhere do that.
        """
        batch = self._batch()
        for state in states:
            if state.id != ROOT_ID:
                batch.put(state)
        return self._derive(batch, takeover or {}, detach_open, elsewhere=False)

    def merge(self, records: Iterable[NodeState], known: Mapping[NodeId, NodeState | None] | None = None) -> TreeChange:
        """Joins what others say into the stored states. `known`: what is stored of some of these nodes, None for those
        that are unknown; the others are looked up."""
        batch = self._batch()
        for record in records:
            if record.id == ROOT_ID:
                continue
            work = batch.works.get(record.id)
            if work is not None:
                stored: NodeState | None = work.state
            elif known is not None and record.id in known:
                stored = known[record.id]
            else:
                stored = self.state(record.id)
            if stored is None or stored == UNMADE:
                joined = record
            else:
                joined = self._joined(stored, record)
            if stored is not None and is_emptied(joined):
                self._recorder.never_lived(record, joined)
            if joined is not stored:
                batch.put(joined)
                if outlives(joined):
                    self.store.note_outlived(joined.id)
        return self._derive(batch, {}, detach_open=True, elsewhere=True)

    def _joined(self, stored: NodeState, record: NodeState) -> NodeState:
        """Joins a record into what is stored. What comes back to life is what the records say of it: those that said
        more may have gone since, and devices that still remember them have to show the same as those that never heard
        them (ADR 8)."""
        if not is_alive(stored) and is_alive(record):
            told = self.told(stored.id)
            if told is not None:
                return join(told, record)
        return join(stored, record)

    def restate(self, states: Iterable[NodeState]) -> TreeChange:
        """Replaces the stored states by what records from elsewhere say."""
        batch = self._batch()
        for state in states:
            if state.id != ROOT_ID:
                batch.put(state)
        return self._derive(batch, {}, detach_open=True, elsewhere=True)

    def content_arrived(self, *blobs: BlobHash) -> TreeChange:
        """Call it after `content.add`, in the same transaction: nodes that waited for it show it."""
        return self.refresh(dict.fromkeys(node for blob in blobs for node in self.store.content.wanted_by(blob)))

    def refresh(self, nodes: Iterable[NodeId]) -> TreeChange:
        """Looks at these nodes again, after content came or was lost."""
        batch = self._batch()
        for node in nodes:
            batch.pull(node)
        return self._derive(batch, {}, detach_open=True, elsewhere=True)

    def _resolve_cycles_anew(self) -> None:
        batch = self._batch()
        batch.cycles_anew = True
        for node in self._nodes.overrides():
            batch.pull(node)
        self._derive(batch, {}, detach_open=True, elsewhere=True)

    def _refresh_slices(self, nodes: Sequence[NodeId]) -> None:
        """Refreshes nodes in slices. In a large volume they may be very many, and a batch keeps what it looks at in
        memory."""
        for start in range(0, len(nodes), _SLICE):
            self.refresh(nodes[start : start + _SLICE])

    def _find_the_lost(self) -> None:
        """Gives a name to what an earlier program left without one."""
        self._refresh_slices(self._nodes.strays.all())
        after = NodeId(b"")
        while rows := self._nodes.nameless(after, _SLICE):
            after = rows[-1][0]
            self.refresh([node for node, payload in rows if may_have_names(decode_local_state(payload))])

    def give_up(self, parents: Sequence[NodeId]) -> TreeChange:
        """Directories that are unknown and not waited for any more: what is in one of them is in `lost+found`, until it
        comes after all. What does not fit into one transaction is due: see Strays."""
        strays = self._nodes.strays
        strays.give_up(parents)
        below: dict[NodeId, None] = {}
        for parent in parents:
            below.update(dict.fromkeys(strays.below(parent, max(MOST_STRAYS - len(below), 0))))
        return self._place_again(below)

    def place_due(self) -> TreeChange | None:
        """Places some of what is due; None if nothing is."""
        nodes = self._nodes.strays.next_due(MOST_STRAYS) if self._nodes.strays else None
        return self._place_again(nodes) if nodes is not None else None

    def _place_again(self, nodes: Collection[NodeId]) -> TreeChange:
        self._plain.forget(nodes)
        return self.refresh(nodes)

    def forget(self, node: NodeId) -> None:
        """Forgets a node that is not alive and never was published."""
        if node == LOST_ID:
            return
        state = self._states.get(node)
        self._nodes.set_bad_names(node, ())
        self._nodes.strays.forget(node)
        if self._nodes.strays.is_any_in(node):
            self._nodes.strays.give_up([node])
        self._nodes.delete(node)
        self._states.forget(node)
        self._plain.forget((node,))
        self._recorder.forget(node, state)

    def forget_detached(self, ino: Ino) -> None:
        """Drops a detached inode that no program has open any more."""
        inode = self._nodes.inode(ino)
        if inode is not None and inode.detached is not None:
            self._nodes.drop_inode(ino)

    def is_plain(self, node: NodeId) -> bool:
        """True only if it is a visible file with one name, which nobody shares, and one version. False: not known."""
        return node in self._plain

    def census(self) -> TreeCensus:
        return self._census.take()

    def live_bytes(self) -> int:
        """The sizes of all files added up."""
        return self._census.totals()[1]

    @property
    def untraced(self) -> dict[BlobHash, int]:
        """Content of versions that left no trace, with its size: to be taken out by whoever collects it."""
        return self._recorder.untraced

    @property
    def on_overwritten(self) -> Callable[[AuthorId], None]:
        return self._recorder.on_overwritten

    @on_overwritten.setter
    def on_overwritten(self, callback: Callable[[AuthorId], None]) -> None:
        """`callback(author)`, in the transaction, for each file in which that author replaced what another wrote."""
        self._recorder.on_overwritten = callback

    @contextmanager
    def keeping_all(self) -> Iterator[None]:
        """Keeps in the history whatever is replaced meanwhile, however short it stood. Use it inside a transaction."""
        self._recorder.keeps_all = True
        try:
            yield
        finally:
            self._recorder.keeps_all = False

    # ---- how
    def _batch(self) -> Batch:
        batch = Batch(self.store, self._states, self._now_ns(), self._recorder, self._plain)
        batch.on_false_size = lambda *claim: self.on_false_size(*claim)
        return batch

    def _derive(self, batch: Batch, takeover: Mapping[Ino, NodeId], detach_open: bool, elsewhere: bool) -> TreeChange:
        if not batch.works:
            return batch.change
        inodes = Inodes(batch, self._is_open, detach_open, elsewhere)
        if takeover:
            inodes.take_over(takeover)
        break_cycles(batch)
        derive_placements(batch)
        derive_folders(batch)
        batch.save()
        projection = Projection(batch)
        projection.run()
        self._touch_directories(batch, projection, elsewhere)
        inodes.names = {slot: (before, projection.now[slot]) for slot, before in projection.names.items()}
        inodes.update(projection.lost_copies)
        batch.change.entries = inodes.entry_changes()
        batch.change.beside = doubled(batch, batch.change.entries, inodes.renumbered)
        self._census.note(batch)
        return batch.change

    def _touch_directories(self, batch: Batch, projection: Projection, elsewhere: bool) -> None:
        more: dict[NodeId, int] = {}
        recount: set[NodeId] = set()
        for slot, before in projection.names.items():
            parent, entry = slot[0], projection.now[slot]
            gained = entry is not None and batch.kind(entry.node) == Kind.DIRECTORY
            lost = before is not None and batch.kind(before.node, earlier=True) == Kind.DIRECTORY
            more[parent] = more.get(parent, 0) + gained - lost
        for work in batch.works.values():
            if work.old is not None and work.old.kind != work.row.kind:
                recount.update(entry.parent for entry in self._nodes.entries_of_node(work.node))
        for parent, count in more.items():
            self._nodes.touch_directory(parent, batch.now_ns, count)
        for parent in recount:
            self._nodes.count_subdirectories_again(parent)
        if elsewhere:
            dated = {node for node, work in batch.works.items() if work.row.kind == Kind.DIRECTORY}
            shown_as = self._nodes.aliases.shown_as
            for directory in {shown_as(node) for node in dated.union(more)}:
                self._date_as_elsewhere(batch, directory)

    def _date_as_elsewhere(self, batch: Batch, directory: NodeId) -> None:
        """The time that the writing device shows: what somebody set, unless a name was made after that.

        Without this the arrival of the files of a copied directory would date it anew on every other device.
        """
        state = group_settings(batch, directory)
        if state is None or state.times is None:
            return
        newest = self._nodes.newest_name(directory)
        if newest is None or newest <= encode_stamp(state.times.stamp):
            self._nodes.date_directory(directory, state.times.value)
        else:
            self._nodes.date_directory(directory, time_in_range(int.from_bytes(newest[:8], "big") * 1_000_000))
