# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging of stored envelopes into the tree: decode, clip, join, in bounded slices; what cannot be understood is
counted."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import reduce
from typing import Final

import structlog

from holofsd.codec.letting_go import decode_dropped, decode_folded
from holofsd.codec.plausible import TOO_FAR_AHEAD, newest_ms, objection
from holofsd.codec.records import decode_device, decode_state, decode_volume
from holofsd.core.clock import FOLLOW_MS, latest_ms
from holofsd.core.context import clip_state
from holofsd.core.document import DeviceInfo, Envelope
from holofsd.core.errors import NoSpace, NotUnderstood, OtherKind, Refused
from holofsd.core.ids import AuthorId, Dot, NodeId
from holofsd.core.join import join
from holofsd.core.kinds import BOUND, kind_of
from holofsd.core.lost import LOST_ID
from holofsd.core.node import is_alive
from holofsd.core.state import Kind, NodeState
from holofsd.store import faults
from holofsd.store.database import is_full
from holofsd.store.lies import NOBODY
from holofsd.store.removals import HeldRow
from holofsd.sync.brake import Brake
from holofsd.sync.config import KEY_DEVICE, KEY_DROPPED, KEY_FOLDED, KEY_VOLUME, NODE_KEY_LENGTH, SyncConfig
from holofsd.sync.kinds import keep_own, kind_by_records
from holofsd.sync.liars import Liars
from holofsd.sync.members import Members
from holofsd.sync.publication import is_strange, weigh
from holofsd.sync.sealing_again import DUE
from holofsd.sync.told import Told
from holofsd.sync.vetting import DISPUTED, OTHER_KIND, TWO_CONTENTS, UNSEALED, Vetted
from holofsd.sync.weighing import Said
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

MAY_NOT_WRITE = "by a device that may not write"
ANOTHER_KIND = "makes something else of a file, folder or symlink"
SAID_TIME: Final = "gave a file a time more than 200 years ahead"
SAID_SIZE: Final = "named a file larger than any can be"
AHEAD_MOST: Final = 4096
NOT_ITS_AUTHOR = "malformed: a device record by another device's author"
LONGEST_REASON = 200
LOGGED = 20
"""Records in quarantine that are logged one by one, of each author; then every thousandth is."""
FULL_DISK_PAUSE = 2.0
NOBODY_YET = AuthorId(b"")
"""Stands for all authors that no device is certified for: a record waits for them with one row."""


