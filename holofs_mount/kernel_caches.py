# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel caches: the names and inodes that the kernel holds, and notifications that it must drop some."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from holofs_mount.undropped import Undropped


class KnownNames:
    """Inodes that the kernel holds, each with the names it was given, so that all can be invalidated."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._names: dict[int, set[tuple[int, bytes]]] = {}
        self._led: dict[tuple[int, bytes], int] = {}

    def add(self, ino: int, parent: int, name: bytes) -> None:
        self._counts[ino] = self._counts.get(ino, 0) + 1
        self._names.setdefault(ino, set()).add((parent, name))
        self._led[(parent, name)] = ino

    def forget(self, ino: int, count: int) -> None:
        left = self._counts.get(ino, 0) - count
        if left > 0:
            self._counts[ino] = left
            return
        self._counts.pop(ino, None)
        for name in self._names.pop(ino, ()):
            if self._led.get(name) == ino:
                del self._led[name]

    def at(self, parent: int, name: bytes) -> int | None:
        """Inode to which the kernel may follow this name."""
        return self._led.get((parent, name))

    def names_of(self, ino: int) -> tuple[tuple[int, bytes], ...]:
        """Names under which the kernel was given this inode; some may lead elsewhere by now."""
        return tuple(name for name in self._names.get(ino, ()) if self._led.get(name) == ino)

    def everything(self) -> tuple[list[int], list[tuple[int, bytes]]]:
        return list(self._counts), [name for names in self._names.values() for name in names]


class Notifier(Protocol):
    """The two notifications, as pyfuse3 has them. Both may block until an operation of the loop is answered."""

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None: ...
    def invalidate_entry(self, inode_p: int, name: bytes) -> None: ...


class Channel(Notifier, Protocol):
    """Notifications that one thread sends, which calls `enter` first, while `entered` waits for that."""

    def enter(self, keep: int) -> None:
        """`keep`: a descriptor that the thread writes to."""
        ...

    def entered(self) -> None: ...


class KernelCaches:
    """Invalidates names and inodes in the kernel, from a thread of its own and in order."""

    def __init__(self, known: KnownNames, tell: Channel, root: int) -> None:
        self._known = known
        self._tell = tell
        self._root = root
        self.undropped = Undropped()
        self._dropped: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """The thread has no other way to the loop: it has a table of descriptors of its own."""
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="holofs-kernel", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._tell.entered()
        asyncio.get_running_loop().add_reader(self._wake, self._call_back)

    def stop(self) -> None:
        """Ends the thread. Called after the session ended: the kernel answers every notification then."""
        self._queue.put(None)
        asyncio.get_running_loop().remove_reader(self._wake)
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            os.close(self._wake)

    def inode_changed(self, ino: int, content: bool) -> None:
        self._queue.put(lambda: self._tell.invalidate_inode(ino, attr_only=not content))

    def entry_changed(self, parent: int, name: bytes) -> None:
        ino = self._known.at(parent, name)
        if ino is None:
            self._queue.put(lambda: self._tell.invalidate_entry(parent, name))
            return
        self.undropped.begin(ino)
        self._queue.put(lambda: self._drop(parent, name, ino))

    def when_dropped(self, then: Callable[[], None]) -> None:
        self._queue.put(lambda: self._is_dropped(then))

    def everything_changed(self) -> None:
        inodes, names = self._known.everything()
        for parent, name in names:
            self.entry_changed(parent, name)
        for ino in [self._root, *inodes]:
            self.inode_changed(ino, content=True)

    # ---- in the thread
    def _drop(self, parent: int, name: bytes, ino: int) -> None:
        try:
            self._tell.invalidate_entry(parent, name)
        finally:
            self.undropped.end(ino)

    def _is_dropped(self, then: Callable[[], None]) -> None:
        self._dropped.append(then)
        os.eventfd_write(self._wake, 1)

    # ---- in the loop
    def _call_back(self) -> None:
        os.eventfd_read(self._wake)
        while self._dropped:
            self._dropped.popleft()()

    def _run(self) -> None:
        self._tell.enter(self._wake)
        while (notify := self._queue.get()) is not None:
            # ENOENT: the kernel does not know it. Anything else means that the mount is ending.
            with contextlib.suppress(OSError):
                notify()
