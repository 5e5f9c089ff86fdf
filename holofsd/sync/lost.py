# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides when an unknown folder is not waited for any more: what is in it stands in `lost+found` then.

The rule is in docs/model.md#projection.

Usually such a folder is on its way: its record comes in another page, or from another device. It cannot come any more
when this device holds all that the others have shown, and everything received is in the tree: whoever put something
into the folder knew it. A member can claim for ever that there is more; so after a while the wait ends all the same.
Nothing is lost by giving up too early: nothing is written, and when the folder comes, what is in it moves there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from holofsd.core.ids import NodeId
from holofsd.sync.config import SyncConfig
from holofsd.sync.merging import Merger
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

MOST: Final = 500
"""Folders given up in one transaction."""
PATIENCE: Final = 60
"""So many times `lost_after`, and a folder is given up though others may have it still."""


class LostFolders:
    """Call `run` once. `heard_all`: whether all that others have shown is here."""

    def __init__(self, volume: LocalVolume, merger: Merger, config: SyncConfig, heard_all: Callable[[], bool]) -> None:
        self._volume = volume
        self._strays = volume.store.nodes.strays
        self._merger = merger
        self._after = config.lost_after
        self._heard_all = heard_all

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._after)
            more = True
            while more:
                more = self.look() == MOST
                await asyncio.sleep(0)

    def look(self) -> int:
        """How many folders were given up; not more than MOST at once."""
        if not self._strays or self._merger.backlog():
            return 0
        found = [parent for parent, since_ms in self._strays.waited_for(MOST) if self._is_over(since_ms)]
        if found:
            self._give_up(found)
        return len(found)

    def _is_over(self, since_ms: int) -> bool:
        waited_s = abs(self._volume.now_ms() - since_ms) / 1000  # the distance, for the clock may have been set back
        return waited_s >= self._after and (waited_s >= self._after * PATIENCE or self._heard_all())

    def _give_up(self, parents: list[NodeId]) -> None:
        with self._volume.store.db.transaction():
            self._volume.give_up(parents)
        log.info("what is in folders that nobody knows is in lost+found", folders=len(parents))
