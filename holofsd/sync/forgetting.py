# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of removed nodes go once nobody needs them (ADR 8).

Looked at are nodes that were removed and of which this device keeps nothing more: its trash was emptied of them. When
every member has said, by its mark, that it holds every record about such a node, and this device holds all that those
members had, then nobody can do anything to it any more without knowing that it was removed. From then on

- our record of it is dropped, if each other author's record says by itself that the node is gone: whichever of them
  go as well, those that are left say the same;
- else our record shrinks to the removal, which the others still need.

A device that did not let go of the node in its own trash keeps its record as it is, and with it what it can restore.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from holofsd.codec.letting_go import decode_dropped, encode_dropped
from holofsd.codec.records import encode_state, fits
from holofsd.core.document import Dropped, Head, Mark
from holofsd.core.errors import HoloError
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.node import is_alive
from holofsd.core.shrinking import shrunk
from holofsd.store import faults
from holofsd.store.threads import Pool
from holofsd.sync.config import KEY_DROPPED, MAX_PAYLOAD, SyncConfig
from holofsd.sync.create import active_key
from holofsd.sync.marks import Marks
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger, forget_if_gone
from holofsd.sync.publication import Publication, publish
from holofsd.sync.publisher import Publisher
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

SLICE = 50
REST = 50
"""A pass over very many nodes that others still keep is not repeated before this many times as long as it took."""

Numbers = dict[AuthorId, int]
"""Per author, a number up to which something holds."""


