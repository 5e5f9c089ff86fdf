# SPDX-License-Identifier: GPL-3.0-or-later
"""Sum of what the records of the document say of a node, as far as they count now.

A device's own state of a node is usually that, and what is not published yet. It is more where a record that said more
has gone: replaced by one that says less (which no program of ours writes), dropped, or of an author that was folded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Final

import structlog

from holofsd.codec.plausible import objection
from holofsd.codec.records import decode_state, fits
from holofsd.core.context import clip_state
from holofsd.core.document import Envelope
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.kinds import kind_of
from holofsd.core.node import is_alive
from holofsd.core.state import NodeState
from holofsd.sync.config import MAX_PAYLOAD
from holofsd.sync.kinds import kind_by_records
from holofsd.sync.members import Members
from holofsd.sync.vetting import Vetting
from holofsd.tree.local import LocalVolume

_LEFT_UNSAID: Final = "left-unsaid"
_SLICE: Final = 100

log = structlog.get_logger(__name__)


class Told:
    """Reader of the records about nodes. Everything belongs inside a transaction. Only `look_again` writes, and what
    revives a node by its records."""

    def __init__(self, volume: LocalVolume, members: Members) -> None:
        self._volume = volume
        self._store = volume.store
        self._documents = volume.store.documents
        self._members = members
        self.vetting = Vetting(volume.store)
        self.set_aside: Callable[[Envelope], None] = lambda envelope: None
        """Called with a record that was merged and does not count any more, so that it is merged again if it does."""
        volume.tree.told = self._alive

    def by_author(self, node: NodeId) -> list[tuple[Envelope, NodeState]]:
        """The records that count and can be understood, and what of each counts."""
        limits = self._documents.dot_limits()
        found: list[tuple[Envelope, NodeState]] = []
        for envelope, state in self.claims(node):
            clipped, _ = clip_state(state, envelope.author, limits)
            found.append((envelope, self.vet(clipped, envelope.author)))
        if kind_of(node) is None and len({state.kind for _, state in found}) > 1:
            stored = self._volume.tree.state(node)
            kind = stored.kind if stored is not None else kind_by_records(found, self._members)
            found = [item for item in found if item[1].kind is kind]
        return found

    def claims(self, node: NodeId) -> list[tuple[Envelope, NodeState]]:
        """The records that count and can be understood, as they are."""
        found: list[tuple[Envelope, NodeState]] = []
        now_ms = self._volume.now_ms()
        for envelope in self._documents.about(node):
            if self._members.counts(envelope.author, envelope.seq):
                try:
                    state = decode_state(envelope.payload)
                except Refused:
                    continue
                if state.id == node and not objection(state, lambda: self._volume.tree.state(node), now_ms):
                    found.append((envelope, state))
        return found

    def vet(self, state: NodeState, writer: AuthorId) -> NodeState:
        """Returns the part of a record that can be believed."""
        return self.vetting.vet(state, writer, lambda: self._volume.tree.state(state.id)).state

    def state(self, node: NodeId, without: AuthorId | None = None) -> NodeState | None:
        """The join of all, or of all but one author's; None if there is nothing."""
        states = [state for envelope, state in self.by_author(node) if envelope.author != without]
        return reduce(join, states) if states else None

    def _alive(self, node: NodeId) -> NodeState | None:
        if self._is_in_work(node):
            return None  # what is done here is on its way into a record, with all that this device knows
        state = self.state(node)
        if state is None or not is_alive(state):
            return None
        self._set_aside_about(node)
        return state

    def _is_in_work(self, node: NodeId) -> bool:
        return self._store.outbox.has(node) or self._store.removals.is_held(node)

    # ---- what would not be said any more
    def look_again(self, nodes: Iterable[NodeId]) -> None:
        """Looks at nodes again after a record went, or was replaced by one that may say less. What lives here and is in
        no record any more is published by us. What was removed here and lives by the records that are left lives again.
        """
        alone: list[NodeId] = []
        revived: list[NodeState] = []
        for node in nodes:
            stored = self._volume.tree.state(node)
            if stored is None or self._is_in_work(node):
                continue
            told = self.state(node)
            if not is_alive(stored):
                if told is not None and is_alive(told):
                    revived.append(told)
                    self._set_aside_about(node)
            elif (told is None or join(told, stored) != told) and not self._says(stored):
                if told is not None and is_alive(told) and self._is_overfull(stored):
                    revived.append(self._without_what_was_taken_back(stored, told))
                else:
                    alone.append(node)
        self._say_or_restate(alone, revived)

    def _is_overfull(self, stored: NodeState) -> bool:
        """Whether no record has room for what is known of a node. An author that says something else of it in each of
        its records would make that grow for ever."""
        row = self._store.nodes.get(stored.id)
        return not fits(stored) or (row is not None and len(row.state) > MAX_PAYLOAD)

    def _without_what_was_taken_back(self, stored: NodeState, told: NodeState) -> NodeState:
        """Returns what the records say, with the versions of authors of whom none is about this node any more."""
        authors = {envelope.author for envelope in self._documents.about(stored.id)}
        versions = {dot: version for dot, version in stored.versions.items() if dot.author not in authors}
        context = {author: counter for author, counter in stored.context.items() if author not in authors}
        return join(told, NodeState(stored.id, stored.kind, stored.created_ns, context=context, versions=versions))

    def _says(self, stored: NodeState) -> bool:
        """Whether our own record says all of it already, and it does not count: dots beyond what their author is known
        to have made, say. Two devices that said such a thing again would answer each other for ever."""
        envelope = self._documents.envelope(self._volume.author, stored.id)
        if envelope is None:
            return False
        said = decode_state(envelope.payload)
        return join(said, stored) == said

    # ---- what could not be said
    def leave_unsaid(self) -> None:
        """Notes that this device knows what no record says, and may not write: it says it once it may."""
        self._store.set_meta(_LEFT_UNSAID, b"\x01")

    async def say_what_was_left(self) -> None:
        """Looks at all nodes again if something was left unsaid. Outside of a transaction."""
        key = b""
        while self._store.meta(_LEFT_UNSAID) is not None and self._members.can_write:
            nodes = self._store.record_slices.nodes(key, _SLICE)
            with self._store.db.transaction():
                if not nodes:
                    self._store.delete_meta(_LEFT_UNSAID)
                self.look_again(node for node in nodes if not self._store.ignored.has(node))
            key = nodes[-1] if nodes else key
            await asyncio.sleep(0)

    def _set_aside_about(self, node: NodeId) -> None:
        for envelope in self._documents.about(node):
            if not self._members.counts(envelope.author, envelope.seq):
                self.set_aside(envelope)

    def _say_or_restate(self, alone: list[NodeId], revived: list[NodeState]) -> None:
        if alone and self._members.can_write:
            log.warning("what others do not say any more is said again by us", nodes=len(alone))
            self._volume.say_again(alone)
        elif alone:
            self.leave_unsaid()
        if revived:
            self._volume.restate(revived)
