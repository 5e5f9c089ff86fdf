# SPDX-License-Identifier: GPL-3.0-or-later
"""The fusepy adapter: libfuse 2 or macFUSE, high level. The only module that imports fusepy.

libfuse calls from threads of its own; each call hands over to the loop and waits. The high-level interface ties a
kernel inode to a path, so nothing is cached there: no pages (direct I/O), no names, no attributes.

When a file that is open loses its name, libfuse renames it to `.fuse_hidden…`. Such a name never reaches the volume:
the file is removed there at once, and the hidden path leads to the inode that its open handles keep.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import stat
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import fuse
import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.attributes import AttrChanges
from holofs_mount.core.mount_state import CallingProcess
from holofs_mount.core.volume import Volume

log = structlog.get_logger(__name__)
T = TypeVar("T")

_ENCODING: Final = "latin-1"  # names are bytes: this one gives every byte back
_HIDDEN: Final = b".fuse_hidden"
_UTIME_NOW: Final = (1 << 30) - 1
_UTIME_OMIT: Final = (1 << 30) - 2
_XATTR_CREATE: Final = 1
_XATTR_REPLACE: Final = 2


_PER_READDIR: Final = 400
_NEVER_FITS: Final = b"x" * (1 << 21)
"""A name longer than any buffer of the kernel."""


@dataclass(slots=True)
class FusepyDirectory:
    """Directory that is being read. It does not change under its reader."""

    ino: int
    entries: list[tuple[bytes, int]] = field(default_factory=list)


def answering(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates an operation: OSError keeps its errno, any other error becomes EIO, with its traceback in the log."""

    @functools.wraps(operation)
    def answer(self: FusepyOperations, *args: Any) -> Any:
        try:
            return operation(self, *args)
        except OSError:
            raise
        except Exception:
            log.exception("an operation failed", operation=operation.__name__)
            raise OSError(errno.EIO, "internal error") from None

    return answer


