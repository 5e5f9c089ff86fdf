# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: history and trash are kept as long as the policy says; content that nothing needs is deleted.

In short slices with pauses between them, so that mounts do not notice.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from holofsd.core.errors import HoloError
from holofsd.core.retention import DAY_MS, HistoryPolicy, decode_policy, default_budget
from holofsd.fs.past.budget import Budget, InUse
from holofsd.fs.past.trash import Trash
from holofsd.fs.shared.scope import Scope
from holofsd.store.history import HistoryCounts
from holofsd.store.past_sizes import Totals
from holofsd.store.threads import Pool
from holofsd.tree.garbage import GRACE_MS, Collected, GarbageCollector
from holofsd.tree.past import Past

log = structlog.get_logger(__name__)

_POLICY: Final = "history_policy"
_THINNED: Final = "history_thinned_ms"
_SLICE: Final = 200
_FIRST: Final = 600.0
_EVERY: Final = 6 * 3600.0
_PAUSE: Final = 0.02


class Retention:
    """Policy by which history and trash of one volume are kept, and the tasks that delete what is due."""

    def __init__(self, scope: Scope, past: Past, trash: Trash, in_use: Callable[[], InUse]) -> None:
        self._scope = scope
        self._store = scope.store
        self._db = scope.db
        self._trash = trash
        self._collecting = asyncio.Lock()
        self.collector = GarbageCollector(scope.volume)
        self.share: Callable[[], int] = self._own_default
        """Bytes that history and trash may take where the policy does not say it. Set by the daemon."""
        self.budget = Budget(scope, past, self.limit, in_use)
        scope.on_tight = self.budget.wake
        scope.relieve = self.budget.make_room

    # ---- policy
    @property
    def policy(self) -> HistoryPolicy:
        return decode_policy(self._store.meta(_POLICY))

    def set_policy(self, policy: HistoryPolicy) -> None:
        """Sets the policy of this volume on this device. Takes effect with the next `tidy`."""
        encoded = policy.checked().encode()
        with self._db.transaction():
            self._store.set_meta(_POLICY, encoded)
            # A shorter time may thin days that were done with before.
            self._store.set_meta(_THINNED, b"0")

    def belongs_to(self, share: Callable[[], int], relieve: Callable[[int], Awaitable[None]]) -> None:
        """This volume is one of several on a device, which divides its budget and makes room with all of them."""
        self.share = share
        self._scope.relieve = relieve

    def limit(self) -> int:
        """Bytes that history and trash of this volume may take now."""
        own = self.policy.max_bytes
        return self.share() if own is None else own

    def _own_default(self) -> int:
        disk = os.statvfs(self._store.directory)
        size = disk.f_blocks * disk.f_frsize
        least = default_budget(size, 0)
        # What all files take is added up only where it matters, for the first time takes a while.
        return least if self.budget.used() <= least else default_budget(size, self.live_bytes())

    def live_bytes(self) -> int:
        """Size of what the files of this volume contain."""
        return self._scope.tree.live_bytes()

    def sizes(self) -> Totals:
        return self._store.past_sizes.totals()

    def garbage(self) -> int:
        """Bytes that nothing needs, in their day of grace."""
        return self._store.past_sizes.garbage() + self.budget.untraced_bytes()

    def counts(self) -> HistoryCounts:
        return self._store.history.counts()

    # ---- work
    async def run(self) -> None:
        """Tidies and collects from time to time, until it is cancelled."""
        await asyncio.sleep(_FIRST)
        while True:
            try:
                await self.tidy(_PAUSE)
                collected = await self.collect(pause=_PAUSE)
                if collected.files:
                    log.info("content that nothing needs is gone", files=collected.files, bytes=collected.bytes)
            except (HoloError, OSError, sqlite3.Error) as error:
                log.error("history could not be tidied", exc_info=error)
            await asyncio.sleep(_EVERY)

    async def tidy(self, pause: float = 0.0) -> None:
        """Applies the policy to history and trash. Their bytes go with the next `collect`."""
        history, policy = self._store.history, self.policy
        now_ms = self._scope.now_ms()
        await self._in_slices(lambda: history.purge_before(policy.purge_before_ms(now_ms), _SLICE), pause)
        await self._thin(policy.thin_before_ms(now_ms), pause)
        await self._trash.empty(removed_before_ms=policy.purge_before_ms(now_ms))
        await self.budget.recount()

    async def _thin(self, before_ms: int, pause: float) -> None:
        history = self._store.history
        oldest = history.oldest_ms()
        done = int(self._store.meta(_THINNED) or b"0")
        day = max(done, (oldest if oldest is not None else before_ms) // DAY_MS * DAY_MS)
        while day < before_ms:
            start = day
            await self._in_slices(lambda start=start: history.thin(start, start + DAY_MS, _SLICE), pause)  # type: ignore[misc]
            day += DAY_MS
        with self._db.transaction():
            self._store.set_meta(_THINNED, str(before_ms).encode())

    async def _in_slices(self, work: Callable[[], int], pause: float) -> None:
        """Repeats `work`, each time in a transaction of its own, until there is nothing left to do."""
        while True:
            with self._db.transaction():
                done = work()
            if not done:
                return
            await asyncio.sleep(pause)

    async def collect(self, grace_ms: int = GRACE_MS, pause: float = 0.0) -> Collected:
        """One pass of garbage collection."""
        collected = Collected()
        async with self._collecting:
            for sync_first in self.collector.steps(collected, grace_ms):
                if sync_first:
                    # Power loss must not bring back rows whose files are gone.
                    await self._db.sync(Pool.BACKGROUND)
                await asyncio.sleep(pause)
        return collected
