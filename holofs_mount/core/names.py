# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on names: making, removing, renaming."""

from __future__ import annotations

import errno
import stat
from typing import Final

from holofs_api import PAST_INO
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core import recovery
from holofs_mount.core.caches import UNSURE
from holofs_mount.core.context import Caller, check_name, now_ns, process_of
from holofs_mount.core.looking import Looking
from holofs_mount.core.registration import register_all

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2


class Names(Looking):
    """All that can be done with names; looking at them first."""

    # ---- making ----
    async def mkdir(self, parent: int, name: bytes, mode: int) -> pb.Attr:
        self._check_new(parent, name)
        since = self._x.clock.now
        request = pb.MakeDirRequest(parent=parent, name=name, mode=stat.S_IMODE(mode))
        promised = self._promised_dir(request)
        if promised is not None:
            return promised
        fits = recovery.made_since(pb.KIND_DIRECTORY)
        attr: pb.Attr = await self._x.call("make_dir", request, recovery.made(self._x.call, parent, name, fits))
        self.came(parent, name, attr, since)
        self._x.attrs.drop(parent)  # its link count changed
        if self._x.clock.unchanged(attr.ino, since) and self._x.listings.get(attr.ino) is None:
            self._x.listings.put(attr.ino, {})  # just made: nothing in it
        return self._x.settle(attr, since)

    def _promised_dir(self, request: pb.MakeDirRequest) -> pb.Attr | None:
        """Nobody has to wait for the daemon to make it (ADR 11). None: somebody has to."""
        x, now = self._x, now_ns()
        if not self.is_free(request.parent, request.name) or not x.may_promise:
            return None
        if not x.newborn.numbers.any:
            return None  # only with a file the daemon is asked for more
        request.ino = x.newborn.numbers.take()
        attr = pb.Attr(ino=request.ino, kind=pb.KIND_DIRECTORY, mode=request.mode, nlink=2, mtime_ns=now, ctime_ns=now)
        if not x.later.promise("make_dir", request, lambda reply: self._dir_made(request, reply)):
            request.ino = 0
            return None
        since = x.clock.now
        self.came(request.parent, request.name, attr, since, subdirectories=1)
        x.listings.put(attr.ino, {})
        shown = x.settle(attr, since)
        x.attrs.touch_directory(attr.ino, now)
        return shown

    def _dir_made(self, request: pb.MakeDirRequest, reply: pb.Attr) -> None:
        """Its times are still those of what was made in it since: they are asked for when that is done."""
        if reply.ino != request.ino:  # gone since, or under another number
            self._x.unsure_of(request.parent, request.name)

    async def mknod(self, parent: int, name: bytes, mode: int) -> pb.Attr:
        self._check_new(parent, name)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, "HoloFS keeps files, directories and symbolic links")
        since = self._x.clock.now
        request = pb.CreateRequest(parent=parent, name=name, mode=stat.S_IMODE(mode), exclusive=True)
        reply: pb.CreateReply = await self._x.call("create", request, recovery.created(self._x.call, request))
        self.came(parent, name, reply.attr, since)
        return self._x.settle(reply.attr, since)

    async def symlink(self, parent: int, name: bytes, target: bytes) -> pb.Attr:
        self._check_new(parent, name)
        since = self._x.clock.now
        attr: pb.Attr = await self._x.call(
            "symlink",
            pb.SymlinkRequest(parent=parent, name=name, target=target),
            recovery.made(self._x.call, parent, name, recovery.made_link(self._x.call, target)),
        )
        self.came(parent, name, attr, since)
        return self._x.settle(attr, since)

    async def link(self, ino: int, parent: int, name: bytes) -> pb.Attr:
        self._check_new(parent, name)
        since = self._x.clock.now

        async def fits(attr: pb.Attr) -> bool:
            return attr.ino == ino

        attr: pb.Attr = await self._x.call(
            "link",
            pb.LinkRequest(ino=ino, parent=parent, name=name),
            recovery.made(self._x.call, parent, name, fits),
        )
        self.came(parent, name, attr, since)
        file = self._x.table.files.get(ino)
        if file is not None:
            file.unlinked = False
        return self._x.settle(attr, since)

    # ---- removing ----
    async def unlink(self, parent: int, name: bytes) -> None:
        self._check_new(parent, name)
        since = self._x.clock.now
        known = self.known(parent, name)
        is_last = await self._is_last_name(known)
        request = pb.UnlinkRequest(parent=parent, name=name, ino=known or 0)
        if known is None or not self._goes_for_sure(parent, known) or not self._x.later.remove("unlink", request):
            if known is not None:
                await register_all(self._x, self._x.table.files.get(known))
            request.ino = 0
            await self._x.call("unlink", request, recovery.gone(errno.ENOENT))
        self._went(parent, name, since)
        self._lost_name(known, is_last)

    def _goes_for_sure(self, parent: int, ino: int) -> bool:
        """Nobody has to wait for the daemon to remove this name (ADR 10)."""
        attr = self._x.attrs.get(ino)
        is_known = attr is not None and attr.kind != pb.KIND_DIRECTORY and ino not in self._x.table.files
        return is_known and self._may_go_unheard(parent)

    def _may_go_unheard(self, parent: int) -> bool:
        x = self._x
        known = x.client.connected and not x.later.full and not x.newborn.any
        return known and x.newborn.alone and parent < PAST_INO  # other mounts drop the name before a program goes on

    async def rmdir(self, parent: int, name: bytes) -> None:
        self._check_new(parent, name)
        since = self._x.clock.now
        known = self.known(parent, name)
        request = pb.UnlinkRequest(parent=parent, name=name, ino=known or 0)
        if (
            known is None
            or not self._is_empty_for_sure(parent, known)
            or not self._x.later.remove("remove_dir", request)
        ):
            request.ino = 0
            await self._x.call("remove_dir", request, recovery.gone(errno.ENOENT))
            self._x.attrs.drop(parent)  # its link count is asked for
        self._went(parent, name, since, subdirectories=1)
        if known is not None:
            self._directory_went(known)

    def _is_empty_for_sure(self, parent: int, ino: int) -> bool:
        """Nobody has to wait for the daemon to remove this directory: what may come into it from another device in
        this moment is as if it came after (ADR 10)."""
        listing, attr = self._x.listings.get(ino), self._x.attrs.get(ino)
        is_known = attr is not None and attr.kind == pb.KIND_DIRECTORY
        is_empty = listing is not None and not (listing.names or listing.unsure)
        return is_known and is_empty and self._may_go_unheard(parent)

    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, caller: Caller
    ) -> None:
        self._check_new(new_parent, new_name)
        check_name(name)
        self._x.gone.check(parent)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise OSError(errno.EINVAL, "unknown flags")
        since = self._x.clock.now
        source, target = self.known(parent, name), self.known(new_parent, new_name)
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
            await register_all(self._x, self._x.table.files.get(target))
        if target is not None and self._x.bases.any_stale(target):
            pid = process_of(caller.pid)
            request.base = self._x.bases.base(target, pid)
        await self._x.call("rename", request, recovery.renamed(self._x.call, request, source))
        if target is not None and pid:
            self._x.bases.has_written(target, pid)
        self._moved(request, source, target, since)
        if source != target and not request.exchange:
            self._lost_name(target, is_last)

    # ---- what our own changes mean for the caches ----
    def came(self, parent: int, name: bytes, attr: pb.Attr, since: int, subdirectories: int = 0) -> None:
        """This mount made a name. Where others changed it meanwhile we cannot tell who was last: ask again."""
        self.leads_to(parent, name, attr, since)
        self._x.touched(parent)
        self._x.attrs.touch_directory(parent, now_ns(), subdirectories)

    def leads_to(self, parent: int, name: bytes, attr: pb.Attr, since: int) -> None:
        """What this mount found or made at a name; the directory is as it was."""
        if self._x.clock.unchanged((parent, name), since):
            self._x.listings.set(parent, name, attr.ino)
            self._x.saw(parent, name, attr.ino)
        else:
            self._x.listings.set(parent, name, UNSURE)
            self._x.saw(parent, name, 0)
        self._x.touched((parent, name))

    def _went(self, parent: int, name: bytes, since: int, subdirectories: int = 0) -> None:
        if self._x.clock.unchanged((parent, name), since):
            self._x.listings.set(parent, name, 0)
        else:
            self._x.listings.set(parent, name, UNSURE)
        self._x.saw(parent, name, 0)
        self._x.touched((parent, name), parent)
        self._x.attrs.touch_directory(parent, now_ns(), -subdirectories)

    async def _is_last_name(self, ino: int | None) -> bool:
        """Whether an open file has one name only: to be asked before it loses that, for news of it may come before the
        answer."""
        file = self._x.table.files.get(ino) if ino is not None else None
        return file is not None and (await self.getattr(file.ino)).nlink <= 1

    def _directory_went(self, ino: int) -> None:
        self._x.touched(ino)
        self._x.attrs.drop(ino)
        self._x.listings.drop(ino)
        self._x.gone.went(ino)

    def _lost_name(self, ino: int | None, is_last: bool) -> None:
        """An inode lost one of its names to this mount's unlink or rename."""
        if ino is None:
            return
        file = self._x.table.files.get(ino)
        if file is not None and is_last:
            file.unlinked = True
        self._x.touched(ino)
        self._x.attrs.drop(ino)
        self._x.gone.went(ino)

    def _moved(self, request: pb.RenameRequest, source: int | None, target: int | None, since: int) -> None:
        old, new = (request.parent, request.name), (request.new_parent, request.new_name)
        fewer = self._fewer_subdirectories(request, source, target)
        certain = source is not None and self._x.clock.unchanged(old, since) and self._x.clock.unchanged(new, since)
        if certain and source != target and source is not None:
            for keep in (self._x.listings.set, self._x.saw):
                keep(*old, (target or 0) if request.exchange else 0)
                keep(*new, source)
        elif not certain:
            for place in (old, new):
                self._x.listings.set(*place, UNSURE)
                self._x.saw(*place, 0)
        self._x.touched(old, new)
        for ino in (source, target):
            if ino is not None:
                self._x.touched(ino)
                self._x.attrs.drop(ino)
        for parent in {request.parent, request.new_parent}:
            if fewer is not None:
                self._x.attrs.touch_directory(parent, now_ns(), -fewer)
            else:
                self._x.attrs.drop(parent)  # its link count and times are asked for

    def _fewer_subdirectories(self, request: pb.RenameRequest, source: int | None, target: int | None) -> int | None:
        """How many subdirectories less a directory has after a rename inside of it; None: the daemon has to say."""
        if request.parent != request.new_parent or request.exchange or source is None or source == target:
            return None
        if target is None:
            return 0 if self.is_free(request.new_parent, request.new_name) else None
        replaced = self._x.attrs.get(target)
        return None if replaced is None else int(replaced.kind == pb.KIND_DIRECTORY)

    def _check_new(self, parent: int, name: bytes) -> None:
        check_name(name)
        self._x.gone.check(parent)
        self._x.check_writable()
