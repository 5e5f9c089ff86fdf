# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks: signed statements of devices that they hold everything up to some heads. They travel beside the document.

From them follows what `status` shows and `wait` waits for: which devices say that they hold all that was written here.

A mark is a promise about content too. Where content that was here is lost, a newer mark takes back what is not true any
more: the numbers in it are lowered to before the records that need that content.

What is promised is promised of each author for itself, up to the first record of which content is missing: a version
counts for its author, or for who took it over from one that is folded. So content that no device has holds up what is
promised of who said that there is some, and of no other author.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from holofsd.codec import wire
from holofsd.codec.signing import SigningKey, sign_mark, verify_mark
from holofsd.core.document import LEFT, WRITERS, AuthorSeq, Head, Mark
from holofsd.core.errors import NoSpace, ProtocolViolation
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.store.content import Hole
from holofsd.store.threads import Pool
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.members import Members
from holofsd.sync.publication import summary

log = structlog.get_logger(__name__)

_SLICE: Final = 200
_REST: Final = 50
"""A look at all that is missing is not repeated before this many times as long as it took."""
_NO_HASH: Final = bytes(32)
"""Of a number that is not that of a head."""


@dataclass(frozen=True, slots=True)
class Safety:
    """Statement of a device about how much it holds of what was written here."""

    complete: bool
    as_of_ms: int
    """Its clock when it said so; 0: it never said anything."""
    records_behind: int