class FusepyOperations(fuse.Operations):  # type: ignore[misc]
    """Operations of the kernel. Each method finds the inode of its path and lets the core answer on the loop."""

    use_ns = True
    ioctl = None  # libfuse answers ENOTTY; fusepy's own translation trips over calls without a path
    flag_nullpath_ok = 1
    flag_nopath = 1
    flag_utime_omit_ok = 1

    def __init__(self, volume: Volume, loop: asyncio.AbstractEventLoop, ready: Callable[[], None]) -> None:
        self._v = volume
        self._loop = loop
        self._ready = ready
        self._hidden: dict[bytes, int] = {}
        self._directories: dict[int, FusepyDirectory] = {}

    def init(self, path: str) -> None:
        self._loop.call_soon_threadsafe(self._ready)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # ---- paths ----
    async def _find(self, path: str) -> pb.Attr:
        names = path.encode(_ENCODING)
        hidden = self._hidden.get(names)
        if hidden is not None:
            return await self._v.names.getattr(hidden)
        root = self._v.state.root
        parts = [part for part in names.split(b"/") if part]
        if not parts:
            return await self._v.names.getattr(root)
        attr = await self._v.names.lookup(root, parts[0])
        for part in parts[1:]:
            attr = await self._v.names.lookup(attr.ino, part)
        return attr

    async def _ino(self, path: str | None, fi: Any = None) -> int:
        if fi is not None:
            return self._v.state.table.handle(fi.fh).file.ino
        assert path is not None
        return (await self._find(path)).ino

    async def _place(self, path: str) -> tuple[int, bytes]:
        """The directory and the name in it."""
        parent, _, name = path.rpartition("/")
        return (await self._find(parent)).ino, name.encode(_ENCODING)

    async def _new_place(self, path: str) -> tuple[int, bytes]:
        parent, name = await self._place(path)
        if name.startswith(_HIDDEN):
            raise OSError(errno.EPERM, "libfuse keeps such names for itself")
        return parent, name

    def _mode_of_new(self, mode: int) -> int:
        return self._v.state.mode_of_new(mode, fuse.fuse_get_context()[0])

    def _stat(self, attr: pb.Attr) -> dict[str, int]:
        return {
            "st_ino": attr.ino,
            "st_mode": self._v.state.shown_mode(attr),
            "st_nlink": attr.nlink,
            "st_uid": self._v.state.uid,
            "st_gid": self._v.state.gid,
            "st_size": attr.size,
            "st_blksize": 65_536,
            "st_blocks": (attr.size + 511) // 512,
            "st_atime": attr.mtime_ns,
            "st_mtime": attr.mtime_ns,
            "st_ctime": attr.ctime_ns,
        }

    # ---- names ----
    @answering
    def getattr(self, path: str | None, fi: Any = None) -> dict[str, int]:
        async def work() -> dict[str, int]:
            if fi is not None:
                return self._stat(await self._v.names.getattr(await self._ino(None, fi)))
            assert path is not None
            return self._stat(await self._find(path))

        return self._run(work())

    @answering
    def readlink(self, path: str) -> str:
        async def work() -> str:
            return (await self._v.names.readlink(await self._ino(path))).decode(_ENCODING)

        return self._run(work())

    @answering
    def mknod(self, path: str, mode: int, dev: int) -> None:
        mode = self._mode_of_new(mode)

        async def work() -> None:
            # libfuse 2 leaves the type out for regular files.
            await self._v.names.mknod(*await self._new_place(path), mode if stat.S_IFMT(mode) else mode | stat.S_IFREG)

        self._run(work())

    @answering
    def mkdir(self, path: str, mode: int) -> None:
        mode = self._mode_of_new(mode)

        async def work() -> None:
            await self._v.names.mkdir(*await self._new_place(path), mode)

        self._run(work())

    @answering
    def symlink(self, path: str, target: str) -> None:
        async def work() -> None:
            await self._v.names.symlink(*await self._new_place(path), target.encode(_ENCODING))

        self._run(work())

    @answering
    def link(self, path: str, source: str) -> None:
        async def work() -> None:
            await self._v.names.link(await self._ino(source), *await self._new_place(path))

        self._run(work())

    @answering
    def unlink(self, path: str) -> None:
        async def work() -> None:
            if self._hidden.pop(path.encode(_ENCODING), None) is None:
                await self._v.names.unlink(*await self._place(path))

        self._run(work())

    @answering
    def rmdir(self, path: str) -> None:
        async def work() -> None:
            await self._v.names.rmdir(*await self._place(path))

        self._run(work())

    @answering
    def rename(self, old: str, new: str) -> None:
        pid = fuse.fuse_get_context()[2]

        async def work() -> None:
            name = new.encode(_ENCODING)
            if name.rpartition(b"/")[2].startswith(_HIDDEN):
                ino = await self._ino(old)
                await self._v.names.unlink(*await self._place(old))
                self._hidden[name] = ino
                return
            place, new_place = await self._place(old), await self._place(new)
            await self._v.names.rename(*place, *new_place, 0, CallingProcess(pid))

        self._run(work())

    # ---- directories ----
    @answering
    def readdir(self, path: str | None, fh: int, start: int) -> list[tuple[str, dict[str, int] | None, int]]:
        """Entries from position `start` on, each with the position after it."""

        async def work() -> list[tuple[str, dict[str, int] | None, int]]:
            directory = self._directories[fh]
            if not start:
                listing = await self._v.names.listing(directory.ino)
                directory.entries = [(b".", 0), (b"..", 0), *listing.names.items()]
            found: list[tuple[str, dict[str, int] | None, int]] = []
            for position, (name, ino) in enumerate(directory.entries[start : start + _PER_READDIR], start + 1):
                attr = self._v.state.attrs.get(ino)
                found.append((name.decode(_ENCODING), self._stat(attr) if attr is not None else None, position))
            return found

        return self._run(work())

    @answering
    def opendir(self, path: str) -> int:
        ino, number = self._run(self._ino(path)), self._v.state.table.number()
        self._directories[number] = FusepyDirectory(ino)
        return number

    @answering
    def releasedir(self, path: str | None, fh: int) -> int:
        self._directories.pop(fh, None)
        return 0

    @answering
    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> None:
        self._run(self._v.saving.fsync_inode(self._directories[fh].ino))

    # ---- attributes ----
    def _setattr(self, path: str | None, fi: Any, wanted: AttrChanges) -> None:
        pid = fuse.fuse_get_context()[2]

        async def work() -> None:
            number = fi.fh if fi is not None else None
            await self._v.attributes.setattr(await self._ino(path, fi), wanted, number, CallingProcess(pid))

        self._run(work())

    @answering
    def chmod(self, path: str, mode: int) -> None:
        self._setattr(path, None, AttrChanges(mode=stat.S_IMODE(mode)))

    @answering
    def chown(self, path: str, uid: int, gid: int) -> None:
        self._setattr(path, None, AttrChanges(uid=uid if uid != -1 else None, gid=gid if gid != -1 else None))

    @answering
    def truncate(self, path: str | None, length: int, fi: Any = None) -> None:
        self._setattr(path, fi, AttrChanges(size=length))

    @answering
    def utimens(self, path: str, mtime: tuple[int, int] | None) -> None:
        """`mtime` in seconds and nanoseconds, the latter perhaps NOW or OMIT; None: now."""
        if mtime is None or mtime[1] == _UTIME_NOW:
            self._setattr(path, None, AttrChanges(mtime_now=True))
        elif mtime[1] == _UTIME_OMIT:
            self._setattr(path, None, AttrChanges())
        else:
            self._setattr(path, None, AttrChanges(mtime_ns=mtime[0] * 1_000_000_000 + mtime[1]))

    @answering
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        async def work() -> bytes:
            return await self._v.attributes.getxattr(await self._ino(path), name.encode(_ENCODING))

        return self._run(work())

    @answering
    def listxattr(self, path: str) -> list[str]:
        async def work() -> list[str]:
            return [n.decode(_ENCODING) for n in await self._v.attributes.listxattr(await self._ino(path))]

        return self._run(work())

    @answering
    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> None:
        create, replace = bool(options & _XATTR_CREATE), bool(options & _XATTR_REPLACE)

        async def work() -> None:
            ino, key = await self._ino(path), name.encode(_ENCODING)
            await self._v.attributes.setxattr(ino, key, value, create=create, replace=replace)

        self._run(work())

    @answering
    def removexattr(self, path: str, name: str) -> None:
        async def work() -> None:
            await self._v.attributes.removexattr(await self._ino(path), name.encode(_ENCODING))

        self._run(work())

    @answering
    def statfs(self, path: str) -> dict[str, int]:
        reply = self._run(self._v.attributes.statfs())
        return {
            "f_bsize": reply.block_size,
            "f_frsize": reply.block_size,
            "f_blocks": reply.blocks,
            "f_bfree": reply.blocks_free,
            "f_bavail": reply.blocks_available,
            "f_files": reply.files,
            "f_ffree": reply.files_free,
            "f_favail": reply.files_free,
            "f_namemax": reply.name_max,
        }

    # ---- files ----
    @answering
    def open(self, path: str, fi: Any) -> int:
        uid, _, pid = fuse.fuse_get_context()

        async def work() -> int:
            ino = await self._ino(path)
            await self._v.attributes.opened_by(uid, ino, fi.flags)
            opened = await self._v.files.open(ino, fi.flags, CallingProcess(pid))
            return opened.handle

        fi.fh = self._run(work())
        fi.direct_io = 1
        return 0

    @answering
    def create(self, path: str, mode: int, fi: Any) -> int:
        pid, mode = fuse.fuse_get_context()[2], self._mode_of_new(mode)

        async def work() -> int:
            opened, _ = await self._v.files.create(*await self._new_place(path), mode, fi.flags, CallingProcess(pid))
            return opened.handle

        fi.fh = self._run(work())
        fi.direct_io = 1
        return 0

    @answering
    def read(self, path: str | None, size: int, offset: int, fi: Any) -> bytes:
        reader = fuse.fuse_get_context()[2]
        return self._run(self._v.files.read(fi.fh, offset, size, reader))

    @answering
    def write(self, path: str | None, data: bytes, offset: int, fi: Any) -> int:
        return self._run(self._v.files.write(fi.fh, offset, data))

    @answering
    def flush(self, path: str | None, fi: Any) -> None:
        self._run(self._v.saving.flush(fi.fh))

    @answering
    def fsync(self, path: str | None, datasync: int, fi: Any) -> None:
        self._run(self._v.saving.fsync(fi.fh))

    @answering
    def release(self, path: str | None, fi: Any) -> None:
        self._run(self._v.saving.release(fi.fh))


