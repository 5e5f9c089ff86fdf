# SPDX-License-Identifier: GPL-3.0-or-later
"""The baseline: a FUSE filesystem that passes every call on to a directory, with the binding that HoloFS uses.

    python -m benchmarks.passthrough SOURCE MOUNTPOINT [--writeback]

One process, asyncio, pyfuse3, attributes cached for long. What it loses against the directory itself is the cost
of Python and FUSE; what HoloFS loses against it is the cost of HoloFS. Written for speed, not for completeness.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyfuse3
import pyfuse3.asyncio

from holofs_mount.request_waiter import RequestWaiter

CACHE_S = 3600.0


def as_fuse(error: OSError) -> pyfuse3.FUSEError:
    return pyfuse3.FUSEError(error.errno or errno.EIO)


class Passthrough(pyfuse3.Operations):  # type: ignore[misc]
    """Inode numbers are those of the source directory's files; paths by number, first name wins."""

    enable_writeback_cache = False

    def __init__(self, source: Path) -> None:
        super().__init__()
        self._paths: dict[int, bytes] = {pyfuse3.ROOT_INODE: os.fsencode(source)}
        self._root = os.lstat(source).st_ino
        self._lists: dict[int, list[tuple[bytes, os.stat_result]]] = {}

    def _path(self, ino: int, name: bytes = b"") -> bytes:
        path = self._paths[ino]
        return path + b"/" + name if name else path

    def _attributes(self, status: os.stat_result) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.ROOT_INODE if status.st_ino == self._root else status.st_ino
        entry.st_mode = status.st_mode
        entry.st_nlink = status.st_nlink
        entry.st_uid, entry.st_gid = status.st_uid, status.st_gid
        entry.st_size = status.st_size
        entry.st_atime_ns, entry.st_mtime_ns = status.st_atime_ns, status.st_mtime_ns
        entry.st_ctime_ns = status.st_ctime_ns
        entry.st_blksize, entry.st_blocks = 512, (status.st_size + 511) // 512
        entry.attr_timeout = entry.entry_timeout = CACHE_S
        return entry

    def _entry(self, path: bytes, status: os.stat_result | None = None) -> pyfuse3.EntryAttributes:
        try:
            entry = self._attributes(status or os.lstat(path))
        except OSError as error:
            raise as_fuse(error) from None
        if entry.st_ino != pyfuse3.ROOT_INODE:
            self._paths[entry.st_ino] = path
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> Any:
        return self._entry(self._path(parent_inode, name))

    async def getattr(self, inode: int, ctx: Any) -> Any:
        return self._entry(self._path(inode))

    async def setattr(self, inode: int, attr: Any, fields: Any, fh: int | None, ctx: Any) -> Any:
        path = self._path(inode)
        try:
            if fields.update_size:
                os.truncate(fh if fh is not None else path, attr.st_size)
            if fields.update_mode:
                os.chmod(path, stat.S_IMODE(attr.st_mode))
            if fields.update_atime or fields.update_mtime:
                now = os.lstat(path)
                atime = attr.st_atime_ns if fields.update_atime else now.st_atime_ns
                mtime = attr.st_mtime_ns if fields.update_mtime else now.st_mtime_ns
                os.utime(path, ns=(atime, mtime), follow_symlinks=False)
        except OSError as error:
            raise as_fuse(error) from None
        return self._entry(path)

    async def opendir(self, inode: int, ctx: Any) -> int:
        path = self._path(inode)
        with os.scandir(path) as entries:
            self._lists[inode] = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        return inode

    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        entries = self._lists[fh]
        for number in range(start_id, len(entries)):
            name, status = entries[number]
            if not pyfuse3.readdir_reply(token, name, self._entry(self._path(fh, name), status), number + 1):
                break

    async def releasedir(self, fh: int) -> None:
        self._lists.pop(fh, None)

    async def create(self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Any) -> tuple[Any, Any]:
        path = self._path(parent_inode, name)
        try:
            fd = os.open(path, flags | os.O_CREAT, mode)
        except OSError as error:
            raise as_fuse(error) from None
        return pyfuse3.FileInfo(fh=fd, keep_cache=True), self._entry(path, os.fstat(fd))

    async def open(self, inode: int, flags: int, ctx: Any) -> Any:
        try:
            # With the writeback cache the kernel reads from files that were opened for writing only.
            if self.enable_writeback_cache and flags & os.O_ACCMODE == os.O_WRONLY:
                flags = flags & ~os.O_ACCMODE | os.O_RDWR
            return pyfuse3.FileInfo(fh=os.open(self._path(inode), flags & ~os.O_APPEND), keep_cache=True)
        except OSError as error:
            raise as_fuse(error) from None

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return os.pread(fh, size, off)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        return os.pwrite(fh, buf, off)

    async def flush(self, fh: int) -> None:
        return

    async def fsync(self, fh: int, datasync: bool) -> None:
        os.fsync(fh)

    async def release(self, fh: int) -> None:
        os.close(fh)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> Any:
        path = self._path(parent_inode, name)
        try:
            os.mkdir(path, mode)
        except OSError as error:
            raise as_fuse(error) from None
        return self._entry(path)

    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self._call(os.unlink, self._path(parent_inode, name))

    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self._call(os.rmdir, self._path(parent_inode, name))

    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: Any
    ) -> None:
        old, new = self._path(parent_inode_old, name_old), self._path(parent_inode_new, name_new)
        self._call(os.rename, old, new)
        for ino, path in list(self._paths.items()):
            if path == old or path.startswith(old + b"/"):
                self._paths[ino] = new + path[len(old) :]

    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: Any) -> Any:
        path = self._path(parent_inode, name)
        self._call(os.symlink, target, path)
        return self._entry(path)

    async def readlink(self, inode: int, ctx: Any) -> bytes:
        return os.readlink(self._path(inode))

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        # Nearly every write asks for security.capability; ENOSYS makes the kernel stop asking.
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @staticmethod
    def _call(function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except OSError as error:
            raise as_fuse(error) from None


def main() -> None:
    parser = argparse.ArgumentParser(description="A bare passthrough filesystem, to measure against.")
    parser.add_argument("source", type=Path)
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("--writeback", action="store_true", help="let the kernel keep and join writes")
    arguments = parser.parse_args()

    operations = Passthrough(arguments.source.resolve())
    operations.enable_writeback_cache = arguments.writeback
    asyncio.run(serve(operations, str(arguments.mountpoint)))


async def serve(operations: Passthrough, mountpoint: str) -> None:
    # With the same wait for requests as our mount, so that ratios are about what is done with them.
    waiter = RequestWaiter.installed(pyfuse3.asyncio)
    pyfuse3.init(operations, mountpoint, {*pyfuse3.default_options, "fsname=passthrough"})
    try:
        await pyfuse3.main(min_tasks=8, max_tasks=512)
    finally:
        waiter.close()
        pyfuse3.close()


if __name__ == "__main__":
    main()
