# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration of handles: which open handles the daemon knows, and when it has to know the others.

A small file is nearly always written, closed, and done with: its commit releases the handle in the same message. When
the kernel keeps the handle after all (a descriptor was duplicated or inherited), it is registered again: soon, and in
any case before an operation that needs it, a further write or the removal of the name.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Final

import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.openfile import Handle, OpenFile, Tracking, Use
from holofs_mount.write_behind.creates import Existence, UnsentCreates

log = structlog.get_logger(__name__)

LINGER_SECONDS: Final = 0.05


class Registrar:
    """Registers handles with the daemon."""

    def __init__(self, daemon: DaemonCalls, creates: UnsentCreates) -> None:
        self._daemon = daemon
        self._creates = creates

    async def register(self, handle: Handle) -> None:
        """Makes the daemon know the handle. Writes through it are based on the version that its file has here."""
        file = handle.file
        if file.existence is not Existence.KNOWN:
            await self._creates.wait_until_known(file)
        async with handle.registering:
            if handle.was_registered or file.tracking is Tracking.FROZEN:
                return
            request = pb.OpenRequest(ino=file.ino, handle=handle.number, write=handle.write)
            reply: pb.OpenReply = await self._daemon.call("open", request)
            handle.set_registered(True)
        if reply.map.version == file.version:
            return
        if handle.write:
            handle.base = file.version
        else:
            file.fall_behind()

    async def writer_of(self, handle: Handle) -> Handle:
        """A registered handle of the same file that may write. Raises OSError ESTALE if there is none."""
        writer = handle if handle.write and not handle.lost else handle.file.writer()
        if writer is None:
            raise OSError(errno.ESTALE, "the daemon does not know this open file any more")
        await self.register(writer)
        return writer

    async def register_all(self, file: OpenFile | None) -> None:
        """Registers all handles before the file loses its name: the daemon keeps the inode for handles it knows.

        A refusal is no reason to keep the name: that handle alone will not read any more. Raises OSError ETIMEDOUT.
        """
        if file is None:
            return
        for handle in list(file.handles.values()):
            try:
                await self.register(handle)
            except OSError as error:
                if error.errno == errno.ETIMEDOUT:
                    raise
                log.debug("a handle could not be registered", reason=str(error))

    def watch_for_lingering(self, handle: Handle) -> None:
        """Registers the handle a moment after a flush that looked like the last, unless a release follows at once."""
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._look_again, handle)

    def _look_again(self, handle: Handle) -> None:
        if handle.closing or handle.was_registered:
            return
        handle.use = Use.LINGERING
        self._daemon.in_background(self._register_quietly(handle))

    async def _register_quietly(self, handle: Handle) -> None:
        try:
            async with handle.file.lock:
                if not handle.closing:
                    await self.register(handle)
        except OSError as error:
            log.debug("a handle could not be taken back", reason=str(error))
