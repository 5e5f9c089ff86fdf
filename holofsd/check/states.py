# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of nodes against the document: each is the join of all records, and of what is not published yet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from holofsd.check.case import Case
from holofsd.codec.plausible import objection
from holofsd.codec.records import decode_local_state, decode_state, encode_state
from holofsd.core.context import clip_state
from holofsd.core.errors import Refused
from holofsd.core.ids import ROOT_ID, AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.lost import LOST_ID, UNMADE
from holofsd.core.members import author_may_write, last_accepted
from holofsd.core.node import is_alive
from holofsd.core.state import NodeState
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.vetting import Vetting


@dataclass(slots=True)
class _Said:
    """State of one node by the document. `partly`: some of its records do not count (yet)."""

    state: NodeState | None = None
    partly: bool = False
    alone: bytes = b""
    """The payload, where there is one record and all of it counts: a state with the same bytes is the same."""


@dataclass(slots=True)
class StateCheck:
    """`wrong`: the state that has to be stored, for each node whose row says less than it should."""

    case: Case
    wrong: dict[NodeId, NodeState] = field(default_factory=dict)
    _unpublished: set[NodeId] = field(default_factory=set)
    _waits: set[tuple[AuthorId, NodeId]] = field(default_factory=set)
    _held: set[NodeId] = field(default_factory=set)
    _purged: set[NodeId] = field(default_factory=set)
    _awaits_records: bool = False
    """Records that were merged here are to be had again: of a removed device, whose history here was another one."""
    _vetting: Vetting = field(init=False)

    def all(self) -> Iterator[NodeState]:
        """The state that each node should have, node by node; notes differences on the way."""
        db = self.case.store.db
        self._unpublished = {*self.case.store.outbox.all(), *self._ignored()}
        self._waits = set(db.all("SELECT author, key FROM merge_queue UNION SELECT author, key FROM quarantine"))
        self._held = self.case.store.removals.held_nodes()
        self._purged = {row[0] for row in db.all("SELECT node FROM trash_purged")}
        self._awaits_records = self._is_any_let_go_that_counts()
        limits = self.case.store.documents.dot_limits()
        rows = db.run(  # the root follows from nothing, whatever somebody said of it
            "SELECT key, author, seq, payload FROM envelopes WHERE length(key)=? AND key!=? ORDER BY key",
            (NODE_KEY_LENGTH, ROOT_ID),
        )
        for node, records in groupby(rows, key=lambda row: NodeId(row[0])):
            said = self._said(node, [(row[1], row[2], row[3]) for row in records], limits)
            state = self._compared(node, said)
            if state is not None:
                yield state
        only_here = db.run(
            "SELECT node FROM nodes WHERE node!=? AND NOT EXISTS (SELECT 1 FROM envelopes WHERE key=node)", (ROOT_ID,)
        )
        for (node,) in only_here:
            if node == LOST_ID and db.one("SELECT 1 FROM nodes WHERE node=? AND state=?", (node, encode_state(UNMADE))):
                continue  # the folder of which nobody said anything is in every index
            state = self._compared(node, _Said())
            if state is not None:
                yield state

    def _is_any_let_go_that_counts(self) -> bool:
        gone = self.case.store.db.all(
            "SELECT author FROM let_go_authors AS g WHERE NOT EXISTS (SELECT 1 FROM heads WHERE author=g.author)"
            " AND NOT EXISTS (SELECT 1 FROM folded WHERE author=g.author)"
        )
        return any(last_accepted(self.case.membership, author) is not None for (author,) in gone)

    def _ignored(self) -> set[NodeId]:
        """Nodes that rules keep on this device; reports those that are published, or to be published, all the same."""
        ignored = set(self.case.store.ignored.all())
        for (node,) in self.case.store.db.all(
            "SELECT node FROM ignored WHERE node IN (SELECT node FROM outbox) OR node IN (SELECT key FROM envelopes)"
        ):
            sentence = "A published file counts as ignored; it does not any more."
            self.case.report.add("ignored-published", node.hex(), sentence, fixable=True)
            self.case.sql("INSERT OR IGNORE INTO outbox VALUES (?, 0, 0)", node)
            self.case.sql("DELETE FROM ignored WHERE node=?", node)
        return ignored

    def _said(self, node: NodeId, records: list[tuple[AuthorId, int, bytes]], limits: Mapping[AuthorId, int]) -> _Said:
        said = _Said(partly=node in self._held)
        for author, seq, payload in records:
            state = self._understood(node, author, seq, payload)
            if state is None:
                said.partly = True
                continue
            clipped, waits_for = clip_state(state, author, limits)
            vetted = self._vetting.vet(clipped, author, lambda: self._stored(node))
            clipped = vetted.state
            said.partly |= bool(waits_for or vetted.refused)
            said.alone = payload if len(records) == 1 and not waits_for and not vetted.refused else b""
            said.state = clipped if said.state is None else join(said.state, clipped)
        return said

    def __post_init__(self) -> None:
        self._vetting = Vetting(self.case.store)

    def _understood(self, node: NodeId, author: AuthorId, seq: int, payload: bytes) -> NodeState | None:
        """None where a record does not count, is not merged yet, or is in quarantine."""
        counts = author_may_write(self.case.membership, author, seq)
        if not counts or (author, node) in self._waits or (author, node) in self.case.bad_records:
            return None
        try:
            state = decode_state(payload)
        except Refused:
            return None
        if state.id != node or objection(state, lambda: self._stored(node), time.time_ns() // 1_000_000):
            return None
        return state

    def _stored(self, node: NodeId) -> NodeState | None:
        payload = self.case.store.nodes.state(node)
        try:
            return decode_local_state(payload) if payload else None
        except Refused:
            return None

    def _compared(self, node: NodeId, said: _Said) -> NodeState | None:
        """The state that this node should have; None if it should not be here, or cannot be known."""
        report = self.case.report
        stored = self.case.store.nodes.state(node)
        report.count("nodes", int(stored is not None))
        if stored is None:
            return self._missing(node, said)
        if said.alone == stored:
            return said.state
        try:
            state = decode_local_state(stored)
        except Refused:
            return self._unreadable(node, said)
        if node in self._held or (node in self._purged and not is_alive(state)):
            return state
        whole = state if said.state is None else join(state, said.state)
        if whole != state:
            report.add(
                "state-behind", node.hex(), "A file's state lacks what a record says; it is joined.", fixable=True
            )
            self.wrong[node] = whole
        self._is_said(node, whole, said)
        return whole

    def _missing(self, node: NodeId, said: _Said) -> NodeState | None:
        if said.state is None or node in self._held or node in self._purged:
            return None
        report = self.case.report
        report.add(
            "state-missing",
            node.hex(),
            "A file that records tell of is not in the index; it is put there.",
            fixable=True,
        )
        self.wrong[node] = said.state
        return said.state

    def _unreadable(self, node: NodeId, said: _Said) -> NodeState | None:
        report = self.case.report
        if node in self._unpublished or said.state is None:
            sentence = (
                "A file's state is damaged and holds changes that no record has; its backup may help (--from-backup)."
            )
            report.add("state-lost", node.hex(), sentence, fixable=False)
            self.case.unreadable.add(node)
            return None
        report.add(
            "state-damaged", node.hex(), "A file's state is damaged; it is made again from the records.", fixable=True
        )
        self.wrong[node] = said.state
        return said.state

    def _is_said(self, node: NodeId, state: NodeState, said: _Said) -> None:
        """Reports a state of which the document lacks something, and which is not on its way to the others."""
        if said.partly or self._awaits_records or not self.case.can_write or node in self._unpublished:
            return
        if not is_alive(state) and (said.state is None or not is_alive(said.state)):
            return  # the trash is this device's own: records of what was removed shrink and go
        if said.state is None or join(said.state, state) != said.state:
            sentence = "This device knows something that it never told the others; it is published."
            self.case.report.add("never-said", node.hex(), sentence, fixable=True)
            self.case.sql("INSERT OR IGNORE INTO outbox VALUES (?, 0, 0)", node)
