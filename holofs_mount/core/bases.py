# SPDX-License-Identifier: GPL-3.0-or-later
"""Bases of writes: the version of a file that the same process last read, where another device has since put a newer
one in its place.

Only changes from elsewhere count: between programs of one device the last write wins, as on any local disk.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MAX_VERSIONS: Final = 4_096
_MAX_FILES: Final = 1_024
_MAX_READERS: Final = 64


class ReadTracker:
    """Processes by the version they read, and, by inode, those whose version is no longer the one shown."""

    def __init__(self) -> None:
        self._readers: OrderedDict[bytes, set[int]] = OrderedDict()
        self._stale: OrderedDict[int, dict[int, bytes]] = OrderedDict()

    def has_read(self, ino: int, version: bytes, pid: int) -> None:
        if not pid or not version:
            return
        readers = self._readers.setdefault(version, set())
        self._readers.move_to_end(version)
        if len(readers) < _MAX_READERS:
            readers.add(pid)
        if len(self._readers) > _MAX_VERSIONS:
            self._readers.popitem(last=False)
        stale = self._stale.get(ino)
        if stale is not None:
            stale.pop(pid, None)

    def changed(self, ino: int, previous: bytes, now: bytes, elsewhere: bool) -> None:
        """Notes that the inode shows `now` instead of `previous`."""
        if previous == now:
            return
        up_to_date = self._readers.get(now, set())
        self._forgive(ino, up_to_date)
        readers = self._readers.pop(previous, None)
        if not readers:
            return
        if not elsewhere:
            self._readers.setdefault(now, set()).update(readers)
            return
        stale = self._stale.setdefault(ino, {})
        self._stale.move_to_end(ino)
        for pid in readers - up_to_date:
            stale.setdefault(pid, previous)
        if len(self._stale) > _MAX_FILES:
            self._stale.popitem(last=False)

    def _forgive(self, ino: int, pids: set[int]) -> None:
        """Takes processes out that had read the version shown now before its news came."""
        stale = self._stale.get(ino)
        if stale:
            for pid in pids:
                stale.pop(pid, None)

    def any_stale(self, ino: int) -> bool:
        return bool(self._stale.get(ino))

    def base(self, ino: int, pid: int) -> bytes:
        """The version to name as the base of a write by this process; empty: the one shown."""
        return self._stale.get(ino, {}).get(pid, b"")

    def has_written(self, ino: int, pid: int) -> None:
        """Notes that the write of a process became the version shown, or a conflict copy: it goes on from there."""
        stale = self._stale.get(ino)
        if stale is not None:
            stale.pop(pid, None)
