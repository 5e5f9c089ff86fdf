# SPDX-License-Identifier: GPL-3.0-or-later
"""Names come and go, attributes change."""

from __future__ import annotations

from holofsd.core.errors import HoloError
from holofsd.core.ids import Ino
from holofsd.core.project import base_of_conflict_name
from holofsd.core.state import Kind
from holofsd.fs.types import RenameFlags, RenameRequest, SetAttr
from holofsd.tree.views import Entry
from model.files import Files
from model.looking import FOLDERS, Numbers


class Names(Files):
    async def unlink(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK)
        if entry is not None:
            await self.remove(entry)

    async def unlink_copy(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, copies=True)
        if entry is not None:
            await self.remove(entry)

    async def remove(self, entry: Entry) -> None:
        """Removes what has the name by now; other names of it may have gone since it was listed."""
        parent, name = self.place(entry)
        self.loses_name(self.find(parent, name) or entry)
        await self.device.fs.unlink(self.device.att, parent, name)

    async def rename_entry(self, entry: Entry, parent: Ino, name: bytes, flags: RenameFlags = RenameFlags.NONE) -> None:
        device = self.device
        target = self.find(parent, name)
        same = target is not None and (target.node, target.dot) == (entry.node, entry.dot)
        try:
            before = dict(self.ledger.superseded), set(self.unlinked)
            if target is not None and not same and flags == RenameFlags.NONE and entry.view.kind is not Kind.DIRECTORY:
                self.loses_name(target)
            await device.fs.rename(device.att, RenameRequest(*self.place(entry), parent, name, flags))
        except HoloError:
            self.ledger.superseded, self.unlinked = before
            raise

    async def rename(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK)
        if entry is not None:
            flags = (RenameFlags.NONE, RenameFlags.NONE, RenameFlags.NO_REPLACE)[n[2] % 3]
            await self.rename_entry(entry, *self.slot(n[1]), flags)

    async def rename_copy(self, n: Numbers) -> None:
        """Move a copy over what it is a copy of, or to a name of its own."""
        entry = self.pick(n[0], Kind.FILE, copies=True)
        if entry is not None:
            base = base_of_conflict_name(entry.name) or b"a"
            await self.rename_entry(entry, self.place(entry)[0], base if n[1] % 2 else b"kept%d" % (n[1] % 7))

    async def rename_folder(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            await self.rename_entry(entry, *self.slot(n[1], FOLDERS))

    async def exchange(self, n: Numbers) -> None:
        kinds = (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK) if n[2] % 3 == 0 else (Kind.FILE,)
        one, other = self.pick(n[0], *kinds), self.pick(n[1], *kinds)
        if one is None or other is None:
            return
        copies = any(base_of_conflict_name(entry.name) is not None for entry in (one, other))
        if copies and Kind.DIRECTORY in (one.view.kind, other.view.kind):
            return  # a person may give a folder the name of a copy; `folders_apart` could not tell that from a fault
        await self.rename_entry(one, *self.place(other), RenameFlags.EXCHANGE)

    async def mkdir(self, n: Numbers) -> None:
        await self.device.fs.make_dir(self.device.att, *self.slot(n[0], FOLDERS), 0o755)

    async def rmdir(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.remove_dir(self.device.att, *self.place(entry))

    async def remove_all(self, n: Numbers) -> None:
        """rm -r"""
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            await self.remove_below(entry)

    async def remove_below(self, entry: Entry) -> None:
        # What a program lists first it removes afterwards, whatever came in between.
        for child in self.device.local.tree.children(entry.node):
            if child.view.kind is Kind.DIRECTORY:
                await self.remove_below(child)
            elif (now := self.find(entry.ino, child.name)) is not None and now.view.kind is not Kind.DIRECTORY:
                await self.remove(now)
        await self.device.fs.remove_dir(self.device.att, *self.place(entry))

    async def symlink(self, n: Numbers) -> None:
        await self.device.fs.symlink(self.device.att, *self.slot(n[0]), b"to-%d" % (n[1] % 50))

    async def link(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            await self.device.fs.link(self.device.att, entry.ino, *self.slot(n[1]))

    # ---- attributes
    async def chmod(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.set_attr(self.device.att, entry.ino, SetAttr(mode=0o400 | n[1] % 0o400))

    async def utime(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK, Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.set_attr(self.device.att, entry.ino, SetAttr(mtime_ns=n[1] * 1_000_000_007))

    async def xattr(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is None:
            return
        device, name = self.device, b"user.%d" % (n[1] % 3)
        if n[2] % 4:
            await device.fs.set_xattr(device.att, entry.ino, name, b"v%d" % n[2], create=False, replace=False)
        else:
            await device.fs.remove_xattr(device.att, entry.ino, name)