class Merger:
    """Owns the merge queue of one volume."""

    def __init__(
        self,
        volume: LocalVolume,
        members: Members,
        now_ms: Callable[[], int],
        config: SyncConfig,
        on_device: Callable[[DeviceInfo], None],
    ) -> None:
        self._volume = volume
        self._documents = volume.store.documents
        self._members = members
        self._now_ms = now_ms
        self._config = config
        self._on_device = on_device
        self.told = Told(volume, members)
        self.told.set_aside = self._set_aside
        self._liars = Liars(volume)
        self._refused: set[Envelope] = set()
        self._contested: dict[NodeId, set[Dot]] = {}
        self.old_programs: set[AuthorId] = set(volume.store.seals.unproven_authors())
        """Authors who said something that is not believed here, perhaps because their program makes no seals."""
        self.brake = Brake(volume, members, now_ms, self._held_state)
        self.brake.on_joined = self.told.look_again
        self._wake = asyncio.Event()
        self._wake.set()
        self.on_progress: Callable[[], None] = lambda: None
        """Called after each slice that was merged from the queue."""
        self.has_room: Callable[[], bool] = lambda: True
        """Whether the disk has room for what is merged."""
        self._quarantined: dict[AuthorId, int] = {}
        """How many records of each author went to quarantine in this run."""
        self.on_folded: Callable[[], None] = lambda: None
        """Called inside the transaction that merges a list of folded authors, at its end."""
        self._ahead: dict[tuple[AuthorId, bytes], int] = {}
        """Records in quarantine for a stamp that is soon accepted, and its wall time. Others wait for a start."""
        with volume.store.db.transaction():
            self._any_quarantined = bool(self._documents.quarantined())

    def _set_aside(self, envelope: Envelope) -> None:
        self._quarantine(envelope, MAY_NOT_WRITE)

    def look_at_the_clock(self) -> None:
        """Tries again what was too far ahead and is not any more."""
        now_ms = self._now_ms()
        due = [place for place, wall_ms in self._ahead.items() if wall_ms <= latest_ms(now_ms)]
        if due:
            with self._volume.store.db.transaction():
                for author, key in due:
                    del self._ahead[author, key]
                    self._documents.requeue(author, key)
            self.kick()

    def kick(self) -> None:
        self._wake.set()

    def backlog(self) -> int:
        return self._documents.merge_backlog()

    async def run(self) -> None:
        """Works off the queue in slices, letting others run between them."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while await self._next_slice():
                self.on_progress()
                await asyncio.sleep(0)
            self.on_progress()

    async def _next_slice(self) -> bool:
        """False when nothing is left. On a full disk it waits: no record is to blame for that."""
        while True:
            try:
                if self.has_room():
                    return self._slice()
            except (NoSpace, sqlite3.OperationalError) as error:
                if not is_full(error):
                    raise
            await asyncio.sleep(FULL_DISK_PAUSE)

    def _slice(self) -> bool:
        envelopes, again = self._documents.to_merge(self._config.merge_slice, self._config.merge_bytes)
        if not envelopes:
            return False
        try:
            with self._volume.store.db.transaction():
                self._documents.merged(envelopes)
                self.merge(envelopes, again)
        except Exception as error:  # a record from outside must not stop the others
            if is_full(error):
                raise
            log.exception("merging failed; one record at a time now", records=len(envelopes))
            self._one_by_one(envelopes, again)
        faults.reach("receiving.merged", self._volume.store)
        return True

    def _one_by_one(self, envelopes: Sequence[Envelope], again: Collection[Envelope]) -> None:
        for envelope in envelopes:
            try:
                with self._volume.store.db.transaction():
                    self._documents.merged([envelope])
                    self.merge([envelope], again)
            except Exception as error:  # whatever it is, it stays with this record
                if is_full(error):
                    raise
                log.warning("a record could not be merged", author=envelope.author.hex()[:8], seq=envelope.seq)
                with self._volume.store.db.transaction():
                    self._documents.merged([envelope])
                    self._quarantine(envelope, "could not be merged")
                    self._check_unread([envelope], again)

    # ---- inside a transaction
    def merge(self, envelopes: Sequence[Envelope], again: Collection[Envelope] = ()) -> None:
        """Joins these records, which are in the document and below its heads, into the tree.

        `again`: those that took the place of an earlier record by the same author.
        """
        limits = self._documents.dot_limits()
        said: list[Said] = []
        kinds: dict[NodeId, Kind] = {}
        unread: list[Envelope] = []
        for envelope in envelopes:
            state = self._understood(envelope)
            if state is None or (kind_of(state.id) is None and not self._kind_agrees(envelope, state, said, kinds)):
                unread.append(envelope)
                continue
            if self._any_quarantined:
                self._documents.release(envelope.author, envelope.key)
            clipped, waits_for = clip_state(state, envelope.author, limits)
            self._wait_for(waits_for, envelope.author, envelope.key)
            said.append(Said(envelope, self._believed(envelope, clipped, envelope in again)))
        if said:
            self._say_contested()
            self.brake.merge(said)
            self._look_again_at_unproven(said)
            self._check_replaced(item for item in said if item.envelope in again)
        self._check_unread(unread, again)

    # ---- what can be believed
    def _believed(self, envelope: Envelope, state: NodeState, again: bool = False) -> NodeState:
        node, author, seals = state.id, envelope.author, self._volume.store.seals
        vetted = self.told.vetting.vet(state, author, lambda: self._volume.tree.state(node), again)
        for dot in vetted.doubled:
            self._liars.caught(envelope, [TWO_CONTENTS], dot.author)
        if vetted.contested:
            self._contested.setdefault(node, set()).update(vetted.contested)
        if vetted.refused:
            seals.note_unproven(node, author)
            self._refused.add(envelope)
            self._note_lies(envelope, vetted)
        else:
            seals.proven(node, author)
        return vetted.state

    def _note_lies(self, envelope: Envelope, vetted: Vetted) -> None:
        """A program that knows no seals cannot pass them on: that alone is no lie."""
        if all(what == UNSEALED for what in vetted.lies) and self.told.vetting.knows_no_seals(envelope.author):
            self.old_programs.add(envelope.author)
        else:
            self._liars.caught(envelope, [what for what in vetted.lies if what != DISPUTED])
            self._liars.caught(envelope, [what for what in vetted.lies if what == DISPUTED], AuthorId(NOBODY))

    def _say_contested(self) -> None:
        """Publishes as ours what is known here of versions that no record proves, before anything takes its place: so
        all devices show the same."""
        contested, self._contested = self._contested, {}
        if contested and not self._members.can_write:
            self.told.leave_unsaid()
            return
        for node, dots in contested.items():
            self._volume.say_as_ours(node, dots)

    def _look_again_at_unproven(self, said: Iterable[Said]) -> None:
        """More is known now of the nodes of these records."""
        refused, self._refused = self._refused, set()
        seals = self._volume.store.seals
        if seals.any_unproven:
            nodes = {item.state.id for item in said if item.envelope not in refused}
            if seals.look_again(nodes):
                self._volume.store.db.after_commit(self.kick)

    def _kind_agrees(self, envelope: Envelope, state: NodeState, said: list[Said], kinds: dict[NodeId, Kind]) -> bool:
        """Whether a record counts of a node whose id does not say its kind. `kinds`: those of the nodes in `said`."""
        node, stored = state.id, self._volume.tree.state(state.id)
        before = stored.kind if stored is not None else kinds.setdefault(node, state.kind)
        if before is state.kind:
            return True
        claims = self.told.claims(node)
        kind = kind_by_records(claims, self._members, before if self._volume.store.outbox.has(node) else None) or before
        for other, claimed in claims:
            if claimed.kind is kind:
                self._documents.release(other.author, other.key)
                continue
            if other.author == self._volume.author:
                continue  # it is said anew below
            # Whatever speaks for one kind, the others may have been told the other one: nobody is named.
            if self._quarantine(other, ANOTHER_KIND):
                self._liars.caught(other, [OTHER_KIND], AuthorId(NOBODY))
        said[:] = [item for item in said if item.state.id != node or item.state.kind is kind]
        kinds[node] = kind
        if stored is not None and stored.kind is not kind:
            if self._members.can_write:
                keep_own(self._volume, stored)
            limits = self._documents.dot_limits()
            states = [
                self.told.vet(clip_state(claimed, e.author, limits)[0], e.author)
                for e, claimed in claims
                if claimed.kind is kind
            ]
            self._volume.restate([reduce(join, states)])
            if self._documents.envelope(self._volume.author, node) is not None:
                self._volume.say_again([node])
        return state.kind is kind

    def _quarantine_other_kind(self, envelope: Envelope) -> None:
        if self._quarantine(envelope, ANOTHER_KIND):
            self._liars.caught(envelope, [OTHER_KIND])

    def _check_replaced(self, said: Iterable[Said]) -> None:
        """A program of ours never takes back what it said. Whose record says less than is known here may have."""
        state = self._volume.tree.state
        less = [item.state.id for item in said if state(item.state.id) != item.state]
        if less:
            self.told.look_again(less)

    def _check_unread(self, unread: Iterable[Envelope], again: Collection[Envelope]) -> None:
        """A record that does not count says nothing of what the one before it said."""
        nodes = [
            NodeId(envelope.key) for envelope in unread if envelope in again and len(envelope.key) == NODE_KEY_LENGTH
        ]
        if nodes:
            self.told.look_again(nodes)

    def records_went(self, nodes: Sequence[NodeId]) -> None:
        """Looks again at nodes of which an author dropped its records. Call it inside a transaction."""
        self.told.look_again(nodes)
        for node in nodes:
            forget_if_gone(self._volume, node)

    def _held_state(self, row: HeldRow) -> NodeState | None:
        """Decodes a record that the brake holds. It was understood when it came; its author's role may have changed."""
        state = self._understood(Envelope(row.author, row.seq, row.node, row.payload, b""))
        if state is None:
            return None
        clipped, waits_for = clip_state(state, row.author, self._documents.dot_limits())
        self._wait_for(waits_for, row.author, row.node)
        return self.told.vet(clipped, row.author)

    def _wait_for(self, authors: Iterable[AuthorId], author: AuthorId, key: bytes) -> None:
        """A hostile record can name thousands of authors that there are not."""
        known = self._members.membership.authors
        for waits_for in {waits_for if waits_for in known else NOBODY_YET for waits_for in authors}:
            self._documents.wait_for(waits_for, author, key)

    def _understood(self, envelope: Envelope) -> NodeState | None:
        if not self._members.counts(envelope.author, envelope.seq):
            self._quarantine(envelope, MAY_NOT_WRITE)
            return None
        try:
            state = self._read(envelope)
        except NotUnderstood:
            self._quarantine(envelope, "of a newer format: upgrade this program")
            return None
        except OtherKind:
            self._quarantine_other_kind(envelope)
            return None
        except Refused as error:
            self._quarantine(envelope, f"malformed: {error.message}")
            return None
        if state is not None:
            node = state.id
            if why := objection(state, lambda: self._volume.tree.state(node), self._now_ms()):
                self._set_aside_for_now(envelope, state, why)
                return None
        return state

    def _read(self, envelope: Envelope) -> NodeState | None:
        if len(envelope.key) == NODE_KEY_LENGTH:
            state = decode_state(envelope.payload)
            if state.id != envelope.key:
                raise Refused("the record is about another node than its key says")
            if state.id == LOST_ID and state.kind is not Kind.DIRECTORY:
                raise Refused("lost+found is a directory")
            return state
        if envelope.key == KEY_DEVICE:
            info = decode_device(envelope.payload)
            if self._members.membership.authors.get(envelope.author) != info.device:
                raise Refused("a device record by another device's author")
            self._note_sealing(envelope.author, info.sealed_from)
            self._volume.store.db.after_commit(lambda: self._on_device(info))
            return None
        if envelope.key == KEY_VOLUME:
            decode_volume(envelope.payload)
            return None
        if envelope.key == KEY_DROPPED:
            decode_dropped(envelope.payload)  # what it says was done when it was taken over
            return None
        if envelope.key == KEY_FOLDED:
            decode_folded(envelope.payload)
            self._volume.store.db.before_commit(self.on_folded)
            return None
        raise NotUnderstood("a record under a key that this program does not know")

    def _note_sealing(self, author: AuthorId, sealed_from: int) -> None:
        """Notes from where an author makes seals. What we passed on of it without seals may need them now."""
        store = self._volume.store
        if author not in store.own_authors() and store.seals.heard(author, sealed_from):
            store.set_meta(DUE, b"")

    def _set_aside_for_now(self, envelope: Envelope, state: NodeState, why: str) -> None:
        """Counted as a lie once, however often the record is tried again."""
        is_new = self._quarantine(envelope, why)
        if why == TOO_FAR_AHEAD:
            wall_ms = newest_ms(state)
            if wall_ms <= latest_ms(self._now_ms()) + FOLLOW_MS and len(self._ahead) < AHEAD_MOST:
                self._ahead[envelope.author, envelope.key] = wall_ms
                return  # a clock that is a little wrong, or what was written above a stamp that was accepted
        if not is_new:
            return
        name = next((link.place.name for link in state.links.values() if link.place is not None), b"")
        lie = SAID_TIME if why == TOO_FAR_AHEAD else SAID_SIZE
        self._volume.store.lies.note(envelope.author, lie, name.decode("utf-8", "backslashreplace"))

    def _quarantine(self, envelope: Envelope, reason: str) -> bool:
        """True if it is not there yet."""
        self._any_quarantined = True
        author = envelope.author
        counted = is_strange(envelope) or reason == MAY_NOT_WRITE  # else it looked as if it could be understood
        weight = 0 if counted else weigh(envelope).bytes
        reason, now_ms = reason[:LONGEST_REASON], self._now_ms()
        is_new = self._documents.quarantine(author, envelope.key, envelope.seq, reason, now_ms, weight)
        if is_new:
            number = self._quarantined[author] = self._quarantined.get(author, 0) + 1
            if number <= LOGGED or number % 1000 == 0:
                log.warning("record quarantined", author=author.hex()[:8], seq=envelope.seq, why=reason, so_far=number)
        return is_new


