# SPDX-License-Identifier: GPL-3.0-or-later
"""Handles that the daemon let go of early, and that it has to know again.

A small file is nearly always written, closed, and done with: its commit lets go of the handle in the same message. When
the kernel keeps the handle after all (a descriptor was duplicated or inherited), the daemon is told of it again: soon,
and in any case before anything that needs it, a further write or the removal of the name.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Final

import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.context import Context
from holofs_mount.core.openfile import Handle, OpenFile

log = structlog.get_logger(__name__)

LINGER_SECONDS: Final = 0.05


async def register(context: Context, handle: Handle) -> None:
    """After this the daemon knows the handle. What it writes is based on what it last saw, not on what came since."""
    if handle.file.birth is not None:
        await context.newborn.known(handle.file, context.client)
    if handle.registered or handle.file.frozen:
        return
    request = pb.OpenRequest(ino=handle.file.ino, handle=handle.number, write=handle.write)
    reply: pb.OpenReply = await context.call("open", request)
    handle.registered = True
    if reply.map.version == handle.file.version:
        return
    if handle.write:
        handle.base = handle.file.version
    else:
        handle.file.behind = True


async def daemon_handle(context: Context, handle: Handle) -> Handle:
    """A handle of the same file through which the daemon lets us write."""
    writer = handle if handle.write and not handle.lost else handle.file.writer()
    if writer is None:
        raise OSError(errno.ESTALE, "the daemon does not know this open file any more")
    await register(context, writer)
    return writer


def watch_for_lingering(context: Context, handle: Handle) -> None:
    """After a flush that looked like the last: if no release follows at once, the handle is in use."""
    asyncio.get_running_loop().call_later(LINGER_SECONDS, _look_again, context, handle)


def _look_again(context: Context, handle: Handle) -> None:
    if handle.closing or handle.registered:
        return
    handle.lingers = True
    context.client.in_background(_register_quietly(context, handle))


async def _register_quietly(context: Context, handle: Handle) -> None:
    try:
        async with handle.file.lock:
            if not handle.closing:
                await register(context, handle)
    except OSError as error:
        log.debug("a handle could not be taken back", reason=str(error))


async def register_all(context: Context, file: OpenFile | None) -> None:
    """Before the file loses its name: the daemon keeps the inode for handles it knows."""
    if file is not None:
        for handle in list(file.handles.values()):
            await register(context, handle)
