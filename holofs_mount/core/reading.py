# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of open files, by content maps that are refreshed when they lead nowhere.

A content map is a lease: what it leads to may be elsewhere by the time it is read. Then the daemon is asked again.
"""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from typing import Final

import structlog

from holofs_api.numbers import MAX_FILE_SIZE
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import Body, BufferedBody, MappedBody, NotHere, StagedBody
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.openfile import Freshness, OpenFile
from holofs_mount.core.staging import Stager
from holofs_mount.waiting_readers import is_being_killed

log = structlog.get_logger(__name__)

READ_AHEAD: Final = 8 * 1024 * 1024
_ASK_AGAIN: Final = 5
_LOOK_S: Final = 0.25
"""Seconds between two looks whether a program that waits is being killed."""
_MOST: Final = 16 * 1024 * 1024
"""Limit of one read in bytes; a kernel asks for 1 MiB at most."""


class Reading:
    """Reads open files from memory, staging files, content files, or through the daemon."""

    def __init__(self, daemon: DaemonCalls, stager: Stager) -> None:
        self._daemon = daemon
        self._stager = stager

    async def read(self, file: OpenFile, offset: int, size: int, reader: int) -> bytes:
        """Returns at most `size` bytes; fewer only at the end of the file, or beyond the limit of one read.

        Raises OSError EINTR if it has to wait, and the reader (a process or thread, 0: unknown) is killed meanwhile.
        """
        if offset < 0 or size < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if offset >= MAX_FILE_SIZE:
            return b""
        size = min(size, _MOST)
        if file.freshness is Freshness.STALE:
            await self.refresh(file)
        for _ in range(_ASK_AGAIN):
            try:
                return file.body.read(offset, size)
            except NotHere as missing:
                await self._fetch_for(reader, file, missing)
        raise OSError(errno.EIO, "the content moves faster than it can be read")

    async def _fetch_for(self, reader: int, file: OpenFile, missing: NotHere) -> None:
        """Fetches content, unless the reader is killed: then the fetching goes on, and no program waits for it."""
        fetching = asyncio.ensure_future(self._fetch(file, missing))
        try:
            while not (await asyncio.wait((fetching,), timeout=_LOOK_S))[0]:
                if is_being_killed(reader):
                    raise OSError(errno.EINTR, "the program that waited is being killed")
        finally:
            if not fetching.done():
                self._daemon.in_background(_ended(fetching))
        fetching.result()

    async def _fetch(self, file: OpenFile, missing: NotHere) -> None:
        body = file.body
        async with file.lock:
            if file.body is not body:
                return  # an operation that waited before this one brought it
            length = max(missing.length, min(READ_AHEAD, body.size() - missing.offset))
            await self._ask_map(file, missing.offset, length, missing.suspect)
        if missing.remote:
            self._read_ahead(file, missing.offset + length)

    async def _ask_map(self, file: OpenFile, offset: int, length: int, suspect: bool = False) -> None:
        writer = file.writer()
        if writer is not None:
            await self._stager.move_displaced(writer)
        version = b"" if file.freshness is Freshness.STALE else file.version  # empty: whatever the inode shows now
        request = pb.FetchRequest(ino=file.ino, version=version, offset=offset, length=length, suspect=suspect)
        content: pb.ContentMap = await self._daemon.call("fetch", request)
        if isinstance(file.body, BufferedBody) and file.dirty:
            return
        self.adopt(file, content, write=writer is not None)

    def _read_ahead(self, file: OpenFile, offset: int) -> None:
        body = file.body
        if file.reading_ahead or not isinstance(body, MappedBody):
            return
        start = body.first_remote(offset, offset + READ_AHEAD)
        if start is not None:
            file.reading_ahead = True
            self._daemon.in_background(self._fetch_ahead(file, start))

    async def _fetch_ahead(self, file: OpenFile, offset: int) -> None:
        try:
            if file.handles:
                await self._fetch(file, NotHere(offset, READ_AHEAD, remote=False))
        except OSError as error:
            log.debug("read-ahead failed", reason=str(error))
        finally:
            file.reading_ahead = False

    async def refresh(self, file: OpenFile) -> None:
        """Asks for the content map of a stale file."""
        async with file.lock:
            if file.freshness is Freshness.STALE and not (isinstance(file.body, BufferedBody) and file.dirty):
                await self._ask_map(file, 0, 0)

    def staged_body(self, content: pb.ContentMap, write: bool) -> Body:
        try:
            return StagedBody(content.staging, write)
        except (FileNotFoundError, PermissionError):
            # Finalized since the daemon answered: a map that leads nowhere makes the first use ask again.
            return MappedBody(pb.ContentMap(version=content.version, size=max(content.size, 1)))

    def adopt(self, file: OpenFile, content: pb.ContentMap, write: bool) -> None:
        """Takes a new content map of the daemon over."""
        if file.displaced:
            file.freshness = Freshness.STALE  # asked again once its writes are where the daemon has them
            return
        same = content.version == file.version
        file.set_version(content.version)
        if isinstance(file.body, StagedBody) and file.body.path == content.staging:
            if write and not file.body.writable:
                file.exchange(self.staged_body(content, write=True))
            return
        if content.staging:
            file.exchange(self.staged_body(content, write or file.writer() is not None))
        elif not (isinstance(file.body, BufferedBody) and same):
            file.exchange(MappedBody(content))


async def _ended(fetching: asyncio.Future[None]) -> None:
    """Waits for the end of a fetch whose reader was killed."""
    with suppress(OSError):
        await fetching
