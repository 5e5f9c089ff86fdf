# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on open files: open, create, read, write, truncate. `core.saving` has flush, fsync and release.

Small new files stay in memory, from where a flush commits them. Anything else that is written is a staging file, which
the mount writes itself. Reading and writing what is open locally needs no daemon.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Final, NamedTuple

import structlog

from holofs_api.numbers import MAX_FILE_SIZE
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core import recovery
from holofs_mount.core.content import Body, BufferedBody, MappedBody, NoRoom, StagedBody
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.local_opens import LocalOpens
from holofs_mount.core.mount_state import OWN, CallingProcess, MountState, check_name, now_ns, process_of
from holofs_mount.core.names import Names
from holofs_mount.core.openfile import Freshness, Handle, OpenFile, Registration
from holofs_mount.core.reading import Reading
from holofs_mount.core.registration import Registrar
from holofs_mount.core.sharing import Sharing
from holofs_mount.core.staging import Stager
from holofs_mount.write_behind.assembly import WriteBehind
from holofs_mount.write_behind.eligibility import create_must_wait

log = structlog.get_logger(__name__)

BUFFER_BUDGET: Final = 64 * 1024 * 1024
"""Bytes of all files in memory together, beyond which even small ones are staged."""


def check_size(size: int) -> None:
    """Raises OSError for a size that no file can have."""
    if size < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if size > MAX_FILE_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _within_limit(offset: int, data: bytes) -> bytes:
    """The part of the data that a file can hold at this offset. Raises OSError EFBIG if there is none."""
    check_size(offset)
    if offset + len(data) <= MAX_FILE_SIZE:
        return data
    if offset == MAX_FILE_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data[: MAX_FILE_SIZE - offset]


def _may_write(handle: Handle) -> bool:
    """Whether the daemon knows that this handle writes to the staging file. A lost one asks each time: it writes
    through another handle, which may be closed before it."""
    return handle.staged and not handle.lost


class OpenResult(NamedTuple):
    """Reply to an open or create. `keep_pages`: the kernel's pages of the inode hold this very content."""

    handle: int
    keep_pages: bool
    direct: bool = False
    """Reads and writes bypass the kernel's pages: they may be of another version, and cut an append into pieces."""


