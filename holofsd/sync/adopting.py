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
from collections.abc import Callable, Iterable, Iterator

import structlog

from holofsd.codec.records import decode_state
from holofsd.core import sethash
from holofsd.core.document import WRITERS, AuthorSeq, Head
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, Dot, NodeId
from holofsd.core.members import last_accepted
from holofsd.sync.apart import forget_apart, is_apart, note_apart
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.members import Members
from holofsd.sync.publication import element_of
from holofsd.sync.told import Told
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

SLICE = 200
PATIENCE_S = 30
"""Wait so long for the history that counts, where ours is another one: what both say need not be said again then."""


class Adopter:
    """A reader says nothing: what it alone had merged is shown there alone. It does so once it may write."""

    def __init__(self, volume: LocalVolume, members: Members, told: Told) -> None:
        self._volume = volume
        self._store = volume.store
        self._members = members
        self._told = told
        self._wake = asyncio.Event()
        self._wake.set()
        self._agrees: dict[AuthorId, AuthorSeq] = {}
        """Authors whose records here go on from the head that counts."""
        self.on_apart: Callable[[], None] = lambda: None
        """Another history of an author is known to be the one that counts."""

    def look(self) -> None:
        """Wakes the task, because the members of the volume have changed."""
        self._wake.set()

    def beyond(self) -> Iterator[tuple[Head, AuthorSeq | None]]:
        """Yields the heads that we hold and that do not count, with the one that does: we say again what they say, once
        we may write."""
        membership, own = self._members.membership, set(self._store.own_authors())
        for author in list(membership.surplus):
            head = self._store.documents.head(author)
            if head is not None and author != self._volume.author and not self.is_done(head):
                yield head, None
        for author, device in membership.authors.items():
            if author in own or membership.roles.get(device) in WRITERS:
                continue
            head = self._store.documents.head(author)
            if head is None or self._members.head_counts(head) or self.is_done(head):
                continue
            yield head, last_accepted(membership, author)

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for head, last in list(self.beyond()):
                is_apart = last is not None and await self._is_apart(head, last)
                if not self._members.can_write:
                    continue
                for _second in range(PATIENCE_S if is_apart else 0):
                    if self._store.documents.head(head.author) != head:
                        break
                    await asyncio.sleep(1)
                if self._store.documents.head(head.author) == head:
                    await self._adopt(head, 0 if last is None or is_apart else last.seq)
            await self._told.say_what_was_left()
            if self._members.can_write:
                for author in list(self._taken_over()):
                    await self._say_elsewhere(author, self._store.documents.dots_of(author))
                    forget_apart(self._store, author)
                for head in [h for h in self._store.documents.widest().values() if not self._members.head_counts(h)]:
                    vouched_for = self._store.documents.dots_but_widest(head.author)
                    await self._say_beyond(head.author, vouched_for)
                    await self._say_elsewhere(head.author, vouched_for)
                    with self._store.db.transaction():
                        self._store.documents.forget_widest(head.author)

    def _taken_over(self) -> Iterator[AuthorId]:
        """Authors of whom the history that counts came in place of ours. What that does not say of the nodes that it is
        about was said by us as it came."""
        membership = self._members.membership
        for author in membership.authors:
            last = last_accepted(membership, author)
            if last is not None and is_apart(self._store, last):
                head = self._store.documents.head(author)
                if head is None or self._members.head_counts(head):
                    yield author

    async def _is_apart(self, head: Head, last: AuthorSeq) -> bool:
        """Whether our records are not those of the head that counts and later ones, as far as can be told. Records
        that later ones took the place of are not here any more, so some that are count as apart, too."""
        if is_apart(self._store, last):
            return True
        if self._agrees.get(head.author) == last:
            return False
        total, key = sethash.EMPTY, b""
        while slice_ := self._store.record_slices.up_to(head.author, last.seq, key, SLICE):
            key = slice_[-1].key
            for envelope in slice_:
                total = sethash.add(total, element_of(envelope))
            await asyncio.sleep(0)
        if sethash.to_bytes(total) == last.set_hash:
            self._agrees[head.author] = last
            return False
        log.info("another history counts than the one that is here", author=head.author.hex()[:8], seq=last.seq)
        note_apart(self._store, last)
        self.on_apart()
        return True

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
        await self._say_elsewhere(head.author, await self._vouched_for(head.author, after))
        with self._store.db.transaction():
            self._store.set_meta(_mark(head.author), head.seq.to_bytes(8, "big"))

    async def _vouched_for(self, author: AuthorId, last: int) -> int:
        """The highest counter of an author's dots that its records up to that number show. A head may vouch for more:
        then something is said again that need not be."""
        highest, key = 0, b""
        while last and (slice_ := self._store.record_slices.up_to(author, last, key, SLICE)):
            key = slice_[-1].key
            for dot in (dot for envelope in slice_ for dot in _dots(envelope.key, envelope.payload)):
                highest = max(highest, dot.counter if dot.author == author else 0)
            await asyncio.sleep(0)
        return highest

    async def _say_beyond(self, author: AuthorId, vouched_for: int) -> None:
        """Says as ours the author's versions that its own records show."""
        head, key = self._store.documents.head(author), b""
        while head and (slice_ := self._store.record_slices.up_to(author, head.seq, key, SLICE)):
            key = slice_[-1].key
            with self._store.db.transaction():
                for envelope in slice_:
                    self._say(envelope.key, envelope.payload, author, vouched_for)
            await asyncio.sleep(0)

    def _say(self, node: bytes, payload: bytes, author: AuthorId, vouched_for: int) -> None:
        found = [dot for dot in _dots(node, payload) if dot.author == author and dot.counter > vouched_for]
        if found:
            self._volume.say_as_ours(NodeId(node), found)

    async def _say_elsewhere(self, author: AuthorId, vouched_for: int) -> None:
        """Says as ours the author's versions that our records show of other nodes, as copies that became files."""
        key = b""
        while rows := self._store.record_slices.by_own_authors(key, NODE_KEY_LENGTH, SLICE):
            key = rows[-1][0]
            with self._store.db.transaction():
                for node, _author, payload in rows:
                    self._say(node, payload, author, vouched_for)
            await asyncio.sleep(0)

    def is_done(self, head: Head) -> bool:
        return self._store.meta(_mark(head.author)) == head.seq.to_bytes(8, "big")


def _mark(author: AuthorId) -> str:
    return f"adopted-{author.hex()}"


def _dots(key: bytes, payload: bytes) -> Iterable[Dot]:
    """Dots of the versions in a record; none of one that is about no node, or cannot be read."""
    if len(key) != NODE_KEY_LENGTH:
        return ()
    try:
        return decode_state(payload).versions
    except Refused:
        return ()
