# SPDX-License-Identifier: GPL-3.0-or-later
"""What all parts of one volume's filesystem share: the volume, who has what open, and how a change is made."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from holofsd.core.errors import NoSpace, ReadOnly
from holofsd.core.ids import Ino, NodeId
from holofsd.fs.handles import OpenFiles
from holofsd.fs.ports import ContentSource
from holofsd.fs.settings import FsSettings
from holofsd.fs.succession import Succession
from holofsd.fs.types import Attachment
from holofsd.tree.local import LocalVolume

_FREE_FOR = 0.05
"""Seconds for which a look at the free space is good: small changes come faster than that."""


@dataclass(eq=False, slots=True)
class Origin:
    """Who made a change, and what the answer to it shows anyway: its own Watch stream carries only the rest."""

    attachment: Attachment | None
    names: set[tuple[NodeId, bytes]] = field(default_factory=set)
    inodes: set[Ino] = field(default_factory=set)
    written: set[Ino] = field(default_factory=set)
    """Whose bytes it wrote itself: it is told of new attributes only."""


class Scope:
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
        self.files = OpenFiles()
        self.succession = Succession(volume.current_dot)
        self._free, self._free_at = 0, -_FREE_FOR

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    # ---- changes
    @contextmanager
    def change(self, att: Attachment | None, needs_space: bool = True) -> Iterator[None]:
        """A transaction made for somebody. Raises ReadOnly and NoSpace before anything happens."""
        if att is not None:
            self.require_writable(att)
        if needs_space:
            self.require_space()
        with full_disk_is_said(), self.db.transaction():
            yield

    def require_writable(self, att: Attachment) -> None:
        if att.read_only or not self.remote.can_write:
            raise ReadOnly("This volume can only be read here.")

    def require_space(self, more: int = 0) -> None:
        """Room for `more` bytes and the reserve."""
        now = time.monotonic()
        if more or now - self._free_at > _FREE_FOR:
            found = os.statvfs(self.store.directory)
            self._free, self._free_at = found.f_bavail * found.f_frsize, now
        if self._free < self.settings.reserve_bytes + more:
            raise NoSpace("The disk that holds HoloFS's state is almost full: make room there, then try again.")


@contextmanager
def full_disk_is_said() -> Iterator[None]:
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
