# SPDX-License-Identifier: GPL-3.0-or-later
"""Sharing: when the content of an open file leaves memory because other mounts of this device must see it.

A mount that is alone keeps a small new file in memory until it is closed. With other mounts of the volume on this
device what is appended or truncated goes to the staging file at once, and what else is in memory a moment later.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holofs_mount.core.content import BufferedBody
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.mount_state import MountState
from holofs_mount.core.openfile import Handle, OpenFile
from holofs_mount.core.staging import Stager

log = structlog.get_logger(__name__)

SHARE_SECONDS: Final = 0.05
"""Seconds for which a file that stays open keeps content in memory, where other mounts cannot see it."""


class Sharing:
    """Files in memory that other mounts of this device should see."""

    def __init__(self, state: MountState, daemon: DaemonCalls, stager: Stager) -> None:
        self._state = state
        self._daemon = daemon
        self._stager = stager
        self._due: set[int] = set()

    def wrote(self, file: OpenFile) -> None:
        """Schedules the end of its time in memory, where there are other mounts."""
        if self._state.only_mount or not isinstance(file.body, BufferedBody) or file.ino in self._due:
            return
        self._due.add(file.ino)
        asyncio.get_running_loop().call_later(SHARE_SECONDS, self._time_is_up, file)

    def begin(self) -> None:
        """Moves all files from memory: another mount of this volume was attached."""
        for file in list(self._state.table.files.values()):
            if isinstance(file.body, BufferedBody) and file.dirty:
                self._daemon.in_background(self._share(file))

    def displaced(self, handle: Handle | None) -> None:
        """Moves writes to the current staging file: the daemon is back, and has finalized this handle's one."""
        if handle is None or handle.number not in handle.file.handles:
            return
        handle.file.displace()
        if handle.file.displaced:
            log.warning("writes to a file that was finalized meanwhile are repeated on top", ino=handle.file.ino)
            self._daemon.in_background(self._move(handle))

    async def _move(self, handle: Handle) -> None:
        try:
            async with handle.file.lock:
                await self._stager.move_displaced(handle)
        except OSError as error:
            log.debug("the next use repeats the writes", ino=handle.file.ino, reason=str(error))

    def _time_is_up(self, file: OpenFile) -> None:
        self._due.discard(file.ino)
        self._daemon.in_background(self._share(file))

    async def _share(self, file: OpenFile) -> None:
        try:
            async with file.lock:
                writer = file.writer()
                if isinstance(file.body, BufferedBody) and file.dirty and not file.unlinked and writer is not None:
                    await self._stager.spill(writer, file.body)
        except OSError as error:
            log.debug("an open file could not be shared yet", ino=file.ino, reason=str(error))
