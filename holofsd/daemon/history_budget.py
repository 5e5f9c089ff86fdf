# SPDX-License-Identifier: GPL-3.0-or-later
"""Budget of history and trash of all volumes on the disk, and the making of room where it is short.

A volume with a size of its own keeps so much for itself. The others share what the device keeps, which is what a person
said or `core.retention.default_budget`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from holofsd.core.errors import BadArgument
from holofsd.core.ids import VolumeId
from holofsd.core.retention import default_budget, fair_shares
from holofsd.fs.past.retention import Retention
from holofsd.store.device import DeviceStore

_MAX: Final = "history_max"
"""Meta value in device.db: bytes, where a person said it."""
_MOST: Final = 1 << 62
_FOR_S: Final = 0.5
"""Seconds for which a division is good: each volume asks once a second."""


class HistoryBudget:
    """Budget of history and trash of the device, shared out among its volumes."""

    def __init__(self, store: DeviceStore, state: Path, retentions: Callable[[], dict[VolumeId, Retention]]) -> None:
        """`retentions`: of the open volumes."""
        self._store = store
        self._state = state
        self._retentions = retentions
        self._shares: dict[VolumeId, int] = {}
        self._shared_at = -_FOR_S

    @property
    def own_max(self) -> int | None:
        told = self._store.meta(_MAX)
        return int(told) if told else None

    def set_max(self, size: int | None) -> None:
        """None: the default. Raises BadArgument."""
        if size is not None and not 0 <= size <= _MOST:
            raise BadArgument("What history may take is a size, and not below 0.")
        with self._store.db.transaction():
            self._store.set_meta(_MAX, b"" if size is None else str(size).encode())
        self._shared_at = -_FOR_S

    def limit(self) -> int:
        """Bytes for all volumes without a size of their own."""
        own = self.own_max
        if own is not None:
            return own
        return self._least(sum(retention.live_bytes() for retention in self._sharing().values()))

    def _least(self, live: int = 0) -> int:
        disk = os.statvfs(self._state)
        return default_budget(disk.f_blocks * disk.f_frsize, live)

    def used(self) -> int:
        """Bytes that those take of it."""
        return sum(retention.budget.used() for retention in self._sharing().values())

    def share(self, volume: VolumeId) -> int:
        """Bytes for one of them, now."""
        now = time.monotonic()
        if now - self._shared_at > _FOR_S or volume not in self._shares:
            used = {id: retention.budget.used() for id, retention in self._sharing().items()}
            used.setdefault(volume, 0)
            budget = self._least() if self.own_max is None else self.own_max
            if sum(used.values()) > budget:
                budget = self.limit()  # adds up what all files take, which takes a while the first time
            self._shares, self._shared_at = fair_shares(budget, used), now
        return self._shares[volume]

    def _sharing(self) -> dict[VolumeId, Retention]:
        return {id: retention for id, retention in self._retentions().items() if retention.policy.max_bytes is None}

    async def enforce(self) -> None:
        """Enforces the budget at once, in all volumes."""
        self._shared_at = -_FOR_S
        for retention in list(self._retentions().values()):
            await retention.budget.enforce()

    async def relieve(self, more: int) -> None:
        """The volume with the most history makes room first, whichever of them needs it."""
        retentions = sorted(self._retentions().values(), key=lambda retention: retention.budget.used(), reverse=True)
        for retention in retentions:
            await retention.budget.make_room(more)
