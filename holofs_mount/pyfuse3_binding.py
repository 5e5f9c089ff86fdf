# SPDX-License-Identifier: GPL-3.0-or-later
"""The pyfuse3 adapter: libfuse 3, low level, on the same asyncio loop as gRPC. The only module that imports pyfuse3.

The kernel caches names, attributes and pages for as long as it likes; changes from outside are told to it by a thread,
because the kernel may make whoever tells it wait for an operation that only the loop can answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import queue
import select
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyfuse3
import pyfuse3.asyncio
import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.attributes import Wanted
from holofs_mount.core.context import Caller, Context, st_mode
from holofs_mount.core.files import Opened
from holofs_mount.core.volume import Volume
from holofs_mount.options import is_mounted

log = structlog.get_logger(__name__)

_IDLE_TASKS: Final = 8
_PER_READDIR: Final = 400
_TURN: Final = 8
_MAX_TASKS: Final = 512
"""Operations in flight; those that wait for content or the daemon hold a task each."""


@dataclass(slots=True)
class OpenDirectory:
    """`entries` as of `since` on the clock of news; a directory that is being read does not change under its reader."""

    ino: int
    since: int = 0
    entries: list[tuple[bytes, int]] = field(default_factory=list)


def answering(operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Errors become errnos; what nobody mapped becomes EIO, with its traceback in the log."""

    @functools.wraps(operation)
    async def answer(self: Operations, *args: Any) -> Any:
        try:
            return await operation(self, *args)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        except (pyfuse3.FUSEError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("an operation failed", operation=operation.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return answer


class Operations(pyfuse3.Operations):  # type: ignore[misc]
    """Each method translates and calls the core."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, volume: Volume, known: KnownNames, ready: Callable[[], None]) -> None:
        super().__init__()
        self._v = volume
        self._x: Context = volume.context
        self._known = known
        self._ready = ready
        self._directories: dict[int, OpenDirectory] = {}

    def init(self) -> None:
        self._ready()

    # ---- translation ----
    def _attributes(self, attr: pb.Attr, since: int) -> Any:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = attr.ino
        entry.st_mode = st_mode(attr)
        entry.st_nlink = attr.nlink
        entry.st_uid = self._x.uid
        entry.st_gid = self._x.gid
        entry.st_size = attr.size
        entry.st_blksize = 65_536
        entry.st_blocks = (attr.size + 511) // 512
        entry.st_mtime_ns = entry.st_atime_ns = attr.mtime_ns
        entry.st_ctime_ns = attr.ctime_ns
        entry.attr_timeout = self._x.kernel_seconds(attr.ino, since)
        entry.entry_timeout = 0
        return entry

    def _entry(self, parent: int, name: bytes, attr: pb.Attr, since: int) -> Any:
        entry = self._attributes(attr, since)
        entry.entry_timeout = self._x.kernel_seconds_of_name(parent, name, since)
        self._known.add(attr.ino, parent, name)
        return entry

    def _info(self, opened: Opened) -> Any:
        return pyfuse3.FileInfo(fh=opened.handle, keep_cache=opened.keep_pages)

    # ---- names ----
    @answering
    async def lookup(self, parent: int, name: bytes, ctx: Any) -> Any:
        since = self._x.news.now
        return self._entry(parent, name, await self._v.names.lookup(parent, name), since)

    async def forget(self, inodes: Any) -> None:
        for ino, count in inodes:
            self._known.forget(ino, count)

    @answering
    async def getattr(self, ino: int, ctx: Any) -> Any:
        since = self._x.news.now
        return self._attributes(await self._v.names.getattr(ino), since)

    @answering
    async def setattr(self, ino: int, attr: Any, fields: Any, fh: int | None, ctx: Any) -> Any:
        since = self._x.news.now
        wanted = Wanted(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        return self._attributes(await self._v.attributes.setattr(ino, wanted, fh, Caller(ctx.pid)), since)

    @answering
    async def readlink(self, ino: int, ctx: Any) -> bytes:
        return await self._v.names.readlink(ino)

    @answering
    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, ctx: Any) -> Any:
        since = self._x.news.now
        return self._entry(parent, name, await self._v.names.mknod(parent, name, mode), since)

    @answering
    async def mkdir(self, parent: int, name: bytes, mode: int, ctx: Any) -> Any:
        since = self._x.news.now
        return self._entry(parent, name, await self._v.names.mkdir(parent, name, mode), since)

    @answering
    async def symlink(self, parent: int, name: bytes, target: bytes, ctx: Any) -> Any:
        since = self._x.news.now
        return self._entry(parent, name, await self._v.names.symlink(parent, name, target), since)

    @answering
    async def link(self, ino: int, parent: int, name: bytes, ctx: Any) -> Any:
        since = self._x.news.now
        return self._entry(parent, name, await self._v.names.link(ino, parent, name), since)

    @answering
    async def unlink(self, parent: int, name: bytes, ctx: Any) -> None:
        await self._v.names.unlink(parent, name)

    @answering
    async def rmdir(self, parent: int, name: bytes, ctx: Any) -> None:
        await self._v.names.rmdir(parent, name)

    @answering
    async def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: Any) -> None:
        await self._v.names.rename(parent, name, new_parent, new_name, flags, Caller(ctx.pid))

    # ---- directories ----
    @answering
    async def opendir(self, ino: int, ctx: Any) -> int:
        number = self._x.table.number()
        self._directories[number] = OpenDirectory(ino)
        return number

    @answering
    async def readdir(self, fh: int, start: int, token: Any) -> None:
        directory = self._directories[fh]
        ino = directory.ino
        if start == 0:
            directory.since = self._x.news.now
            listing = await self._v.names.listing(ino)
            directory.entries = [(b".", ino), (b"..", ino), *listing.names.items()]
        since = self._x.news.now
        found = [await self._attr_of(child) for _, child in directory.entries[start : start + _PER_READDIR]]
        # From here on nothing is awaited: what the kernel gets is as the caches are now.
        for position, attr in enumerate(found, start):
            if attr is None:
                continue
            name = directory.entries[position][0]
            entry = self._attributes(attr, since)
            entry.entry_timeout = self._x.kernel_seconds_of_name(ino, name, directory.since)
            if not pyfuse3.readdir_reply(token, name, entry, position + 1):
                return
            if name not in (b".", b".."):
                self._known.add(attr.ino, ino, name)

    async def _attr_of(self, ino: int) -> pb.Attr | None:
        """None: gone since the listing was taken."""
        try:
            return await self._v.names.getattr(ino)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    @answering
    async def releasedir(self, fh: int) -> None:
        self._directories.pop(fh, None)

    @answering
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._v.files.fsync_inode(self._directories[fh].ino)

    # ---- files ----
    @answering
    async def open(self, ino: int, flags: int, ctx: Any) -> Any:
        return self._info(await self._v.files.open(ino, flags, Caller(ctx.pid)))

    @answering
    async def create(self, parent: int, name: bytes, mode: int, flags: int, ctx: Any) -> Any:
        since = self._x.news.now
        opened, attr = await self._v.files.create(parent, name, mode, flags, Caller(ctx.pid))
        return self._info(opened), self._entry(parent, name, attr, since)

    @answering
    async def read(self, fh: int, offset: int, size: int) -> bytes:
        return await self._v.files.read(fh, offset, size)

    @answering
    async def write(self, fh: int, offset: int, data: bytes) -> int:
        return await self._v.files.write(fh, offset, data)

    @answering
    async def flush(self, fh: int) -> None:
        await self._v.files.flush(fh)

    @answering
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._v.files.fsync(fh)

    @answering
    async def release(self, fh: int) -> None:
        await self._v.files.release(fh)

    # ---- the rest ----
    @answering
    async def statfs(self, ctx: Any) -> Any:
        told = await self._v.attributes.statfs()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = told.block_size
        data.f_blocks, data.f_bfree, data.f_bavail = told.blocks, told.blocks_free, told.blocks_available
        data.f_files, data.f_ffree, data.f_favail = told.files, told.files_free, told.files_free
        data.f_namemax = told.name_max
        return data

    @answering
    async def getxattr(self, ino: int, name: bytes, ctx: Any) -> bytes:
        return await self._v.attributes.getxattr(ino, name)

    @answering
    async def setxattr(self, ino: int, name: bytes, value: bytes, ctx: Any) -> None:
        # pyfuse3 has looked at XATTR_CREATE and XATTR_REPLACE already.
        await self._v.attributes.setxattr(ino, name, value, create=False, replace=False)

    @answering
    async def listxattr(self, ino: int, ctx: Any) -> list[bytes]:
        return await self._v.attributes.listxattr(ino)

    @answering
    async def removexattr(self, ino: int, name: bytes, ctx: Any) -> None:
        await self._v.attributes.removexattr(ino, name)


class KnownNames:
    """The inodes the kernel holds, each with the names it was told, to take them all back if need be."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._names: dict[int, set[tuple[int, bytes]]] = {}

    def add(self, ino: int, parent: int, name: bytes) -> None:
        self._counts[ino] = self._counts.get(ino, 0) + 1
        self._names.setdefault(ino, set()).add((parent, name))

    def forget(self, ino: int, count: int) -> None:
        left = self._counts.get(ino, 0) - count
        if left > 0:
            self._counts[ino] = left
            return
        self._counts.pop(ino, None)
        self._names.pop(ino, None)

    def everything(self) -> tuple[list[int], list[tuple[int, bytes]]]:
        return list(self._counts), [name for names in self._names.values() for name in names]


class KernelCaches:
    """Tells the kernel, from a thread of its own and in order, what it must forget."""

    def __init__(self, known: KnownNames) -> None:
        self._known = known
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="holofs-kernel", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After the session ended; the kernel answers every notification then."""
        self._queue.put(None)
        self._thread.join(timeout=5.0)

    def inode_changed(self, ino: int, content: bool) -> None:
        self._queue.put(lambda: pyfuse3.invalidate_inode(ino, attr_only=not content))

    def entry_changed(self, parent: int, name: bytes) -> None:
        self._queue.put(lambda: pyfuse3.invalidate_entry(parent, name))

    def everything_changed(self) -> None:
        inodes, names = self._known.everything()
        for parent, name in names:
            self.entry_changed(parent, name)
        for ino in [pyfuse3.ROOT_INODE, *inodes]:
            self.inode_changed(ino, content=True)

    def _run(self) -> None:
        while (tell := self._queue.get()) is not None:
            # ENOENT: the kernel does not know it. Anything else means that the mount is ending.
            with contextlib.suppress(OSError):
                tell()


class RequestWaiter:
    """Waits for the kernel's next request with one registration on the loop for the life of the mount.

    pyfuse3's own registers and removes the descriptor for each request, which costs as much as answering a small one.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._waiting: asyncio.Future[None] | None = None
        self._poll = select.poll()
        self._at_once = 0

    async def wait_readable(self, fd: int) -> None:
        """In place of `pyfuse3.asyncio.wait_readable`; called by one task at a time (pyfuse3 holds a lock)."""
        if self._fd < 0:
            self._fd = fd
            self._poll.register(fd, select.POLLIN)
            asyncio.get_running_loop().add_reader(fd, self._readable)
        if self._poll.poll(0):
            # A kernel that always has more to ask must not keep the loop from everything else.
            self._at_once += 1
            if self._at_once % _TURN == 0:
                await asyncio.sleep(0)
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _readable(self) -> None:
        # Looks again: what the loop saw may be read already, and a read of nothing would block everything.
        if self._waiting is not None and not self._waiting.done() and self._poll.poll(0):
            self._waiting.set_result(None)

    def stop(self, fd: int) -> None:
        """In place of `pyfuse3.asyncio.notify_closing`."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(pyfuse3.asyncio.ClosedResourceError())

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)


async def serve(volume: Volume, mountpoint: str, read_only: bool, ready: Callable[[], None]) -> None:
    """Mounts and answers until the filesystem is unmounted."""
    logging.getLogger("pyfuse3").setLevel(logging.WARNING)
    waiter = RequestWaiter()
    pyfuse3.asyncio.wait_readable = waiter.wait_readable
    pyfuse3.asyncio.notify_closing = waiter.stop
    pyfuse3.asyncio.enable()
    known = KnownNames()
    kernel = KernelCaches(known)
    options = {"fsname=holofs", "subtype=holofs", "default_permissions"}
    if read_only:
        options.add("ro")
    pyfuse3.init(Operations(volume, known, ready), mountpoint, options)
    kernel.start()
    volume.use_kernel(kernel)
    try:
        await pyfuse3.main(_IDLE_TASKS, _MAX_TASKS)
    finally:
        waiter.close()
        kernel.stop()
        pyfuse3.close(unmount=is_mounted(Path(mountpoint)))


def stop() -> None:
    """Ends `serve` although the filesystem is still in use."""
    pyfuse3.terminate()
