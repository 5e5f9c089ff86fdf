# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives back the disk that records of removed devices took: what nobody needs of them goes, and the index gets smaller.

- Records on their way to a head that will not be taken over any more.
- Records beyond the head that a removal accepts. What they said of files that are shown here was said again by this
  device (`adopting`); nobody takes them from here.
- Records of authors that were folded, which `folding` lets go of; at once, where many of them are not understood.

The rows go bit by bit, and so do the free pages of the index, so that no call of a program waits for either.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final

import structlog

from holofsd.core.document import WRITERS, AuthorSeq, Head
from holofsd.core.errors import HoloError
from holofsd.core.ids import AuthorId
from holofsd.core.members import last_accepted
from holofsd.core.record_budget import NOTHING
from holofsd.sync.adopting import Adopter
from holofsd.sync.config import NODE_KEY_LENGTH, SyncConfig
from holofsd.sync.folding import GARBAGE, AuthorFolder
from holofsd.sync.ingest import Ingest
from holofsd.sync.members import Members
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 60.0


class Discarder:
    """Call `run` once. `is_busy` says whether records are being merged: the index does not get smaller meanwhile;
    `is_shown` whether a device in reach holds exactly what goes up to a head."""

    def __init__(
        self,
        volume: LocalVolume,
        members: Members,
        ingest: Ingest,
        adopter: Adopter,
        folder: AuthorFolder,
        config: SyncConfig,
        is_busy: Callable[[], bool],
        is_shown: Callable[[AuthorSeq], bool],
    ) -> None:
        self._store = volume.store
        self._documents = volume.store.documents
        self._members = members
        self._ingest = ingest
        self._adopter = adopter
        self._folder = folder
        self._every = min(LOOK_EVERY, config.forget_interval)
        self._is_busy = is_busy
        self._is_shown = is_shown
        self._wake = asyncio.Event()
        self._wake.set()

    def look_soon(self) -> None:
        """Wakes the task, because the members of the volume have changed, or records went."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.look()
            except (HoloError, OSError, sqlite3.Error) as error:
                log.warning("what nobody needs could not be discarded", exc_info=error)

    async def look(self) -> None:
        """One pass; cheap where nothing is to be done."""
        for author in self._documents.authors_of_incoming():
            if self._leads_nowhere(author):
                await self._clear_incoming(author)
        for head in list(self._documents.heads().values()):
            if self._is_beyond(head) and (self._is_had_elsewhere(head) or await self._is_needless(head)):
                self._let_go(head)
        await self.sweep()
        await self.shrink()

    # ---- on its way
    def _leads_nowhere(self, author: AuthorId) -> bool:
        """No head of that author beyond the one that is here will be taken over."""
        if self._ingest.is_coming_whole(author):
            return False
        held = self._documents.head(author)
        _count, last = self._documents.extent_of_incoming(author)
        seq = held.seq if held is not None else 0
        return not self._members.counts(author, seq + 1) or last <= self._documents.folded_to(author)

    async def _clear_incoming(self, author: AuthorId) -> None:
        self._ingest.forget(author)
        more = True
        while more:
            with self._store.db.transaction():
                more = self._documents.clear_some_incoming(author)
            await asyncio.sleep(0)
        log.info("records on their way that nobody needs are gone", author=author.hex()[:8])

    # ---- beyond what counts
    def _is_beyond(self, head: Head) -> bool:
        """Whether an author's device may not write any more and this head holds more than its removal accepts, none of
        it needed here.

        An author that gave way to others of its device stays while the device is a writer: the device counts on it.
        """
        membership, author = self._members.membership, head.author
        device = membership.device_of(author)
        if device is None or device == self._members.device or membership.roles.get(device) in WRITERS:
            return False
        if self._members.head_counts(head):
            return False
        if self._members.can_write:
            return self._adopter.is_done(head)
        return not self._documents.has_merged_nodes(author, self._accepted(author), NODE_KEY_LENGTH)

    def _accepted(self, author: AuthorId) -> int:
        last = last_accepted(self._members.membership, author)
        return last.seq if last is not None else 0

    def _is_had_elsewhere(self, head: Head) -> bool:
        """A device in reach shows the head that counts: what is here cannot be passed on, and is asked for there."""
        last = last_accepted(self._members.membership, head.author)
        much = self._documents.weights().get(head.author, NOTHING).bytes >= GARBAGE
        return much and last is not None and self._is_shown(last)

    async def _is_needless(self, head: Head) -> bool:
        """Whether nothing of a head counts, or it is folded or not worth waiting for, and others publish all of it."""
        accepted = self._accepted(head.author)
        if self._documents.folded_to(head.author) < accepted and not self._folder.is_garbage(head.author):
            return False
        return await self._folder.is_said_by_others(head)

    def _let_go(self, head: Head) -> None:
        with self._store.db.transaction():
            if self._documents.head(head.author) == head and not self._documents.is_any_queued(head.author):
                self._folder.let_go_of(head.author)
                log.info("records beyond what a removal accepts go", author=head.author.hex()[:8], seq=head.seq)

    # ---- the rows, and the pages that they were on
    async def sweep(self) -> None:
        swept, more = False, True
        while more:
            with self._store.db.transaction():
                more = self._documents.sweep()
            swept = swept or more
            await asyncio.sleep(0)
        if swept:
            self._ingest.on_run_ended()

    async def shrink(self) -> None:
        is_short = self._ingest.budgets.missing_room(0) > 0
        if self._is_busy() or not self._store.db.is_worth_shrinking(is_short):
            return
        before = self._store.db.bytes()
        more = True
        while more:
            more = self._store.db.shrink()
            await asyncio.sleep(0)
        await self._store.db.checkpoint()
        log.info("the index gave room back", bytes=before - self._store.db.bytes())