class Marks:
    """Marks of one volume: those that this device signs, and those of others, by which copies are counted.

    `tell(marks, source)` passes marks on to the sessions, but not to the one they came from.
    """

    def __init__(
        self,
        store: VolumeStore,
        members: Members,
        node_key: SigningKey,
        now_ms: Callable[[], int],
        config: SyncConfig,
        is_merged: Callable[[], bool],
        tell: Callable[[list[Mark], object], None],
    ) -> None:
        self._store = store
        self._members = members
        self._node_key = node_key
        self._now_ms = now_ms
        self._config = config
        self._is_merged = is_merged
        self._tell = tell
        self._dirty = asyncio.Event()
        self._dirty.set()
        self._doubtful = True
        """Content that was here may be lost since the last mark. At the start, too: fsck may have found that it is."""
        self._marks: dict[DeviceId, Mark] = {}
        for _device, _at_ms, message in store.marks():
            mark = wire.decode_mark(message)
            self._marks[mark.device] = mark
        self._refused: set[DeviceId] = set()
        """Members that refuse sessions of this volume since they were last met."""
        self._left_ms = 0
        """When this device last said that it left, as others remember it; it is back."""
        self._listeners: list[asyncio.Event] = []
        self._partly_at = 0.0
        """Loop time before which nothing is promised while content is missing: most of it comes in a moment."""

    def known(self) -> list[Mark]:
        return [mark for device, mark in self._marks.items() if self._members.is_member(device)]

    def listen(self, event: asyncio.Event) -> None:
        """Sets this event whenever something changed that `safety` depends on."""
        self._listeners.append(event)

    def unlisten(self, event: asyncio.Event) -> None:
        self._listeners.remove(event)

    def notify(self) -> None:
        """Records or content moved: perhaps there is a new mark to sign, and answers changed."""
        self._dirty.set()
        self._wake_listeners()

    def doubt(self) -> None:
        """Content that was here is lost, and the files that need it are known to."""
        self._doubtful = True
        self.notify()

    def _wake_listeners(self) -> None:
        for event in self._listeners:
            event.set()

    # ---- our own
    async def run(self) -> None:
        """Signs a mark whenever this device became complete up to new heads, or lost something, at most every two
        seconds."""
        self._partly_at = asyncio.get_running_loop().time() + self._config.partial_interval
        while True:
            await self._until_dirty()
            self._dirty.clear()
            try:
                if await self._take_back() or await self._promise():
                    await asyncio.sleep(self._config.mark_interval)
            except NoSpace:
                log.warning("the disk is full: what this device holds cannot be promised yet")
                self._dirty.set()
                await asyncio.sleep(self._config.no_space_retry)

    async def _until_dirty(self) -> None:
        """Waits until there is something to look at. While content is missing, a look is due from time to time even if
        nothing happens."""
        may_promise = self._is_merged() and self._members.is_member(self._members.device)
        if self._is_complete() or not may_promise:
            await self._dirty.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._partly_at):
                await self._dirty.wait()

    def _is_complete(self) -> bool:
        # Asked after every batch of content: counting all that is missing each time would grow with its square.
        return self._is_merged() and not self._store.content.is_any_missing()

    async def _promise(self) -> bool:
        device = self._members.device
        if not self._is_merged() or not self._members.is_member(device):
            return False
        heads = self._store.documents.heads()
        promised = {author: summary(head) for author, head in heads.items()}
        if not self._is_complete():
            now = asyncio.get_running_loop().time()
            if now < self._partly_at:
                return False
            lowered = await self._lowered({author: item.seq for author, item in promised.items()})
            took = asyncio.get_running_loop().time() - now
            self._partly_at = now + max(self._config.partial_interval, _REST * took)
            promised |= {author: AuthorSeq(author, seq, _NO_HASH) for author, seq in lowered.items()}
        authors = [item for _author, item in sorted(promised.items()) if item.seq]
        last = self._marks.get(device)
        if last is not None and list(last.authors) == authors and last.at_ms > self._left_ms:
            return False
        # What is promised to others must be there after a power loss too.
        await self._store.db.sync(Pool.FOREGROUND)
        self._sign(authors)
        return True

    def _sign(self, authors: list[AuthorSeq]) -> None:
        mark = sign_mark(self._node_key, self._store.volume, self._next_ms(), authors)
        self._keep(mark)
        self._tell([mark], None)

    def _next_ms(self) -> int:
        """Later than each mark of this device that somebody may hold."""
        last = self._marks.get(self._members.device)
        return max(self._now_ms(), self._left_ms + 1, last.at_ms + 1 if last else 0)

    def left(self) -> Mark:
        """The last mark of this device: it leaves. Not stored, for the store goes."""
        return sign_mark(self._node_key, self._store.volume, self._next_ms(), LEFT)

    async def _take_back(self) -> bool:
        """Signs a lower mark where the last one promises content that is not here."""
        if not self._doubtful:
            return False
        last = self._marks.get(self._members.device)
        if last is None or self._is_complete() or not self._members.is_member(last.device):
            self._doubtful = False
            return False
        promised = {item.author: item for item in last.authors}
        self._doubtful = False  # what is lost from here on is looked at again
        lowered = await self._lowered({author: item.seq for author, item in promised.items()})
        if not lowered:
            return False
        for author, seq in lowered.items():
            promised[author] = AuthorSeq(author, seq, _NO_HASH)
        log.warning("content that this device said it holds is lost: that is taken back", authors=len(lowered))
        try:
            self._sign([item for _author, item in sorted(promised.items()) if item.seq])
        except NoSpace:
            self._doubtful = True
            raise
        self._wake_listeners()
        return True

    async def _lowered(self, promised: dict[AuthorId, int]) -> dict[AuthorId, int]:
        """Returns for each author whose promised records need content that is not here the number before the first of
        them."""
        lowered: dict[AuthorId, int] = {}
        after: Hole | None = None
        while holes := self._store.content.holes_after(after, _SLICE):
            for hole in holes:
                for author, seq in self._up_to(hole, promised):
                    lowered[author] = min(seq, lowered.get(author, promised.get(author, 0)))
            after = holes[-1]
            await asyncio.sleep(0)
        return {author: seq for author, seq in lowered.items() if seq < promised.get(author, 0)}

    def _up_to(self, hole: Hole, promised: Iterable[AuthorId]) -> Iterator[tuple[AuthorId, int]]:
        """Authors of which only so much can be promised because of some content that is not here.

        The version's author, before its record. Where it has none any more, since it was folded or dropped it, its
        device's other authors stand for it. Where that is no writer any more, those who say the same now: for they took
        over what it had written, and what is promised of them has to be there.
        """
        if hole.seq:
            yield hole.author, hole.seq - 1
            return
        membership = self._members.membership
        device = membership.device_of(hole.author)
        # A hash is nowhere by chance: what names it says so with these bytes.
        about = self._store.documents.about(hole.node)
        saying = {envelope.author: envelope.seq for envelope in about if envelope.payload.find(hole.blob) >= 0}
        if device is None or membership.roles.get(device) not in WRITERS:
            yield from ((author, seq - 1) for author, seq in saying.items())
            return
        same = [author for author in promised if membership.device_of(author) == device]
        own = [author for author in same if author in saying]
        yield from ((author, saying[author] - 1) for author in own) if own else ((author, 0) for author in same)

    # ---- those of others
    def receive(self, marks: Iterable[Mark], source: object) -> None:
        """Keeps the newest of each member and passes them on. Raises ProtocolViolation for a false signature."""
        news: list[Mark] = []
        for mark in marks:
            known = self._marks.get(mark.device)
            if mark.device == self._members.device:
                self._remember_leaving(mark)
            if (known is not None and known.at_ms >= mark.at_ms) or mark.device == self._members.device:
                continue
            if not self._members.is_member(mark.device):
                continue
            if not verify_mark(self._store.volume, mark):
                raise ProtocolViolation("A device passed on a mark with a false signature.")
            news.append(mark)
        if news:
            for mark in news:
                self._keep(mark)
            self._tell(news, source)
            self._wake_listeners()

    def _remember_leaving(self, mark: Mark) -> None:
        """This device left once, and joined again: its marks have to be newer than the one that says so."""
        if mark.is_left and mark.at_ms > self._left_ms and verify_mark(self._store.volume, mark):
            self._left_ms = mark.at_ms
            self._dirty.set()

    def refused(self, device: DeviceId) -> None:
        """A member answers for no session of this volume: as far as can be known it has left. One that never said that
        it holds something has nothing to take back: it is about to join, and may be met only much later."""
        mark = self._marks.get(device)
        if mark is not None and not mark.is_left and device not in self._refused:
            self._refused.add(device)
            self._wake_listeners()

    def met(self, device: DeviceId) -> None:
        self._refused.discard(device)

    def has_left(self, device: DeviceId) -> bool:
        mark = self._marks.get(device)
        return mark is not None and mark.is_left

    def _keep(self, mark: Mark) -> None:
        with self._store.db.transaction():
            self._store.put_mark(mark.device, mark.at_ms, wire.encode_mark(mark))
        self._marks[mark.device] = mark

    # ---- what follows from them
    def safety(self, device: DeviceId, own: Iterable[Head]) -> Safety:
        """Does that device say that it holds everything up to these heads, which are our own?"""
        mark = self._marks.get(device)
        if mark is None or mark.is_left:
            return Safety(False, 0, sum(self._behind(head.author, 0) for head in own))
        held = {item.author: item.seq for item in mark.authors}
        behind = sum(
            self._behind(head.author, held.get(head.author, 0)) for head in own if held.get(head.author, 0) < head.seq
        )
        return Safety(behind == 0 and device not in self._refused, mark.at_ms, behind)

    def said(self, device: DeviceId) -> Mark | None:
        """Returns what a device said last that it holds; None where it does not say: it never did, it has left, or it
        answers for this volume no more."""
        mark = self._marks.get(device)
        return None if mark is None or mark.is_left or device in self._refused else mark

    def _behind(self, author: AuthorId, seq: int) -> int:
        return self._store.documents.count_after(author, seq)
