# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on attributes, extended attributes, and the filesystem as a whole."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import Final

from holofs_api.numbers import time_in_range
from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.virtual_attributes import HASH, NAMES, STATE, WRITING, is_virtual
from holofs_mount.core import recovery
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.files import Files, check_size
from holofs_mount.core.gone import GoneDirectory
from holofs_mount.core.mount_state import SET_IDS, UNKNOWN_CALLER, CallingProcess, MountState, now_ns, process_of
from holofs_mount.core.names import Names
from holofs_mount.core.openfile import Freshness, OpenFile
from holofs_mount.write_behind.assembly import WriteBehind
from holofs_mount.write_behind.eligibility import set_attr_must_wait

_STATFS_SECONDS: Final = 1.0
_USER: Final = b"user."


@dataclass(slots=True)
class AttrChanges:
    """Arguments of a setattr. None: leave as it is. Access times are not kept.

    A time is brought into its range here, so that it can always be sent, whatever cache or journal it comes from.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    mtime_now: bool = False

    def __post_init__(self) -> None:
        if self.mtime_ns is not None:
            self.mtime_ns = time_in_range(self.mtime_ns)
            CLOCK.seen(self.mtime_ns)


class AttributeOperations:
    """Operations on attributes, extended attributes, and the filesystem as a whole."""

    def __init__(
        self, state: MountState, daemon: DaemonCalls, write_behind: WriteBehind, names: Names, files: Files
    ) -> None:
        self._state = state
        self._daemon = daemon
        self._write_behind = write_behind
        self._names = names
        self._files = files
        self._statfs: tuple[float, pb.StatFsReply] | None = None

    async def setattr(self, ino: int, wanted: AttrChanges, number: int | None, caller: CallingProcess) -> pb.Attr:
        self._state.check_writable()
        self._check_owner(wanted)

        async def ask() -> pb.Attr:
            return await self._setattr(ino, wanted, number, caller)

        return await self._state.gone.ask(ino, ask, lambda gone: _set(gone, wanted))

    async def _setattr(self, ino: int, wanted: AttrChanges, number: int | None, caller: CallingProcess) -> pb.Attr:
        since = self._state.epochs.now
        request = pb.SetAttrRequest(ino=ino)
        asks = wanted.size is not None and await self._resize(request, wanted.size, number, caller)
        asks |= self._fill(request, wanted, self._state.table.files.get(ino))
        if not asks:
            self._show_unsent_mode(request)
            return await self._names.getattr(ino)
        guess = self._set_attr_async(request)
        if guess is not None:
            return guess
        attr: pb.Attr = await self._daemon.call("set_attr", request)
        if request.HasField("size"):
            self._resized(ino, attr, caller)
        return self._state.cache_own_change(attr, since)

    async def opened_by(self, uid: int, ino: int, flags: int) -> None:
        """Takes set-user-ID and set-group-ID from a file that another user than the mount's opens to write.

        The kernel does so at a write, but not where a file is opened with direct I/O.
        """
        if uid == self._state.uid or flags & os.O_ACCMODE == os.O_RDONLY:
            return
        mode = (await self._names.getattr(ino)).mode
        if mode & SET_IDS:
            await self.setattr(ino, AttrChanges(mode=mode & ~SET_IDS), None, UNKNOWN_CALLER)

    def _set_attr_async(self, request: pb.SetAttrRequest) -> pb.Attr | None:
        """Queues a set-attributes call, and returns the attributes as they will be. None: it must run synchronously."""
        known = self._state.attrs.get(request.ino)
        if known is None or set_attr_must_wait(self._write_behind.conditions(), request, known):
            return None
        now = now_ns()
        if request.mtime_now:
            request.mtime_now = False
            request.mtime_ns = now
        self._write_behind.queue.set_attr(request)
        return self._cache_guess(known, request, now)

    def _show_unsent_mode(self, request: pb.SetAttrRequest) -> None:
        """Shows the mode that was set in the unsent create of a file."""
        known = self._state.attrs.get(request.ino)
        if known is not None and request.HasField("mode"):
            self._cache_guess(known, request, now_ns())

    def _cache_guess(self, known: pb.Attr, request: pb.SetAttrRequest, now: int) -> pb.Attr:
        """Caches the known attributes with the requested changes."""
        guess = pb.Attr()
        guess.CopyFrom(known)
        guess.ctime_ns = now
        if request.HasField("mode"):
            guess.mode = request.mode
        if request.HasField("mtime_ns"):
            guess.mtime_ns = request.mtime_ns
        return self._state.cache_own_change(guess, self._state.epochs.now)

    def _check_owner(self, wanted: AttrChanges) -> None:
        """Raises OSError EPERM for another owner: all files belong to the person who mounted."""
        if wanted.uid not in (None, self._state.uid) or wanted.gid not in (None, self._state.gid):
            raise OSError(errno.EPERM, "files of this mount belong to the person who mounted it")

    def _fill(self, request: pb.SetAttrRequest, wanted: AttrChanges, file: OpenFile | None) -> bool:
        """Fills the request. False: the daemon need not be asked, because mode or time travel with the next commit."""
        asks = False
        if wanted.mode is not None:
            request.mode = wanted.mode & 0o7777
            asks = not self._write_behind.creates.set_mode(file, request.mode)
        if wanted.mtime_ns is None and not wanted.mtime_now:
            return asks
        if file is not None and file.dirty and not request.HasField("size"):
            file.set_time(now_ns() if wanted.mtime_ns is None else wanted.mtime_ns)
            self._state.bump(file.ino)
            return asks
        if wanted.mtime_now:
            request.mtime_now = True
        elif wanted.mtime_ns is not None:
            request.mtime_ns = wanted.mtime_ns
        return True

    async def _resize(self, request: pb.SetAttrRequest, size: int, number: int | None, caller: CallingProcess) -> bool:
        """Resizes a file here if it is open for writing here. True: the daemon has to do it. Raises OSError."""
        check_size(size)
        file = self._state.table.files.get(request.ino)
        handle = self._state.table.handles.get(number) if number else None
        if file is not None:
            writer = handle if handle is not None and handle.write else file.writer()
            if writer is not None:
                await self._files.truncate(writer.file, writer, size)
                return False
        request.size = size
        request.base = self._state.bases.base(request.ino, process_of(caller.pid))
        return True

    def _resized(self, ino: int, attr: pb.Attr, caller: CallingProcess) -> None:
        self._state.pages.pop(ino, None)
        if self._state.bases.any_stale(ino):
            self._state.bases.has_written(ino, process_of(caller.pid))
        file = self._state.table.files.get(ino)
        if file is not None:
            file.freshness = Freshness.STALE

    # ---- extended attributes: the user namespace alone ----
    async def getxattr(self, ino: int, name: bytes) -> bytes:
        self._check_namespace(name)  # other answers than "not supported" make `ls -l` ask for each file again
        return await self._state.gone.ask(ino, lambda: self._getxattr(ino, name), lambda gone: gone.get_xattr(name))

    async def _getxattr(self, ino: int, name: bytes) -> bytes:
        if is_virtual(name):
            return await self._virtual(ino, name)
        if not await self._has_any(ino):
            raise OSError(errno.ENODATA, "no such attribute")
        reply: pb.XattrReply = await self._daemon.call("get_xattr", pb.XattrRequest(ino=ino, name=name))
        return reply.value

    async def _virtual(self, ino: int, name: bytes) -> bytes:
        """Answers for a virtual attribute. What is not committed yet is known here alone."""
        file = self._state.table.files.get(ino)
        writing = file is not None and file.written
        if writing and name == STATE:
            return WRITING
        if name not in NAMES or (writing and name == HASH):
            raise OSError(errno.ENODATA, "no such attribute")
        reply: pb.XattrReply = await self._daemon.call("get_xattr", pb.XattrRequest(ino=ino, name=name))
        return reply.value

    async def listxattr(self, ino: int) -> list[bytes]:
        return await self._state.gone.ask(ino, lambda: self._listxattr(ino), lambda gone: list(gone.xattrs))

    async def _listxattr(self, ino: int) -> list[bytes]:
        if not await self._has_any(ino):
            return []
        reply: pb.XattrNames = await self._daemon.call("list_xattr", pb.XattrRequest(ino=ino))
        return list(reply.names)

    async def setxattr(self, ino: int, name: bytes, value: bytes, create: bool, replace: bool) -> None:
        self._check_namespace(name)
        _check_not_virtual(name)
        self._state.check_writable()
        request = pb.SetXattrRequest(ino=ino, name=name, value=value, create=create, replace=replace)
        recover = recovery.xattr_set(self._daemon.call, request) if create else None

        async def ask() -> None:
            await self._daemon.call("set_xattr", request, recover)
            self._forget(ino)

        await self._state.gone.ask(ino, ask, lambda gone: gone.set_xattr(name, value, create, replace))

    async def removexattr(self, ino: int, name: bytes) -> None:
        self._check_namespace(name)
        _check_not_virtual(name)
        self._state.check_writable()
        request = pb.XattrRequest(ino=ino, name=name)

        async def ask() -> None:
            await self._daemon.call("remove_xattr", request, recovery.gone(errno.ENODATA))
            self._forget(ino)

        await self._state.gone.ask(ino, ask, lambda gone: gone.remove_xattr(name))

    def _check_namespace(self, name: bytes) -> None:
        if not name.startswith(_USER):
            raise OSError(errno.EOPNOTSUPP, "only attributes of the user namespace are kept")

    async def _has_any(self, ino: int) -> bool:
        file = self._state.table.files.get(ino)
        if file is not None and file.unlinked:
            return True  # the daemon knows
        known = self._state.attrs.get(ino) or await self._names.getattr(ino)
        return known.has_xattrs

    def _forget(self, ino: int) -> None:
        self._state.bump(ino)
        self._state.attrs.drop(ino)

    # ---- as a whole ----
    async def statfs(self) -> pb.StatFsReply:
        if self._statfs is None or (self._statfs[0] < time.monotonic() and self._daemon.connected):
            reply: pb.StatFsReply = await self._daemon.call("stat_fs", pb.StatFsRequest())
            self._statfs = (time.monotonic() + _STATFS_SECONDS, reply)
        return self._statfs[1]


def _check_not_virtual(name: bytes) -> None:
    """Raises OSError. With EOPNOTSUPP `cp -a` goes on without a word, as where a disk keeps no attributes."""
    if is_virtual(name):
        raise OSError(errno.EOPNOTSUPP, "virtual attributes can only be read")


def _set(gone: GoneDirectory, wanted: AttrChanges) -> pb.Attr:
    """Changes the attributes of a directory that was removed."""
    if wanted.size is not None:
        raise OSError(errno.EISDIR, "a directory has no size to set")
    attr = pb.Attr()
    attr.CopyFrom(gone.attr)
    attr.ctime_ns = now_ns()
    if wanted.mode is not None:
        attr.mode = wanted.mode & 0o7777
    if wanted.mtime_now:
        attr.mtime_ns = attr.ctime_ns
    elif wanted.mtime_ns is not None:
        attr.mtime_ns = wanted.mtime_ns
    gone.attr = attr
    return attr
