# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing of local changes as signed records: each changed node's current record gets the next number, soon after it
changed.

The transaction that gives numbers is on disk before its first byte leaves: a number that others have seen is never
given twice, even after a power loss.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from holofsd.codec.records import encode_device, fits
from holofsd.codec.signing import SigningKey
from holofsd.core.document import DeviceInfo
from holofsd.core.errors import HoloError
from holofsd.core.ids import NodeId
from holofsd.core.node import is_publishable
from holofsd.core.state import NodeState
from holofsd.store import faults
from holofsd.store.outbox import LONGEST_HOLD_MS
from holofsd.store.threads import Pool
from holofsd.sync.config import KEY_DEVICE, MAX_PAYLOAD, SyncConfig
from holofsd.sync.create import active_key
from holofsd.sync.members import Members
from holofsd.sync.publication import Publication, publish
from holofsd.sync.sealer import Sealer
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

DESCRIBE_EVERY = 5.0
"""Seconds after which a publication looks anew at what is said of this device, though nobody said that it changed."""
SHARE = 4
"""After a publication the next one waits this many times as long as it took: most of the loop is for the mounts."""
RETRY = 1.0
"""Seconds until something that could not be published is looked at again, if nothing wakes the publisher before."""


@dataclass(slots=True)
class PublicationBatch:
    """Content of one publication, and the outbox rows that it handles."""

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    handled: list[NodeId] = field(default_factory=list)
    size: int = 0
    skipped: int = 0