class Files:
    """All open files of one mount."""

    def __init__(
        self,
        state: MountState,
        daemon: DaemonCalls,
        write_behind: WriteBehind,
        names: Names,
        local_opens: LocalOpens,
        registrar: Registrar,
    ) -> None:
        self._state = state
        self._daemon = daemon
        self._write_behind = write_behind
        self._names = names
        self._local_opens = local_opens
        self._registrar = registrar
        self.stager = Stager(daemon, registrar)
        self.sharing = Sharing(state, daemon, self.stager)
        self._reading = Reading(daemon, self.stager)

    # ---- opening ----
    async def open(self, ino: int, flags: int, caller: CallingProcess) -> OpenResult:
        write = flags & os.O_ACCMODE != os.O_RDONLY
        truncate = bool(flags & os.O_TRUNC)
        if write or truncate:
            self._state.check_writable()
        reads = flags & os.O_ACCMODE != os.O_WRONLY and not truncate
        pid = process_of(caller.pid) if reads or self._state.bases.any_stale(ino) else 0
        if not (write or truncate) and (local := self._local_opens.open(ino, pid)) is not None:
            return self._opened(local, local.file.version, False, flags)
        base = self._state.bases.base(ino, pid) if write or truncate else b""
        since = self._state.epochs.now
        number = self._state.table.number()
        request = pb.OpenRequest(ino=ino, handle=number, write=write or truncate, truncate=truncate, base=base)
        if reads and not write:
            request.ahead = self._local_opens.prefetch.count()
        reply: pb.OpenReply = await self._daemon.call("open", request)
        handle = self._take_over(number, reply.attr, reply.map, flags, pid, truncate)
        handle.base = b"" if truncate else base
        if truncate:
            self._state.cache_own_change(reply.attr, since)
            self._state.bases.has_written(ino, pid)
        else:
            self._local_opens.cache_file(reply, since)
        if request.ahead:
            self._local_opens.prefetch.received(other.attr.ino for other in reply.ahead)
        for other in reply.ahead:
            self._local_opens.cache_file(other, since)
        if reads:
            self._state.bases.has_read(ino, reply.map.version, pid)
        return self._opened(handle, reply.map.version, truncate, flags)

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, caller: CallingProcess
    ) -> tuple[OpenResult, pb.Attr]:
        check_name(name)
        self._state.gone.check(parent)
        self._state.check_writable()
        created = self._create_here(parent, name, mode, flags, caller)
        if created is not None:
            return created
        since = self._state.epochs.now
        known = self._names.known_ino(parent, name)
        pid = process_of(caller.pid) if known is not None and self._state.bases.any_stale(known) else 0
        request = pb.CreateRequest(
            parent=parent,
            name=name,
            mode=stat.S_IMODE(mode),
            exclusive=bool(flags & os.O_EXCL),
            truncate=bool(flags & os.O_TRUNC),
            handle=self._state.table.number(),
            base=self._state.bases.base(known, pid) if known is not None else b"",
            lease=self._write_behind.lease.asks_for_more(),  # an exhausted one may be why this create is synchronous
        )
        recover = recovery.created(self._daemon.call, request) if request.exclusive else None
        reply: pb.CreateReply = await self._daemon.call("create", request, recover)
        self._write_behind.lease.renew_from(reply)
        fresh = reply.created or request.truncate
        handle = self._take_over(request.handle, reply.attr, reply.map, flags, pid, fresh)
        arrived = self._names.entry_added if reply.created else self._names.entry_found
        arrived(parent, name, reply.attr, since)
        attr = self._state.cache_own_change(reply.attr, since)
        return self._opened(handle, reply.map.version, fresh, flags), attr

    def _create_here(
        self, parent: int, name: bytes, mode: int, flags: int, caller: CallingProcess
    ) -> tuple[OpenResult, pb.Attr] | None:
        """Makes a file in the mount alone (see `write_behind.creates`). None: the create must run synchronously."""
        conditions = self._write_behind.conditions()
        name_is_free = self._names.is_free(parent, name)
        opened_to_write = flags & os.O_ACCMODE != os.O_RDONLY
        if create_must_wait(conditions, name_is_free=name_is_free, opened_to_write=opened_to_write):
            return None
        since, now = self._state.epochs.now, now_ns()
        attr = pb.Attr(
            ino=self._write_behind.lease.take(),
            kind=pb.KIND_FILE,
            mode=stat.S_IMODE(mode),
            nlink=1,
            mtime_ns=now,
            ctime_ns=now,
        )
        file = OpenFile(attr.ino, BufferedBody(stored=0), attr, b"", written_at=time.monotonic())
        handle = Handle(
            self._state.table.number(),
            file,
            write=True,
            append=bool(flags & os.O_APPEND),
            pid=process_of(caller.pid),
            registration=Registration.UNREGISTERED,
        )
        self._state.table.add(handle)
        self._write_behind.creates.add(file, pb.CreateRequest(parent=parent, name=name, mode=attr.mode))
        self._names.entry_added(parent, name, attr, since)
        self._state.cache_own_change(attr, since)
        return self._opened(handle, b"", True, flags), attr

    def _take_over(
        self, number: int, attr: pb.Attr, content: pb.ContentMap, flags: int, pid: int, fresh: bool
    ) -> Handle:
        """Adds a handle that the daemon knows. `fresh`: the file is empty from here on."""
        write = flags & os.O_ACCMODE != os.O_RDONLY
        file = self._state.table.files.get(attr.ino)
        if file is None:
            file = OpenFile(attr.ino, self._body(content, write, fresh), attr, content.version)
        elif fresh:
            file.exchange(self._body(content, write, fresh))
            file.committed = file.edits
            file.mtime_ns = None
            file.set_version(content.version)
        elif not (isinstance(file.body, BufferedBody) and file.dirty):
            self._reading.adopt(file, content, write)
        handle = Handle(number, file, write, bool(flags & os.O_APPEND), pid)
        self._state.table.add(handle)
        return handle

    def _body(self, content: pb.ContentMap, write: bool, fresh: bool) -> Body:
        if content.staging:
            return self._reading.staged_body(content, write)
        return BufferedBody(stored=0) if fresh else MappedBody(content)

    def _opened(self, handle: Handle, version: bytes, fresh: bool, flags: int) -> OpenResult:
        file = handle.file
        if handle.append and (flags & os.O_ACCMODE == os.O_WRONLY or not self._state.only_mount):
            # The kernel sends what it caches in pieces that end with a page, and between two of them others append.
            return OpenResult(handle.number, self._keep_pages(file, version, fresh), direct=True)
        if self._state.table.any_frozen(file.ino):
            self._state.pages.pop(file.ino, None)
            return OpenResult(handle.number, keep_pages=False, direct=True)
        return OpenResult(handle.number, self._keep_pages(file, version, fresh))

    def _keep_pages(self, file: OpenFile, version: bytes, fresh: bool) -> bool:
        cached = self._state.pages.get(file.ino)
        keep = cached is not None and cached in (OWN, version) and not fresh
        if len(self._state.pages) > 100_000:
            self._state.pages.clear()
        self._state.pages[file.ino] = OWN if fresh or cached == OWN else version
        return keep

    # ---- reading and writing ----
    async def read(self, number: int, offset: int, size: int, reader: int = 0) -> bytes:
        """`reader`: the thread that reads, where the binding knows it; else it is taken for the process that opened."""
        handle = self._state.table.handle(number)
        return await self._reading.read(handle.file, offset, size, reader or handle.pid)

    async def write(self, number: int, offset: int, data: bytes) -> int:
        try:
            return await self._write(number, offset, data)
        except NoRoom:
            # The daemon lets history make room, or refuses.
            await self.stager.stage(self._state.table.handle(number), empty=False)
            return await self._write(number, offset, data)

    async def _write(self, number: int, offset: int, data: bytes) -> int:
        handle = self._state.table.handle(number)
        file = handle.file
        if not handle.write:
            raise OSError(errno.EBADF, "not open for writing")
        if not handle.append:
            data = _within_limit(offset, data)
        if handle.lost:
            await self._registrar.writer_of(handle)
        body = file.body
        needs_lock = file.lock.locked() or file.freshness is Freshness.STALE
        if isinstance(body, StagedBody) and _may_write(handle) and not needs_lock:
            return self._write_now(handle, body, offset, data)
        return await self._write_locked(handle, offset, data)

    async def _write_locked(self, handle: Handle, offset: int, data: bytes) -> int:
        file = handle.file
        if file.freshness is Freshness.STALE:
            await self._reading.refresh(file)
        async with file.lock:
            at = file.body.size() if handle.append and isinstance(file.body, BufferedBody) else offset
            body = await self._writable(handle, at + len(data), shares=handle.append)
            return self._write_now(handle, body, offset, data)

    def _write_now(self, handle: Handle, body: BufferedBody | StagedBody, offset: int, data: bytes) -> int:
        file = handle.file
        written = len(data)
        if not handle.append:
            body.write(offset, data)
        else:
            at, written = body.append(_within_limit(body.size(), data))
            if at != offset:
                # Another mount changed the size unknown to the kernel; its idea of this range is wrong now.
                self._state.kernel.inode_changed(file.ino, content=True)
        self._wrote(file)
        return written

    def _wrote(self, file: OpenFile) -> None:
        file.wrote()
        self._write_behind.queue.file_written(file.ino)
        self._state.pages[file.ino] = OWN
        self.sharing.wrote(file)

    async def _writable(self, handle: Handle, size: int, shares: bool) -> BufferedBody | StagedBody:
        """Makes the file's body writable for content of `size` bytes through this handle; the lock is held.

        `shares`: the change depends on what other mounts of this device write.
        """
        await self.stager.move_displaced(handle)
        file = handle.file
        body = file.body
        if isinstance(body, StagedBody) and _may_write(handle):
            return body
        if isinstance(body, BufferedBody):
            alone = self._state.only_mount or not shares
            if alone and size <= self._state.inline_limit and self._buffered() <= BUFFER_BUDGET:
                return body
            return await self.stager.spill(handle, body)
        return await self._staged(handle, empty=False)

    async def _staged(self, handle: Handle, empty: bool) -> StagedBody:
        """Makes the staging file the body of the file; the lock is held."""
        file, body = handle.file, handle.file.body
        reply = await self.stager.stage(handle, empty)
        if not (isinstance(body, StagedBody) and body.path == reply.path and body.writable):
            body = StagedBody(reply.path, write=True)
            file.exchange(body)
        handle.staged = not handle.lost
        return body

    def _buffered(self) -> int:
        # Counted only when a buffer grows; there are few open files with content in memory.
        return sum(len(f.body.data) for f in self._state.table.files.values() if isinstance(f.body, BufferedBody))

    async def truncate(self, file: OpenFile, handle: Handle, size: int) -> None:
        """Truncates or extends a file through a handle that may write. The size has passed `check_size`."""
        if file.freshness is Freshness.STALE:
            await self._reading.refresh(file)
        async with file.lock:
            if size == 0 and isinstance(file.body, MappedBody) and self._state.only_mount:
                file.exchange(BufferedBody())
            elif size == 0 and isinstance(file.body, MappedBody):
                await self._staged(handle, empty=True)
            else:
                body = await self._writable(handle, size, shares=True)
                body.truncate(size)
            self._wrote(file)
