# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk for what is being fetched: one transfer does not count on the room that another one will take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar
from weakref import WeakSet

from holofsd.core.errors import NoSpace


class PromisedRoom:
    """Room of one transfer, all of which are in this process, which has one state directory. `reserve`: bytes of the
    disk that stay free."""

    _all: ClassVar[WeakSet[PromisedRoom]] = WeakSet()

    def __init__(self, directory: Path, reserve: int) -> None:
        self._directory = directory
        self._reserve = reserve
        self.bytes = 0
        """Bytes that are still to be written."""
        self.file: object | None = None
        """What it writes to, if others may write the same there: that takes room once."""
        self._all.add(self)

    def claim(self, needed: int) -> None:
        """Sets the bytes that are still to be written. Raises NoSpace where there is no room for them."""
        disk = os.statvfs(self._directory)
        others = sum(other.bytes for other in self._all if not self._is_same(other))
        if disk.f_bavail * disk.f_frsize < needed + others + self._reserve:
            raise NoSpace("The disk is nearly full: content from other devices waits until there is room.")
        self.bytes = needed

    def give_up(self) -> None:
        """Notes that nothing is to be written any more."""
        self.bytes, self.file = 0, None

    def _is_same(self, other: PromisedRoom) -> bool:
        return other is self or (self.file is not None and other.file is self.file)
