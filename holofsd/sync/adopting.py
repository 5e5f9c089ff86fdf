# SPDX-License-Identifier: GPL-3.0-or-later
"""Adoption of records that were merged here and do not count any more: they stay, and this device publishes them again
as its own.

That is what a removed device had told us beyond the head that its removal names, and what was said under an author that
gave way, because its device made more authors than one may have.

Nothing merged is un-merged. But nobody else will take those records from now on, so without this the devices that heard
the removal early and those that heard it late would show different trees for ever (docs/members.md#removing-a-device).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from holofsd.core.document import WRITERS, Head
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.members import last_accepted
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.members import Members
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

SLICE = 200


class Adopter:
    """A reader says nothing: what it alone had merged is shown there alone. It does so once it may write."""

    def __init__(self, volume: LocalVolume, members: Members) -> None:
        self._volume = volume
        self._store = volume.store
        self._members = members
        self._wake = asyncio.Event()
        self._wake.set()

    def look(self) -> None:
        """Wakes the task, because the members of the volume have changed."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._members.can_write:
                for head, after in list(self._beyond()):
                    await self._adopt(head, after)

    def _beyond(self) -> Iterator[tuple[Head, int]]:
        """Heads that we hold and that do not count, with the number up to which others have those records."""
        membership, own = self._members.membership, set(self._store.own_authors())
        for author in list(membership.surplus):
            head = self._store.documents.head(author)
            if head is not None and author != self._volume.author and not self.is_done(head):
                yield head, 0
        for author, device in membership.authors.items():
            if author in own or membership.roles.get(device) in WRITERS:
                continue
            head = self._store.documents.head(author)
            if head is None or self._members.head_counts(head) or self.is_done(head):
                continue
            last = last_accepted(membership, author)
            yield head, last.seq if last is not None and last.seq < head.seq else 0

    async def _adopt(self, head: Head, after: int) -> None:
        log.info("what counts no more is said again by us", author=head.author.hex()[:8], after=after)
        key = b""
        while True:
            keys = self._store.record_slices.keys_beyond(head.author, after, key, NODE_KEY_LENGTH, SLICE)
            if not keys:
                break
            key = keys[-1]
            with self._store.db.transaction():
                self._volume.adopt(head.author, [NodeId(key) for key in keys])
            await asyncio.sleep(0)
        with self._store.db.transaction():
            self._store.set_meta(_mark(head.author), head.seq.to_bytes(8, "big"))

    def is_done(self, head: Head) -> bool:
        return self._store.meta(_mark(head.author)) == head.seq.to_bytes(8, "big")


def _mark(author: AuthorId) -> str:
    return f"adopted-{author.hex()}"