@dataclass(slots=True)
class Decided:
    """Content of one publication: records that shrank, and those that go."""

    shrunk: list[tuple[bytes, bytes]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Result of a pass."""

    dropped: int = 0
    shrunk: int = 0


class Forgetter:
    """Call `run` once. `hand_over` sends a publication of ours that is committed."""

    def __init__(
        self,
        volume: LocalVolume,
        members: Members,
        merger: Merger,
        publisher: Publisher,
        marks: Marks,
        config: SyncConfig,
        hand_over: Callable[[Publication], None],
    ) -> None:
        self._volume = volume
        self._store = volume.store
        self._documents = volume.store.documents
        self._members = members
        self._merger = merger
        self._told = merger.told
        self._publisher = publisher
        self._marks = marks
        self._config = config
        self._hand_over = hand_over
        self._looked_at: object = None

    async def run(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(max(self._config.forget_interval, REST * took))
            began = asyncio.get_running_loop().time()
            try:
                done = await self.look()
                took = asyncio.get_running_loop().time() - began
                if done != Forgotten():
                    log.info("records of removed files went", dropped=done.dropped, shrunk=done.shrunk)
            except (HoloError, OSError, sqlite3.Error) as error:
                log.warning("records of removed files could not be looked at", exc_info=error)

    async def look(self) -> Forgotten:
        """One pass."""
        numbers = self._heard_by_all()
        if numbers is None or not self._publisher.may_publish or self._merger.backlog():
            return Forgotten()
        looked_at = (numbers, self._store.history.purged_count(), self._store.outbox.count())
        if looked_at == self._looked_at:
            return Forgotten()
        total = Forgotten()
        after = NodeId(b"")
        while nodes := self._store.history.purged_after(after, SLICE):
            after = nodes[-1]
            done = await self._slice(nodes, numbers)
            total = Forgotten(total.dropped + done.dropped, total.shrunk + done.shrunk)
            await asyncio.sleep(0)
        if total == Forgotten():
            await self._clear_list(numbers)
            self._looked_at = looked_at
        return total

    # ---- who has heard of what
    def _heard_by_all(self) -> Numbers | None:
        """Returns for each author the number up to which every member has merged its records. None: some member has
        something that we lack, or never said what it has."""
        numbers = {author: head.seq for author, head in self._documents.heads().items()}
        heads = self._documents.folded() | self._documents.heads()
        marks = {mark.device: mark for mark in self._marks.known()}
        for device in self._members.others():
            mark = marks.get(device)
            if mark is None or self._lacks(heads, mark):
                return None
            held = {item.author: item.seq for item in mark.authors}
            numbers = {author: min(seq, held.get(author, 0)) for author, seq in numbers.items()}
        removed = self._members.membership.removed
        for device in removed.keys() - self._members.membership.roles.keys():
            for item in removed[device].accepted:
                head = heads.get(item.author)
                if head is None or head.seq < item.seq:
                    return None
        return numbers

    def _lacks(self, heads: dict[AuthorId, Head], mark: Mark) -> bool:
        """Whether that device had records that count and that we do not have, when it said so.

        A mark that takes something back (see Marks) has lower numbers than the device had, without a hash, or none: of
        what that device itself had said by then it tells nothing.
        """
        said = {item.author for item in mark.authors if any(item.set_hash)}
        authors, folded = self._members.membership.authors, self._documents.folded()
        if any(authors.get(author) == mark.device for author in heads.keys() - said - folded.keys()):
            return True
        for item in mark.authors:
            if item.author in folded and item.seq <= folded[item.author].seq:
                continue
            head = heads.get(item.author)
            if head is not None and (head.seq > item.seq or (head.seq, head.set_hash) == (item.seq, item.set_hash)):
                continue
            if self._members.counts(item.author, item.seq):
                return True
        return False

    # ---- what goes
    async def _slice(self, nodes: Sequence[NodeId], numbers: Numbers) -> Forgotten:
        with self._store.db.transaction():
            decided = Decided()
            for node in nodes:
                self._decide(node, numbers, decided)
            listed = self._listed(numbers)
            if len(listed) + len(decided.dropped) > self._config.dropped_most:
                decided.dropped = []
            if not decided.shrunk and not decided.dropped:
                return Forgotten()
            publication = self._publish(decided, listed)
            for item in decided.dropped:
                forget_if_gone(self._volume, NodeId(item.key))
        await self._send(publication)
        return Forgotten(len(decided.dropped), len(decided.shrunk))

    def _decide(self, node: NodeId, numbers: Numbers, decided: Decided) -> None:
        state = self._volume.tree.state(node)
        if state is None or not self._documents.is_known(node):
            forget_if_gone(self._volume, node)
            return
        own = self._documents.envelope(self._volume.author, node)
        if own is None or is_alive(state) or not self._is_done_with(node):
            return
        about = self._told.by_author(node)
        counting = [item for item in self._documents.numbers_about(node) if self._members.counts(*item)]
        if len(about) != len(counting) or any(seq > numbers.get(author, 0) for author, seq in counting):
            return
        others = [said for envelope, said in about if envelope.author != own.author]
        if not any(map(is_alive, others)):
            decided.dropped.append(Dropped(node, own.seq))
            return
        for _envelope, said in about:
            state = join(state, said)
        small = shrunk(state)
        payload = encode_state(small)
        if payload != own.payload and fits(small) and len(payload) <= MAX_PAYLOAD:
            decided.shrunk.append((node, payload))

    def _is_done_with(self, node: NodeId) -> bool:
        """Whether nothing here needs the node, and nothing is still to be done with it."""
        store = self._store
        if store.outbox.has(node) or store.removals.is_held(node) or store.nodes.has_children(node):
            return False
        return not self._documents.is_unmerged(node)

    # ---- saying so
    def _listed(self, numbers: Numbers) -> dict[bytes, Dropped]:
        """Returns what we named as dropped before, until every member has heard that."""
        said = self._documents.envelope(self._volume.author, KEY_DROPPED)
        if said is None or numbers.get(said.author, 0) >= said.seq:
            return {}
        return {item.key: item for item in decode_dropped(said.payload)}

    def _publish(self, decided: Decided, listed: dict[bytes, Dropped]) -> Publication:
        """Publishes what was decided. Call it inside a transaction."""
        key = active_key(self._store)
        assert key is not None
        for item in decided.dropped:
            listed[item.key] = item
        records = [*decided.shrunk]
        if decided.dropped:
            records.append((KEY_DROPPED, encode_dropped(listed.values())))
        publication = publish(self._store, key, self._volume.dots_given, records, decided.dropped)
        if self._documents.requeue_waiting(self._volume.author):
            self._store.db.after_commit(self._merger.kick)
        return publication

    async def _clear_list(self, numbers: Numbers) -> None:
        """Empties the list of dropped records when every member has heard of everything on it."""
        said = self._documents.envelope(self._volume.author, KEY_DROPPED)
        if said is None or self._listed(numbers) or not decode_dropped(said.payload):
            return
        key = active_key(self._store)
        assert key is not None
        with self._store.db.transaction():
            publication = publish(self._store, key, self._volume.dots_given, [(KEY_DROPPED, encode_dropped(()))])
        await self._send(publication)

    async def _send(self, publication: Publication) -> None:
        faults.reach("forgetting.dropped", self._store)
        await self._store.db.sync(Pool.BACKGROUND)
        self._hand_over(publication)
