# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of few names, made, moved over each other, removed and made again: devices often mean the same."""

from __future__ import annotations

from contextlib import suppress

from holofsd.core.errors import DirectoryNotEmpty, NameExists
from holofsd.core.ids import Ino
from holofsd.core.state import Kind
from model.looking import Numbers
from model.names import Names

_SAME = (b"x", b"y")
_FILES = (b"a", b"b", b"c.txt")


class Folding(Names):
    async def _folder_at(self, parent: Ino, name: bytes) -> Ino:
        """mkdir -p"""
        with suppress(NameExists):
            await self.device.fs.make_dir(self.device.att, parent, name, 0o755)
        return (await self.device.fs.lookup(self.device.att, parent, name)).ino

    async def _fill(self, folder: Ino, n: Numbers) -> None:
        for name in _FILES[: 1 + n[2] % len(_FILES)]:
            await self.save(folder, name, self.ledger.fresh(12))

    async def make_path(self, n: Numbers) -> None:
        """mkdir -p x/y/x, with files in it"""
        folder = self.root
        for depth in range(1 + n[0] % 3):
            folder = await self._folder_at(folder, _SAME[(n[1] >> depth) % 2])
        await self._fill(folder, n)

    async def make_and_rename(self, n: Numbers) -> None:
        """mkdir New; mv New Photos: as file managers do."""
        parent = self.folder(n[0])
        await self.device.fs.make_dir(self.device.att, parent, b"New", 0o755)
        entry = self.find(parent, b"New")
        if entry is not None:
            await self.rename_entry(entry, parent, _SAME[n[1] % 2])
            await self._fill(entry.ino, n)

    async def make_again(self, n: Numbers) -> None:
        """rm -rf x; mkdir x: as git and build tools do."""
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            parent, name = self.place(entry)
            await self.remove_below(entry)
            await self._fill(await self._folder_at(parent, name), n)

    async def move_over_empty(self, n: Numbers) -> None:
        entry, target = self.pick(n[0], Kind.DIRECTORY), self.pick(n[1], Kind.DIRECTORY)
        if entry is None:
            return
        if target is not None:
            for child in self.device.local.tree.children(target.node):
                if child.view.kind is not Kind.DIRECTORY and n[2] % 2:
                    await self.remove(child)
            await self.rename_entry(entry, *self.place(target))
        else:
            await self.rename_entry(entry, await self._folder_at(self.root, _SAME[n[2] % 2]), _SAME[n[2] % 2])

    async def move_up(self, n: Numbers) -> None:
        """mv d/s s"""
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            with suppress(DirectoryNotEmpty):
                await self.rename_entry(entry, self.root, entry.name)

    async def write_inside(self, n: Numbers) -> None:
        folder = self.pick(n[0], Kind.DIRECTORY)
        if folder is not None:
            await self.save(folder.ino, _FILES[n[1] % len(_FILES)], self.ledger.fresh(12))
