# SPDX-License-Identifier: GPL-3.0-or-later
"""Authors that nobody uses any more are folded: what lives is said by somebody who is still here (ADR 8).

An author is left behind where its device took a new one, or is no member any more. One device looks at each of its
records: what the other authors' records do not say all the same, it says itself. Then it names the author's last head
under the key `folded`, and its records go. Every other device that hears of it does the same before it lets them go, so
a device that names an author too early, or falsely, takes nothing away.

Counters of a folded author still mean what they meant: its last head is kept, and shown to others, so that a copy of
its directory that comes back learns that it needs an author of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import structlog

from holofsd.codec.letting_go import decode_folded, encode_folded
from holofsd.codec.plausible import objection
from holofsd.codec.records import decode_state
from holofsd.codec.signing import verify_head
from holofsd.core.context import clip_state
from holofsd.core.document import WRITERS, Envelope, Head
from holofsd.core.errors import HoloError, Refused
from holofsd.core.ids import AuthorId, DeviceId, NodeId
from holofsd.core.join import join
from holofsd.core.members import last_accepted
from holofsd.core.node import is_alive
from holofsd.core.record_budget import NOTHING
from holofsd.store import faults
from holofsd.store.threads import Pool
from holofsd.sync.config import KEY_FOLDED, KEY_VOLUME, NODE_KEY_LENGTH, SyncConfig
from holofsd.sync.create import active_key
from holofsd.sync.members import Members
from holofsd.sync.merging import Merger
from holofsd.sync.publication import BEGINS, Publication, publish
from holofsd.sync.publisher import Publisher
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

SLICE = 100
GARBAGE_PAUSE = 2.0
GARBAGE = 64 * 1024
"""Bytes of records that are not understood. Of a removed device with more of them nothing is waited for."""


class AuthorFolder:
    """Task that folds authors which no device uses any more.

    Call `run` once. `heard_all` says whether this device holds all that anybody has shown.
    """

    def __init__(
        self,
        volume: LocalVolume,
        members: Members,
        merger: Merger,
        publisher: Publisher,
        config: SyncConfig,
        heard_all: Callable[[], bool],
        hand_over: Callable[[Publication], None],
    ) -> None:
        self._volume = volume
        self._store = volume.store
        self._documents = volume.store.documents
        self._members = members
        self._merger = merger
        self._told = merger.told
        self._publisher = publisher
        self._config = config
        self._heard_all = heard_all
        self._hand_over = hand_over
        self._wake = asyncio.Event()
        self._wake.set()
        merger.on_folded = self.learn
        self.on_gone: Callable[[], None] = lambda: None
        """Called after records of an author were let go of: their rows go bit by bit."""

    def look_soon(self) -> None:
        """Wakes the task, because the members of the volume have changed."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.look()
            except (HoloError, OSError, sqlite3.Error) as error:
                log.warning("authors that nobody uses could not be folded", exc_info=error)
            await asyncio.sleep(0)

    def _pause(self) -> float:
        """Garbage is not left until the next regular look, if this one found something else to be done first."""
        found = any(self.is_garbage(author) for author in self._documents.weights())
        return min(self._config.forget_interval, GARBAGE_PAUSE if found else self._config.forget_interval)

    async def look(self) -> int:
        """One pass; how many authors' records went."""
        with self._store.db.transaction():
            self.learn()
        if self._merger.backlog() or not self._heard_all():
            return 0
        gone = 0
        for head in list(self._documents.heads().values()):
            if head.author == self._volume.author:
                continue
            if head.seq <= self._documents.folded_to(head.author):
                gone += await self._let_go(head)
            elif self._is_ours_to_fold(head):
                gone += await self._fold(head)
        return gone

    # ---- what others named
    def learn(self) -> None:
        """Learns from the records which authors are folded now. Call it inside a transaction."""
        for envelope in self._documents.about(KEY_FOLDED):
            if not self._members.counts(envelope.author, envelope.seq):
                continue
            known = self._documents.folded()
            for head in _named(envelope):
                if known.get(head.author) != head and self._may_be_folded(envelope.author, head):
                    self._add(head)

    def _add(self, head: Head) -> None:
        if self._documents.add_folded(head):
            if self._documents.head(head.author) is None:
                self._went(head.author)
            self._store.db.after_commit(self._wake.set)
            self._store.db.after_commit(self._members.authors_folded)
            if self._documents.requeue_waiting(head.author):
                self._store.db.after_commit(self._merger.kick)

    def _may_be_folded(self, by: AuthorId, head: Head) -> bool:
        """An author of the device that says so, or of one that was removed, up to what of it counted then.

        Also if that device was let in again since: whoever joins later has to learn what the others know.
        """
        authors = self._members.membership.authors
        device = authors.get(head.author)
        if device is None or not verify_head(self._store.volume, head):
            return False
        return device == authors.get(by) or self._was_left(head)

    def _is_left(self, device: DeviceId, head: Head) -> bool:
        return self._members.membership.roles.get(device) not in WRITERS and self._was_left(head)

    def _was_left(self, head: Head) -> bool:
        """Whether the last removal of its device, or of its right to write, names this head as the last that counts."""
        last = last_accepted(self._members.membership, head.author)
        return last is not None and (head.seq, head.set_hash) == (last.seq, last.set_hash)

    # ---- what we name
    def _is_ours_to_fold(self, head: Head) -> bool:
        if not self._publisher.may_publish:
            return False
        membership, me = self._members.membership, self._members.device
        device = membership.authors.get(head.author)
        if device is None:
            return False
        if device != me:
            first = min(device for device, role in membership.roles.items() if role in WRITERS)
            if first != me or not self._is_left(device, head):
                return False
        return self._goes_early(head) or self._quiet_ms(head) >= self._config.fold_after * 1000

    # ---- garbage of removed devices
    def is_garbage(self, author: AuthorId) -> bool:
        """An author of a removed device with much that nobody understands: that does not keep its records here."""
        membership = self._members.membership
        device = membership.authors.get(author)
        if device is None or device == self._members.device or membership.roles.get(device) in WRITERS:
            return False
        strange = self._documents.weights().get(author, NOTHING).strange
        return strange + self._documents.refused_bytes(author) >= GARBAGE

    def _goes_early(self, head: Head) -> bool:
        """Whether the head is the last of a removed device, so that no record will follow. Only nodes of a newer format
        are worth waiting for."""
        has_newer_nodes = self._documents.has_newer_nodes
        return self.is_garbage(head.author) and not has_newer_nodes(head.author, NODE_KEY_LENGTH, BEGINS)

    def _waits_for_something(self, author: AuthorId) -> bool:
        if self.is_garbage(author):
            return self._documents.is_any_queued(author)
        return self._documents.is_any_unmerged(author)

    def _quiet_ms(self, head: Head) -> int:
        """Returns for how many ms this has been the author's last head, as far as we saw."""
        name, now_ms, seq = f"quiet-{head.author.hex()}", self._volume.now_ms(), str(head.seq).encode()
        noted, _, since = (self._store.meta(name) or b"").partition(b" ")
        if noted == seq:
            return now_ms - int(since)
        with self._store.db.transaction():
            self._store.set_meta(name, seq + b" %d" % now_ms)
        return 0

    async def _fold(self, head: Head) -> int:
        """Names it, once all that it says is said by others."""
        if not await self.is_said_by_others(head):
            return 0
        key = active_key(self._store)
        if key is None:
            return 0
        with self._store.db.transaction():
            if self._documents.head(head.author) != head or self._waits_for_something(head.author):
                return 0
            publication = publish(self._store, key, self._volume.dots_given, self._records(head))
            self._add(head)
            self.let_go_of(head.author)
            if self._documents.requeue_waiting(self._volume.author):
                self._store.db.after_commit(self._merger.kick)
        self.on_gone()
        log.info("an author that nobody uses is folded", author=head.author.hex()[:8], seq=head.seq)
        faults.reach("folding.named", self._store)
        await self._store.db.sync(Pool.BACKGROUND)
        self._hand_over(publication)
        return 1

    def _records(self, head: Head) -> list[tuple[bytes, bytes]]:
        """The list of folded authors, with what the author itself had folded; and the volume's name, if it had that."""
        folded = {head.author: head}
        for author in (self._volume.author, head.author):
            for item in _named(self._documents.envelope(author, KEY_FOLDED)):
                folded.setdefault(item.author, item)
        records = [(KEY_FOLDED, encode_folded(folded.values()))]
        name = self._documents.envelope(head.author, KEY_VOLUME)
        if name is not None and self._documents.envelope(self._volume.author, KEY_VOLUME) is None:
            records.append((KEY_VOLUME, name.payload))
        return records

    # ---- letting go
    async def _let_go(self, head: Head) -> int:
        """Lets go of an author that another device named as folded, and returns 1 if its records went. Records that no
        other author publishes any more are published by this device first."""
        if not await self.is_said_by_others(head):
            return 0
        with self._store.db.transaction():
            if self._documents.head(head.author) != head or self._waits_for_something(head.author):
                return 0
            self.let_go_of(head.author)
        self.on_gone()
        log.info("records of an author that was folded go", author=head.author.hex()[:8], seq=head.seq)
        return 1

    def let_go_of(self, author: AuthorId) -> None:
        """Deletes the records of a folded author. Call it inside a transaction."""
        self._documents.let_go_of(author)
        if self._documents.folded_to(author):
            self._went(author)

    def _went(self, author: AuthorId) -> None:
        """Has all versions looked at again, because those of the author need no seals any more: the record that says so
        went with the others."""
        if self._store.seals.went(author):
            self._store.seals.look_again_at_all()
            self._store.db.after_commit(self._merger.kick)

    async def is_said_by_others(self, head: Head) -> bool:
        """Whether the author's records can go. What only they say is put into the outbox."""
        if self._waits_for_something(head.author) or head.author in self._store.removals.authors():
            return False
        complete = True
        key = b""
        while True:
            records = self._store.record_slices.understood(head.author, key, NODE_KEY_LENGTH, SLICE)
            if not records:
                return complete
            key = records[-1].key
            with self._store.db.transaction():
                alone = [NodeId(record.key) for record in records if not self._is_needless(record)]
                if alone and self._members.can_write:
                    self._volume.say_again(alone)
            complete = complete and not alone
            await asyncio.sleep(0)

    def _is_needless(self, envelope: Envelope) -> bool:
        """Whether the other records say the same of the node without this one."""
        if not self._members.counts(envelope.author, envelope.seq):
            return True
        try:
            state = decode_state(envelope.payload)
        except Refused:
            return True
        if objection(state, lambda: self._volume.tree.state(state.id), self._volume.now_ms()):
            return True
        clipped, _ = clip_state(state, envelope.author, self._documents.dot_limits())
        said = self._told.vet(clipped, envelope.author)
        rest = self._told.state(NodeId(envelope.key), without=envelope.author)
        if rest is None:
            return False
        joined = join(rest, said)
        return joined == rest or not (is_alive(joined) or is_alive(rest))


def _named(envelope: Envelope | None) -> tuple[Head, ...]:
    """Reads the heads in a list of folded authors; nothing if it cannot be understood."""
    try:
        return decode_folded(envelope.payload) if envelope is not None else ()
    except Refused:
        return ()
