# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving the content of an open file from memory to its staging file, which all mounts of this device write directly.

A mount that is alone keeps a small new file in memory until it is closed. With other mounts of the volume on this
device what is appended or truncated goes to the staging file at once, and what else is in memory a moment later.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Final

import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import BufferedBody, StagedBody
from holofs_mount.core.context import Context
from holofs_mount.core.openfile import Handle, OpenFile
from holofs_mount.core.registration import daemon_handle

log = structlog.get_logger(__name__)

SHARE_SECONDS: Final = 0.05
"""How long a file that stays open keeps in memory what other mounts cannot see."""


async def stage(context: Context, handle: Handle, empty: bool) -> pb.StageReply:
    """The staging file of an open file, made by the daemon if there is none; `empty`: without content."""
    handle = await daemon_handle(context, handle)
    request = pb.StageRequest(handle=handle.number, empty=empty, base=handle.base)
    reply: pb.StageReply = await context.call("stage", request)
    return reply


async def spill(context: Context, handle: Handle, body: BufferedBody) -> StagedBody:
    """Moves a file from memory to its staging file; the file's lock is held.

    Appended content goes to the end of what other mounts have written meanwhile, anything else replaces it.
    """
    reply = await stage(context, handle, empty=body.told is None and not body.kept)
    staged = StagedBody(reply.path, write=True)
    try:
        if body.told is None:
            # In this order: at no moment is less there than an fsync has promised.
            staged.write(0, bytes(body.data))
            staged.truncate(len(body.data))
        else:
            _append_rest(body, body.told, staged)
    except OSError:
        staged.close()
        raise
    handle.file.exchange(staged)
    handle.staged = not handle.lost
    return staged


async def move_displaced(context: Context, handle: Handle) -> None:
    """Writes to the staging file of today what the one of before holds alone; the file's lock is held."""
    file, body = handle.file, handle.file.body
    if not (isinstance(body, StagedBody) and body.displaced):
        return
    reply = await stage(context, handle, empty=False)
    staged = StagedBody(reply.path, write=True)
    try:
        body.unsaved.repeat(body, staged)
    except OSError:
        staged.close()
        raise
    file.exchange(staged)
    handle.staged = not handle.lost


def _append_rest(body: BufferedBody, told: int, staged: StagedBody) -> None:
    """Appends what was not told yet. After an error `told` covers what was written, so nothing is written twice."""
    while told < len(body.data):
        _, written = staged.append(bytes(body.data[told:]))
        body.told = told = told + written


def onto(file: OpenFile) -> bytes | None:
    """The version that the daemon must still show to take all content from memory; None: any."""
    body = file.body
    return file.version if isinstance(body, BufferedBody) and body.told is not None else None


def is_refused(error: OSError) -> bool:
    """Whether the daemon has other content by now: what was appended has to be written to the staging file."""
    return error.errno == errno.EBUSY


class Sharing:
    """Files in memory that other mounts of this device should see."""

    def __init__(self, context: Context) -> None:
        self._x = context
        self._due: set[int] = set()

    def wrote(self, file: OpenFile) -> None:
        """Schedules the end of its time in memory, where there are other mounts."""
        if self._x.newborn.alone or not isinstance(file.body, BufferedBody) or file.ino in self._due:
            return
        self._due.add(file.ino)
        asyncio.get_running_loop().call_later(SHARE_SECONDS, self._time_is_up, file)

    def begin(self) -> None:
        """Another mount of this volume was attached."""
        for file in list(self._x.table.files.values()):
            if isinstance(file.body, BufferedBody) and file.dirty:
                self._x.client.in_background(self._share(file))

    def displaced(self, handle: Handle | None) -> None:
        """The daemon is back and writes this handle's staging file no more."""
        if handle is None or handle.number not in handle.file.handles:
            return
        handle.file.displace()
        if handle.file.displaced:
            log.warning("writes to a file that was sealed meanwhile are repeated on top", ino=handle.file.ino)
            self._x.client.in_background(self._move(handle))

    async def _move(self, handle: Handle) -> None:
        try:
            async with handle.file.lock:
                await move_displaced(self._x, handle)
        except OSError as error:
            log.debug("the next use repeats the writes", ino=handle.file.ino, reason=str(error))

    def _time_is_up(self, file: OpenFile) -> None:
        self._due.discard(file.ino)
        self._x.client.in_background(self._share(file))

    async def _share(self, file: OpenFile) -> None:
        try:
            async with file.lock:
                writer = file.writer()
                if isinstance(file.body, BufferedBody) and file.dirty and not file.unlinked and writer is not None:
                    await spill(self._x, writer, file.body)
        except OSError as error:
            log.debug("an open file could not be shared yet", ino=file.ino, reason=str(error))
