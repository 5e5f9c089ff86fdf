# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared parts of one volume's filesystem: the volume, who has what open, and how a change is made."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from holofsd.core.errors import NoSpace, ReadOnly
from holofsd.core.ids import Ino, NodeId
from holofsd.fs.ports import ContentSource
from holofsd.fs.settings import FsSettings
from holofsd.fs.shared.handles import RegisteredHandles
from holofsd.fs.shared.lineage import Lineage
from holofsd.fs.types import Attachment
from holofsd.tree.local import LocalVolume

_MARGIN = 256 << 20
"""Bytes above the reserve from which on history makes room, where it can; on a small disk an eighth of it."""
_PATIENCE = 20.0
"""Seconds for which an operation waits for that before it is refused."""


@dataclass(eq=False, slots=True)
class Origin:
    """Origin of a change: who made it, and what the answer to it shows anyway. Its own Watch stream carries only the
    rest."""

    attachment: Attachment | None
    names: set[tuple[NodeId, bytes]] = field(default_factory=set)
    inodes: set[Ino] = field(default_factory=set)
    written: set[Ino] = field(default_factory=set)
    """Inodes whose bytes the origin wrote itself: its stream carries only their new attributes."""


class Scope:
    """One volume as all rooms of `fs` share it: stores, tree, settings, transactions, room on the disk."""

    def __init__(
        self, volume: LocalVolume, remote: ContentSource, settings: FsSettings, now_ns: Callable[[], int]
    ) -> None:
        self.volume = volume
        self.store = volume.store
        self.db = volume.store.db
        self.nodes = volume.store.nodes
        self.tree = volume.tree
        self.remote = remote
        self.settings = settings
        self.now_ns = now_ns
        self.files = RegisteredHandles()
        self.lineage = Lineage(volume.current_dot)
        self._margin = 0
        self.refused_since_ms = 0
        """Since when there is less room than the reserve, as far as it was noticed; 0: there is room."""
        self.on_tight: Callable[[], None] = lambda: None
        """Called when a write finds little more room than the reserve."""
        self.relieve: Callable[[int], Awaitable[None]] = _nothing_to_give
        """Makes room for so many bytes beyond the reserve, by letting go of history, if there is any."""

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def publication_hold_ms(self) -> int:
        """The time until which a file that was just created or emptied is held back from publication, in ms."""
        return self.now_ms() + int(self.settings.hold * 1000)

    # ---- changes
    @contextmanager
    def change(self, att: Attachment | None, needs_space: bool = True) -> Iterator[None]:
        """A transaction of an attachment; None: of the daemon itself. Raises ReadOnly and NoSpace at the beginning."""
        if att is not None:
            self.require_writable(att)
        if needs_space:
            self.require_space()
        with full_disk_as_no_space(), self.db.transaction():
            yield

    def require_writable(self, att: Attachment) -> None:
        if att.read_only or not self.remote.can_write:
            raise ReadOnly("This volume can only be read here.")

    # ---- room
    async def room(self, more: int = 0) -> None:
        """Makes room before an operation that needs `more` bytes: where it would be refused, history gives way first.
        Raises NoSpace."""
        if self.free() < self.settings.reserve_bytes + more:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self.relieve(more)
        self.require_space(more)

    def require_space(self, more: int = 0) -> None:
        """Room for `more` bytes and the reserve."""
        left = self.free() - self.settings.reserve_bytes - more
        if left < self._margin:
            self.on_tight()
        if left < 0:
            self.note_space()
            raise NoSpace("The disk that holds HoloFS's state is almost full: make room there, then try again.")

    def free(self) -> int:
        """Bytes that the disk has left now. A look costs two microseconds; an older one accepts what does not fit."""
        found = os.statvfs(self.store.directory)
        self._margin = min(_MARGIN, found.f_blocks * found.f_frsize // 8)
        return found.f_bavail * found.f_frsize

    def missing_room(self, more: int = 0) -> int:
        """Bytes to be freed until there is room again, with some to spare; 0 or less: there is."""
        free = self.free()
        wanted = self.settings.reserve_bytes + more
        return wanted + 2 * self._margin - free if free < wanted + self._margin else 0

    def note_space(self) -> None:
        """Notices since when there is less than the reserve."""
        if self.free() >= self.settings.reserve_bytes:
            self.refused_since_ms = 0
        elif not self.refused_since_ms:
            self.refused_since_ms = self.now_ms()


async def _nothing_to_give(_more: int) -> None:
    return


@contextmanager
def full_disk_as_no_space() -> Iterator[None]:
    """Turns the ways in which a full disk shows into NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("The disk that holds HoloFS's state is full: make room there, then try again.") from error
        raise
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise NoSpace("The disk that holds HoloFS's state is full: nothing was changed.") from error
        raise
