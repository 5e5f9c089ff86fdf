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
import sqlite3
from collections.abc import Callable
from typing import Final

import structlog

from holofsd.core.errors import HoloError
from holofsd.core.ids import NodeId
from holofsd.sync.config import SyncConfig
from holofsd.sync.merging import Merger
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

PATIENCE: Final = 60
"""So many times `lost_after`, and a folder is given up though others may have it still."""
REST: Final = 20
"""A pass over very many folders is not repeated before this many times as long as it took."""
SLICE: Final = 200
"""Folders looked at between two turns of the loop."""


class LostFolders:
    """Call `run` once. `heard_all`: whether all that others have shown is here."""

    def __init__(self, volume: LocalVolume, merger: Merger, config: SyncConfig, heard_all: Callable[[], bool]) -> None:
        self._volume = volume
        self._db = volume.store.db
        self._strays = volume.store.nodes.strays
        self._merger = merger
        self._after = config.lost_after
        self._heard_all = heard_all

    async def run(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(max(self._after, REST * took))
            began = asyncio.get_running_loop().time()
            try:
                await self.look()
            except (HoloError, OSError, sqlite3.Error) as error:
                log.warning("what is in folders that nobody knows could not be looked at", exc_info=error)
            took = asyncio.get_running_loop().time() - began

    async def look(self) -> None:
        """One pass; cheap where nothing is to be done."""
        if not self._strays:
            return
        await self._place_due()
        after: NodeId | None = NodeId(b"")
        while after is not None and not self._merger.backlog():
            found, after = self._strays.waiting(after, SLICE)
            heard_all = bool(found) and self._heard_all()
            over = [parent for parent, since_ms in found if self._is_over(since_ms, heard_all)]
            if over:
                self._give_up(over)
                await self._place_due()
            await asyncio.sleep(0)
        self._strays.look_again()

    def _is_over(self, since_ms: int, heard_all: bool) -> bool:
        waited_s = abs(self._volume.now_ms() - since_ms) / 1000  # the distance, for the clock may have been set back
        return waited_s >= self._after and (heard_all or waited_s >= self._after * PATIENCE)

    def _give_up(self, parents: list[NodeId]) -> None:
        with self._db.transaction():
            self._volume.give_up(parents)
        log.info("what is in folders that nobody knows is in lost+found", folders=len(parents))

    async def _place_due(self) -> None:
        """Goes on with folders in which there is more than one transaction places."""
        more = True
        while more:
            with self._db.transaction():
                more = self._volume.place_due()
            await asyncio.sleep(0)
