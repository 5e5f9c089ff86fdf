# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on names: making, removing, renaming."""

from __future__ import annotations

import errno
import stat
from typing import Final

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core import recovery
from holofs_mount.core.caches import NEEDS_LOOKUP
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.lookups import Lookups
from holofs_mount.core.mount_state import CallingProcess, MountState, check_name, now_ns, process_of
from holofs_mount.core.registration import Registrar
from holofs_mount.write_behind.assembly import WriteBehind
from holofs_mount.write_behind.eligibility import mkdir_must_wait, rmdir_must_wait, unlink_must_wait

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2


class Names(Lookups):
    """Operations on names, and the lookups that they begin with."""

    def __init__(self, state: MountState, daemon: DaemonCalls, write_behind: WriteBehind, registrar: Registrar) -> None:
        super().__init__(state, daemon, write_behind.queue)
        self._write_behind = write_behind
        self._registrar = registrar

    # ---- making ----
    async def mkdir(self, parent: int, name: bytes, mode: int) -> pb.Attr:
        self._check_new(parent, name)
        since = self._state.epochs.now
        request = pb.MakeDirRequest(parent=parent, name=name, mode=stat.S_IMODE(mode))
        acknowledged = self._mkdir_async(request)
        if acknowledged is not None:
            return acknowledged
        fits = recovery.made_since(pb.KIND_DIRECTORY)
        attr: pb.Attr = await self._daemon.call(
            "make_dir", request, recovery.made(self._daemon.call, parent, name, fits)
        )
        self.entry_added(parent, name, attr, since)
        self._state.attrs.drop(parent)  # its link count changed
        if self._state.epochs.unchanged(attr.ino, since) and self._state.listings.get(attr.ino) is None:
            self._state.listings.put(attr.ino, {})  # just made: nothing in it
        return self._state.cache_own_change(attr, since)

    def _mkdir_async(self, request: pb.MakeDirRequest) -> pb.Attr | None:
        """Makes a directory by an async create (ADR 11). None: it must run synchronously."""
        state, write_behind, now = self._state, self._write_behind, now_ns()
        name_is_free = self.is_free(request.parent, request.name)
        if mkdir_must_wait(write_behind.conditions(), name_is_free=name_is_free):
            return None
        request.ino = write_behind.lease.take()
        attr = pb.Attr(ino=request.ino, kind=pb.KIND_DIRECTORY, mode=request.mode, nlink=2, mtime_ns=now, ctime_ns=now)
        if not write_behind.queue.create("make_dir", request, lambda reply: self._mkdir_done(request, reply)):
            request.ino = 0
            return None
        since = state.epochs.now
        self.entry_added(request.parent, request.name, attr, since, subdirectories=1)
        state.listings.put(attr.ino, {})
        shown = state.cache_own_change(attr, since)
        state.attrs.touch_directory(attr.ino, now)
        return shown

    def _mkdir_done(self, request: pb.MakeDirRequest, reply: pb.Attr) -> None:
        """Keeps the cached times: they are those of names that were made in the directory since."""
        if reply.ino != request.ino:  # removed since, or made under another number
            self._state.invalidate_entry(request.parent, request.name)

    async def mknod(self, parent: int, name: bytes, mode: int) -> pb.Attr:
        self._check_new(parent, name)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, "HoloFS keeps files, directories and symbolic links")
        since = self._state.epochs.now
        request = pb.CreateRequest(parent=parent, name=name, mode=stat.S_IMODE(mode), exclusive=True)
        reply: pb.CreateReply = await self._daemon.call("create", request, recovery.created(self._daemon.call, request))
        self.entry_added(parent, name, reply.attr, since)
        return self._state.cache_own_change(reply.attr, since)

    async def symlink(self, parent: int, name: bytes, target: bytes) -> pb.Attr:
        self._check_new(parent, name)
        since = self._state.epochs.now
        attr: pb.Attr = await self._daemon.call(
            "symlink",
            pb.SymlinkRequest(parent=parent, name=name, target=target),
            recovery.made(self._daemon.call, parent, name, recovery.made_link(self._daemon.call, target)),
        )
        self.entry_added(parent, name, attr, since)
        return self._state.cache_own_change(attr, since)

    async def link(self, ino: int, parent: int, name: bytes) -> pb.Attr:
        self._check_new(parent, name)
        since = self._state.epochs.now

        async def fits(attr: pb.Attr) -> bool:
            return attr.ino == ino

        attr: pb.Attr = await self._daemon.call(
            "link",
            pb.LinkRequest(ino=ino, parent=parent, name=name),
            recovery.made(self._daemon.call, parent, name, fits),
        )
        self.entry_added(parent, name, attr, since)
        file = self._state.table.files.get(ino)
        if file is not None:
            file.unlinked = False
        return self._state.cache_own_change(attr, since)

    # ---- removing ----
    async def unlink(self, parent: int, name: bytes) -> None:
        self._check_new(parent, name)
        since = self._state.epochs.now
        known = self.known_ino(parent, name)
        is_last = await self._is_last_name(known)
        request = pb.UnlinkRequest(parent=parent, name=name, ino=known or 0)
        if known is None or not self._unlink_async(request, known):
            if known is not None:
                await self._registrar.register_all(self._state.table.files.get(known))
            request.ino = 0
            await self._daemon.call("unlink", request, recovery.gone(errno.ENOENT))
        self._entry_removed(parent, name, since)
        self._lost_name(known, is_last)

    def _unlink_async(self, request: pb.UnlinkRequest, ino: int) -> bool:
        """Queues the removal of a name of a file (ADR 10). False: it must run synchronously."""
        attr, is_open = self._state.attrs.get(ino), ino in self._state.table.files
        if unlink_must_wait(self._write_behind.conditions(), request.parent, attr, is_open=is_open):
            return False
        return self._write_behind.queue.remove("unlink", request)

    async def rmdir(self, parent: int, name: bytes) -> None:
        self._check_new(parent, name)
        since = self._state.epochs.now
        known = self.known_ino(parent, name)
        request = pb.UnlinkRequest(parent=parent, name=name, ino=known or 0)
        if known is None or not self._rmdir_async(request, known):
            request.ino = 0
            await self._daemon.call("remove_dir", request, recovery.gone(errno.ENOENT))
            self._state.attrs.drop(parent)  # its link count is asked for
        self._entry_removed(parent, name, since, subdirectories=1)
        if known is not None:
            self._directory_removed(known)

    def _rmdir_async(self, request: pb.UnlinkRequest, ino: int) -> bool:
        """Queues the removal of an empty directory (ADR 10). False: it must run synchronously."""
        listing, attr = self._state.listings.get(ino), self._state.attrs.get(ino)
        known_empty = listing is not None and not (listing.names or listing.needs_lookup)
        if rmdir_must_wait(self._write_behind.conditions(), request.parent, attr, known_empty=known_empty):
            return False
        return self._write_behind.queue.remove("remove_dir", request)

    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, caller: CallingProcess
    ) -> None:
        self._check_new(new_parent, new_name)
        check_name(name)
        self._state.gone.check(parent)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise OSError(errno.EINVAL, "unknown flags")
        since = self._state.epochs.now
        source, target = self.known_ino(parent, name), self.known_ino(new_parent, new_name)
        is_last = await self._is_last_name(target)
        request = pb.RenameRequest(
            parent=parent,
            name=name,
            new_parent=new_parent,
            new_name=new_name,
            no_replace=bool(flags & RENAME_NOREPLACE),
            exchange=bool(flags & RENAME_EXCHANGE),
        )
        pid = 0
        if target is not None:
            await self._registrar.register_all(self._state.table.files.get(target))
        if target is not None and self._state.bases.any_stale(target):
            pid = process_of(caller.pid)
            request.base = self._state.bases.base(target, pid)
        await self._daemon.call("rename", request, recovery.renamed(self._daemon.call, request, source))
        if target is not None and pid:
            self._state.bases.has_written(target, pid)
        self._moved(request, source, target, since)
        if source != target and not request.exchange:
            self._lost_name(target, is_last)

    # ---- what our own changes mean for the caches ----
    def entry_added(self, parent: int, name: bytes, attr: pb.Attr, since: int, subdirectories: int = 0) -> None:
        """Notes a name that this mount made. If others changed it after `since`, the order is unknown and the name
        needs a lookup."""
        self.entry_found(parent, name, attr, since)
        self._state.bump(parent)
        self._state.attrs.touch_directory(parent, now_ns(), subdirectories)

    def entry_found(self, parent: int, name: bytes, attr: pb.Attr, since: int) -> None:
        """Notes the inode that this mount found or made at a name; the directory is as it was."""
        if self._state.epochs.unchanged((parent, name), since):
            self._state.listings.set(parent, name, attr.ino)
            self._state.note_dentry(parent, name, attr.ino)
        else:
            self._state.listings.set(parent, name, NEEDS_LOOKUP)
            self._state.note_dentry(parent, name, 0)
        self._state.bump((parent, name))

    def _entry_removed(self, parent: int, name: bytes, since: int, subdirectories: int = 0) -> None:
        """Notes a name that this mount removed."""
        if self._state.epochs.unchanged((parent, name), since):
            self._state.listings.set(parent, name, 0)
        else:
            self._state.listings.set(parent, name, NEEDS_LOOKUP)
        self._state.note_dentry(parent, name, 0)
        self._state.bump((parent, name), parent)
        self._state.attrs.touch_directory(parent, now_ns(), -subdirectories)

    async def _is_last_name(self, ino: int | None) -> bool:
        """Whether an open file has one name only. Asked before the removal, whose news may overtake its reply."""
        file = self._state.table.files.get(ino) if ino is not None else None
        return file is not None and (await self.getattr(file.ino)).nlink <= 1

    def _directory_removed(self, ino: int) -> None:
        self._state.bump(ino)
        self._state.attrs.drop(ino)
        self._state.listings.drop(ino)
        self._state.gone.removed(ino)

    def _lost_name(self, ino: int | None, is_last: bool) -> None:
        """Notes that an inode lost one of its names to this mount's unlink or rename."""
        if ino is None:
            return
        file = self._state.table.files.get(ino)
        if file is not None and is_last:
            file.unlinked = True
        self._state.bump(ino)
        self._state.attrs.drop(ino)
        self._state.gone.removed(ino)

    def _moved(self, request: pb.RenameRequest, source: int | None, target: int | None, since: int) -> None:
        old, new = (request.parent, request.name), (request.new_parent, request.new_name)
        fewer = self._fewer_subdirectories(request, source, target)
        certain = (
            source is not None and self._state.epochs.unchanged(old, since) and self._state.epochs.unchanged(new, since)
        )
        if certain and source != target and source is not None:
            for keep in (self._state.listings.set, self._state.note_dentry):
                keep(*old, (target or 0) if request.exchange else 0)
                keep(*new, source)
        elif not certain:
            for place in (old, new):
                self._state.listings.set(*place, NEEDS_LOOKUP)
                self._state.note_dentry(*place, 0)
        self._state.bump(old, new)
        for ino in (source, target):
            if ino is not None:
                self._state.bump(ino)
                self._state.attrs.drop(ino)
        for parent in {request.parent, request.new_parent}:
            if fewer is not None:
                self._state.attrs.touch_directory(parent, now_ns(), -fewer)
            else:
                self._state.attrs.drop(parent)  # its link count and times are asked for

    def _fewer_subdirectories(self, request: pb.RenameRequest, source: int | None, target: int | None) -> int | None:
        """Number of subdirectories that a directory loses by a rename inside of it; None: the daemon has to say."""
        if request.parent != request.new_parent or request.exchange or source is None or source == target:
            return None
        if target is None:
            return 0 if self.is_free(request.new_parent, request.new_name) else None
        replaced = self._state.attrs.get(target)
        return None if replaced is None else int(replaced.kind == pb.KIND_DIRECTORY)

    def _check_new(self, parent: int, name: bytes) -> None:
        check_name(name)
        self._state.gone.check(parent)
        self._state.check_writable()
