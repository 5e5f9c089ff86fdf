# SPDX-License-Identifier: GPL-3.0-or-later
"""Timeouts that the kernel gets with attributes and names: how long it may answer from its own caches."""

from __future__ import annotations

from typing import Final

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.caches import PATCH_SECONDS
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.mount_state import MountState
from holofs_mount.write_behind.queue import WriteBehindQueue

KERNEL_SECONDS: Final = 3600.0
"""The kernel is told when something changes, so this may be long."""


class KernelTimeouts:
    """Times for which the kernel may keep a dentry or attributes.

    `since` is a remote epoch, noted before the attributes or the name were asked for.
    """

    def __init__(self, state: MountState, daemon: DaemonCalls, queue: WriteBehindQueue) -> None:
        self._state = state
        self._daemon = daemon
        self._queue = queue

    def of_attr(self, attr: pb.Attr, since: int) -> float:
        """Seconds for the attributes of an inode."""
        ino = attr.ino
        if self._state.may_grow_unnoticed(attr):
            return 0.0
        if not self._daemon.connected or not self._state.remote_epochs.unchanged(ino, since):
            return 0.0
        file = self._state.table.files.get(ino)
        if ino in self._queue or (file is not None and file.written):
            return 0.0  # the daemon says what its times are
        return PATCH_SECONDS if self._state.attrs.guessed(ino) else KERNEL_SECONDS

    def of_name(self, parent: int, name: bytes, since: int) -> float:
        """Seconds for a name of a directory."""
        if not self._daemon.connected or not self._state.remote_epochs.unchanged((parent, name), since):
            return 0.0
        return KERNEL_SECONDS
