# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging: moving the content of an open file from memory to its staging file, which all mounts here write directly."""

from __future__ import annotations

import errno

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import BufferedBody, StagedBody
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.openfile import Handle, OpenFile
from holofs_mount.core.registration import Registrar


class Stager:
    """Staging files of open files. The file's lock is held by the caller."""

    def __init__(self, daemon: DaemonCalls, registrar: Registrar) -> None:
        self._daemon = daemon
        self._registrar = registrar

    async def stage(self, handle: Handle, empty: bool) -> pb.StageReply:
        """The staging file of an open file; the daemon makes one if there is none. `empty`: without content."""
        writer = await self._registrar.writer_of(handle)
        request = pb.StageRequest(handle=writer.number, empty=empty, base=writer.base)
        reply: pb.StageReply = await self._daemon.call("stage", request)
        return reply

    async def spill(self, handle: Handle, body: BufferedBody) -> StagedBody:
        """Moves a file from memory to its staging file.

        Appended content goes to the end of what other mounts have written meanwhile, anything else replaces it.
        """
        reply = await self.stage(handle, empty=body.stored is None and not body.synced)
        staged = StagedBody(reply.path, write=True)
        try:
            if body.stored is None:
                # In this order: at no moment is less there than an fsync has promised.
                staged.write(0, bytes(body.data))
                staged.truncate(len(body.data))
            else:
                _append_rest(body, body.stored, staged)
        except OSError:
            staged.close()
            raise
        handle.file.exchange(staged)
        handle.staged = not handle.lost
        return staged

    async def move_displaced(self, handle: Handle) -> None:
        """Repeats on the current staging file the writes that only a displaced one holds."""
        file, body = handle.file, handle.file.body
        if not (isinstance(body, StagedBody) and body.displaced):
            return
        reply = await self.stage(handle, empty=False)
        staged = StagedBody(reply.path, write=True)
        try:
            body.unsaved.repeat(body, staged)
        except OSError:
            staged.close()
            raise
        file.exchange(staged)
        handle.staged = not handle.lost


def _append_rest(body: BufferedBody, stored: int, staged: StagedBody) -> None:
    """Appends what the daemon does not have. After an error `stored` covers what was written, so none comes twice."""
    while stored < len(body.data):
        _, written = staged.append(bytes(body.data[stored:]))
        body.stored = stored = stored + written


def onto(file: OpenFile) -> bytes | None:
    """The version that the daemon must still show to take all content from memory; None: any."""
    body = file.body
    return file.version if isinstance(body, BufferedBody) and body.stored is not None else None


def is_refused(error: OSError) -> bool:
    """Whether the daemon has other content by now: what was appended has to be written to the staging file."""
    return error.errno == errno.EBUSY
