# SPDX-License-Identifier: GPL-3.0-or-later
"""From stored envelopes to the tree: decode, clip, join, in bounded slices; what cannot be understood is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from holofsd.codec.records import decode_device, decode_state, decode_volume
from holofsd.core.context import clip_state
from holofsd.core.document import DeviceInfo, Envelope
from holofsd.core.errors import NotUnderstood, Refused
from holofsd.core.ids import AuthorId
from holofsd.core.state import NodeState
from holofsd.store import faults
from holofsd.store.removals import HeldRow
from holofsd.sync.brake import Brake, Said
from holofsd.sync.config import KEY_DEVICE, KEY_VOLUME, NODE_KEY_LENGTH, SyncConfig
from holofsd.sync.members import Members
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)


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
        self.brake = Brake(volume, members, now_ms, self._held_state)
        self._wake = asyncio.Event()
        self._wake.set()
        self.on_progress: Callable[[], None] = lambda: None
        """Called after each slice that was merged from the queue."""
        with volume.store.db.transaction():
            self._any_quarantined = bool(self._documents.quarantined())

    def kick(self) -> None:
        self._wake.set()

    def backlog(self) -> int:
        return self._documents.merge_backlog()

    async def run(self) -> None:
        """Works off the queue in slices, letting others run between them."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._slice():
                self.on_progress()
                await asyncio.sleep(0)
            self.on_progress()

    def _slice(self) -> bool:
        envelopes = self._documents.to_merge(self._config.merge_slice)
        if not envelopes:
            return False
        try:
            with self._volume.store.db.transaction():
                self._documents.merged(envelopes)
                self.merge(envelopes)
        except Exception:  # a record from outside must not stop the others
            log.exception("merging failed; one record at a time now", records=len(envelopes))
            self._one_by_one(envelopes)
        faults.reach("receiving.merged", self._volume.store)
        return True

    def _one_by_one(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            try:
                with self._volume.store.db.transaction():
                    self._documents.merged([envelope])
                    self.merge([envelope])
            except Exception:  # noqa: BLE001 - whatever it is, it stays with this record
                log.warning("a record could not be merged", author=envelope.author.hex()[:8], seq=envelope.seq)
                with self._volume.store.db.transaction():
                    self._documents.merged([envelope])
                    self._quarantine(envelope, "could not be merged")

    # ---- inside a transaction
    def merge(self, envelopes: Sequence[Envelope]) -> None:
        """Joins these records, which are in the document and below its heads, into the tree."""
        limits = self._documents.dot_limits()
        said: list[Said] = []
        for envelope in envelopes:
            state = self._understood(envelope)
            if state is None:
                continue
            clipped, waits_for = clip_state(state, envelope.author, limits)
            for author in waits_for:
                self._documents.wait_for(author, envelope.author, envelope.key)
            said.append(Said(envelope, clipped))
        if said:
            self.brake.merge(said)

    def _held_state(self, row: HeldRow) -> NodeState | None:
        """Of a record that the brake holds. It was understood when it came; its author's role may have changed."""
        state = self._understood(Envelope(row.author, row.seq, row.node, row.payload, b""))
        if state is None:
            return None
        clipped, waits_for = clip_state(state, row.author, self._documents.dot_limits())
        for author in waits_for:
            self._documents.wait_for(author, row.author, row.node)
        return clipped

    def _understood(self, envelope: Envelope) -> NodeState | None:
        if not self._members.counts(envelope.author, envelope.seq):
            self._quarantine(envelope, "by a device that may not write")
            return None
        try:
            state = self._read(envelope)
        except NotUnderstood:
            self._quarantine(envelope, "of a newer format: upgrade this program")
            return None
        except Refused as error:
            self._quarantine(envelope, f"malformed: {error.message}")
            return None
        if self._any_quarantined:
            self._documents.release(envelope.author, envelope.key)
        return state

    def _read(self, envelope: Envelope) -> NodeState | None:
        if len(envelope.key) == NODE_KEY_LENGTH:
            state = decode_state(envelope.payload)
            if state.id != envelope.key:
                raise Refused("the record is about another node than its key says")
            return state
        if envelope.key == KEY_DEVICE:
            info = decode_device(envelope.payload)
            if self._members.membership.authors.get(envelope.author) != info.device:
                raise Refused("a device record by another device's author")
            self._volume.store.db.after_commit(lambda: self._on_device(info))
            return None
        if envelope.key == KEY_VOLUME:
            decode_volume(envelope.payload)
            return None
        raise NotUnderstood("a record under a key that this program does not know")

    def _quarantine(self, envelope: Envelope, reason: str) -> None:
        self._any_quarantined = True
        self._documents.quarantine(envelope.author, envelope.key, envelope.seq, reason, self._now_ms())
        log.warning("record quarantined", author=envelope.author.hex()[:8], seq=envelope.seq, why=reason)


def requeue_quarantined(volume: LocalVolume, author: AuthorId | None = None) -> None:
    """Tries again what was not understood: at start (after an upgrade), and when roles changed."""
    db = volume.store.db
    with db.transaction():
        db.run(
            "INSERT OR IGNORE INTO merge_queue (author, key, seq) SELECT q.author, q.key, e.seq FROM quarantine AS q"
            " JOIN envelopes AS e ON e.author=q.author AND e.key=q.key WHERE ?1 IS NULL OR q.author=?1",
            (author,),
        )