class Fuse(fuse.FUSE):  # type: ignore[misc]
    """fusepy with times as libfuse gives them: adding seconds and nanoseconds up loses UTIME_NOW and UTIME_OMIT."""

    def utimens(self, path: bytes, buf: Any) -> Any:
        mtime = (buf.contents.modtime.tv_sec, buf.contents.modtime.tv_nsec) if buf else None
        return self.operations("utimens", path.decode(self.encoding), mtime)

    def readdir(self, path: bytes | None, buf: Any, filler: Any, offset: int, fip: Any) -> int:
        """Entries by position. As fusepy has it, libfuse keeps them as bytes, and takes any offset in those for the
        beginning of an entry."""
        entries = self.operations("readdir", self._decode_optional_path(path), fip.contents.fh, offset)
        for name, attributes, position in entries:
            st = None
            if attributes is not None:
                st = fuse.c_stat()
                fuse.set_st_attrs(st, attributes, use_ns=self.use_ns)
            if filler(buf, name.encode(self.encoding), st, position):
                return 0
        if not entries:
            # libfuse takes a call that adds nothing for a complete listing, by which it would answer later positions.
            filler(buf, _NEVER_FITS, None, offset or 1)
        return 0


_stopped: asyncio.Event | None = None


async def serve(volume: Volume, mountpoint: str, of_kernel: frozenset[str], ready: Callable[[], None]) -> None:
    """Mounts, with these options of FUSE besides our own, and answers until the filesystem is unmounted, or `stop`.

    RuntimeError where libfuse cannot mount.
    """
    global _stopped
    loop = asyncio.get_running_loop()
    stopped = _stopped = asyncio.Event()
    failures: list[RuntimeError] = []
    operations = FusepyOperations(volume, loop, ready)

    def mount() -> None:
        try:
            _mount(operations, mountpoint, of_kernel)
        except RuntimeError as error:
            failures.append(error)
        finally:
            loop.call_soon_threadsafe(stopped.set)

    # A daemon thread: after `stop`, libfuse may sit in a read of /dev/fuse for as long as a program keeps a file open.
    threading.Thread(target=mount, name="holofs-fuse", daemon=True).start()
    await stopped.wait()
    if failures:
        raise RuntimeError("libfuse refused")


def _mount(operations: FusepyOperations, mountpoint: str, of_kernel: frozenset[str]) -> None:
    options: dict[str, Any] = {
        "fsname": "holofs",
        "subtype": "holofs",
        "default_permissions": True,
        "use_ino": True,
        "big_writes": True,
        "atomic_o_trunc": True,
        "attr_timeout": 0,
        "entry_timeout": 0,
        "negative_timeout": 0,
    }
    options.update(dict.fromkeys(of_kernel, True))
    path = os.fsencode(mountpoint).decode(_ENCODING)
    Fuse(operations, path, raw_fi=True, encoding=_ENCODING, foreground=True, **options)


def stop() -> None:
    """Ends `serve` although the filesystem is still in use."""
    if _stopped is not None:
        _stopped.set()
