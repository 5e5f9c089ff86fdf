# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel was told, and how it is told that something changed."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol


class KnownNames:
    """The inodes the kernel holds, each with the names it was told, to take them all back if need be."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._names: dict[int, set[tuple[int, bytes]]] = {}

    def add(self, ino: int, parent: int, name: bytes) -> None:
        self._counts[ino] = self._counts.get(ino, 0) + 1
        self._names.setdefault(ino, set()).add((parent, name))

    def forget(self, ino: int, count: int) -> None:
        left = self._counts.get(ino, 0) - count
        if left > 0:
            self._counts[ino] = left
            return
        self._counts.pop(ino, None)
        self._names.pop(ino, None)

    def everything(self) -> tuple[list[int], list[tuple[int, bytes]]]:
        return list(self._counts), [name for names in self._names.values() for name in names]


class Notifier(Protocol):
    """The two notifications, as pyfuse3 has them. Both may block until an operation of the loop is answered."""

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None: ...
    def invalidate_entry(self, inode_p: int, name: bytes) -> None: ...


class Channel(Notifier, Protocol):
    """Notifications that one thread sends, which calls `enter` first, while `entered` waits for that."""

    def enter(self) -> None: ...
    def entered(self) -> None: ...


class KernelCaches:
    """Tells the kernel, from a thread of its own and in order, what it must forget."""

    def __init__(self, known: KnownNames, tell: Channel, root: int) -> None:
        self._known = known
        self._tell = tell
        self._root = root
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="holofs-kernel", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._tell.entered()

    def stop(self) -> None:
        """After the session ended; the kernel answers every notification then."""
        self._queue.put(None)
        self._thread.join(timeout=5.0)

    def inode_changed(self, ino: int, content: bool) -> None:
        self._queue.put(lambda: self._tell.invalidate_inode(ino, attr_only=not content))

    def entry_changed(self, parent: int, name: bytes) -> None:
        self._queue.put(lambda: self._tell.invalidate_entry(parent, name))

    def everything_changed(self) -> None:
        inodes, names = self._known.everything()
        for parent, name in names:
            self.entry_changed(parent, name)
        for ino in [self._root, *inodes]:
            self.inode_changed(ino, content=True)

    def _run(self) -> None:
        self._tell.enter()
        while (notify := self._queue.get()) is not None:
            # ENOENT: the kernel does not know it. Anything else means that the mount is ending.
            with contextlib.suppress(OSError):
                notify()
