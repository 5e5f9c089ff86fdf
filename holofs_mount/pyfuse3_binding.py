# SPDX-License-Identifier: GPL-3.0-or-later
"""The pyfuse3 adapter: libfuse 3, low level, on the same asyncio loop as gRPC. The only module that imports pyfuse3.

The kernel caches names, attributes and pages for as long as it likes. A thread notifies it of changes from outside,
because the kernel may make the sender wait for an operation that only the loop can answer.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyfuse3
import pyfuse3.asyncio
import structlog

from holofs_api.guard import connection_at
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.attributes import AttrChanges
from holofs_mount.core.files import OpenResult
from holofs_mount.core.mount_state import CallingProcess, MountState
from holofs_mount.core.volume import Volume
from holofs_mount.guarding import Guard
from holofs_mount.kernel_caches import KernelCaches, KnownNames
from holofs_mount.kernel_channel import KernelChannel
from holofs_mount.options import is_mounted
from holofs_mount.request_waiter import RequestWaiter
from holofs_mount.undropped import Undropped
from holofs_mount.waiting_readers import allow_background
from holofs_mount.watching.echoes import ECHO_HANDLE, Echoes, is_ghost, look_at

log = structlog.get_logger(__name__)

_IDLE_TASKS: Final = 8
_PER_READDIR: Final = 400
_MAX_TASKS: Final = 512
"""Operations in flight; those that wait for content or the daemon hold a task each."""
_MOST_BACKGROUND: Final = _MAX_TASKS // 2
"""Requests in flight of what the kernel reads ahead: while all of them wait for content, the other tasks have time for
everything else."""


@dataclass(slots=True)
class OpenDirectory:
    """Directory that is being read: `entries` as of the remote epoch `since`. It does not change under its reader."""

    ino: int
    since: int = 0
    entries: list[tuple[bytes, int]] = field(default_factory=list)


def answering(operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Decorates an operation: OSError becomes an errno, any other error EIO, with its traceback in the log."""

    @functools.wraps(operation)
    async def answer(self: Pyfuse3Operations, *args: Any) -> Any:
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