class Publisher:
    """Task that publishes the records of changed nodes of one volume, in publications.

    `send(publication)` hands over what may leave; it is called on the loop, in order.
    """

    def __init__(
        self,
        volume: LocalVolume,
        members: Members,
        describe: Callable[[], DeviceInfo],
        now_ms: Callable[[], int],
        config: SyncConfig,
        send: Callable[[Publication], None],
        sealer: Sealer,
    ) -> None:
        self._sealer = sealer
        self._volume = volume
        self._store = volume.store
        self._members = members
        self._describe = describe
        self._now_ms = now_ms
        self._config = config
        self._send = send
        self._wake = asyncio.Event()
        self._wake.set()
        self._first_change = 0.0
        self._last_change = 0.0
        self._rests_until = 0.0
        self._described_at = float("-inf")
        self._told = False
        self.on_requeued: Callable[[], None] = lambda: None
        """Our head advanced, and what others claimed beyond it is to be merged again."""
        self.too_large: set[NodeId] = set()
        """Nodes whose record is above the limit; they stay on this device."""

    # ---- what wakes it
    def changed(self) -> None:
        """There may be something to publish, and what is said of this device may have changed."""
        self._described_at = float("-inf")
        self.outbox_changed()

    def outbox_changed(self) -> None:
        """Notes a change of the outbox, and wakes the task."""
        now = asyncio.get_running_loop().time()
        if not self._wake.is_set():
            self._first_change = now
        self._last_change = now
        self._wake.set()

    def others_have_told(self) -> None:
        """A session has told what others have of us: from now on numbers are safe to give."""
        if not self._told:
            self._told = True
            self.changed()

    @property
    def may_publish(self) -> bool:
        return self._members.can_write and (self._told or not self._members.others())

    # ---- work
    async def run(self) -> None:
        while True:
            await self._wait()
            try:
                while self.may_publish and await self._publish_once():
                    pass
            except HoloError as error:
                log.warning("publishing has to wait", why=error.message)
                await asyncio.sleep(RETRY)
                self.changed()

    async def _wait(self) -> None:
        """Waits until a change has rested, or a hold has run out."""
        try:
            async with asyncio.timeout(self._until_next_hold()):
                await self._wake.wait()
        except TimeoutError:
            return
        while True:
            now = asyncio.get_running_loop().time()
            rested = max(self._last_change + self._config.debounce, self._rests_until)
            due = min(rested, self._first_change + self._config.debounce_most)
            if now >= due:
                break
            await asyncio.sleep(due - now)
        self._wake.clear()

    def _until_next_hold(self) -> float | None:
        held = self._store.outbox.next_hold_ms()
        if held is None:
            return None
        ahead = (held - self._now_ms()) / 1000
        return ahead if 0 < ahead <= LONGEST_HOLD_MS / 1000 else RETRY

    async def _publish_once(self) -> bool:
        """One publication; True if there may be more to say at once."""
        key = active_key(self._store)
        if key is None:
            return False
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._members.certify(key)
        faults.reach("publishing.begun", self._store)
        with self._store.db.transaction():
            batch, full = self._collect(key)
            for node in batch.handled:
                self._store.outbox.remove(node)
            publication = publish(self._store, key, self._volume.dots_given, batch.records) if batch.records else None
            if publication is not None and self._store.documents.requeue_waiting(self._volume.author):
                self._store.db.after_commit(self.on_requeued)
        self._rests_until = loop.time() + SHARE * (loop.time() - began)
        if publication is None:
            return full and bool(batch.handled)
        faults.reach("publishing.numbered", self._store)
        await self._store.db.sync(Pool.FOREGROUND)
        faults.reach("publishing.synced", self._store)
        self._send(publication)
        faults.reach("publishing.sent", self._store)
        return full

    def _collect(self, key: SigningKey) -> tuple[PublicationBatch, bool]:
        batch = PublicationBatch()
        self._add_device(batch, key)
        limit = self._config.publish_records + len(self.too_large)
        due = self._store.outbox.due(self._now_ms(), limit)
        for node in due:
            if len(batch.records) >= self._config.publish_records or batch.size >= self._config.publish_bytes:
                return batch, True
            self._add_node(batch, node)
        return batch, len(due) == limit and bool(batch.handled)

    def _add_device(self, batch: PublicationBatch, key: SigningKey) -> None:
        # Asking the network for its addresses costs as much as publishing a few records.
        now = time.monotonic()
        if now < self._described_at + DESCRIBE_EVERY:
            return
        self._described_at = now
        sealed_from = self._store.seals.sealed_from(self._volume.author)
        payload = encode_device(replace(self._describe(), sealed_from=sealed_from))
        said = self._store.documents.envelope(self._volume.author, KEY_DEVICE)
        if said is None or said.payload != payload:
            batch.records.append((KEY_DEVICE, payload))

    def _add_node(self, batch: PublicationBatch, node: NodeId) -> None:
        row = self._store.nodes.get(node)
        state = self._volume.tree.state(node)
        if row is None or state is None:
            batch.handled.append(node)
        elif not is_publishable(state):
            batch.skipped += 1
        elif (payload := self._payload(state, row.state)) is None:
            log.warning("a node cannot be published: its record is too large")
            self.too_large.add(node)
        else:
            self.too_large.discard(node)
            batch.records.append((node, payload))
            batch.size += len(payload)
            batch.handled.append(node)

    def _payload(self, state: NodeState, encoded: bytes) -> bytes | None:
        """A row's state is the encoded record, but for content that is still pending, and for seals of ours. None if
        others would refuse it for its size."""
        if len(encoded) > MAX_PAYLOAD or not fits(state):
            # First, for versions that are left out need no proof, and are not said as ours either.
            smaller = self._sealer.cut_down(state, MAX_PAYLOAD)
            if smaller is not None:
                return smaller
        provable = self._sealer.provable(state)
        if provable is not state:
            row = self._store.nodes.get(state.id)
            encoded = row.state if row is not None else encoded
        if self._store.seals.any_unproven and self._store.seals.look_again((state.id,)):
            self._store.db.after_commit(self.on_requeued)
        payload = self._sealer.sealed(provable, encoded)
        if len(payload) <= MAX_PAYLOAD and fits(provable):
            return payload
        return self._sealer.cut_down(provable, MAX_PAYLOAD)
