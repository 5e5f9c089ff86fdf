# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel to the kernel for one thread alone, which sends it notifications.

The kernel makes the sender of a notification wait for operations of programs, which this process has to answer. A
process that is killed in that moment cannot end: its thread waits for an operation that is never answered, and so keeps
the connection open, which keeps the operation waiting. So that thread has a table of descriptors for itself, with a
clone of the connection in it and nothing else. When the process is killed, the connection on which it reads requests is
closed in spite of the thread. Then operations that were being answered fail, the thread ends, and the clone is closed
with it.

An operation that the process had not read yet is not freed like this; the daemon ends such a connection.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import threading
from contextlib import suppress
from typing import Final

from holofs_mount.kernel_caches import Notifier

_DEVICE: Final = "/dev/fuse"
_IOC_CLONE: Final = 0x8004E500
"""FUSE_DEV_IOC_CLONE of linux/fuse.h."""
_CLONE_FILES: Final = 0x400
_HEADER: Final = struct.Struct("=IiQ")
"""fuse_out_header: length, code of the notification, 0."""
_INODE: Final = struct.Struct("=Qqq")
_ENTRY: Final = struct.Struct("=QII")
_INVAL_INODE: Final = 2
_INVAL_ENTRY: Final = 3
_ENTER_SECONDS: Final = 10.0
_FIRST_FREE: Final = 3
"""Standard input, output and error stay."""


class KernelChannel:
    """Notifies through the binding until a thread has called `enter`, then through a clone of the connection."""

    def __init__(self, binding: Notifier) -> None:
        self._binding = binding
        self._clone = _clone_of(_session())
        self._entered = threading.Event()

    def enter(self, keep: int) -> None:
        """Gives the calling thread a channel of its own. It keeps the descriptor `keep`, to write to."""
        # Signals belong to the main thread: Python's handler writes to a descriptor that this thread will not have.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if self._clone >= 0 and _unshare_files() != 0:
            os.close(self._clone)
            self._clone = -1
        if self._clone >= 0:
            first, second = sorted((self._clone, keep))
            os.closerange(_FIRST_FREE, first)
            os.closerange(first + 1, second)
            os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
        self._entered.set()

    def entered(self) -> None:
        """Waits until the thread has entered, and closes what only that one shall have. Called by its starter."""
        clone = self._clone
        if self._entered.wait(_ENTER_SECONDS) and clone >= 0 and self._clone >= 0:
            os.close(clone)

    def invalidate_inode(self, inode: int, attr_only: bool = False) -> None:
        if self._clone < 0:
            self._binding.invalidate_inode(inode, attr_only=attr_only)
        else:
            self._write(_INVAL_INODE, _INODE.pack(inode, -1 if attr_only else 0, 0))

    def invalidate_entry(self, inode_p: int, name: bytes) -> None:
        if self._clone < 0:
            self._binding.invalidate_entry(inode_p, name)
        else:
            self._write(_INVAL_ENTRY, _ENTRY.pack(inode_p, len(name), 0) + name + b"\0")

    def _write(self, code: int, body: bytes) -> None:
        os.write(self._clone, _HEADER.pack(_HEADER.size + len(body), code, 0) + body)


def _session() -> int:
    """The descriptor on which the binding talks with the kernel; -1 where it cannot be found."""
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == _DEVICE:
                    return int(name)
    return -1


def _clone_of(session: int) -> int:
    """Clone of the connection; -1 where the kernel, or the permissions of the device, do not allow it."""
    if session < 0:
        return -1
    try:
        clone = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.ioctl(clone, _IOC_CLONE, struct.pack("=I", session))
    except OSError:
        os.close(clone)
        return -1
    return clone


def _unshare_files() -> int:
    try:
        return int(ctypes.CDLL(None).unshare(_CLONE_FILES))
    except AttributeError:
        return -1