class Pyfuse3Operations(pyfuse3.Operations):  # type: ignore[misc]
    """Operations of the kernel. Each method translates its arguments and calls the core."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, volume: Volume, known: KnownNames, ready: Callable[[], None]) -> None:
        super().__init__()
        self._v = volume
        self._state: MountState = volume.state
        self._known = known
        self._ready = ready
        self._directories: dict[int, OpenDirectory] = {}
        self.undropped = Undropped()
        self.echoes: Echoes | None = None

    def init(self) -> None:
        self._ready()

    # ---- translation ----
    def _attributes(self, attr: pb.Attr, since: int) -> Any:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = attr.ino
        entry.st_mode = self._state.shown_mode(attr)
        entry.st_nlink = attr.nlink
        entry.st_uid = self._state.uid
        entry.st_gid = self._state.gid
        entry.st_size = attr.size
        entry.st_blksize = 65_536
        entry.st_blocks = (attr.size + 511) // 512
        entry.st_mtime_ns = entry.st_atime_ns = attr.mtime_ns
        entry.st_ctime_ns = attr.ctime_ns
        entry.attr_timeout = self._v.timeouts.of_attr(attr, since)
        entry.entry_timeout = 0
        return entry

    def _entry(self, parent: int, name: bytes, attr: pb.Attr, since: int) -> Any:
        entry = self._attributes(attr, since)
        entry.entry_timeout = self._v.timeouts.of_name(parent, name, since)
        self._known.add(attr.ino, parent, name)
        return entry

    def _echo_of(self, pid: int) -> Echoes | None:
        """The echoes, where the echo process asks: it gets what its echo needs, and nothing is done."""
        return self.echoes if self.echoes is not None and pid and pid == self.echoes.client.pid else None

    def _shown_to_echo(self, parent: int, name: bytes, attr: pb.Attr) -> Any:
        # A ghost is nothing that any other program may find: its name has no timeout.
        return self._attributes(attr, 0) if is_ghost(attr.ino) else self._entry(parent, name, attr, 0)

    def _made(self, echoes: Echoes, parent: int, name: bytes) -> Any:
        return self._entry(parent, name, *echoes.made(parent, name))

    def _info(self, opened: OpenResult) -> Any:
        return pyfuse3.FileInfo(fh=opened.handle, keep_cache=opened.keep_pages, direct_io=opened.direct)

    # ---- names ----
    @answering
    async def lookup(self, parent: int, name: bytes, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None and (shown := echoes.lookup(parent, name)) is not None:
            return self._shown_to_echo(parent, name, shown)
        since = self._state.remote_epochs.now
        attr = await self._v.names.lookup(parent, name)
        self.undropped.found(attr.ino, ctx.pid)
        return self._entry(parent, name, attr, since)

    async def forget(self, inodes: Any) -> None:
        for ino, count in inodes:
            self._known.forget(ino, count)

    @answering
    async def getattr(self, ino: int, ctx: Any) -> Any:
        since = self._state.remote_epochs.now
        return self._attributes(await self._v.names.getattr(ino), since)

    @answering
    async def setattr(self, ino: int, attr: Any, fields: Any, fh: int | None, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            return self._attributes(*echoes.modified(ino))
        if fields.update_size and fh is None:
            self.undropped.check(ino, ctx.pid)
        since = self._state.remote_epochs.now
        wanted = AttrChanges(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        return self._attributes(await self._v.attributes.setattr(ino, wanted, fh, CallingProcess(ctx.pid)), since)

    @answering
    async def readlink(self, ino: int, ctx: Any) -> bytes:
        return await self._v.names.readlink(ino)

    @answering
    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            return self._made(echoes, parent, name)
        since = self._state.remote_epochs.now
        mode = self._state.mode_of_new(mode, ctx.uid)
        return self._entry(parent, name, await self._v.names.mknod(parent, name, mode), since)

    @answering
    async def mkdir(self, parent: int, name: bytes, mode: int, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            return self._made(echoes, parent, name)
        since = self._state.remote_epochs.now
        mode = self._state.mode_of_new(mode, ctx.uid)
        return self._entry(parent, name, await self._v.names.mkdir(parent, name, mode), since)

    @answering
    async def symlink(self, parent: int, name: bytes, target: bytes, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            return self._made(echoes, parent, name)
        since = self._state.remote_epochs.now
        return self._entry(parent, name, await self._v.names.symlink(parent, name, target), since)

    @answering
    async def link(self, ino: int, parent: int, name: bytes, ctx: Any) -> Any:
        since = self._state.remote_epochs.now
        return self._entry(parent, name, await self._v.names.link(ino, parent, name), since)

    @answering
    async def unlink(self, parent: int, name: bytes, ctx: Any) -> None:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            echoes.removed(parent, name)
        else:
            await self._v.names.unlink(parent, name)

    @answering
    async def rmdir(self, parent: int, name: bytes, ctx: Any) -> None:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            echoes.removed(parent, name)
        else:
            await self._v.names.rmdir(parent, name)

    @answering
    async def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: Any) -> None:
        await self._v.names.rename(parent, name, new_parent, new_name, flags, CallingProcess(ctx.pid))

    # ---- directories ----
    @answering
    async def opendir(self, ino: int, ctx: Any) -> int:
        number = self._state.table.number()
        self._directories[number] = OpenDirectory(ino)
        return number

    @answering
    async def readdir(self, fh: int, start: int, token: Any) -> None:
        directory = self._directories[fh]
        ino = directory.ino
        if start == 0:
            directory.since = self._state.remote_epochs.now
            listing = await self._v.names.listing(ino)
            itself = [] if self._state.gone.get(ino) is not None else [(b".", ino), (b"..", ino)]
            directory.entries = [*itself, *listing.names.items()]
        since = self._state.remote_epochs.now
        found = await self._v.names.attributes(ino, directory.entries[start : start + _PER_READDIR])
        # From here on nothing is awaited: what the kernel gets is as the caches are now.
        for position, attr in enumerate(found, start):
            if attr is None:
                continue
            name = directory.entries[position][0]
            entry = self._attributes(attr, since)
            entry.entry_timeout = self._v.timeouts.of_name(ino, name, directory.since)
            if not pyfuse3.readdir_reply(token, name, entry, position + 1):
                return
            if name not in (b".", b".."):
                self._known.add(attr.ino, ino, name)

    @answering
    async def releasedir(self, fh: int) -> None:
        self._directories.pop(fh, None)

    @answering
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._v.saving.fsync_inode(self._directories[fh].ino)

    # ---- files ----
    @answering
    async def open(self, ino: int, flags: int, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None and flags & os.O_ACCMODE == os.O_WRONLY:
            echoes.modified(ino)
            return pyfuse3.FileInfo(fh=ECHO_HANDLE, keep_cache=True)
        self.undropped.check(ino, ctx.pid)
        await self._v.attributes.opened_by(ctx.uid, ino, flags)
        return self._info(await self._v.files.open(ino, flags, CallingProcess(ctx.pid)))

    @answering
    async def create(self, parent: int, name: bytes, mode: int, flags: int, ctx: Any) -> Any:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            return pyfuse3.FileInfo(fh=ECHO_HANDLE, keep_cache=True), self._made(echoes, parent, name)
        since = self._state.remote_epochs.now
        mode = self._state.mode_of_new(mode, ctx.uid)
        opened, attr = await self._v.files.create(parent, name, mode, flags, CallingProcess(ctx.pid))
        return self._info(opened), self._entry(parent, name, attr, since)

    @answering
    async def read(self, fh: int, offset: int, size: int) -> bytes:
        return await self._v.files.read(fh, offset, size)

    @answering
    async def write(self, fh: int, offset: int, data: bytes) -> int:
        return await self._v.files.write(fh, offset, data)

    @answering
    async def flush(self, fh: int) -> None:
        if fh != ECHO_HANDLE:
            await self._v.saving.flush(fh)

    @answering
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._v.saving.fsync(fh)

    @answering
    async def release(self, fh: int) -> None:
        if fh != ECHO_HANDLE:
            await self._v.saving.release(fh)

    # ---- the rest ----
    @answering
    async def statfs(self, ctx: Any) -> Any:
        reply = await self._v.attributes.statfs()
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = reply.block_size
        data.f_blocks, data.f_bfree, data.f_bavail = reply.blocks, reply.blocks_free, reply.blocks_available
        data.f_files, data.f_ffree, data.f_favail = reply.files, reply.files_free, reply.files_free
        data.f_namemax = reply.name_max
        return data

    @answering
    async def getxattr(self, ino: int, name: bytes, ctx: Any) -> bytes:
        if (echoes := self._echo_of(ctx.pid)) is not None:
            return echoes.token(ino, name)
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


async def serve(volume: Volume, mountpoint: str, of_kernel: frozenset[str], ready: Callable[[], None]) -> None:
    """Mounts, with these options of FUSE besides our own, and answers until the filesystem is unmounted."""
    logging.getLogger("pyfuse3").setLevel(logging.WARNING)
    waiter = RequestWaiter.installed(pyfuse3.asyncio)
    known = KnownNames()
    # With default_permissions the kernel holds everybody by the modes, the mount's own user as well.
    options = {"fsname=holofs", "subtype=holofs", "default_permissions", *of_kernel}
    operations = Pyfuse3Operations(volume, known, ready)
    pyfuse3.init(operations, mountpoint, options)
    kernel = KernelCaches(known, KernelChannel(pyfuse3), pyfuse3.ROOT_INODE)
    operations.undropped = kernel.undropped
    kernel.start()
    volume.use_kernel(kernel)
    guard = Guard(mountpoint)
    allow_background(mountpoint, _MOST_BACKGROUND)
    connection = connection_at(mountpoint) if volume.is_watching else None
    if connection is not None and "ro" not in of_kernel:  # else the kernel refuses the echoes before we see them
        operations.echoes = Echoes(volume.state, volume.names, known, mountpoint, look_at(connection))
        volume.state.watchers = operations.echoes
        operations.echoes.start()
    try:
        await pyfuse3.main(_IDLE_TASKS, _MAX_TASKS)
    finally:
        waiter.close()
        if operations.echoes is not None:
            await operations.echoes.close()
        kernel.stop()
        guard.dismiss()
        pyfuse3.close(unmount=is_mounted(Path(mountpoint)))


def stop() -> None:
    """Ends `serve` although the filesystem is still in use."""
    pyfuse3.terminate()
