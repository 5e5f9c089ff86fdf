# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps verified copies of `device.db` and of each volume's index, at most a day old. In a thread of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from holofsd.check.device import DEVICE
from holofsd.check.mending import INDEX, back_up, backup_time, is_behind
from holofsd.core.errors import DamagedIndex, HoloError
from holofsd.core.ids import VolumeId
from holofsd.store.threads import Pool, in_thread

_log = structlog.get_logger(__name__)

FIRST_LOOK_S: Final = 60.0
"""After the start: then others have waited long enough for the disk."""
LOOK_EVERY_S: Final = 600.0
MOST_AGE_S: Final = 20 * 3600.0
"""So that it is not a day old when it is needed, however long the next look takes."""


class Backups:
    """`open_volumes` gives the volumes in use with their directories; `damaged` hears of an index that is not sound."""

    def __init__(
        self,
        state: Path,
        open_volumes: Callable[[], Iterable[tuple[VolumeId, Path]]],
        damaged: Callable[[VolumeId, str], None],
    ) -> None:
        self._state = state
        self._open_volumes = open_volumes
        self._damaged = damaged

    async def run(self) -> None:
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            await self.look(MOST_AGE_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, most_age_s: float) -> None:
        """Backs up every database that changed since a backup that is so old."""
        if _is_due(self._state, DEVICE, most_age_s):
            await self._back_up(self._state, DEVICE, lambda why: _log.error("device.db is damaged", why=why))
        for volume, directory in list(self._open_volumes()):
            if _is_due(directory, INDEX, most_age_s):
                await self._back_up(directory, INDEX, partial(self._damaged, volume))

    async def _back_up(self, directory: Path, name: str, damaged: Callable[[str], None]) -> None:
        try:
            await in_thread(Pool.BACKGROUND, back_up, directory, name)
        except DamagedIndex as error:
            damaged(error.message)
        except (HoloError, OSError) as error:
            _log.warning("a backup could not be made now", of=name, folder=directory.name[:8], why=str(error))


def _is_due(directory: Path, name: str, most_age_s: float) -> bool:
    age = time.time() - backup_time(directory, name)
    return (age > most_age_s or age < 0) and is_behind(directory, name)
