# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that the kernel still follows to an inode although they lead elsewhere by now.

The kernel drops a name when it gets the lock of the folder, which a program may hold. Until then an open or a truncate
by that name arrives here as one of the old inode, and would overwrite a file that was renamed away. ESTALE makes the
kernel look the whole path up again and repeat the operation; by then the name leads where it should.
"""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Inode:
    names: int = 0
    """Names that the kernel was told to drop, and has not dropped yet."""
    refused: set[int] = field(default_factory=set)
    """Threads that were refused, and look their path up again."""


class Undropped:
    """Undropped names by inode. The loop calls `begin` and `check`, the thread that notifies the kernel calls `end`."""

    def __init__(self) -> None:
        self._inodes: dict[int, _Inode] = {}
        self._found: dict[int, int] = {}
        """Inode to which the last lookup of each thread led."""
        self._lock = threading.Lock()

    def begin(self, ino: int) -> None:
        """The kernel is being told that a name of this inode leads elsewhere."""
        with self._lock:
            inode = self._inodes.setdefault(ino, _Inode())
            inode.names += 1
            inode.refused.clear()

    def end(self, ino: int) -> None:
        """Notes that the kernel has dropped that name."""
        with self._lock:
            inode = self._inodes[ino]
            inode.names -= 1
            if not inode.names:
                del self._inodes[ino]
            if not self._inodes:
                self._found.clear()

    def found(self, ino: int, thread: int) -> None:
        """A lookup of this thread led to the inode: what the thread does next with it is meant."""
        if self._inodes:
            with self._lock:
                self._found[thread] = ino

    def check(self, ino: int, thread: int) -> None:
        """Raises ESTALE, once for each thread: the kernel repeats the operation after a new lookup.

        What a thread has just looked up is not refused: the kernel repeats an operation once only.
        """
        if not self._inodes:
            return
        with self._lock:
            inode = self._inodes.get(ino)
            if inode is None or thread in inode.refused or self._found.get(thread) == ino:
                return
            inode.refused.add(thread)
        raise OSError(errno.ESTALE, "a name of this file leads elsewhere: look it up again")
