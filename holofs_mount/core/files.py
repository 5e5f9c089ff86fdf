# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on open files: open, create, read, write, truncate, flush, fsync, release.

Small new files stay in memory and travel with the flush; anything else that is written is a staging file that the mount
writes itself. Reading and writing what is open locally needs no daemon.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from typing import Final, NamedTuple

import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core import recovery
from holofs_mount.core.content import Body, BufferedBody, MappedBody, StagedBody
from holofs_mount.core.context import OWN, Caller, Context, check_name, process_of
from holofs_mount.core.light import LightOpens, inline_map
from holofs_mount.core.names import Names
from holofs_mount.core.openfile import Handle, OpenFile
from holofs_mount.core.reading import Reading
from holofs_mount.core.registration import register, watch_for_lingering

log = structlog.get_logger(__name__)

BUFFER_BUDGET: Final = 64 * 1024 * 1024
"""All buffered files together; above it even small ones are staged."""
QUIET_SECONDS: Final = 5.0
SAVE_SECONDS: Final = 60.0


class Opened(NamedTuple):
    """`keep_pages`: what the kernel has cached of the inode is this very content."""

    handle: int
    keep_pages: bool
    direct: bool = False
    """Past the kernel's pages: they may be those of another version for a while."""


class Files:
    """All open files of one mount."""

    def __init__(self, context: Context, names: Names) -> None:
        self._x = context
        self._names = names
        self._reading = Reading(context)
        self._light = LightOpens(context)

    # ---- opening ----
    async def open(self, ino: int, flags: int, caller: Caller) -> Opened:
        write = flags & os.O_ACCMODE != os.O_RDONLY
        truncate = bool(flags & os.O_TRUNC)
        if write or truncate:
            self._x.check_writable()
        reads = flags & os.O_ACCMODE != os.O_WRONLY and not truncate
        pid = process_of(caller.pid) if reads or self._x.bases.any_stale(ino) else 0
        if not (write or truncate) and (light := self._light.open(ino, pid)) is not None:
            return self._opened(light, light.file.version, fresh=False)
        base = self._x.bases.base(ino, pid) if write or truncate else b""
        since = self._x.clock.now
        number = self._x.table.number()
        request = pb.OpenRequest(ino=ino, handle=number, write=write or truncate, truncate=truncate, base=base)
        if reads and not write:
            request.ahead = self._light.wanted_ahead()
        try:
            reply: pb.OpenReply = await self._x.call("open", request)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            # The name leads elsewhere, and the news is still on its way. ESTALE makes the kernel look the name up once
            # more, and without attributes we ask the daemon.
            self._x.attrs.drop(ino)
            raise OSError(errno.ESTALE, "this inode is gone") from None
        handle = self._take_over(number, reply.attr, reply.map, flags, pid, truncate)
        handle.base = b"" if truncate else base
        if truncate:
            self._x.settle(reply.attr, since)
            self._x.bases.has_written(ino, pid)
        else:
            self._x.remember(reply.attr, since)
            self._light.keep(reply.attr, reply.map, since)
        for other in reply.ahead:
            self._x.remember(other.attr, since)
            self._light.keep(other.attr, other.map, since)
        if reads:
            self._x.bases.has_read(ino, reply.map.version, pid)
        return self._opened(handle, reply.map.version, truncate)

    async def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> tuple[Opened, pb.Attr]:
        check_name(name)
        self._x.check_writable()
        since = self._x.clock.now
        known = self._names.known(parent, name)
        pid = process_of(caller.pid) if known is not None and self._x.bases.any_stale(known) else 0
        request = pb.CreateRequest(
            parent=parent,
            name=name,
            mode=stat.S_IMODE(mode),
            exclusive=bool(flags & os.O_EXCL),
            truncate=bool(flags & os.O_TRUNC),
            handle=self._x.table.number(),
            base=self._x.bases.base(known, pid) if known is not None else b"",
        )
        recover = recovery.created(self._x.call, request) if request.exclusive else None
        reply: pb.CreateReply = await self._x.call("create", request, recover)
        fresh = reply.created or request.truncate
        handle = self._take_over(request.handle, reply.attr, reply.map, flags, pid, fresh)
        self._names.came(parent, name, reply.attr, since)
        attr = self._x.settle(reply.attr, since)
        return self._opened(handle, reply.map.version, fresh), attr

    def _take_over(
        self, number: int, attr: pb.Attr, content: pb.ContentMap, flags: int, pid: int, fresh: bool
    ) -> Handle:
        """A handle that the daemon knows now; `fresh`: the file is empty from here on."""
        write = flags & os.O_ACCMODE != os.O_RDONLY
        file = self._x.table.files.get(attr.ino)
        if file is None:
            file = OpenFile(attr.ino, self._body(content, write, fresh), attr, content.version)
        elif fresh:
            file.exchange(self._body(content, write, fresh))
            file.committed = file.generation
            file.mtime_ns = None
            file.version = content.version
            file.stale = False
        elif not (isinstance(file.body, BufferedBody) and file.dirty):
            self._reading.adopt(file, content, write)
        handle = Handle(number, file, write, bool(flags & os.O_APPEND), pid)
        self._x.table.add(handle)
        return handle

    def _body(self, content: pb.ContentMap, write: bool, fresh: bool) -> Body:
        if content.staging:
            return self._reading.staged_body(content, write)
        return BufferedBody() if fresh else MappedBody(content)

    def _opened(self, handle: Handle, version: bytes, fresh: bool) -> Opened:
        file = handle.file
        if self._x.table.any_frozen(file.ino):
            self._x.pages.pop(file.ino, None)
            return Opened(handle.number, keep_pages=False, direct=True)
        return Opened(handle.number, self._keep_pages(file, version, fresh))

    def _keep_pages(self, file: OpenFile, version: bytes, fresh: bool) -> bool:
        cached = self._x.pages.get(file.ino)
        keep = cached is not None and cached in (OWN, version) and not fresh
        if len(self._x.pages) > 100_000:
            self._x.pages.clear()
        self._x.pages[file.ino] = OWN if fresh or cached == OWN else version
        return keep

    def handle(self, number: int) -> Handle:
        handle = self._x.table.handles.get(number)
        if handle is None:
            raise OSError(errno.EBADF, "no such handle")
        return handle

    # ---- reading and writing ----
    async def read(self, number: int, offset: int, size: int) -> bytes:
        return await self._reading.read(self.handle(number).file, offset, size)

    async def write(self, number: int, offset: int, data: bytes) -> int:
        handle = self.handle(number)
        file = handle.file
        if not handle.write:
            raise OSError(errno.EBADF, "not open for writing")
        if handle.lost:
            await self._daemon_handle(handle)
        body = file.body
        if isinstance(body, StagedBody) and handle.staged and not file.stale and not file.lock.locked():
            return self._write_now(handle, body, offset, data)
        return await self._write_locked(handle, offset, data)

    async def _write_locked(self, handle: Handle, offset: int, data: bytes) -> int:
        file = handle.file
        if file.stale:
            await self._reading.refresh(file)
        async with file.lock:
            at = file.body.size() if handle.append and isinstance(file.body, BufferedBody) else offset
            body = await self._writable(handle, at + len(data))
            return self._write_now(handle, body, offset, data)

    def _write_now(self, handle: Handle, body: BufferedBody | StagedBody, offset: int, data: bytes) -> int:
        file = handle.file
        if handle.append:
            end = body.size()
            if end != offset:
                # Another mount made the file longer than the kernel knew; its idea of this range is wrong now.
                offset = end
                self._x.kernel.inode_changed(file.ino, content=True)
        body.write(offset, data)
        self._wrote(file)
        return len(data)

    def _wrote(self, file: OpenFile) -> None:
        file.wrote()
        self._x.later.written(file.ino)
        self._x.pages[file.ino] = OWN

    async def _writable(self, handle: Handle, size: int) -> BufferedBody | StagedBody:
        """The file's body made writable for content of `size` bytes through this handle; the lock is held."""
        file = handle.file
        body = file.body
        if isinstance(body, StagedBody) and handle.staged:
            return body
        if isinstance(body, BufferedBody):
            if size <= self._x.inline_limit and self._buffered() <= BUFFER_BUDGET:
                return body
            return await self._spill(handle, body)
        reply = await self._stage(handle, empty=False)
        if not (isinstance(body, StagedBody) and body.path == reply.path and body.writable):
            body = StagedBody(reply.path, write=True)
            file.exchange(body)
        handle.staged = True
        return body

    async def _spill(self, handle: Handle, body: BufferedBody) -> StagedBody:
        """The file outgrew memory."""
        reply = await self._stage(handle, empty=True)
        staged = StagedBody(reply.path, write=True)
        try:
            staged.truncate(0)
            staged.write(0, bytes(body.data))
        except OSError:
            staged.close()
            raise
        handle.file.exchange(staged)
        handle.staged = True
        return staged

    async def _stage(self, handle: Handle, empty: bool) -> pb.StageReply:
        handle = await self._daemon_handle(handle)
        request = pb.StageRequest(handle=handle.number, empty=empty, base=handle.base)
        reply: pb.StageReply = await self._x.call("stage", request)
        return reply

    async def _daemon_handle(self, handle: Handle) -> Handle:
        """A handle of the same file through which the daemon lets us write."""
        writer = handle if handle.write and not handle.lost else handle.file.writer()
        if writer is None:
            raise OSError(errno.ESTALE, "the daemon does not know this open file any more")
        await register(self._x, writer)
        return writer

    def _buffered(self) -> int:
        # Counted only when a buffer grows; there are few open files with content in memory.
        return sum(len(f.body.data) for f in self._x.table.files.values() if isinstance(f.body, BufferedBody))

    async def truncate(self, file: OpenFile, handle: Handle, size: int) -> None:
        """Through an open handle that may write."""
        if file.stale:
            await self._reading.refresh(file)
        async with file.lock:
            if size == 0 and isinstance(file.body, MappedBody):
                file.exchange(BufferedBody())
            else:
                body = await self._writable(handle, size)
                body.truncate(size)
            self._wrote(file)

    # ---- telling the daemon ----
    async def flush(self, number: int) -> None:
        """A descriptor was closed: what was written must survive the end of every process of ours."""
        handle = self.handle(number)
        if handle.write and handle.file.dirty:
            await self.commit(handle, last=not handle.lingers)
            if not handle.registered:
                watch_for_lingering(self._x, handle)

    async def commit(self, handle: Handle, last: bool = False) -> None:
        """`last`: as far as can be known the handle will not be used again, so the daemon may let go of it."""
        file = handle.file
        async with file.lock:
            if not file.dirty:
                return
            told = await self._daemon_handle(handle)
            generation, since = file.generation, self._x.clock.now
            request = pb.CommitRequest(handle=told.number, mtime_ns=file.mtime_ns, base=told.base)
            if isinstance(file.body, BufferedBody):
                request.data = bytes(file.body.data)
                request.release = last and len(file.handles) == 1 and not file.unlinked
            attr: pb.Attr = await self._x.call("commit", request)
            told.registered = not request.release
            self._told(file, told, attr, generation, since)
            if isinstance(file.body, BufferedBody) and not file.dirty and not file.unlinked:
                self._light.keep(attr, inline_map(attr.version, bytes(file.body.data)), self._x.clock.now)

    def _told(self, file: OpenFile, handle: Handle, attr: pb.Attr, generation: int, since: int) -> None:
        file.committed = generation
        if not file.dirty:
            file.mtime_ns = None
        if isinstance(file.body, BufferedBody):
            for each in file.handles.values():
                each.base = b""
            self._x.bases.has_written(file.ino, handle.pid)
            self._x.bases.changed(file.ino, file.version, attr.version, elsewhere=False)
            file.version = attr.version
            file.stale = False
        if file.unlinked:
            file.attr = attr
        else:
            self._x.settle(attr, since)

    async def fsync(self, number: int) -> None:
        handle = self.handle(number)
        file = handle.file
        request = pb.FsyncRequest(handle=number)
        if isinstance(file.body, BufferedBody) and file.dirty:
            request.handle = (await self._daemon_handle(handle)).number
            request.data = bytes(file.body.data)
        elif isinstance(file.body, StagedBody) and file.body.writable:
            body = file.body
            async with file.lock:  # nobody may close the descriptor meanwhile
                await asyncio.to_thread(body.sync)
        if not handle.registered:
            request = pb.FsyncRequest(ino=file.ino)
        await self._x.call("fsync", request)

    async def fsync_inode(self, ino: int) -> None:
        await self._x.call("fsync", pb.FsyncRequest(ino=ino))

    async def release(self, number: int) -> None:
        """The last descriptor is gone, and with it the last mapping."""
        handle = self.handle(number)
        handle.closing = True
        if not (handle.write and handle.file.dirty) or await self._handed_over(handle):
            await self._let_go(handle)
        else:
            self._x.client.in_background(self._release_later(handle))

    async def _handed_over(self, handle: Handle) -> bool:
        """False: the daemon is away, and what was written is still here."""
        try:
            await self.commit(handle, last=True)
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                return False
            log.error("what was written at the end could not be handed over", ino=handle.file.ino, reason=str(error))
        return True

    async def _release_later(self, handle: Handle) -> None:
        # Each attempt waits a moment for the daemon; for as long as the mount lives nothing is given up.
        try:
            while not await self._handed_over(handle):
                pass
        except asyncio.CancelledError:
            log.error("the mount ended before the daemon came back: a file lost its last writes", ino=handle.file.ino)
            raise
        await self._let_go(handle)

    async def _let_go(self, handle: Handle) -> None:
        file = handle.file
        wrote_staging = handle.write and isinstance(file.body, StagedBody)
        async with file.lock:  # whoever tells the daemon of the handle again has done so, or sees that it closes
            self._x.table.detach(handle)
        if wrote_staging and not file.handles:
            self._x.attrs.drop(file.ino)  # the version is made now, by the daemon
        if handle.registered:
            self._x.client.in_background(self._release(handle))
        else:
            self._x.table.remove(handle)

    async def _release(self, handle: Handle) -> None:
        # The handle stays in the table until the daemon let it go: a daemon that dies in between hears of it again.
        try:
            if not handle.lost:
                await self._x.call("release", pb.ReleaseRequest(handle=handle.number))
        except OSError as error:
            log.debug("release failed", reason=str(error))
        finally:
            self._x.table.remove(handle)

    # ---- files that stay open ----
    async def save_quiet(self) -> None:
        """Hands over what is in memory of files that stay open and have been quiet for a while.

        Of what is staged the daemon makes versions itself.
        """
        now = time.monotonic()
        for file in list(self._x.table.files.values()):
            writer = file.writer()
            if not isinstance(file.body, BufferedBody) or not file.dirty or file.unlinked or writer is None:
                continue
            if now - file.written_at < QUIET_SECONDS or now - file.saved_at < SAVE_SECONDS:
                continue
            file.saved_at = now
            try:
                await self.commit(writer)
            except OSError as error:
                log.warning("an open file could not be saved yet", ino=file.ino, reason=str(error))

    async def finish(self) -> None:
        """The mount ends: nothing written may be lost."""
        for handle in list(self._x.table.handles.values()):
            if not handle.closing:
                await self.release(handle.number)
