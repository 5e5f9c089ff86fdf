# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps history and trash within their budget, and makes room on a full disk by letting go of them.

In this order: versions that stood only for seconds, then for minutes, then for hours (`core.retention.THINNED`), then
whatever is oldest, versions and removed files alike. What goes is taken out of the index, some rows in a transaction;
then one pass of garbage collection for that content deletes the files that nothing else needs. So live content never
goes, nor what a program has open, what is being restored, and content in its day of grace.

docs/crash-windows.md has its crash windows.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from holofsd.core.errors import HoloError
from holofsd.core.ids import BlobHash, NodeId
from holofsd.core.retention import THINNED
from holofsd.fs.shared.scope import Scope
from holofsd.store import faults
from holofsd.store.past_sizes import START, Aged, Cursor
from holofsd.store.threads import Pool
from holofsd.tree.garbage import Collected, GarbageCollector
from holofsd.tree.past import Past
from holofsd.tree.recording import note_trash

log = structlog.get_logger(__name__)

_COUNTED: Final = "trash_counted"
_PAGE: Final = 200
_TICK: Final = 1.0
_SLACK: Final = 20
"""One part in so many of the budget is let go beyond it, so that the next version does not begin it all again."""
_UNTRACED_LEAST: Final = 64 << 20
"""Bytes of versions without a trace that are not worth a pass of their own."""
_AT_ONCE: Final = 2_000
"""Rows let go before their content is collected: room comes back while there is more to do."""
_NOTHING_LEFT_S: Final = 1.0
"""For so long after history had nothing to give, a full disk refuses at once."""

_VAIN_S: Final = 10.0
_VAIN_MOST_S: Final = 600.0
"""After a look that gained nothing the next one waits so long, twice as long each time; unless more has come."""


@dataclass(slots=True)
class InUse:
    """History items that may not go now. `versions`: tokens; `removed`: nodes in the trash; `whole`: nodes in all
    respects."""

    versions: set[bytes] = field(default_factory=set)
    removed: set[NodeId] = field(default_factory=set)
    whole: set[NodeId] = field(default_factory=set)

    def has(self, item: Aged) -> bool:
        return item.node in self.whole or (item.dot in self.versions if item.id else item.node in self.removed)


