# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing of what no rule of a `.holofsignore` matches any more: in the background, slice by slice, over restarts.

The change sets a mark in its own transaction: of one node, or of all. The mark of all goes in the transaction that
looks at the last ignored node, so a walk that a crash ends is begun again, and finds what is left.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Final

import structlog

from holofsd.core.errors import HoloError
from holofsd.core.ids import NodeId
from holofsd.sync.config import SyncConfig
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

SLICE: Final = 50
"""Nodes looked at in one transaction."""
SHARE: Final = 3
"""After a slice the next one waits this many times as long as it took: most of the loop is for the mounts."""
RETRY: Final = 1.0
MOST_RESTS: Final = 10
"""A walk does not wait for longer than so many times `rules_rest`, though there are new changes all the time."""


class Releasing:
    """Task that looks again at ignored nodes after rules or places changed. Call `run` once."""

    def __init__(self, volume: LocalVolume, config: SyncConfig) -> None:
        self._volume = volume
        self._db = volume.store.db
        self._rest = config.rules_rest
        self._first_change = self._last_change = float("-inf")
        self._wake = asyncio.Event()
        volume.ignoring.on_changed = self._changed

    def _changed(self) -> None:
        self._last_change = asyncio.get_running_loop().time()
        if not self._wake.is_set():
            self._first_change = self._last_change
        self._wake.set()

    async def run(self) -> None:
        if self._volume.store.ignored.count_doubtful():
            self._changed()
        while True:
            await self._wake.wait()
            await self._rested()
            self._wake.clear()
            try:
                await self._walk()
            except (HoloError, OSError, sqlite3.Error) as error:
                log.warning("files that are ignored no more have to wait", exc_info=error)
                await asyncio.sleep(RETRY)
                self._wake.set()

    async def _rested(self) -> None:
        """Returns when the rules have stood for a while: a program that saves them may empty or remove them first."""
        loop = asyncio.get_running_loop()
        latest = self._first_change + MOST_RESTS * self._rest
        while True:
            left = min(self._last_change + self._rest, latest) - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _walk(self) -> None:
        loop = asyncio.get_running_loop()
        after: NodeId | None = NodeId(b"")
        while after is not None and not self._wake.is_set():
            began = loop.time()
            with self._db.transaction():
                after = self._volume.keeping_back.look_again(after, SLICE)
            await asyncio.sleep(SHARE * (loop.time() - began))