def forget_if_gone(volume: LocalVolume, node: NodeId) -> bool:
    """Forgets a removed node that no record is about and of which nothing is kept here. True if it is unknown then.
    Call it inside a transaction."""
    store = volume.store
    state = volume.tree.state(node)
    if state is not None:
        kept = bool(state.versions) and not store.history.is_purged(node)
        if kept or is_alive(state) or store.documents.is_known(node) or store.outbox.has(node):
            return False
        if store.removals.is_held(node) or store.nodes.has_children(node):
            return False
        if state.kind is Kind.DIRECTORY and store.nodes.overrides():
            return False  # it may be part of a cycle of directories; others fall back because of it
        volume.tree.forget(node)
    store.history.forget_purged(node)
    return True


def requeue_quarantined(volume: LocalVolume) -> None:
    """Tries again what was not understood: at start, for this may be a newer program."""
    with volume.store.db.transaction():
        volume.store.documents.requeue_quarantined()


def requeue_for_members(volume: LocalVolume) -> None:
    """Tries again what roles and certificates decide."""
    documents = volume.store.documents
    with volume.store.db.transaction():
        # Ids of today need no vote on the kind.
        documents.requeue_refused((MAY_NOT_WRITE, NOT_ITS_AUTHOR), ANOTHER_KIND, BOUND)
    with volume.store.db.transaction():
        documents.requeue_waiting(NOBODY_YET)
