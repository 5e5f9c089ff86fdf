# SPDX-License-Identifier: GPL-3.0-or-later
"""Repetition of what this device passed on without seals, where others do not believe it without them.

That is so after an upgrade of this device, and where another author says that more of its versions have seals than it
said before. Seals that its records from others hold already come with it; what nobody can prove it says as its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Final

import structlog

from holofsd.codec.records import decode_state
from holofsd.core.errors import HoloError, Refused
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.sealing import foreign
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.members import Members
from holofsd.sync.vetting import Vetting
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

DUE: Final = "seal-again"
"""Meta value: the last key that was looked at; absent when all was."""
SLICE: Final = 100
EVERY: Final = 10.0
"""Seconds between looks whether something is due."""
REST: Final = 4
"""After a slice the next one waits this many times as long as it took: others decide how often this is due."""


async def keep_sealed(volume: LocalVolume, members: Members, vetting: Vetting) -> None:
    """Seals again whenever it is due, until it is cancelled."""
    while True:
        try:
            await seal_again(volume, members, vetting)
        except (HoloError, sqlite3.Error) as error:
            log.warning("what was passed on without seals could not be looked at", exc_info=error)
        await asyncio.sleep(EVERY)


async def seal_again(volume: LocalVolume, members: Members, vetting: Vetting) -> None:
    """Goes on where it was when the daemon ended. A reader says nothing: it does so once it may write."""
    clock = asyncio.get_running_loop().time
    while members.can_write:
        after = volume.store.meta(DUE)
        if after is None:
            return
        began = clock()
        _slice(volume, vetting, after)
        await asyncio.sleep(REST * (clock() - began))


def _slice(volume: LocalVolume, vetting: Vetting, after: bytes) -> None:
    store = volume.store
    with store.db.transaction():
        rows = store.record_slices.by_own_authors(after, NODE_KEY_LENGTH, SLICE)
        volume.say_again([NodeId(key) for key, author, payload in rows if _lacks_seals(author, payload, vetting)])
        if rows:
            store.set_meta(DUE, rows[-1][0])
        else:
            store.take_meta(DUE)


def _lacks_seals(author: AuthorId, payload: bytes, vetting: Vetting) -> bool:
    try:
        state = decode_state(payload)
    except Refused:
        return False
    return any(not version.seal and vetting.should_be_sealed(version.dot) for version in foreign(state, author))