class Budget:
    """Limit of what history and trash of one volume take, and the task that keeps it."""

    def __init__(self, scope: Scope, past: Past, limit: Callable[[], int], in_use: Callable[[], InUse]) -> None:
        """`limit`: bytes for history and trash of this volume, now."""
        self._scope = scope
        self._store = scope.store
        self._db = scope.db
        self._past = past
        self._limit = limit
        self._in_use = in_use
        self.collector = GarbageCollector(scope.volume)
        self._busy = asyncio.Lock()
        self._wake = asyncio.Event()
        self._wanted = 0
        self._let_go: set[BlobHash] = set()
        """Content whose rows went and that was not collected yet."""
        self._thinned: dict[tuple[bool, int], Cursor] = {}
        """Per level of THINNED, and for a look at files only: up to where it was looked through."""
        self._given_up_at = -_NOTHING_LEFT_S
        self._gained = 0
        """Files that went in the look that is under way."""
        self._vain_until = 0.0
        """When a look is worth it again after one that gained nothing; with what was there then."""
        self._vain_pause = _VAIN_S
        self._vain_used = 0
        self._vain_limit = 0

    def used(self) -> int:
        return self._store.past_sizes.all_bytes()

    def untraced_bytes(self) -> int:
        """Size of versions that left no trace, and whose content lies there all the same."""
        return sum(self._scope.tree.untraced.values())

    # ---- when
    async def run(self) -> None:
        """Enforces the budget from time to time, and when woken. Runs until it is cancelled."""
        if self._store.meta(_COUNTED) is None:
            await self.recount()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._wake.wait()
            tight, wanted = self._wake.is_set(), self._wanted
            self._wanted = 0
            self._wake.clear()
            try:
                self._scope.note_space()
                await self.enforce()
                if tight:
                    await self._scope.relieve(wanted)
            except (HoloError, OSError, sqlite3.Error) as error:
                log.error("history could not be kept within its budget", exc_info=error)

    def wake(self, more: int = 0) -> None:
        """Wakes the task, because something is written, or `more` bytes are to come from elsewhere, and the disk has
        little room left."""
        self._wanted = max(self._wanted, more)
        self._wake.set()

    async def enforce(self) -> None:
        """One look: cheap where nothing is to be done."""
        used, untraced = self.used(), self.untraced_bytes()
        if not used and untraced < _UNTRACED_LEAST:
            return
        limit = self._limit()
        much = used + untraced > limit or untraced > max(limit // _SLACK, _UNTRACED_LEAST)
        if much and not self._in_vain(used + untraced, limit):
            async with self._busy:
                before, self._gained = self.used(), 0
                await self._collect_untraced()
                if self.used() > limit:
                    await self._shrink(limit - limit // _SLACK, only_files=False)
                self._note_vain(before, limit)

    def _in_vain(self, size: int, limit: int) -> bool:
        """A look of a moment ago gained nothing, and little has come since."""
        soon = asyncio.get_running_loop().time() < self._vain_until
        return soon and limit == self._vain_limit and size < self._vain_used + max(limit // _SLACK, 1)

    def _note_vain(self, before: int, limit: int) -> None:
        if self._gained or self.used() < before:
            self._vain_until, self._vain_pause = 0.0, _VAIN_S
            return
        self._vain_used, self._vain_limit = self.used() + self.untraced_bytes(), limit
        self._vain_until = asyncio.get_running_loop().time() + self._vain_pause
        self._vain_pause = min(self._vain_pause * 2, _VAIN_MOST_S)

    async def make_room(self, more: int = 0) -> None:
        """Lets go of history until the disk has room again, for `more` bytes too, or nothing is left of it that takes
        a file of its own."""
        async with self._busy:
            loop = asyncio.get_running_loop()
            if loop.time() - self._given_up_at < _NOTHING_LEFT_S:
                return
            if self._scope.missing_room(more) > 0:
                await self._collect_untraced()
            while (missing := self._scope.missing_room(more)) > 0:
                before = self.used()
                await self._shrink(max(before - missing, 0), only_files=True)
                if self.used() == before:
                    self._given_up_at = loop.time()
                    return

    async def recount(self) -> None:
        """Counts anew what is in the trash: once for what was removed before it was counted, as a check later."""
        now: set[NodeId] = set()
        for items in self._past.trash():
            now.update(item.node for item in items)
            with self._db.transaction():
                for item in items:
                    self._note(item.node, item.removed_ms)
            await asyncio.sleep(0)
        after = NodeId(b"")
        while nodes := self._store.past_sizes.trash_nodes(after, _PAGE):
            after = nodes[-1]
            with self._db.transaction():
                for node in nodes:
                    if node not in now:
                        self._note(node, self._scope.now_ms())
            await asyncio.sleep(0)
        with self._db.transaction():
            self._store.set_meta(_COUNTED, b"1")

    def _note(self, node: NodeId, removed_ms: int) -> None:
        state = self._scope.tree.state(node)
        if state is not None:
            note_trash(self._store, state, removed_ms)
        else:
            self._store.past_sizes.set_trash(node, {}, 0)

    # ---- what
    async def _shrink(self, target: int, only_files: bool) -> None:
        rows, before = 0, self.used()
        for page in self._pages(only_files):
            if self.used() <= target:
                break
            if page:
                with self._db.transaction():
                    rows += self._drop(page, target, only_files)
                faults.reach("thinning.dropped", self._store)
            if len(self._let_go) >= _AT_ONCE:
                await self._collect()
            await asyncio.sleep(0)
        await self._collect()
        if rows:
            log.info("history was let go to make room", rows=rows, bytes=before - self.used())

    def _drop(self, page: list[Aged], target: int, only_files: bool) -> int:
        """Drops items of a page until the target is reached, in a transaction. Returns how many rows went."""
        spared, dropped = self._in_use(), 0
        for item in page:
            if self.used() <= target:
                break
            takes_room = item.frees or (item.blob is None and not only_files)
            if not takes_room or spared.has(item):
                continue
            if item.id:
                self._store.past_sizes.drop_version(item.id)
            elif not self._empty(item.node):
                continue
            dropped += 1
            if item.blob is not None:
                self._let_go.add(item.blob)
        return dropped

    def _empty(self, node: NodeId) -> bool:
        """A removed file leaves the trash, and its name is remembered for who restores its folder."""
        item = self._past.trashed(node)
        if item is None:
            return False
        self._store.history.purge_node(node, self._scope.now_ms())
        self._store.past_sizes.note_let_go(node, item.parent, item.name, item.removed_ms)
        return True

    # ---- in which order
    def _pages(self, only_files: bool) -> Iterator[list[Aged]]:
        for level, (stood_ms, every_ms) in enumerate(THINNED):
            after: Cursor | None = self._thinned.get((only_files, level), START)
            while after is not None:
                page, after = self._store.past_sizes.short_lived(after, stood_ms, every_ms, _PAGE)
                yield page
                if after is not None:
                    self._thinned[only_files, level] = after
        yield from self._by_age()

    def _by_age(self) -> Iterator[list[Aged]]:
        """Versions and removed files, the oldest first."""
        version_at, trash_at = START, START
        while True:
            versions = self._store.past_sizes.oldest_versions(version_at, _PAGE)
            trash = self._store.past_sizes.oldest_trash(trash_at, _PAGE)
            if not versions and not trash:
                return
            # Where one of the two has more behind its page, what is younger than that page waits.
            ends = [page[-1].at[0] for page in (versions, trash) if len(page) == _PAGE]
            page = sorted((*versions, *trash), key=lambda item: item.at[0])
            page = [item for item in page if not ends or item.at[0] <= min(ends)]
            yield page
            version_at = max((item.at for item in page if item.id), default=version_at)
            trash_at = max((item.at for item in page if not item.id), default=trash_at)

    # ---- the bytes
    async def _collect_untraced(self) -> None:
        untraced = self._scope.tree.untraced
        self._let_go.update(untraced)
        untraced.clear()
        await self._collect()

    async def _collect(self) -> None:
        let_go = set(self._let_go)
        gone: set[BlobHash] = set()
        for number, blob in enumerate(let_go, 1):
            if not self._store.past_sizes.is_past(blob):
                gone.add(blob)
            if number % _PAGE == 0:
                await asyncio.sleep(0)
        collected = Collected()
        for sync_first in self.collector.steps_for(gone, collected) if gone else ():
            if sync_first:
                await self._db.sync(Pool.FOREGROUND)  # on a full disk a program waits for what this frees
            await asyncio.sleep(0)
        self._gained += collected.files
        self._let_go -= let_go
